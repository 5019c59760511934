//! Who may make a node misbehave.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Who may cut a node's connections, kill it, and put a connection matrix in
/// force: `false`, `true` or `"anywhere"` in a deployment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ChaosAccess {
    /// Nobody.
    #[default]
    Nobody,
    /// Who asks from the same machine, over a loopback address.
    Loopback,
    /// Whoever reaches the admin listener.
    Anywhere,
}

const ANYWHERE: &str = "anywhere";

impl Serialize for ChaosAccess {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            ChaosAccess::Nobody => serializer.serialize_bool(false),
            ChaosAccess::Loopback => serializer.serialize_bool(true),
            ChaosAccess::Anywhere => serializer.serialize_str(ANYWHERE),
        }
    }
}

impl<'de> Deserialize<'de> for ChaosAccess {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Access;

        impl Visitor<'_> for Access {
            type Value = ChaosAccess;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "true, false or {ANYWHERE:?}")
            }

            fn visit_bool<E: Error>(self, is_allowed: bool) -> Result<ChaosAccess, E> {
                Ok(if is_allowed { ChaosAccess::Loopback } else { ChaosAccess::Nobody })
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ChaosAccess, E> {
                match text {
                    ANYWHERE => Ok(ChaosAccess::Anywhere),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }
        }

        deserializer.deserialize_any(Access)
    }
}
