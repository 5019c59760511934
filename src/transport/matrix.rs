//! The connection matrix: what becomes of the messages between nodes.
//!
//! Row i, column j says with what probability a message from node i to node j
//! is dropped, and how long it takes besides. A request from i to j passes
//! `[i][j]`, its reply `[j][i]`; what a node says to itself passes `[i][i]`.
//! Pure: the dice are passed in.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The most nodes of a matrix.
pub const MAX_MATRIX_NODES: usize = 64;

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It arrives.
    Deliver,
    /// It arrives so much later.
    Delay(Duration),
    /// It never arrives, and nobody is told.
    Drop,
}

/// A probability, from 0 to 1.
#[derive(Clone, Copy, PartialEq, PartialOrd, Default, Debug, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Probability(f64);

impl Probability {
    /// It never happens.
    pub const NEVER: Probability = Probability(0.0);
    /// It always does.
    pub const ALWAYS: Probability = Probability(1.0);

    /// As a number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Probability {
    type Error = &'static str;

    fn try_from(number: f64) -> Result<Self, Self::Error> {
        match (0.0..=1.0).contains(&number) {
            true => Ok(Probability(number)),
            false => Err("is not from 0 to 1"),
        }
    }
}

impl FromStr for Probability {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<f64>().map_err(|_| "is not a number")?.try_into()
    }
}

/// To two places.
impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}", self.0)
    }
}

/// How long a message takes: between `ms - jitter_ms` and `ms + jitter_ms`,
/// in milliseconds. Written as `20~5`, or `20` without jitter.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Delay {
    ms: u32,
    jitter_ms: u32,
}

impl Delay {
    /// The longest that can be asked for.
    pub const MAX_MS: u32 = 60_000;
    /// None at all.
    pub const NONE: Delay = Delay { ms: 0, jitter_ms: 0 };

    /// What it is for one message; the roll is from 0 to 1.
    fn drawn(self, roll: f64) -> Duration {
        let ms = f64::from(self.ms) + f64::from(self.jitter_ms) * (2.0 * roll - 1.0);
        Duration::from_secs_f64(ms.max(0.0) / 1000.0)
    }
}

impl FromStr for Delay {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ms, jitter_ms) = text.split_once('~').unwrap_or((text, "0"));
        let number = |text: &str| text.parse().map_err(|_| "is not milliseconds, as 20 or 20~5");
        let delay = Delay { ms: number(ms)?, jitter_ms: number(jitter_ms)? };
        match delay.ms <= Delay::MAX_MS && delay.jitter_ms <= delay.ms {
            true => Ok(delay),
            false => Err("is not up to 60000 ms with a jitter that is no larger"),
        }
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.jitter_ms {
            0 => write!(f, "{}", self.ms),
            jitter_ms => write!(f, "{}~{jitter_ms}", self.ms),
        }
    }
}

impl TryFrom<String> for Delay {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Delay> for String {
    fn from(delay: Delay) -> String {
        delay.to_string()
    }
}

/// Why something is not a matrix. Rows and columns count from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadMatrix {
    /// The wrong number of rows.
    #[error("{found} rows, not {expected}: one for each node")]
    Rows {
        /// How many there are.
        found: usize,
        /// How many nodes there are.
        expected: usize,
    },
    /// A row of the wrong length.
    #[error("row {row} has {found} values, not {expected}: one for each node")]
    Row {
        /// Which row.
        row: usize,
        /// How many values it has.
        found: usize,
        /// How many nodes there are.
        expected: usize,
    },
    /// A value that is none.
    #[error("row {row}, column {column}: {value} {why}")]
    Value {
        /// Which row.
        row: usize,
        /// Which column.
        column: usize,
        /// What stands there.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// JSON, but not a list of lists.
    #[error("not a list of rows, each a list of values: {0}")]
    Json(String),
    /// Nodes that cannot be told apart, or too many of them.
    #[error("nodes: {0}")]
    Nodes(String),
}

/// A value for each pair of nodes: rows send, columns receive.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Square<T>(Vec<Vec<T>>);

impl<T: Copy> Square<T> {
    /// The same value everywhere.
    pub fn filled(size: usize, value: T) -> Self {
        Square(vec![vec![value; size]; size])
    }

    /// The rows.
    pub fn rows(&self) -> &[Vec<T>] {
        &self.0
    }

