//! Perseus: the same load and the same checks on every protocol, and on a
//! real etcd beside them.

pub mod load;
