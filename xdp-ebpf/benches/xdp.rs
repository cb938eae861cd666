//! What a packet costs in the XDP program, by BPF_PROG_TEST_RUN; run by `cargo xtask bench xdp`, which see.
//!
//! The kernel runs the program over one packet some ten thousand times and gives the mean; that is a round. A row shows
//! the best round and the median. The best one is held against the target, because all that a shared machine can do is
//! to make a round slower. The harness costs something itself, the same for each row: the first row is a program that
//! does nothing. Packet and tables are in the cache, as a flood's are.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark may panic")]

#[path = "../tests/packet/mod.rs"]
mod packet;
#[path = "../tests/served/mod.rs"]
mod served;
#[path = "../tests/skip/mod.rs"]
mod skip;

use std::fmt::Write as _;
use std::process::ExitCode;

use packet::{CUSTOMER, SERVICE, to};
use serde_json::{Value, json};
use served::{Served, XDP_TX, now_ns};
use strowger_wire::steer::SteeringKey;
use strowger_xdp::{Budgets, Counter, Junk, LoadOptions, Network, Pings, Policing, Steering};

const V4: &str = "10.77.0.2:5060";
const V6: &str = "[fd77::2]:5060";
const HOUR_NS: u64 = 3_600_000_000_000;

/// What was measured of one kind of packet.
struct Row {
    name: &'static str,
    best_ns: u64,
    median_ns: u64,
    target_ns: Option<u64>,
}

impl Row {
    fn verdict(&self) -> &'static str {
        match self.target_ns {
            None => "",
            Some(target) if self.best_ns <= target => "met",
            Some(_) => "MISSED",
        }
    }
}

/// An INVITE as phones write it, with SDP: 500 bytes, the Call-ID behind Via, From and To.
fn invite() -> Vec<u8> {
    let sdp = "v=0\r\no=alice 1 1 IN IP4 10.77.0.1\r\ns=-\r\nc=IN IP4 10.77.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    let head = "INVITE sip:bob@10.77.0.2 SIP/2.0\r\n\
        Via: SIP/2.0/UDP 10.77.0.1:5061;branch=z9hG4bK74bf9;rport\r\nMax-Forwards: 70\r\n\
        From: Alice <sip:alice@10.77.0.2>;tag=9fxced76sl\r\nTo: Bob <sip:bob@10.77.0.2>\r\n\
        Call-ID: 3848276298220188511@10.77.0.1\r\nCSeq: 1 INVITE\r\n\
        Contact: <sip:alice@10.77.0.1:5061>\r\nContent-Type: application/sdp\r\n";
    let mut message = format!("{head}Content-Length: {}\r\n", sdp.len());
    let filler = 500 - (message.len() + sdp.len() + 2) - "User-Agent: \r\n".len();
    write!(message, "User-Agent: {}\r\n\r\n{sdp}", "x".repeat(filler)).unwrap();
    assert_eq!(message.len(), 500);
    message.into_bytes()
}

/// A ping as Asterisk sends it.
fn ping() -> Vec<u8> {
    let head = "OPTIONS sip:10.77.0.2 SIP/2.0\r\n\
        Via: SIP/2.0/UDP 10.77.0.1:5061;rport;branch=z9hG4bKPj2f0f5cf7-e0c5-4f3b-9e45-05b0d5a0b2f1\r\n\
        From: <sip:asterisk@10.77.0.1>;tag=9d0a3d2c-8d1b-4d5e-9a0f-3f0c4b6c9a11\r\nTo: <sip:10.77.0.2>\r\n\
        Contact: <sip:asterisk@10.77.0.1:5061>\r\nCall-ID: 4cb1d0a2-7d57-4b8e-8a5c-1d3f9f2d6c10\r\n\
        CSeq: 31337 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length:  0\r\n";
    let filler = 420 - (head.len() + 2) - "User-Agent: \r\n".len();
    format!("{head}User-Agent: {}\r\n\r\n", "x".repeat(filler)).into_bytes()
}

