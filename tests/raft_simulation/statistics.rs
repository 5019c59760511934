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
    /// Seeds whose history was too hard to judge.
    undecided,
    /// Terms that had a leader.
    leaders,
    /// Entries that replicas applied, each counted on each replica.
    applied,
    /// Snapshots that were installed.
    snapshots_installed,
    crashes,
    /// Crashes in the middle of what the storage wrote.
    crashes_within_a_group,
    network_cuts,
    messages,
    messages_lost,
    messages_late,
    members_added,
    members_removed,
    hand_overs,
    virtual_milliseconds,
}