    /// What stands at a row and a column; both must be there.
    pub fn get(&self, row: usize, column: usize) -> T {
        self.0[row][column]
    }

    /// Changes a value; row and column must be there.
    pub fn set(&mut self, row: usize, column: usize, value: T) {
        self.0[row][column] = value;
    }

    fn check_size(&self, size: usize) -> Result<(), BadMatrix> {
        if self.0.len() != size {
            return Err(BadMatrix::Rows { found: self.0.len(), expected: size });
        }
        match self.0.iter().position(|row| row.len() != size) {
            Some(row) => Err(BadMatrix::Row { row, found: self.0[row].len(), expected: size }),
            None => Ok(()),
        }
    }
}

impl<T: Copy + FromStr<Err = &'static str>> Square<T> {
    /// Reads the matrix of `size` nodes: a line for each row, its values apart
    /// by spaces or commas, lines that begin with `#` aside; or a JSON list of
    /// lists.
    pub fn read(text: &str, size: usize) -> Result<Self, BadMatrix> {
        let words: Vec<Vec<String>> = match text.trim_start().starts_with('[') {
            true => {
                let rows: Vec<Vec<serde_json::Value>> = serde_json::from_str(text)
                    .map_err(|error| BadMatrix::Json(error.to_string()))?;
                let word = |value: serde_json::Value| match value {
                    serde_json::Value::String(text) => text,
                    other => other.to_string(),
                };
                rows.into_iter().map(|row| row.into_iter().map(word).collect()).collect()
            }
            false => {
                let lines = text.lines().map(str::trim);
                let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
                let is_gap = |c: char| c.is_whitespace() || c == ',';
                let words = |line: &str| {
                    let words = line.split(is_gap).filter(|word| !word.is_empty());
                    words.map(str::to_owned).collect()
                };
                lines.map(words).collect()
            }
        };
        let value = |row: usize, (column, value): (usize, String)| {
            value.parse().map_err(|why| BadMatrix::Value { row, column, value, why })
        };
        let row = |(row, words): (usize, Vec<String>)| {
            words.into_iter().enumerate().map(|word| value(row, word)).collect()
        };
        let rows = words.into_iter().enumerate().map(row).collect::<Result<_, _>>()?;
        let square = Square(rows);
        square.check_size(size)?;
        Ok(square)
    }
}

/// Values apart by spaces, a row a line.
impl<T: Copy + fmt::Display> fmt::Display for Square<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.0 {
            let row: Vec<String> = row.iter().map(ToString::to_string).collect();
            writeln!(f, "{}", row.join(" "))?;
        }
        Ok(())
    }
}

/// A node of a matrix.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatrixNode {
    /// Its name.
    pub name: String,
    /// Where others reach it, as their deployment files say: `http://HOST:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

/// What becomes of the messages of all nodes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "MatrixFields")]
pub struct ConnectionMatrix {
    /// Grows with each change, so that one sees who has which.
    pub version: u64,
    /// In the order of rows and columns.
    nodes: Vec<MatrixNode>,
    /// With what probability messages are dropped.
    pub drop: Square<Probability>,
    /// How long they take besides.
    pub delay: Square<Delay>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MatrixFields {
    version: u64,
    nodes: Vec<MatrixNode>,
    drop: Vec<Vec<f64>>,
    delay: Option<Vec<Vec<String>>>,
}

impl TryFrom<MatrixFields> for ConnectionMatrix {
    type Error = BadMatrix;

    fn try_from(fields: MatrixFields) -> Result<Self, BadMatrix> {
        let MatrixFields { version, nodes, drop, delay } = fields;
        let drop = checked(drop)?;
        let delay = match delay {
            Some(delay) => checked(delay)?,
            None => Square::filled(nodes.len(), Delay::NONE),
        };
        let matrix = ConnectionMatrix { version, nodes, drop, delay };
        matrix.check()?;
        Ok(matrix)
    }
}

fn checked<Raw, T>(rows: Vec<Vec<Raw>>) -> Result<Square<T>, BadMatrix>
where
    Raw: Clone + ToString,
    T: TryFrom<Raw, Error = &'static str>,
{
    let value = |row: usize, column: usize, raw: Raw| {
        let bad = |why| BadMatrix::Value { row, column, value: raw.to_string(), why };
        T::try_from(raw.clone()).map_err(bad)
    };
    let row = |(row, raws): (usize, Vec<Raw>)| {
        raws.into_iter().enumerate().map(|(column, raw)| value(row, column, raw)).collect()
    };
    rows.into_iter().enumerate().map(row).collect::<Result<_, _>>().map(Square)
}

impl ConnectionMatrix {
    /// One that does nothing.
    pub fn healthy(version: u64, nodes: Vec<MatrixNode>) -> Result<Self, BadMatrix> {
        let size = nodes.len();
        let drop = Square::filled(size, Probability::NEVER);
        let matrix =
            ConnectionMatrix { version, nodes, drop, delay: Square::filled(size, Delay::NONE) };
        matrix.check()?;
        Ok(matrix)
    }