/// Who sends it, and what he hears.
fn peer() -> Pings {
    Pings {
        uris: vec!["sip:10.77.0.2".into(), "sip:10.77.0.2:5060".into()],
        offered: vec!["Allow: OPTIONS, REGISTER".into(), "Accept: */*".into(), "Supported:".into()],
        tag_key: [7; 16],
        tag_digits: *b"0123456789abcdefghjkmnpqrstvwxyz",
        peers: vec!["10.77.0.1".parse().unwrap()],
    }
}

/// A message of which the Call-ID comes so late that it is only just found.
fn late() -> Vec<u8> {
    let vias = "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\n".repeat(21);
    let value = "x".repeat(200);
    format!("INVITE sip:bob@10.77.0.2 SIP/2.0\r\n{vias}Call-ID: {value}\r\nCSeq: 1 INVITE\r\n\r\n")
        .into_bytes()
}

fn main() -> ExitCode {
    let mut options = Options::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => options.json = arguments.next(),
            "--markdown" => options.markdown = arguments.next(),
            "--quick" => options.quick = true,
            // What cargo says to every benchmark.
            "--bench" => {}
            other => panic!("unknown argument {other}"),
        }
    }
    let Some(report) = measure(&options) else { return ExitCode::from(3) };
    print!("{}", report.markdown());
    if let Some(file) = &options.json {
        std::fs::write(file, format!("{:#}\n", report.json())).unwrap();
    }
    if let Some(file) = &options.markdown {
        std::fs::write(file, report.markdown()).unwrap();
    }
    let missed = report.rows.iter().filter(|row| row.verdict() == "MISSED").count();
    println!("\n{missed} targets missed");
    if missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

#[derive(Default)]
struct Options {
    json: Option<String>,
    markdown: Option<String>,
    quick: bool,
}

