//! How an operator changes the acceptors of a running cluster, and upsets its
//! connections.
//!
//! The nodes guard themselves: a step that could hide a value is refused, and
//! whoever missed a step is turned away by the acceptors and learns it from
//! them. So nothing here is needed for safety; this layer is there to make the
//! right steps in the right order, and to say what happens.
//!
//! - [`plan`] and [`single`] are pure: from the lists in force to the next ones.
//! - [`Layout`] is what the cluster file says: where acceptors and proposers are.
//! - [`ChaosControl`] puts connection matrices in force and kills nodes.
//! - [`Keys`] gets and puts keys for people.
//! - [`Import`] copies the keys of the original, Gryadka in JavaScript.
//! - [`Control`] asks the proposers, makes steps and rescans.
//!
//! Nothing is kept between runs. What an interrupted operation has done is in
//! the configuration, and the next run reads it there.

mod chaos;
mod dump;
mod error;
mod import;
mod keys;
mod layout;
mod operate;
mod output;
pub mod plan;
mod rescan;
pub mod single;
mod status;
mod survey;

pub use chaos::ChaosControl;
pub use dump::{Format, UnknownFormat};
pub use error::ControlError;
pub use import::Import;
pub use keys::{KeyCommand, KeyError, Keys, Shape};
pub use layout::{Layout, ProposerAt};
pub use operate::{At, Control};
pub use output::{output_failure, say};
pub use rescan::Pace;
pub use status::show_status;
