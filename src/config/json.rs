//! Reading JSON so that each error says where it is.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use super::error::Problem;

/// The largest configuration file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Reads a whole file, unless it is unreasonably large.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, Problem> {
    let unreadable = |error: std::io::Error| {
        Problem::at("", format!("cannot be read: {error}; check the path and its permissions"))
    };
    let mut text = Vec::new();
    let opened = File::open(file).map_err(unreadable)?;
    opened.take(MAX_FILE_BYTES + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(Problem::at("", "is larger than 1 MiB; a configuration file is smaller"));
    }
    Ok(text)
}

/// What programs for texts put in front, and JSON does not have (RFC 8259, section
/// 8.1).
const BYTE_ORDER_MARKS: [(&[u8], &str); 3] =
    [(b"\xef\xbb\xbf", "UTF-8"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")];

/// What is wrong with the beginning of a text that people write, if something is.
pub fn wrong_beginning(text: &[u8]) -> Option<String> {
    let mark = BYTE_ORDER_MARKS.iter().find(|(mark, _)| text.starts_with(mark));
    mark.map(|(_, encoding)| {
        format!("begins with a byte order mark of {encoding}; save it as UTF-8 without one")
    })
}

/// The first pass: the document is JSON and no object in it has a key twice
/// (serde's maps would silently keep the last). Gives the keys of the outermost
/// object, none when the document is something else.
pub(super) fn top_level_keys(text: &[u8]) -> Result<BTreeSet<String>, Problem> {
    if let Some(why) = wrong_beginning(text) {
        return Err(Problem::at("", why));
    }
    parse::<Shape>(text).map(|shape| shape.0)
}

/// Reads a document into its type.
pub(super) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    let mut document = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut document).map_err(|error| {
        let path = match error.path().to_string() {
            root if root == "." => String::new(),
            path => path,
        };
        explain(path, error.inner())
    })?;
    document.end().map_err(|error| explain(String::new(), &error))?;
    Ok(value)
}

/// Puts serde's message into words of the file's author.
fn explain(path: String, error: &serde_json::Error) -> Problem {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let text = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
    if !error.is_data() {
        return Problem::at("", format!("line {line}, column {column}: not JSON: {text}"));
    }
    let mut message = text.to_owned();
    for (rust, plain) in [
        ("expected a nonzero u16", "expected a port, 1 to 65535"),
        ("expected a nonzero u32", "expected a whole number, 1 or more"),
        ("expected a nonzero u64", "expected a whole number, 1 or more"),
        ("expected u64", "expected a whole number, 0 or more"),
        ("expected usize", "expected a whole number, 0 or more"),
        ("expected a boolean", "expected true or false"),
        ("expected a map", "expected an object"),
        ("expected a sequence", "expected a list"),
    ] {
        if let Some(start) = message.strip_suffix(rust) {
            message = format!("{start}{plain}");
        }
    }
    if message.starts_with("missing field") {
        message.push_str("; add it");
    }
    Problem::at(path, format!("{message} (line {line}, column {column})"))
}

/// Any JSON whose objects have each key once, with the outermost object's keys.
struct Shape(BTreeSet<String>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl ShapeVisitor {
    fn leaf<E>() -> Result<Shape, E> {
        Ok(Shape(BTreeSet::new()))
    }
}

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Shape, E> {
        Self::leaf()
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Shape, E> {
        Self::leaf()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Shape, E> {
        Self::leaf()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Shape, E> {
        Self::leaf()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Shape, E> {
        Self::leaf()
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Shape, E> {
        Self::leaf()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
        while items.next_element::<Shape>()?.is_some() {}
        Self::leaf()
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Shape, A::Error> {
        let mut keys = BTreeSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if keys.contains(&key) {
                return Err(A::Error::custom(format!(
                    "{key:?} is there twice; rename or remove one of them"
                )));
            }
            keys.insert(key);
            entries.next_value::<Shape>()?;
        }
        Ok(Shape(keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape_error(text: &str) -> String {
        top_level_keys(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn syntax_errors_say_line_and_column() {
        for (text, expected) in [
            ("{\n  \"a\" 1\n}", "line 2, column 7: not JSON: expected `:`"),
            ("", "line 1, column 0: not JSON: EOF while parsing a value"),
            ("{} x", "line 1, column 4: not JSON: trailing characters"),
            ("\u{feff}{}", "begins with a byte order mark of UTF-8; save it as UTF-8 without one"),
        ] {
            assert_eq!(shape_error(text), expected, "{text:?}");
        }
    }

    #[test]
    fn hostile_documents_are_errors() {
        let deep = "[".repeat(100_000);
        assert!(shape_error(&deep).contains("recursion limit"), "{}", shape_error(&deep));
        assert!(top_level_keys(b"{\"\xff\": 1}").is_err());
        assert!(top_level_keys(b"{\"a\": 1e999}").is_err());
        assert!(top_level_keys(b"{\"a\": \"\\ud800\"}").is_err());
    }

    #[test]
    fn a_key_twice_is_found_at_any_depth() {
        for (text, expected) in [
            (r#"{"a":1,"a":2}"#, r#""a" is there twice; rename or remove one of them"#),
            (r#"{"n":{"p1":{},"p1":{}}}"#, r#"n: "p1" is there twice"#),
            (r#"{"n":[0,{"x":1,"\u0078":1}]}"#, r#"n[1]: "x" is there twice"#),
        ] {
            let message = shape_error(text);
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn the_outermost_keys_are_given() {
        let keys = top_level_keys(br#"{"b":{"c":1},"a":[{}]}"#).unwrap();
        assert_eq!(keys.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(top_level_keys(b"[1, null, -1, 1.5, \"x\", true]").unwrap().is_empty());
    }
}
