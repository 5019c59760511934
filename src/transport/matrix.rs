//! The connection matrix: what becomes of the messages between nodes.
//!
//! Row i, column j says with what probability a message from node i to node j
//! is dropped, and how long it takes besides. A request from i to j passes
//! `[i][j]`, its reply `[j][i]`; what a node says to itself passes `[i][i]`.
//! Pure: the dice are passed in.

mod entry;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use entry::{Delay, Probability};

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
