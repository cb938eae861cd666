//! A network device as the data plane needs to know it: index, address, MTU, driver, queues.
//!
//! Asked by ioctl in the calling thread's network namespace, because `/sys/class/net` shows the namespace that
//! mounted it and not the one we are in. Called at start and by the machine check; never on the way of a message.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use strowger_wire::MacAddr;

/// What one device looked like when it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name in this namespace, 1 to 15 bytes.
    pub name: String,
    /// Its index in this namespace.
    pub index: u32,
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// Largest IP packet, bytes.
    pub mtu: u32,
    /// Whether it is set up (`IFF_UP`).
    pub up: bool,
    /// The driver's name (`veth`, `ice`, `mlx5_core`, …); empty where the driver does not say.
    pub driver: String,
    /// Receive queues in use; at least 1.
    pub rx_queues: u32,
}

/// Length of the `ifreq` structure of `<net/if.h>` on 64-bit Linux: a 16-byte name and a 24-byte union.
const IFREQ_NAME: usize = 16;
const ETHTOOL_GDRVINFO: u32 = 0x0000_0003;
const ETHTOOL_GCHANNELS: u32 = 0x0000_003c;

/// `struct ifreq` with the union members that we use.
#[repr(C)]
struct Request {
    name: [u8; IFREQ_NAME],
    value: Value,
}

#[repr(C)]
union Value {
    index: libc::c_int,
    flags: libc::c_short,
    hardware: libc::sockaddr,
    data: *mut libc::c_void,
    whole: [u64; 3],
}

/// `struct ethtool_drvinfo` of `<linux/ethtool.h>`.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// `struct ethtool_channels` of `<linux/ethtool.h>`.
#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

impl Device {
    /// Looks a device up by name. `NotFound` when this namespace has none of that name.
    pub fn find(name: &str) -> io::Result<Device> {
        let asker = Asker::new(name)?;
        let mut request = asker.request();
        asker.ioctl(libc::SIOCGIFINDEX, &mut request).map_err(|error| match error.raw_os_error() {
            Some(libc::ENODEV) => io::Error::new(io::ErrorKind::NotFound, format!("no device `{name}`")),
            _ => error,
        })?;
        // SAFETY: SIOCGIFINDEX succeeded, so the kernel wrote the union's int.
        let index = unsafe { request.value.index } as u32;

        let mut request = asker.request();
        asker.ioctl(libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: SIOCGIFFLAGS succeeded, so the kernel wrote the union's short.
        let up = unsafe { request.value.flags } & libc::IFF_UP as libc::c_short != 0;

        let mut request = asker.request();
        asker.ioctl(libc::SIOCGIFMTU, &mut request)?;
        // SAFETY: SIOCGIFMTU succeeded, so the kernel wrote the union's int.
        let mtu = unsafe { request.value.index } as u32;

        let mut request = asker.request();
        asker.ioctl(libc::SIOCGIFHWADDR, &mut request)?;
        // SAFETY: SIOCGIFHWADDR succeeded, so the kernel wrote the union's sockaddr.
        let hardware = unsafe { request.value.hardware.sa_data };
        let mut mac = [0; 6];
        for (to, from) in mac.iter_mut().zip(hardware) {
            *to = from as u8;
        }

        Ok(Device {
            name: name.to_owned(),
            index,
            mac: MacAddr(mac),
            mtu,
            up,
            driver: asker.driver().unwrap_or_default(),
            rx_queues: asker.rx_queues().unwrap_or(1).max(1),
        })
    }
}

/// A socket to ask through, and whom to ask about.
struct Asker {
    socket: OwnedFd,
    name: [u8; IFREQ_NAME],
}

impl Asker {
    fn new(name: &str) -> io::Result<Asker> {
        let mut padded = [0; IFREQ_NAME];
        if name.is_empty() || name.len() >= IFREQ_NAME || name.bytes().any(|b| b == 0 || b == b'/') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{name}` is not a device name of 1 to 15 bytes"),
            ));
        }
        padded[..name.len()].copy_from_slice(name.as_bytes());
        // SAFETY: plain system call without pointers.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just returned by the kernel and nobody else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Asker { socket, name: padded })
    }

    fn request(&self) -> Request {
        Request { name: self.name, value: Value { whole: [0; 3] } }
    }

    fn ioctl(&self, command: libc::c_ulong, request: &mut Request) -> io::Result<()> {
        // SAFETY: `request` is a whole `struct ifreq` that outlives the call; where the union holds a pointer, the
        // caller keeps what it points to alive and large enough.
        let done = unsafe { libc::ioctl(self.socket.as_raw_fd(), command, std::ptr::from_mut(request)) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// `ETHTOOL_GDRVINFO`.
    fn driver(&self) -> io::Result<String> {
        let mut info = DriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
        let mut request = self.request();
        request.value.data = std::ptr::from_mut(&mut info).cast();
        self.ioctl(libc::SIOCETHTOOL, &mut request)?;
        Ok(CStr::from_bytes_until_nul(&info.driver)
            .map(|s| s.to_string_lossy().into_owned())
            .unwrap_or_default())
    }

    /// `ETHTOOL_GCHANNELS`: queues that receive, alone or combined with sending.
    fn rx_queues(&self) -> io::Result<u32> {
        let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
        let mut request = self.request();
        request.value.data = std::ptr::from_mut(&mut channels).cast();
        self.ioctl(libc::SIOCETHTOOL, &mut request)?;
        Ok(channels.rx.saturating_add(channels.combined))
    }
}

// The kernel's own sizes; a mismatch would have it write past our structures.
const _: () = assert!(size_of::<Request>() == 40);
const _: () = assert!(size_of::<DriverInfo>() == 196);
const _: () = assert!(size_of::<Channels>() == 36);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_always_there() {
        let lo = Device::find("lo").expect("every namespace has one");
        assert_eq!((lo.index, lo.mac, lo.rx_queues), (1, MacAddr([0; 6]), 1));
        assert!(lo.mtu >= 1280);
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        assert_eq!(Device::find("no-such-dev").map_err(|e| e.kind()), Err(io::ErrorKind::NotFound));
        for bad in ["", "sixteen-letters1", "a/b", "a\0b"] {
            assert_eq!(Device::find(bad).map_err(|e| e.kind()), Err(io::ErrorKind::InvalidInput), "{bad:?}");
        }
    }
}
