//! The server's speed, beside a real etcd on the same machine: whole clusters
//! of real processes, loads from `wrk` and from Perseus, and the limits of the
//! machine in the same run. It measures; it judges nothing but its own goals.

mod cluster;
mod error;
mod fill;
mod goals;
mod growth;
mod limits;
mod numbers;
mod picture;
mod soak;
mod table;
mod wrk;

pub use cluster::{Running, Shape, Subject};
pub use error::BenchError;
pub use growth::{Dimension, Growth, GrowthOptions, measure_growth};
pub use soak::{Soak, SoakOptions, soak};
pub use table::{Options, Table, measure};
pub use wrk::{Figure, Load, Work};
