//! How many neighbours a worker may make the kernel ask for.
//!
//! A message to somebody on the link whose address nobody knows goes by the kernel, which keeps an entry for him and asks
//! three times. So whoever sends from made-up addresses of a network that is on the link fills the kernel's table with our answers:
//! an entry that is being asked for cannot give way for 3 s, one that has just changed not for 5 (`neigh_forced_gc`), and in
//! a full table nobody finds a place, phones that call neither. The table is shared by all interfaces and namespaces of
//! the machine. So new neighbours have a budget, by which we alone never fill it; a neighbour that was asked for a moment ago costs
//! nothing once more.

use std::net::IpAddr;
use std::time::Duration;

use strowger_engine::Time;

/// For so long the kernel's table keeps an entry that was just made, whatever becomes of it.
const KEPT: u64 = 5;
/// After so long a neighbour counts as a new one: the kernel itself asks once a second.
const AGAIN: Duration = Duration::from_secs(1);
/// How far ahead of the rate one may be.
const BURST: Duration = Duration::from_millis(500);
/// Neighbours remembered; where two meet, the later one.
const REMEMBERED: usize = 256;
/// Entries of the table where the kernel does not say: its default.
const USUAL: u64 = 1024;

/// See the head of this file.
pub(crate) struct Solicits {
    /// Who was asked for, and when.
    asked: Box<[Option<(IpAddr, Time)>]>,
    /// When all that was asked for so far is paid.
    paid: Time,
    /// What one costs.
    each: Duration,
}

impl Solicits {
    /// For one of so many workers, by the table that this machine has.
    pub(crate) fn new(workers: usize) -> Solicits {
        Self::within(entries().unwrap_or(USUAL), workers)
    }

    /// For one of so many workers, of a table of so many entries.
    fn within(entries: u64, workers: usize) -> Solicits {
        let rate = (entries / KEPT / workers.max(1) as u64).max(1);
        Solicits {
            asked: vec![None; REMEMBERED].into_boxed_slice(),
            paid: Time::START,
            each: Duration::from_secs(1) / u32::try_from(rate).unwrap_or(u32::MAX),
        }
    }

    /// Whether `neighbour` may be asked for now.
    pub(crate) fn may_ask(&mut self, now: Time, neighbour: IpAddr) -> bool {
        let place = self.place(neighbour);
        if let Some(Some((known, at))) = self.asked.get(place)
            && *known == neighbour
            && now.since(*at) < AGAIN
        {
            return true;
        }
        let paid = self.paid.max(now);
        if paid.since(now) > BURST {
            return false;
        }
        self.paid = paid.after(self.each);
        if let Some(place) = self.asked.get_mut(place) {
            *place = Some((neighbour, now));
        }
        true
    }

    /// Somebody who aims at a place only makes himself cost more.
    fn place(&self, neighbour: IpAddr) -> usize {
        let bits = match neighbour {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let folded = (bits ^ (bits >> 64)) as u64;
        (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % self.asked.len().max(1)
    }
}

/// Entries that the kernel's smaller table of neighbours has room for, IPv4's or IPv6's.
fn entries() -> Option<u64> {
    let read = |family: &str| {
        let path = format!("/proc/sys/net/{family}/neigh/default/gc_thresh3");
        std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok()
    };
    read("ipv4").into_iter().chain(read("ipv6")).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_nanos((100_000 + ms) * 1_000_000)
    }

    fn neighbour(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into()
    }

    /// Entries in the kernel's table, as it keeps them: none before 5 s are over.
    #[test]
    fn a_storm_never_fills_the_table() {
        for workers in [1, 2, 16] {
            let mut each: Vec<Solicits> = (0..workers).map(|_| Solicits::within(1024, workers)).collect();
            let mut made: Vec<u64> = Vec::new();
            for ms in 0..20_000 {
                for (nth, solicits) in each.iter_mut().enumerate() {
                    for more in 0..3 {
                        let stranger = neighbour(((ms * 3 + more) * workers as u64) as u32 + nth as u32);
                        if solicits.may_ask(at(ms), stranger) {
                            made.push(ms);
                        }
                    }
                }
            }
            let kept = |ms: u64| made.iter().filter(|at| (ms.saturating_sub(5000)..ms).contains(*at)).count();
            let most = (5000..20_000).step_by(100).map(kept).max().unwrap_or(0);
            assert!((800..1024 + 128).contains(&most), "{workers}: {most}");
        }
    }

    #[test]
    fn who_was_asked_for_costs_nothing_again() {
        let mut solicits = Solicits::within(1024, 1);
        assert!(solicits.may_ask(at(0), neighbour(1)));
        // Everything is spent on others who do not share his place.
        let place = solicits.place(neighbour(1));
        let mut others = (2..100_000)
            .map(neighbour)
            .filter(|other| solicits.place(*other) != place)
            .collect::<Vec<_>>()
            .into_iter();
        while solicits.may_ask(at(1), others.next().expect("as many as it takes")) {}
        assert!(solicits.may_ask(at(2), neighbour(1)), "the kernel asks already");
        assert!(!solicits.may_ask(at(2), others.next().expect("one more")));
        assert!(solicits.may_ask(at(700), others.next().expect("one more")), "the budget comes back");
    }
}
