//! Keys, as a person asks for them: at whichever node answers, again until the
//! outcome is known, and told as what it is when it stays unknown.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::dump::{aligned, row};
use super::output::{print, say};
use crate::client::{
    ClientError, Connection, Endpoint, Expected, Node, Operator, OperatorError, Retries, Written,
};

/// How an answer is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// The value, and the end of the line if it is a text.
    Simple,
    /// The value, and nothing else.
    Raw,
    /// An object of JSON.
    Json,
    /// A table with its indices.
    Table,
}

impl std::str::FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Shape, String> {
        match text {
            "simple" => Ok(Shape::Simple),
            "raw" => Ok(Shape::Raw),
            "json" => Ok(Shape::Json),
            "table" => Ok(Shape::Table),
            unknown => {
                Err(format!("there is no format \"{unknown}\"; choose simple, raw, json or table"))
            }
        }
    }
}

/// Why there is nothing to print.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No node did it; nothing was changed.
    #[error("failed, and nothing was changed: {0}")]
    Failed(String),
    /// No node tells it.
    #[error("{0}")]
    Silent(String),
    /// It makes no sense.
    #[error("{0}")]
    Arguments(String),
    /// The key is absent.
    #[error("key {0:?} does not exist")]
    Absent(String),
    /// The key is not as it should be.
    #[error("the key is not as expected: {0}")]
    Unexpected(String),
    /// It may have been done, or may be yet.
    #[error("the outcome is unknown, so it may have been done: {0}")]
    Unknown(String),
}

impl KeyError {
    /// The status that the program ends with.
    pub fn exit_status(&self) -> i32 {
        match self {
            KeyError::Failed(_) | KeyError::Silent(_) => 1,
            KeyError::Arguments(_) => 2,
            KeyError::Absent(_) => 3,
            KeyError::Unexpected(_) => 4,
            KeyError::Unknown(_) => 5,
        }
    }
}

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyCommand {
    /// The value of a key.
    Get(String),
    /// A key is to have a value.
    Put(String, String),
    /// A key that has the first value is to have the second.
    Swap(String, String, String),
    /// A key is to be no more.
    Delete(String),
    /// The keys in a directory and in those in it.
    List {
        /// Its name; empty for all keys.
        directory: String,
        /// Also those that are hidden.
        all: bool,
    },
    /// A key that holds a number is to hold the next one; an absent one, 1.
    Increment(String),
}

/// Keys of a cluster.
pub struct Keys {
    connection: Connection,
    urls: Vec<String>,
    deadline: Instant,
    shape: Shape,
}

impl Keys {
    const RETRY_AFTER: Duration = Duration::from_millis(100);
    /// How long a node may take to answer while others could be asked.
    const NODE_PATIENCE: Duration = Duration::from_secs(4);

    /// The keys that these nodes serve; at least one. After `patience` from now it is
    /// tried no more. It belongs to an actix system.
    pub fn new(endpoints: &[Endpoint], patience: Duration, shape: Shape) -> Keys {
        let urls: Vec<String> = endpoints.iter().map(|each| each.url().to_owned()).collect();
        let deadline = Instant::now() + patience;
        let connection = Connection::new(&urls[0], patience.min(Self::NODE_PATIENCE))
            .with_retries(Some(Retries { tries: u32::MAX, within: patience }))
            .with_deadline(deadline);
        let connection =
            urls[1..].iter().fold(connection, |connection, url| connection.with_other(url));
        Keys { connection, urls, deadline, shape }
    }

