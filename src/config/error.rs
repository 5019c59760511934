//! Why a configuration is refused.

use std::fmt;
use std::path::{Path, PathBuf};

/// The exit status of a program that was given a bad configuration or bad
/// arguments; other failures end with 1.
pub const EXIT_BAD_CONFIG: i32 = 2;

/// Why a configuration file is refused: one line that names the file, the path
/// inside it, the value and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", .file.display())]
pub struct ConfigError {
    file: PathBuf,
    problem: Problem,
}

/// A [`ConfigError`] that does not know its file yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// Such as `actors.proposer.quorum.read`; empty for the whole document.
    path: String,
    message: String,
}

impl Problem {
    /// Longest message, in characters: a value from the file is part of it,
    /// and the file may be large.
    const MAX_CHARS: usize = 600;

    pub fn at(path: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem { path: one_line(&path.into()), message: one_line(&message.into()) }
    }

    pub fn in_file(self, file: &Path) -> ConfigError {
        ConfigError { file: file.to_path_buf(), problem: self }
    }

    /// The same problem where the thing it speaks of has another path.
    pub fn map_path(self, rename: impl FnOnce(&str) -> String) -> Problem {
        Problem { path: one_line(&rename(&self.path)), message: self.message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}

/// Keeps what a file holds from garbling the terminal.
fn one_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '?' } else { c };
    let mut line: String = text.chars().map(plain).take(Problem::MAX_CHARS).collect();
    if text.chars().nth(Problem::MAX_CHARS).is_some() {
        line.push('…');
    }
    line
}

/// A list of names for a message, bounded.
pub(super) fn listed<T: fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    const MOST: usize = 20;
    let mut names: Vec<String> =
        names.into_iter().take(MOST + 1).map(|name| name.to_string()).collect();
    match names.len() {
        0 => return "none".to_owned(),
        n if n > MOST => names[MOST] = "…".to_owned(),
        _ => (),
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_bounded_line() {
        let problem = Problem::at("a\nb", "x".repeat(2_000));
        let text = problem.in_file(Path::new("f.json")).to_string();
        assert!(text.starts_with("f.json: a?b: xxx"), "{text}");
        assert!(text.ends_with("x…") && text.len() < 700, "{text}");
    }

    #[test]
    fn a_list_of_names_is_bounded() {
        assert_eq!(listed(Vec::<u8>::new()), "none");
        assert_eq!(listed(1..=3), "1, 2, 3");
        assert!(listed(1..=20).ends_with(", 20"));
        assert!(listed(1..=90).ends_with(", 20, …"));
    }
}
