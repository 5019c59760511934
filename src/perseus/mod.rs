//! Perseus: the same load and the same checks on every protocol, and on a
//! real etcd beside them.

pub mod load;

use std::time::Duration;

/// Reads a time as people write it on the command line: 10s, 2m, 500ms.
/// The error says what was wrong and how to write it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) => Err(format!("\"{text}\" is no time at all; give more than zero, as 10s")),
        Err(error) => Err(format!("\"{text}\" is not a time ({error}); write 10s, 2m or 500ms")),
    }
}
