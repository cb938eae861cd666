//! Which of the final responses of a fork goes upstream (RFC 3261 section 16.7 item 6).

/// How far a status code is from being the best: of a 6xx first, else of the lowest class; in a class first those that
/// say how to send the request again, then any other, and a 503 last, which tells about one next hop and nobody else.
pub(crate) fn rank(code: u16) -> u8 {
    let class = match code / 100 {
        6 => 0,
        class => u8::try_from(class).unwrap_or(u8::MAX),
    };
    let within = match code {
        401 | 407 => 0,
        415 | 420 | 484 => 1,
        503 => 3,
        _ => 2,
    };
    class.saturating_mul(4).saturating_add(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_first() {
        let order = [603, 302, 407, 484, 404, 501, 503];
        assert!(order.is_sorted_by_key(|code| rank(*code)), "{order:?}");
        assert_eq!(rank(401), rank(407));
        assert!(rank(600) < rank(300) && rank(486) < rank(500) && rank(499) < rank(503));
        // The example of the section.
        assert_eq!([503, 407, 501, 404].into_iter().min_by_key(|code| rank(*code)), Some(407));
    }
}
