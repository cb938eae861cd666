//! `routes:` as it is written, and what the engine is told of it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};
use strowger_engine::{RouteAction, RouteRule, RouteSource};

use super::gateways::Gateway;

/// One of `routes:`
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Route {
    /// Matches these methods.
    pub method: Words,
    /// Matches these senders: address prefixes, or names of gateways.
    pub source: Words,
    /// Matches a caller (From) whose user begins so.
    pub from_prefix: Option<String>,
    /// Matches callers (From) of this domain or address.
    pub from_domain: Option<String>,
    /// Matches a called user (Request-URI) that begins so.
    pub to_prefix: Option<String>,
    /// Matches calls to this domain or address (Request-URI).
    pub domain: Option<String>,
    /// Matches a header To whose user begins so.
    pub to_header_prefix: Option<String>,
    /// Matches a header To of this domain or address.
    pub to_header_domain: Option<String>,
    /// Matches when it is found in `USER@DOMAIN` of the Request-URI.
    pub regex: Option<String>,
    /// Takes so many characters from the front of the called user.
    pub strip: usize,
    /// Then puts this in front of it.
    pub prepend: String,
    /// Before that, puts these in place of the called user and host.
    pub rewrite: Rewrite,
    /// The call goes to where the called user is registered.
    pub location: bool,
    /// The gateway that gets the call.
    pub gateway: Option<String>,
    /// The call is refused.
    pub reject: Option<Reject>,
    /// Without a transaction.
    pub stateless: bool,
}

/// `routes[].rewrite`
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rewrite {
    /// The called user.
    pub user: Option<String>,
    /// Host, or `HOST:PORT`.
    pub host: Option<String>,
}

/// A word or a list of words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Words(pub Vec<String>);

/// `routes[].reject`: a code, or a code and a phrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reject {
    /// Status code.
    pub code: u16,
    /// Reason phrase; empty for the usual one.
    pub phrase: String,
}

impl Route {
    /// What the engine is told; it judges the values too. The error is the key below the rule, and what is wrong.
    pub(crate) fn engine(
        &self,
        gateways: &BTreeMap<String, Gateway>,
    ) -> Result<RouteRule, (&'static str, String)> {
        let action = match (self.location, &self.gateway, &self.reject) {
            (false, None, None) => RouteAction::Uri,
            (true, None, None) => RouteAction::Location,
            (false, Some(name), None) => RouteAction::Gateway(name.clone()),
            (false, None, Some(Reject { code, phrase })) => {
                RouteAction::Reject { code: *code, phrase: phrase.clone() }
            }
            _ => return Err(("", "only one of `location`, `gateway` and `reject` can be done".to_owned())),
        };
        let sources = self.source.0.iter().map(|text| match text.parse() {
            Ok(prefix) => Ok(RouteSource::Prefix(prefix)),
            Err(_) if gateways.contains_key(text) => Ok(RouteSource::Gateway(text.clone())),
            Err(problem) => Err(("source", format!("{text:?} {problem}, and not one of `gateways`"))),
        });
        Ok(RouteRule {
            methods: self.method.0.clone(),
            sources: sources.collect::<Result<_, _>>()?,
            from_prefix: self.from_prefix.clone(),
            from_domain: self.from_domain.clone(),
            to_header_prefix: self.to_header_prefix.clone(),
            to_header_domain: self.to_header_domain.clone(),
            to_prefix: self.to_prefix.clone(),
            domain: self.domain.clone(),
            regex: self.regex.clone(),
            strip: self.strip,
            prepend: self.prepend.clone(),
            rewrite_user: self.rewrite.user.clone(),
            rewrite_host: self.rewrite.host.clone(),
            action,
            stateless: self.stateless,
        })
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Words;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word or a list of words")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Words, E> {
                Ok(Words(vec![text.to_owned()]))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Words, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = seq.next_element()? {
                    words.push(word);
                }
                // An empty list would read as "all", which nobody means who writes one.
                if words.is_empty() {
                    return Err(de::Error::invalid_length(0, &self));
                }
                Ok(Words(words))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Reject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Reject;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status code such as 403, or code and phrase such as \"403 Not From Here\"")
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Reject, E> {
                let wrong = |_| E::invalid_value(de::Unexpected::Unsigned(n), &self);
                Ok(Reject { code: u16::try_from(n).map_err(wrong)?, phrase: String::new() })
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Reject, E> {
                let (code, phrase) = text.split_once(' ').unwrap_or((text, ""));
                let wrong = |_| E::invalid_value(de::Unexpected::Str(text), &self);
                Ok(Reject { code: code.parse().map_err(wrong)?, phrase: phrase.trim().to_owned() })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for Reject {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{} {}", self.code, self.phrase))
    }
}
