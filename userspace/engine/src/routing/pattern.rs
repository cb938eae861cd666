//! Regular expressions of routing rules, compiled at the start into tables that are walked without any memory of
//! their own.
//!
//! An expression becomes a complete DFA: one table look-up for each octet, whatever the expression and whoever chose
//! the octets. The regex crate's own search would build such states on the way and keep them in a cache that it
//! allocates from; a rule is checked for every call, so the work is done here, once, and bounded: an expression
//! whose table is larger than [`TABLE`] is refused when the node starts.

use regex_automata::Input;
use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;

/// Octets of the text of an expression.
pub(crate) const TEXT: usize = 512;

/// Octets of a compiled expression's table. Prefixes, alternatives and counted digits of any dial plan need a few
/// thousand; what needs more has counted repetitions of wide classes one inside the other.
const TABLE: usize = 256 << 10;

/// A compiled expression over octets: no Unicode, `.` is any octet but a line feed, letters are ASCII.
pub(crate) struct Pattern(dense::DFA<Vec<u32>>);

impl Pattern {
    /// Compiles an expression.
    ///
    /// # Errors
    /// Says what is wrong: its syntax, its length, or the size of what it compiles to.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        if text.len() > TEXT {
            return Err(format!("the expression has {} octets; at most {TEXT}", text.len()));
        }
        let syntax = syntax::Config::new().unicode(false).utf8(false).nest_limit(32);
        let automaton = thompson::Config::new().utf8(false).nfa_size_limit(Some(TABLE));
        let table = dense::Config::new()
            .start_kind(StartKind::Unanchored)
            .dfa_size_limit(Some(TABLE))
            .determinize_size_limit(Some(4 * TABLE));
        dense::Builder::new()
            .syntax(syntax)
            .thompson(automaton)
            .configure(table)
            .build(text)
            .map(Self)
            .map_err(|error| {
                let mut cause: &dyn core::error::Error = &error;
                while let Some(deeper) = cause.source() {
                    cause = deeper;
                }
                // The syntax error draws the expression over several lines.
                let text: Vec<_> = cause.to_string().split_whitespace().map(str::to_owned).collect();
                format!("not an expression that can be used: {}", text.join(" "))
            })
    }

    /// Whether the expression is found in the text, anywhere. Walks the text once and allocates nothing.
    pub(crate) fn is_in(&self, text: &[u8]) -> bool {
        // The only error is a quit octet, and the table has none.
        matches!(self.0.try_search_fwd(&Input::new(text).earliest(true)), Ok(Some(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_anywhere_unless_anchored() {
        let is_in = |pattern: &str, text: &[u8]| Pattern::new(pattern).expect(pattern).is_in(text);
        assert!(is_in("49", b"+4930@example.net"));
        assert!(!is_in("^49", b"+4930@example.net"));
        assert!(is_in(r"^\+49(30|40)[0-9]{3,8}@example\.net$", b"+4930123@example.net"));
        assert!(!is_in(r"^\+49(30|40)[0-9]{3,8}@example\.net$", b"+493012@exampleXnet"));
        assert!(is_in("(?i)ALICE", b"alice@example.net"));
        assert!(is_in(r"^.\x00.$", b"\xff\0\xfe"), "octets, not characters");
        assert!(is_in("", b""));
        assert!(is_in(r"\bbob\b", b"\xffbob@h"));
    }

    #[test]
    fn what_cannot_be_used_is_refused_at_the_start() {
        for (bad, word) in [
            ("(", "unclosed"),
            ("a{2,1}", "repetition"),
            (r"(?P<x>a)\1", "backreference"),
            (r"a(?=b)", "look-around"),
            (&"a".repeat(TEXT + 1), "octets"),
            ("[0-9a-z]{40}[0-9]{40}.*[a-f]{30,60}.{60}", "size"),
            ("(a|aa)+.{200}", "size"),
        ] {
            let error = Pattern::new(bad).err().unwrap_or_else(|| panic!("{bad} was taken"));
            assert!(error.contains(word) && !error.contains('\n'), "{bad}: {error}");
        }
    }

    #[test]
    fn what_is_slow_elsewhere_is_one_step_an_octet_here() {
        let pattern = Pattern::new("^(a+)+$").expect("compiles");
        let text = [b'a'; 4096];
        let searched = std::time::Instant::now();
        for _ in 0..100 {
            assert!(!pattern.is_in(&[&text[..], b"!"].concat()));
        }
        assert!(searched.elapsed().as_secs() < 5, "exponential or quadratic search");
    }
}
