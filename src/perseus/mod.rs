//! perseus