    fn check(&self) -> Result<(), BadMatrix> {
        let size = self.nodes.len();
        if size == 0 || size > MAX_MATRIX_NODES {
            return Err(BadMatrix::Nodes(format!("{size} of them, not 1 to {MAX_MATRIX_NODES}")));
        }
        for (at, node) in self.nodes.iter().enumerate() {
            if self.nodes[..at].iter().any(|other| other.name == node.name) {
                return Err(BadMatrix::Nodes(format!("two are called {:?}", node.name)));
            }
        }
        self.drop.check_size(size)?;
        self.delay.check_size(size)
    }

    /// In the order of rows and columns.
    pub fn nodes(&self) -> &[MatrixNode] {
        &self.nodes
    }

    /// Whether it does nothing.
    pub fn is_healthy(&self) -> bool {
        let never = |row: &Vec<Probability>| row.iter().all(|p| *p == Probability::NEVER);
        let none = |row: &Vec<Delay>| row.iter().all(|delay| *delay == Delay::NONE);
        self.drop.rows().iter().all(never) && self.delay.rows().iter().all(none)
    }

    /// The row and column of the node of this name.
    pub fn place_of(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// The row and column of the node that is reached there.
    pub fn place_of_peer(&self, url: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.peer.as_deref() == Some(url))
    }

    /// What becomes of a message from one node to another, both by their place;
    /// the dice are numbers from 0 to 1, 1 not included.
    pub fn verdict(&self, from: usize, to: usize, dice: [f64; 2]) -> Verdict {
        if dice[0] < self.drop.get(from, to).get() {
            return Verdict::Drop;
        }
        match self.delay.get(from, to) {
            Delay::NONE => Verdict::Deliver,
            delay => Verdict::Delay(delay.drawn(dice[1])),
        }
    }

    /// Cuts a node off: nothing leaves it, and nothing comes in.
    pub fn isolate(&mut self, place: usize) {
        for other in (0..self.nodes.len()).filter(|other| *other != place) {
            self.drop.set(place, other, Probability::ALWAYS);
            self.drop.set(other, place, Probability::ALWAYS);
        }
    }

    /// Groups that hear nothing of each other, and within which all is well. A
    /// node that is in no group hears nobody.
    pub fn partition(&mut self, groups: &[Vec<usize>]) {
        let size = self.nodes.len();
        for (from, to) in (0..size).flat_map(|from| (0..size).map(move |to| (from, to))) {
            let is_together =
                groups.iter().any(|group| group.contains(&from) && group.contains(&to));
            let drop =
                if from == to || is_together { Probability::NEVER } else { Probability::ALWAYS };
            self.drop.set(from, to, drop);
        }
    }

