//! What the seeds exercised.

use std::fmt;

macro_rules! statistics {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counts of what happened in one seed or in many.
        #[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
        pub struct Statistics {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Statistics {
            pub fn add(&mut self, other: &Statistics) {
                $(self.$name += other.$name;)*
            }
        }

        impl fmt::Display for Statistics {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(writeln!(f, "{:>12} {}", self.$name, stringify!($name))?;)*
                Ok(())
            }
        }
    };
}

statistics! {
    operations,
    done,
    unknown,
    failed,
    /// Changes that began with the accept of a kept ballot.
    rounds_of_one_trip,
    /// Changes that had to prepare.
    rounds_of_two_trips,
    /// Reads answered without a write.
    reads_without_write,
    /// Rounds in which an earlier attempt was found to have taken effect.
    settled_as_included,
    /// Rounds in which commands were applied again, as their earlier attempt
    /// had provably taken none.
    settled_as_excluded,
    messages,
    messages_lost,
    messages_duplicated,
    acceptor_crashes,
    proposer_crashes,
    network_cuts,
    virtual_milliseconds,
}
