//! Longest-prefix match over an unchanging set of prefixes.
//!
//! Prefixes nest or are disjoint, never overlap otherwise, so they cut the address space into ranges with one best
//! answer each. The ranges' first addresses lie sorted in one array, and a lookup is a binary search in it: no
//! pointers, no allocation, the same for IPv4 and IPv6. It is rebuilt whole when routes change, off the fast path.

use std::net::IpAddr;

/// A prefix of either family. An IPv4 address stands in the upper 32 bits, so lengths count alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Prefix {
    address: u128,
    len: u8,
}

impl Prefix {
    /// Bits after the first `len` are ignored; `None` if the family has no prefix of this length.
    pub(super) fn new(address: IpAddr, len: u8) -> Option<Self> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (len <= bits).then(|| Self { address: key(address) & !host_mask(len), len })
    }

    #[cfg(test)]
    pub(super) fn contains(self, address: IpAddr) -> bool {
        key(address) & !host_mask(self.len) == self.address
    }

    #[cfg(test)]
    pub(super) fn len(self) -> u8 {
        self.len
    }

    fn last(self) -> u128 {
        self.address | host_mask(self.len)
    }
}

fn key(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn host_mask(len: u8) -> u128 {
    u128::MAX.checked_shr(len.into()).unwrap_or(0)
}

/// Answers for prefixes of one family.
#[derive(Debug, Clone)]
pub(super) struct Ranges<T> {
    /// The first address of each range, ascending; the first is 0.
    starts: Vec<u128>,
    answers: Vec<Option<T>>,
}

impl<T: Copy + PartialEq> Ranges<T> {
    /// All `prefixes` are of one family and each comes once.
    pub(super) fn build(mut prefixes: Vec<(Prefix, T)>) -> Self {
        // An outer prefix comes before those inside it.
        prefixes.sort_unstable_by_key(|&(prefix, _)| prefix);
        let mut ranges = Self { starts: vec![0], answers: vec![None] };
        // The prefixes around the place we are at, innermost last: their last address and their answer.
        let mut around: Vec<(u128, T)> = Vec::new();
        for (prefix, answer) in prefixes {
            ranges.close_before(Some(prefix.address), &mut around);
            ranges.begin(prefix.address, Some(answer));
            around.push((prefix.last(), answer));
        }
        ranges.close_before(None, &mut around);
        ranges
    }

    /// The answer of the longest prefix that contains `address`.
    #[inline]
    pub(super) fn longest(&self, address: IpAddr) -> Option<T> {
        let key = key(address);
        let after = self.starts.partition_point(|&start| start <= key);
        // The first start is 0, so `after` is at least 1.
        self.answers.get(after.wrapping_sub(1)).copied().flatten()
    }

    /// Ends the prefixes that end before `limit` (or all): what follows is answered by the one around.
    fn close_before(&mut self, limit: Option<u128>, around: &mut Vec<(u128, T)>) {
        while let Some(&(last, _)) = around.last()
            && limit.is_none_or(|limit| last < limit)
        {
            around.pop();
            if let Some(after) = last.checked_add(1) {
                self.begin(after, around.last().map(|&(_, answer)| answer));
            }
        }
    }

    fn begin(&mut self, start: u128, answer: Option<T>) {
        // A range that would be empty takes the new answer instead.
        if self.starts.last() == Some(&start) {
            self.answers.pop();
            self.starts.pop();
        }
        if self.answers.last() != Some(&answer) {
            self.starts.push(start);
            self.answers.push(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        let (address, len) = text.split_once('/').unwrap();
        Prefix::new(address.parse().unwrap(), len.parse().unwrap()).unwrap()
    }

    #[test]
    fn the_longest_prefix_answers() {
        let table = [
            ("0.0.0.0/0", 0),
            ("10.0.0.0/8", 8),
            ("10.1.0.0/16", 16),
            ("10.1.2.3/32", 32),
            ("255.255.255.255/32", 99),
        ];
        let ranges = Ranges::build(table.map(|(text, answer)| (prefix(text), answer)).to_vec());
        for (address, answer) in [
            ("9.255.255.255", 0),
            ("10.0.255.255", 8),
            ("10.1.0.0", 16),
            ("10.1.2.2", 16),
            ("10.1.2.3", 32),
            ("10.1.2.4", 16),
            ("10.1.255.255", 16),
            ("10.2.0.0", 8),
            ("11.0.0.0", 0),
            ("255.255.255.254", 0),
            ("255.255.255.255", 99),
        ] {
            assert_eq!(ranges.longest(address.parse().unwrap()), Some(answer), "{address}");
        }
    }

    #[test]
    fn a_prefix_of_one_address_may_be_the_last_of_another() {
        let table = [("2001:db8::/64", 64), ("2001:db8::ffff:ffff:ffff:ffff/128", 128), ("::/0", 0)];
        let ranges = Ranges::build(table.map(|(text, answer)| (prefix(text), answer)).to_vec());
        for (address, answer) in [
            ("2001:db8::ffff:ffff:ffff:fffe", 64),
            ("2001:db8::ffff:ffff:ffff:ffff", 128),
            ("2001:db8:0:1::", 0),
        ] {
            assert_eq!(ranges.longest(address.parse().unwrap()), Some(answer), "{address}");
        }
    }

    #[test]
    fn an_empty_table_answers_nothing() {
        let ranges: Ranges<u8> = Ranges::build(Vec::new());
        assert_eq!(ranges.longest("1.2.3.4".parse().unwrap()), None);
        assert_eq!(ranges.longest("::".parse().unwrap()), None);
    }

    #[test]
    fn a_prefix_longer_than_the_address_is_refused() {
        assert_eq!(Prefix::new("1.2.3.4".parse().unwrap(), 33), None);
        assert_eq!(Prefix::new("::1".parse().unwrap(), 129), None);
        assert!(prefix("::/0").contains("ffff::".parse().unwrap()));
    }

    /// Few distinct bits, so that prefixes nest and addresses hit their edges.
    fn address(v6: bool) -> impl Strategy<Value = IpAddr> {
        let byte = prop_oneof![Just(0), Just(1), Just(0x80), Just(0xff), Just(0x7f)];
        prop::collection::vec(byte, 16).prop_map(move |bytes| {
            let bytes: [u8; 16] = bytes.try_into().expect("16");
            match v6 {
                true => IpAddr::V6(Ipv6Addr::from(bytes)),
                false => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
            }
        })
    }

    fn family() -> impl Strategy<Value = (Vec<(IpAddr, u8)>, Vec<IpAddr>)> {
        any::<bool>().prop_flat_map(|v6| {
            let len = 0..=if v6 { 128u8 } else { 32 };
            (prop::collection::vec((address(v6), len), 0..40), prop::collection::vec(address(v6), 1..40))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn ranges_answer_as_a_walk_over_all_prefixes((prefixes, asked) in family()) {
            let table: BTreeMap<Prefix, usize> = prefixes
                .iter()
                .enumerate()
                .map(|(nth, &(address, len))| (Prefix::new(address, len).unwrap(), nth))
                .collect();
            let ranges = Ranges::build(table.iter().map(|(&prefix, &answer)| (prefix, answer)).collect());
            let edges = table.keys().flat_map(|prefix| [prefix.address, prefix.last()]);
            let v6 = asked[0].is_ipv6();
            let one = if v6 { 1 } else { 1 << 96 };
            let edges = edges.flat_map(|edge| [edge.wrapping_sub(one), edge, edge.wrapping_add(one)]);
            let edges: Vec<IpAddr> = edges
                .map(|bits| match v6 {
                    true => IpAddr::V6(Ipv6Addr::from_bits(bits)),
                    false => IpAddr::V4(Ipv4Addr::from_bits((bits >> 96) as u32)),
                })
                .collect();
            for address in asked.into_iter().chain(edges) {
                let oracle = table
                    .iter()
                    .filter(|(prefix, _)| prefix.contains(address))
                    .max_by_key(|(prefix, _)| prefix.len())
                    .map(|(_, &answer)| answer);
                prop_assert_eq!(ranges.longest(address), oracle, "{}", address);
            }
        }
    }
}
