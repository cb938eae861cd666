//! The users: thousands of names from a pattern, and their passwords.

use strowger_sip::Digits;

use crate::text::Text;

/// A user's name.
pub(crate) type Name = Text<48>;
/// A user's password.
pub(crate) type Password = Text<64>;

/// Users whose names and passwords have a number in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Population {
    name: (String, String),
    password: (String, String),
    first: u32,
    count: u32,
}

/// Why users cannot be named so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PopulationError {
    /// No place for the number.
    #[error("the pattern `{0}` needs {{n}} once, where the user's number stands")]
    Pattern(String),
    /// Longer than there is room for.
    #[error("the pattern `{0}` is over 32 characters long")]
    Long(String),
    /// A character that a user name cannot have without escapes.
    #[error("the pattern `{0}` has characters other than letters, digits and -_.!~*'()&=+$,")]
    Character(String),
    /// Numbers beyond 2^32 − 1, or none.
    #[error("{count} users from {first} on: there must be one, and numbers end at 4294967295")]
    Numbers {
        /// How many.
        count: u32,
        /// From which.
        first: u32,
    },
}

impl Population {
    /// `count` users numbered from `first` on. `{n}` in the patterns is the number; anything may stand round it.
    ///
    /// # Errors
    /// See [`PopulationError`].
    pub fn new(name: &str, password: &str, first: u32, count: u32) -> Result<Self, PopulationError> {
        let split = |pattern: &str| {
            let (before, after) = pattern
                .split_once("{n}")
                .filter(|(_, after)| !after.contains("{n}"))
                .ok_or_else(|| PopulationError::Pattern(pattern.to_owned()))?;
            if pattern.len() > 32 {
                return Err(PopulationError::Long(pattern.to_owned()));
            }
            // `user` without escapes (RFC 3261 section 25.1), and no quotes in a password to be quoted.
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.!~*'()&=+$,".contains(c);
            if !before.chars().chain(after.chars()).all(allowed) {
                return Err(PopulationError::Character(pattern.to_owned()));
            }
            Ok((before.to_owned(), after.to_owned()))
        };
        if count == 0 || first.checked_add(count - 1).is_none() {
            return Err(PopulationError::Numbers { count, first });
        }
        Ok(Self { name: split(name)?, password: split(password)?, first, count })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The name of the `at`th, from 0 on.
    #[must_use]
    pub fn name_text(&self, at: u32) -> String {
        String::from_utf8_lossy(self.name(at).as_bytes()).into_owned()
    }

    /// The password of the `at`th, from 0 on.
    #[must_use]
    pub fn password_text(&self, at: u32) -> String {
        String::from_utf8_lossy(self.password(at).as_bytes()).into_owned()
    }

    pub(crate) fn name(&self, at: u32) -> Name {
        numbered(&self.name, self.first.wrapping_add(at))
    }

    pub(crate) fn password(&self, at: u32) -> Password {
        numbered(&self.password, self.first.wrapping_add(at))
    }
}

/// The pattern has at most 32 octets and the number ten: there is room for all of it.
fn numbered<const N: usize>((before, after): &(String, String), number: u32) -> Text<N> {
    let mut text = Text::EMPTY;
    let _ = text.push(before.as_bytes())
        && text.push(Digits::new(number).as_bytes())
        && text.push(after.as_bytes());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords() {
        let users = Population::new("u{n}", "secret-{n}x", 100_000, 3).expect("users");
        assert_eq!((users.name_text(0), users.name_text(2)), ("u100000".to_owned(), "u100002".to_owned()));
        assert_eq!(users.password_text(1), "secret-100001x");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let refused =
            |name: &str, first, count| Population::new(name, "{n}", first, count).expect_err("refused");
        assert!(matches!(refused("u", 1, 1), PopulationError::Pattern(_)));
        assert!(matches!(refused("u{n}{n}", 1, 1), PopulationError::Pattern(_)));
        assert!(matches!(refused("a b{n}", 1, 1), PopulationError::Character(_)));
        assert!(matches!(refused(&"x".repeat(33).replacen("xxx", "{n}", 1), 1, 1), PopulationError::Long(_)));
        assert!(matches!(refused("u{n}", u32::MAX, 2), PopulationError::Numbers { .. }));
        assert!(matches!(refused("u{n}", 1, 0), PopulationError::Numbers { .. }));
        assert_eq!(Population::new("u{n}", "{n}", u32::MAX, 1).expect("one").name_text(0), "u4294967295");
    }
}
