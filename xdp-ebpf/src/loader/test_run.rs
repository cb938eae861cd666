//! One packet through the loaded program, without a network (BPF_PROG_TEST_RUN): for tests, and to
//! measure.

use std::io;

use aya::programs::{TestRun as _, TestRunOptions};

use super::{Program, error};

/// Room for the packet that comes back; the kernel takes none that is longer than a page.
const OUTPUT_LEN: usize = 4096;

/// Where a test packet pretends to arrive. Without, it is queue 0 of a device of the kernel's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// An interface of the calling thread's network namespace.
    pub ifindex: u32,
    /// One of the interface's receive queues.
    pub queue: u32,
}

/// What became of a test packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// The program's answer: 1 is XDP_DROP, 2 XDP_PASS, 3 XDP_TX, 4 XDP_REDIRECT.
    pub action: u32,
    /// The packet afterwards.
    pub packet: Vec<u8>,
    /// Mean time of one run, in nanoseconds.
    pub ns: u64,
}

impl Program {
    /// Runs the program `repeat` times over `packet`, of 14 to 3,520 bytes. Counters move each time;
    /// nothing is redirected in truth.
    ///
    /// # Errors
    ///
    /// The kernel's: EINVAL for a packet shorter than an Ethernet header or too long, and for an arrival
    /// that doesn't exist; EPERM without CAP_NET_ADMIN and CAP_BPF.
    pub fn test_run(&self, packet: &[u8], repeat: u32, arrival: Option<Arrival>) -> io::Result<TestRun> {
        let context = context(packet.len(), arrival);
        let mut output = vec![0; OUTPUT_LEN];
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.data_out = Some(&mut output);
        options.ctx_in = Some(&context);
        options.repeat = repeat;
        let xdp = self.xdp().ok_or(io::ErrorKind::NotFound)?;
        let result = xdp.test_run(options).map_err(|error| match error::os_error(&error) {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::other(error),
        })?;
        let packet = output.get(..result.data_size_out as usize).unwrap_or_default();
        Ok(TestRun {
            action: result.return_value,
            packet: packet.to_vec(),
            ns: u64::try_from(result.duration.as_nanos()).unwrap_or(u64::MAX),
        })
    }
}

/// `struct xdp_md` of linux/bpf.h: data, data_end, data_meta, ingress_ifindex, rx_queue_index,
/// egress_ifindex.
fn context(packet_len: usize, arrival: Option<Arrival>) -> Vec<u8> {
    let (ifindex, queue) = arrival.map_or((0, 0), |arrival| (arrival.ifindex, arrival.queue));
    let words = [0, packet_len as u32, 0, ifindex, queue, 0];
    words.into_iter().flat_map(u32::to_ne_bytes).collect()
}