    /// Lets everything through at once.
    pub fn heal(&mut self) {
        let size = self.nodes.len();
        self.drop = Square::filled(size, Probability::NEVER);
        self.delay = Square::filled(size, Delay::NONE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: usize) -> Vec<MatrixNode> {
        let node = |i| MatrixNode { name: format!("p{i}"), peer: Some(format!("http://h:{i}")) };
        (1..=count).map(node).collect()
    }

    #[test]
    fn lines_and_json_are_read() {
        for text in ["0 0.5\n1.0 0\n", "# to p1, to p2\n\n 0,0.5\n1 , 0.0", "[[0, 0.5], [1, 0.0]]"]
        {
            let square: Square<Probability> = Square::read(text, 2).unwrap();
            assert_eq!(square.to_string(), "0.00 0.50\n1.00 0.00\n", "{text}");
        }
        for text in ["0 20~5\n7 0", "[[0, \"20~5\"], [7, \"0\"]]"] {
            let square: Square<Delay> = Square::read(text, 2).unwrap();
            assert_eq!(square.to_string(), "0 20~5\n7 0\n", "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, expected) in [
            ("0 0", "1 rows, not 2: one for each node"),
            ("0 0\n0", "row 1 has 1 values, not 2: one for each node"),
            ("0 0\n0 1.5", "row 1, column 1: 1.5 is not from 0 to 1"),
            ("0 -0.1\n0 0", "row 0, column 1: -0.1 is not from 0 to 1"),
            ("0 NaN\n0 0", "row 0, column 1: NaN is not from 0 to 1"),
            ("0 x\n0 0", "row 0, column 1: x is not a number"),
            ("[[0, true], [0, 0]]", "row 0, column 1: true is not a number"),
        ] {
            let error = Square::<Probability>::read(text, 2).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        for (text, value) in [("0 5~6\n0 0", "5~6"), ("0 60001\n0 0", "60001"), ("0 ~\n0 0", "~")] {
            let error = Square::<Delay>::read(text, 2).unwrap_err().to_string();
            assert!(error.starts_with(&format!("row 0, column 1: {value} is not")), "{error}");
        }
        let sent = r#"{"version":1,"nodes":[{"name":"a"},{"name":"b"}],"drop":[[0,0],[2,0]]}"#;
        let error = serde_json::from_str::<ConnectionMatrix>(sent).unwrap_err().to_string();
        assert!(error.starts_with("row 1, column 0: 2 is not from 0 to 1"), "{error}");
        let sent = r#"{"version":1,"nodes":[{"name":"a"},{"name":"a"}],"drop":[[0,0],[0,0]]}"#;
        let error = serde_json::from_str::<ConnectionMatrix>(sent).unwrap_err().to_string();
        assert!(error.starts_with("nodes: two are called \"a\""), "{error}");
        assert!(ConnectionMatrix::healthy(1, nodes(65)).is_err());
    }

    #[test]
    fn a_matrix_survives_its_json() {
        let mut matrix = ConnectionMatrix::healthy(7, nodes(3)).unwrap();
        assert!(matrix.is_healthy());
        matrix.drop.set(0, 1, Probability(0.25));
        matrix.delay.set(2, 0, "20~5".parse().unwrap());
        assert!(!matrix.is_healthy());
        let text = serde_json::to_string(&matrix).unwrap();
        assert_eq!(serde_json::from_str::<ConnectionMatrix>(&text).unwrap(), matrix);
    }

    #[test]
    fn verdicts_follow_the_dice() {
        let mut matrix = ConnectionMatrix::healthy(1, nodes(2)).unwrap();
        matrix.drop.set(0, 1, Probability(0.6));
        matrix.delay.set(1, 0, "20~5".parse().unwrap());
        for (from, to, dice, expected) in [
            (0, 1, [0.599, 0.0], Verdict::Drop),
            (0, 1, [0.6, 0.0], Verdict::Deliver),
            (1, 0, [0.0, 0.0], Verdict::Delay(Duration::from_millis(15))),
            (1, 0, [0.0, 0.5], Verdict::Delay(Duration::from_millis(20))),
            (0, 0, [0.0, 0.5], Verdict::Deliver),
        ] {
            assert_eq!(matrix.verdict(from, to, dice), expected);
        }
        matrix.drop.set(0, 1, Probability::ALWAYS);
        assert_eq!(matrix.verdict(0, 1, [0.999_999, 0.0]), Verdict::Drop);
    }

    #[test]
    fn nodes_are_isolated_and_groups_kept_apart() {
        let mut matrix = ConnectionMatrix::healthy(1, nodes(3)).unwrap();
        matrix.isolate(1);
        assert_eq!(matrix.drop.to_string(), "0.00 1.00 0.00\n1.00 0.00 1.00\n0.00 1.00 0.00\n");
        matrix.partition(&[vec![0, 1]]);
        assert_eq!(matrix.drop.to_string(), "0.00 0.00 1.00\n0.00 0.00 1.00\n1.00 1.00 0.00\n");
        matrix.heal();
        assert!(matrix.is_healthy());
        assert_eq!(matrix.place_of("p3"), Some(2));
        assert_eq!(matrix.place_of_peer("http://h:2"), Some(1));
    }
}
