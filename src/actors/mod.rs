//! Who runs what on which thread.

mod load_generator;

pub use load_generator::{LoadGenerator, LoadHandle, Stop};