struct Report {
    rows: Vec<Row>,
    /// By the name of the options that the program was loaded with.
    sizes: Vec<(&'static str, strowger_xdp::ProgramSize)>,
}

fn measure(options: &Options) -> Option<Report> {
    let rounds = if options.quick { 8 } else { 40 };
    let load = |workers, policing| {
        let steering = Steering::CallId(SteeringKey::from_bytes(*b"sixteen secrets!"));
        Served::new(&[V4, V6], &LoadOptions { workers, steering, policing, ..LoadOptions::default() })
    };
    let plenty = Budgets {
        unknown_pps: 1_000_000_000,
        known_pps: 1_000_000_000,
        burst: 1_000_000_000,
        strangers_pps: 0,
        room: 65_536,
        known_room: 100_000,
    };
    let scarce = Budgets { unknown_pps: 1, known_pps: 1, burst: 1, ..plenty };
    let all =
        |budgets| Policing { bans: true, junk: Junk::Drop, budgets: Some(budgets), ..Policing::default() };

    let flow = load(1, Policing::default())?;
    let call_id = load(2, Policing::default())?;
    let mut banned = load(1, Policing { bans: true, ..Policing::default() })?;
    let mut list = banned.program.access_list().unwrap();
    list.ban("10.77.0.1".parse().unwrap(), now_ns(), now_ns() + HOUR_NS).unwrap();
    let mut network = load(1, Policing { bans: true, ..Policing::default() })?;
    let mut list = network.program.access_list().unwrap();
    list.ban_network(Network::new("10.77.0.0".parse().unwrap(), 16).unwrap()).unwrap();
    let limited = load(1, all(scarce))?;
    let policed = load(1, all(plenty))?;
    let everything = load(2, Policing { answer_stun: true, ..all(plenty) })?;
    let stun = load(1, Policing { answer_stun: true, ..Policing::default() })?;
    let mut pings = load(2, Policing { answer_stun: true, answer_options: true, ..all(plenty) })?;
    pings.program.answer_pings(&peer()).unwrap();
    pings.hearts.iter().for_each(|heart| heart.set_ready(true));

    let sip = to(V4).payload(invite());
    let request = b"\x00\x01\x00\x00\x21\x12\xa4\x42transaction!".to_vec();
    let junk = vec![0x80; 172];
    let runs = [
        ("TCP, passed", Some(25), &flow, sip.clone().protocol(6), Counter::PassNotUdp),
        (
            "UDP to another port, passed",
            Some(25),
            &flow,
            to("10.77.0.2:40000").payload(junk.clone()),
            Counter::PassNotListener,
        ),
        ("banned address, dropped", Some(40), &banned, sip.clone(), Counter::DropBanned),
        ("banned network, dropped", None, &network, sip.clone(), Counter::DropBannedPrefix),
        ("junk, dropped", None, &policed, to(V4).payload(junk), Counter::DropJunk),
        ("keep-alive, dropped", None, &policed, to(V4).payload(b"\r\n\r\n".to_vec()), Counter::DropKeepAlive),
        ("over its budget, dropped", None, &limited, sip.clone(), Counter::DropUnknownRate),
        ("INVITE of 500 bytes, redirected without scan", Some(60), &flow, sip.clone(), Counter::Redirect),
        (
            "the same over IPv6 and QinQ",
            Some(60),
            &flow,
            to(V6).tag(SERVICE).tag(CUSTOMER).payload(invite()),
            Counter::Redirect,
        ),
        ("the same with all policing", None, &policed, sip.clone(), Counter::Redirect),
        ("INVITE of 500 bytes, steered by Call-ID", Some(250), &call_id, sip.clone(), Counter::Redirect),
        ("the same with all policing", None, &everything, sip.clone(), Counter::Redirect),
        (
            "Call-ID of 200 bytes behind 1,060 of Vias, steered",
            None,
            &call_id,
            to(V4).payload(late()),
            Counter::Redirect,
        ),
        (
            "no Call-ID in 1,400 bytes, passed",
            None,
            &call_id,
            to(V4).payload(vec![b'x'; 1_400]),
            Counter::PassNoCallId,
        ),
    ];
    let mut rows = vec![row("a program that does nothing (the harness)", None, rounds, nothing::round)];
    for (name, target, served, packet, expected) in runs {
        let packet = packet.bytes();
        // Warms up, and lets a budget be used up.
        served.program.test_run(&packet, 2_000, None).unwrap();
        assert_eq!(served.verdict(name, &packet), expected, "{name}");
        rows.push(row(name, target, rounds, || served.program.test_run(&packet, 20_000, None).unwrap().ns));
    }
    // The packet is another one after the first run, so each of these is a round of one run: the clock of the kernel is
    // read for it, which costs as much again.
    let packet = to(V4).payload(request).bytes();
    rows.push(row("STUN, answered (single runs)", None, rounds * 100, || {
        let run = stun.program.test_run(&packet, 1, None).unwrap();
        assert_eq!(run.action, XDP_TX);
        run.ns
    }));
    let packet = to(V4).payload(ping()).checksum().bytes();
    rows.push(row("OPTIONS ping of 420 bytes, answered (single runs)", None, rounds * 100, || {
        let run = pings.program.test_run(&packet, 1, None).unwrap();
        assert_eq!(run.action, XDP_TX);
        run.ns
    }));
    let sizes = [
        ("flow steering", &flow),
        ("Call-ID steering", &call_id),
        ("flow steering, all policing", &policed),
        ("Call-ID steering, all policing, STUN", &everything),
        ("Call-ID steering, all policing, STUN, OPTIONS", &pings),
    ];
    let sizes = sizes.into_iter().map(|(name, served)| (name, served.program.size().unwrap())).collect();
    Some(Report { rows, sizes })
}

fn row(name: &'static str, target_ns: Option<u64>, rounds: usize, mut round: impl FnMut() -> u64) -> Row {
    let mut all: Vec<_> = (0..rounds).map(|_| round()).collect();
    all.sort_unstable();
    Row { name, best_ns: all[0], median_ns: all[all.len() / 2], target_ns }
}

impl Report {
    fn markdown(&self) -> String {
        let harness = self.rows[0].best_ns;
        let mut text = String::from(
            "| Packet | best, ns | median, ns | without the harness | target | |\n|---|---:|---:|---:|---:|---|\n",
        );
        for row in &self.rows {
            let target = row.target_ns.map(|target| target.to_string()).unwrap_or_default();
            let net = row.best_ns.saturating_sub(harness);
            let Row { name, best_ns, median_ns, .. } = row;
            writeln!(text, "| {name} | {best_ns} | {median_ns} | {net} | {target} | {} |", row.verdict())
                .unwrap();
        }
        text += "\n| Program | instructions verified, of 1,000,000 | BPF, bytes | machine code, bytes |\n|---|---:|---:|---:|\n";
        for (name, size) in &self.sizes {
            let strowger_xdp::ProgramSize { verified_instructions, translated_bytes, jited_bytes } = size;
            writeln!(text, "| {name} | {verified_instructions} | {translated_bytes} | {jited_bytes} |")
                .unwrap();
        }
        text
    }

    fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "packet": row.name,
                "best_ns": row.best_ns,
                "median_ns": row.median_ns,
                "target_ns": row.target_ns,
                "met": row.target_ns.map(|target| row.best_ns <= target),
            })
        });
        let sizes = self.sizes.iter().map(|(name, size)| {
            json!({
                "program": name,
                "verified_instructions": size.verified_instructions,
                "translated_bytes": size.translated_bytes,
                "jited_bytes": size.jited_bytes,
            })
        });
        json!({ "rows": rows.collect::<Vec<_>>(), "programs": sizes.collect::<Vec<_>>() })
    }
}

/// What the harness costs: a program of two instructions, `r0 = XDP_PASS; exit`.
mod nothing {
    use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
    use std::sync::OnceLock;

    /// `enum bpf_cmd` in linux/bpf.h.
    const BPF_PROG_LOAD: libc::c_long = 5;
    const BPF_PROG_TEST_RUN: libc::c_long = 10;
    const BPF_PROG_TYPE_XDP: u32 = 6;

    /// The head of `union bpf_attr` for BPF_PROG_LOAD; the kernel takes what is missing for zero.
    #[repr(C)]
    struct Load {
        kind: u32,
        instruction_count: u32,
        instructions: u64,
        license: u64,
    }

    /// The head of `union bpf_attr` for BPF_PROG_TEST_RUN.
    #[repr(C)]
    #[derive(Default)]
    struct Run {
        program: u32,
        action: u32,
        input_len: u32,
        output_len: u32,
        input: u64,
        output: u64,
        repeat: u32,
        duration_ns: u32,
    }

    fn program() -> &'static OwnedFd {
        static PROGRAM: OnceLock<OwnedFd> = OnceLock::new();
        PROGRAM.get_or_init(|| {
            let instructions: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];
            let license = c"GPL";
            let load = Load {
                kind: BPF_PROG_TYPE_XDP,
                instruction_count: 2,
                instructions: instructions.as_ptr() as u64,
                license: license.as_ptr() as u64,
            };
            // SAFETY: the kernel reads `load` and what it points to, all of which outlives the call.
            let fd =
                unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size_of::<Load>()) };
            let fd = i32::try_from(fd).unwrap();
            assert!(fd >= 0, "{}", std::io::Error::last_os_error());
            // SAFETY: a successful call returns a new descriptor that nobody else owns.
            unsafe { OwnedFd::from_raw_fd(fd) }
        })
    }

    /// One round.
    pub(super) fn round() -> u64 {
        let packet = [0_u8; 64];
        let mut run = Run {
            program: program().as_raw_fd().cast_unsigned(),
            input_len: 64,
            input: packet.as_ptr() as u64,
            repeat: 20_000,
            ..Run::default()
        };
        // SAFETY: the kernel reads `packet` and writes its answer into `run`, both of which outlive the call.
        let done = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut run, size_of::<Run>()) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        u64::from(run.duration_ns)
    }
}
