//! Values that are a word or something else: `queues: all` or a list, `workers: auto` or a number; networks.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `dataplane.queues`: the word `all`, or a list of queue numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Queues {
    /// Every receive queue that the device has now.
    #[default]
    All,
    /// These and no others.
    List(Vec<u32>),
}

/// A count, or the word `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Auto {
    /// As the machine suggests.
    #[default]
    Auto,
    /// Exactly so many.
    Count(usize),
}

impl<'de> Deserialize<'de> for Queues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Queues;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`all` or a list of queue numbers such as `[0, 1]`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Queues, E> {
                if text == "all" {
                    Ok(Queues::All)
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(text), &self))
                }
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Queues, A::Error> {
                let mut list = Vec::new();
                while let Some(queue) = seq.next_element()? {
                    list.push(queue);
                }
                Ok(Queues::List(list))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for Queues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Queues::All => serializer.serialize_str("all"),
            Queues::List(list) => list.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Auto {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Auto;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`auto` or a number")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Auto, E> {
                if text == "auto" {
                    Ok(Auto::Auto)
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(text), &self))
                }
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Auto, E> {
                usize::try_from(n)
                    .map(Auto::Count)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(n), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for Auto {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Auto::Auto => serializer.serialize_str("auto"),
            Auto::Count(n) => serializer.serialize_u64(*n as u64),
        }
    }
}

/// `auth.trusted`: an address, or ADDRESS/BITS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network(pub strowger_engine::IpPrefix);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Network).map_err(|error| de::Error::custom(format_args!("`{text}` {error}")))
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
