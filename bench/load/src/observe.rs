//! What the machine did meanwhile, read where it is counted: processors, watched processes, and every place where the
//! kernel drops packets.
//!
//! `run` takes a [`Snapshot`] at the borders of the steady window and when all is over; what lies between two of them
//! goes into the record. Reads /proc only.

use std::collections::BTreeMap;
use std::fs;

use rustix::time::{ClockId, clock_gettime};

use crate::namespace;
use crate::record::{Cpu, Machine, Watched};

/// Nanoseconds in a tick of /proc: USER_HZ is 100 on every Linux that runs this.
const TICK: u64 = 10_000_000;
/// Columns of the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal.
const COLUMNS: usize = 8;
/// UDP counters that mean a datagram was lost.
const LOSSES: [&str; 5] = ["NoPorts", "InErrors", "RcvbufErrors", "SndbufErrors", "InCsumErrors"];

/// Whom to watch besides.
#[derive(Clone, Debug, Default)]
pub struct Watching {
    /// Names and process ids.
    pub processes: Vec<(String, u32)>,
    /// Network namespaces by our name for them and theirs; none is the one we are in.
    pub namespaces: Vec<(String, Option<String>)>,
}

/// Everything that counts upwards, at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    at_ns: u64,
    own_ns: u64,
    cpus: u64,
    cpu: [u64; COLUMNS],
    watched: Vec<Watched>,
    udp: BTreeMap<String, BTreeMap<String, u64>>,
    softnet: (u64, u64),
}

impl Snapshot {
    /// Now.
    #[must_use]
    pub fn take(watching: &Watching) -> Self {
        let reading = |clock| {
            let time = clock_gettime(clock);
            time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
        };
        let stat = read("/proc/stat");
        Self {
            at_ns: reading(ClockId::Monotonic),
            own_ns: reading(ClockId::ProcessCPUTime),
            cpus: stat.lines().skip(1).take_while(|line| line.starts_with("cpu")).count() as u64,
            cpu: processors(&stat),
            watched: watching.processes.iter().map(|(name, pid)| watched(name, *pid)).collect(),
            udp: watching
                .namespaces
                .iter()
                .map(|(name, netns)| {
                    let texts = namespace::inside(netns.as_deref(), || {
                        (read("/proc/thread-self/net/snmp"), read("/proc/thread-self/net/snmp6"))
                    });
                    let (four, six) = texts.unwrap_or_default();
                    (name.clone(), udp(&four, &six))
                })
                .collect(),
            softnet: softnet(&read("/proc/net/softnet_stat")),
        }
    }

    /// What the processors did since `before`.
    ///
    /// Most kernels find out who is running by looking at each tick, and a load that is driven by timers is always there
    /// when they look, or never. Idle time is not sampled but measured, from falling asleep to waking up. So what was busy is
    /// what is left of the time; its parts are as good as the ticks are.
    #[must_use]
    pub fn cpu_since(&self, before: &Self) -> Cpu {
        let [user, nice, system, idle, iowait, irq, softirq, steal] =
            std::array::from_fn(|at| self.cpu[at].saturating_sub(before.cpu[at]) * TICK);
        Cpu {
            own_ns: self.own_ns - before.own_ns,
            busy_ns: ((self.at_ns - before.at_ns) * self.cpus).saturating_sub(idle + iowait + steal),
            user_ns: user + nice,
            system_ns: system,
            softirq_ns: softirq,
            irq_ns: irq,
            steal_ns: steal,
        }
    }

    /// What the watched processes did since `before`; their memory as it is now.
    #[must_use]
    pub fn watched_since(&self, before: &Self) -> Vec<Watched> {
        let mut watched = self.watched.clone();
        for (now, before) in watched.iter_mut().zip(&before.watched) {
            now.user_ns = now.user_ns.saturating_sub(before.user_ns);
            now.system_ns = now.system_ns.saturating_sub(before.system_ns);
        }
        watched
    }

    /// UDP losses since `before`, by namespace; those that are not 0.
    #[must_use]
    pub fn udp_since(&self, before: &Self) -> BTreeMap<String, BTreeMap<String, u64>> {
        let none = BTreeMap::new();
        let differences = |name: &String, counters: &BTreeMap<String, u64>| {
            let before = before.udp.get(name).unwrap_or(&none);
            let since = |(counter, value): (&String, &u64)| {
                let since = value.saturating_sub(before.get(counter).copied().unwrap_or(0));
                (since > 0).then(|| (counter.clone(), since))
            };
            counters.iter().filter_map(since).collect()
        };
        self.udp.iter().map(|(name, counters)| (name.clone(), differences(name, counters))).collect()
    }

    /// Packets that the processors' backlogs dropped, and times that they left some for later, since `before`.
    #[must_use]
    pub fn softnet_since(&self, before: &Self) -> (u64, u64) {
        (self.softnet.0.saturating_sub(before.softnet.0), self.softnet.1.saturating_sub(before.softnet.1))
    }
}

/// This machine.
#[must_use]
pub fn machine() -> Machine {
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    Machine {
        cpu: model.map_or("?", |(_, name)| name.trim()).to_owned(),
        cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as u32),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        load: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
    }
}