    fn time_left(&self) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        // Part of messages.
        Duration::from_millis(left.as_millis() as u64)
    }

    /// Does it, and prints the answer.
    pub async fn perform(&mut self, command: KeyCommand) -> Result<(), KeyError> {
        loop {
            match self.try_to(&command).await {
                Err(Trial::Again(_)) if self.time_left() > Self::RETRY_AFTER => {
                    tokio::time::sleep(Self::RETRY_AFTER).await;
                }
                Err(Trial::Again(why)) => return Err(KeyError::Failed(why)),
                Err(Trial::Over(error)) => return Err(error),
                Ok(()) => return Ok(()),
            }
        }
    }

    async fn try_to(&mut self, command: &KeyCommand) -> Result<(), Trial> {
        let connection = &mut self.connection;
        match command {
            KeyCommand::Get(key) if matches!(self.shape, Shape::Simple | Shape::Raw) => {
                let value = connection.get_value(key).await?;
                self.show_value(&value.ok_or_else(|| KeyError::Absent(key.clone()))?);
            }
            KeyCommand::Get(key) => {
                let node = connection.get(key).await?;
                self.show(key, &node.ok_or_else(|| KeyError::Absent(key.clone()))?, true);
            }
            KeyCommand::Put(key, value) => {
                let node = done(key, connection.set(key, value).await?)?;
                self.show(key, &node, false);
            }
            KeyCommand::Swap(key, old, new) => {
                let written = connection.compare_and_swap(key, Expected::Value(old), new).await?;
                let node = done(key, written)?;
                self.show(key, &node, false);
            }
            KeyCommand::Delete(key) => {
                let node = done(key, connection.delete(key).await?)?;
                self.show(key, &node, false);
            }
            KeyCommand::List { directory, all } => self.list(directory, *all).await?,
            KeyCommand::Increment(key) => self.increment(key).await?,
        }
        Ok(())
    }

    async fn increment(&mut self, key: &str) -> Result<(), Trial> {
        loop {
            let written = match self.connection.get(key).await? {
                None => self.connection.create(key, "1").await?,
                Some(node) => {
                    let next = node.value.parse::<i64>().ok().and_then(|now| now.checked_add(1));
                    let next = next.ok_or_else(|| {
                        KeyError::Unexpected(format!("{:?} is no number", node.value))
                    })?;
                    let read = Expected::Index(node.modified_index);
                    self.connection.compare_and_swap(key, read, &next.to_string()).await?
                }
            };
            // Somebody else was faster.
            if let Written::Done(node) = written {
                self.show(key, &node, true);
                return Ok(());
            }
        }
    }

    async fn list(&self, directory: &str, all: bool) -> Result<(), Trial> {
        let path = format!(
            "/v2/keys/{}?recursive=true&sorted=true&quorum=true&dir=true&hidden={all}",
            percent_encoding::utf8_percent_encode(directory, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
                .replace("%2F", "/")
        );
        let mut last = String::new();
        for url in &self.urls {
            let patience = self.time_left().min(Self::NODE_PATIENCE);
            match Operator::new(url).get(&path, patience).await {
                Ok(answer) => {
                    let mut leaves = Vec::new();
                    collect(&answer["node"], &mut leaves);
                    self.show_all(&leaves);
                    return Ok(());
                }
                Err(OperatorError::Refused { status: 404, .. }) => {
                    return Err(KeyError::Absent(directory.to_owned()).into());
                }
                Err(error @ OperatorError::Refused { status: 400..429, .. }) => {
                    return Err(KeyError::Arguments(error.to_string()).into());
                }
                Err(error) => last = error.to_string(),
            }
        }
        Err(Trial::Again(last))
    }

    fn show_value(&self, value: &[u8]) {
        match std::str::from_utf8(value) {
            Ok(text) if self.shape == Shape::Simple && is_readable(text) => say(text),
            Ok(_) | Err(_) => print(value),
        }
    }

    /// `asks_for_value`: whether the value is what was asked for.
    fn show(&self, key: &str, node: &Node, asks_for_value: bool) {
        match self.shape {
            Shape::Simple | Shape::Raw if asks_for_value => say(&node.value),
            Shape::Simple | Shape::Raw => say("OK"),
            Shape::Json | Shape::Table => self.show_all(&[(key.to_owned(), node.clone())]),
        }
    }

    fn show_all(&self, nodes: &[(String, Node)]) {
        match self.shape {
            Shape::Simple | Shape::Raw => nodes.iter().for_each(|(key, _)| say(key)),
            Shape::Json => nodes.iter().for_each(|(key, node)| {
                let shown = json!({
                    "key": key,
                    "value": node.value,
                    "createdIndex": node.created_index,
                    "modifiedIndex": node.modified_index,
                });
                say(&shown.to_string());
            }),
            Shape::Table => {
                let mut table = vec![row(["key", "created", "modified", "value"])];
                table.extend(nodes.iter().map(|(key, node)| {
                    let (created, modified) = (node.created_index, node.modified_index);
                    row([key, &created.to_string(), &modified.to_string(), &node.value])
                }));
                aligned(&table).iter().for_each(|line| say(line));
            }
        }
    }
}

/// Whether a value is for people, who want a line of it.
fn is_readable(text: &str) -> bool {
    !text.contains(|c: char| c.is_control() && !"\t\n\r".contains(c))
}

/// The leaves of a tree of the v2 API.
fn collect(node: &Value, leaves: &mut Vec<(String, Node)>) {
    if let Some(nodes) = node["nodes"].as_array() {
        return nodes.iter().for_each(|node| collect(node, leaves));
    }
    if node["dir"] == true {
        return;
    }
    let text = |field: &str| node[field].as_str().unwrap_or_default().to_owned();
    let index = |field: &str| node[field].as_u64().unwrap_or_default();
    let leaf = Node {
        value: text("value"),
        created_index: index("createdIndex"),
        modified_index: index("modifiedIndex"),
    };
    leaves.push((text("key").trim_start_matches('/').to_owned(), leaf));
}

fn done(key: &str, written: Written) -> Result<Node, KeyError> {
    match written {
        Written::Done(node) => Ok(node),
        Written::NotFound { .. } => Err(KeyError::Absent(key.to_owned())),
        Written::Conflict(conflict) => Err(KeyError::Unexpected(conflict.cause)),
    }
}

/// Why one try came to nothing.
enum Trial {
    /// Another one may do better; nothing was changed.
    Again(String),
    /// It would not.
    Over(KeyError),
}

impl From<KeyError> for Trial {
    fn from(error: KeyError) -> Self {
        Trial::Over(error)
    }
}

impl From<ClientError> for Trial {
    fn from(error: ClientError) -> Self {
        match (error.is_unknown(), error.may_pass()) {
            (true, _) => Trial::Over(KeyError::Unknown(error.to_string())),
            (false, true) => Trial::Again(error.to_string()),
            (false, false) => Trial::Over(KeyError::Arguments(error.to_string())),
        }
    }
}
