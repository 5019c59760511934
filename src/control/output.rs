//! What the operator reads on standard output.

use std::io::{self, Write};
use std::sync::OnceLock;

/// The first thing that went wrong.
static FAILURE: OnceLock<io::Error> = OnceLock::new();

/// Prints a line. That it cannot be written stops no step: [`output_failure`] tells
/// it at the end.
pub fn say(line: &str) {
    print(format!("{line}\n").as_bytes());
}

/// Prints these bytes and nothing else, as [`say`] does.
pub(super) fn print(bytes: &[u8]) {
    let mut output = io::stdout().lock();
    if let Err(error) = output.write_all(bytes).and_then(|()| output.flush()) {
        FAILURE.get_or_init(|| error);
    }
}

/// Why not all could be printed; `None` when it was, or when its reader has left,
/// who had what he wanted.
pub fn output_failure() -> Option<&'static io::Error> {
    FAILURE.get().filter(|error| error.kind() != io::ErrorKind::BrokenPipe)
}
