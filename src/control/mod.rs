//! How an operator changes the acceptors of a running cluster.
//!
//! The nodes guard themselves: a step that could hide a value is refused, and
//! whoever missed a step is turned away by the acceptors and learns it from
//! them. So nothing here is needed for safety; this layer is there to make the
//! right steps in the right order, and to say what happens.
//!
//! - [`plan`] and [`single`] are pure: from the lists in force to the next ones.
//! - [`Layout`] is what the cluster file says: where acceptors and proposers are.
//! - [`Control`] asks the proposers, makes steps and rescans.
//!
//! Nothing is kept between runs. What an interrupted operation has done is in
//! the configuration, and the next run reads it there.

mod dump;
mod error;
mod layout;
mod operate;
pub mod plan;
mod rescan;
pub mod single;
mod survey;

pub use dump::{Format, UnknownFormat};
pub use error::ControlError;
pub use layout::{Layout, ProposerAt};
pub use operate::{At, Control};
pub use rescan::Pace;