/// Whether there is a process of that id.
#[must_use]
pub fn exists(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}/stat")).unwrap_or(false)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn processors(stat: &str) -> [u64; COLUMNS] {
    let mut columns = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    std::array::from_fn(|_| columns.next().and_then(|column| column.parse().ok()).unwrap_or(0))
}

/// Dropped and squeezed, of all processors: hexadecimal columns two and three of each line.
fn softnet(stat: &str) -> (u64, u64) {
    let column = |line: &str, at: usize| {
        line.split_whitespace().nth(at).and_then(|column| u64::from_str_radix(column, 16).ok()).unwrap_or(0)
    };
    stat.lines()
        .fold((0, 0), |(dropped, squeezed), line| (dropped + column(line, 1), squeezed + column(line, 2)))
}

/// Losses of IPv4 (a line of names, a line of numbers) and IPv6 (a line for each) together.
fn udp(snmp: &str, snmp6: &str) -> BTreeMap<String, u64> {
    let mut counters = BTreeMap::new();
    let mut add = |name: &str, value: &str| {
        if let (true, Ok(value)) = (LOSSES.contains(&name), value.parse::<u64>()) {
            *counters.entry(name.to_owned()).or_default() += value;
        }
    };
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    if let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        names.split(' ').zip(values.split(' ')).for_each(|(name, value)| add(name, value));
    }
    for line in snmp6.lines() {
        if let Some((name, value)) =
            line.strip_prefix("Udp6").and_then(|line| line.split_once(char::is_whitespace))
        {
            add(name, value.trim());
        }
    }
    counters
}

/// A process and all that come from it: Kamailio is a dozen.
fn watched(name: &str, pid: u32) -> Watched {
    let mut sum = Watched { name: name.to_owned(), pid, ..Watched::default() };
    for pid in family(pid) {
        let Some((_, user, system)) = process(&read(&format!("/proc/{pid}/stat"))) else { continue };
        sum.processes += 1;
        sum.user_ns += user * TICK;
        sum.system_ns += system * TICK;
        sum.rss_bytes += kilobytes(&read(&format!("/proc/{pid}/status")), "VmRSS:").unwrap_or(0);
        if let Some(pss) = kilobytes(&read(&format!("/proc/{pid}/smaps_rollup")), "Pss:") {
            *sum.pss_bytes.get_or_insert(0) += pss;
        }
    }
    sum
}

fn family(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: Vec<(u32, u32)> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| Some((pid, process(&read(&format!("/proc/{pid}/stat")))?.0)))
        .collect();
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(&parent) = family.get(at) {
        family.extend(parents.iter().filter(|(_, theirs)| *theirs == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    family
}

/// Parent, user and system ticks. The name before them is in parentheses and may have any character in it.
fn process(stat: &str) -> Option<(u32, u64, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let user = fields.nth(9)?.parse().ok()?;
    let system = fields.next()?.parse().ok()?;
    Some((parent, user, system))
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        assert_eq!(processors("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1\n"), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(softnet("0001 00000002 0000000a 0\n0001 00000001 00000001 0\n"), (3, 11));
        let snmp = "Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors\nUdp: 100 2 3 100 4\n\
                    UdpLite: InDatagrams NoPorts\nUdpLite: 9 9\n";
        let counters = udp(snmp, "Udp6InDatagrams   \t7\nUdp6RcvbufErrors  \t5\nUdpLite6InErrors \t9\n");
        let expected = [("NoPorts", 2), ("InErrors", 3), ("RcvbufErrors", 9)];
        assert_eq!(counters, expected.map(|(name, value)| (name.to_owned(), value)).into());
        let stat = "42 (a) b (c) S 7 0 0 0 -1 0 1 2 3 4 55 66 0 0";
        assert_eq!(process(stat), Some((7, 55, 66)));
        assert_eq!(kilobytes("Rss: 9 kB\nPss:     12 kB\n", "Pss:"), Some(12 * 1024));
    }

    #[test]
    fn work_shows() {
        let watching = Watching {
            processes: vec![("us".to_owned(), std::process::id())],
            namespaces: vec![("own".to_owned(), None)],
        };
        let before = Snapshot::take(&watching);
        let mut work = 1_u64;
        while Snapshot::take(&Watching::default()).own_ns - before.own_ns < 60_000_000 {
            work = work.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        }
        std::hint::black_box(work);
        let after = Snapshot::take(&watching);
        let cpu = after.cpu_since(&before);
        assert!(cpu.own_ns >= 60_000_000 && cpu.busy_ns >= 40_000_000, "{cpu:?}");
        assert!(after.cpus >= 1 && cpu.busy_ns <= (after.at_ns - before.at_ns) * after.cpus, "{cpu:?}");
        let watched = after.watched_since(&before);
        assert!(watched[0].user_ns + watched[0].system_ns >= 40_000_000, "{watched:?}");
        assert!(watched[0].rss_bytes > 1 << 20 && watched[0].processes >= 1, "{watched:?}");
        assert!(after.udp_since(&before).contains_key("own"));
        assert!(exists(std::process::id()) && !exists(u32::MAX));
    }
}
