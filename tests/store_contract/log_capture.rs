//! What the stores write to the log.

use std::sync::{Mutex, Once};

use log::{LevelFilter, Log, Metadata, Record};

struct Capture(Mutex<Vec<String>>);

static CAPTURE: Capture = Capture(Mutex::new(Vec::new()));

impl Log for Capture {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        self.0.lock().unwrap().push(format!("{} {}", record.level(), record.args()));
    }

    fn flush(&self) {}
}

/// Runs something and counts the errors meanwhile that hold all `parts`.
pub fn errors_with(parts: &[&str], run: impl FnOnce()) -> usize {
    static START: Once = Once::new();
    START.call_once(|| {
        log::set_logger(&CAPTURE).unwrap();
        log::set_max_level(LevelFilter::Error);
    });
    let count = || {
        let lines = CAPTURE.0.lock().unwrap();
        let is_meant = |line: &&String| parts.iter().all(|part| line.contains(part));
        lines.iter().filter(|line| line.starts_with("ERROR")).filter(is_meant).count()
    };
    let before = count();
    run();
    count() - before
}
