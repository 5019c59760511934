//! Counts of what seeds exercised.

/// Declares `Statistics`, a struct of counts that are added up and printed.
macro_rules! statistics {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counts of what happened in one seed or in many.
        #[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
        pub struct Statistics {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl std::ops::AddAssign for Statistics {
            fn add_assign(&mut self, other: Statistics) {
                $(self.$name += other.$name;)*
            }
        }

        impl std::fmt::Display for Statistics {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $(writeln!(f, "{:>12} {}", self.$name, stringify!($name))?;)*
                Ok(())
            }
        }
    };
}

pub(crate) use statistics;
