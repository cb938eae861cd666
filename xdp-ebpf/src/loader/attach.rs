//! Attaching to an interface, and leaving it as it was.
//!
//! By BPF_LINK_CREATE alone and by our own call: such a link never replaces a program that is there, and
//! it ends with its process, or with the one that it was given to. aya's attach falls back to netlink when the kernel says EINVAL,
//! and netlink does replace and does stay behind after `kill -9`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use aya::programs::loaded_programs;

use super::interface::{self, Attached};
use super::{AttachError, Occupant, Program};

/// `enum bpf_cmd` in linux/bpf.h.
const BPF_LINK_CREATE: libc::c_long = 28;
/// `enum bpf_cmd` in linux/bpf.h.
const BPF_LINK_UPDATE: libc::c_long = 29;
/// `enum bpf_cmd` in linux/bpf.h.
const BPF_LINK_DETACH: libc::c_long = 34;
/// `enum bpf_cmd` in linux/bpf.h.
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
/// `enum bpf_link_type` in linux/bpf.h.
const BPF_LINK_TYPE_XDP: u32 = 6;
/// `enum bpf_attach_type` in linux/bpf.h.
const BPF_XDP: u32 = 37;
/// linux/if_link.h.
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
/// linux/if_link.h.
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// Where on the packet's way the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver, before an skb is made.
    Native,
    /// In the kernel's network stack, for drivers without XDP.
    Generic,
}

/// The head of `union bpf_attr` for BPF_LINK_CREATE; the kernel takes what is missing for zero.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// The head of `union bpf_attr` for BPF_LINK_UPDATE. Without flags whatever program is there is replaced.
#[repr(C)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// The head of `union bpf_attr` for BPF_OBJ_GET_INFO_BY_FD.
#[repr(C)]
struct InfoByFd {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// `struct bpf_link_info` of an XDP link; what follows in its union is other links'.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    padding: u32,
    ifindex: u32,
    rest: [u32; 7],
}

/// The program's presence on an interface.
///
/// Closing the descriptor would end it too, and is how it ends with the process. But a child of this process
/// has a copy of the descriptor between fork and exec, and the program would stay for as long; so `Drop`
/// detaches first, unless the link was left to another process.
#[derive(Debug)]
pub(super) struct Link {
    fd: OwnedFd,
    ours: bool,
}

impl Link {
    fn create(program: BorrowedFd<'_>, ifindex: u32, mode: AttachMode) -> io::Result<Self> {
        let flags = match mode {
            AttachMode::Native => XDP_FLAGS_DRV_MODE,
            AttachMode::Generic => XDP_FLAGS_SKB_MODE,
        };
        let attributes = LinkCreate {
            prog_fd: program.as_raw_fd().cast_unsigned(),
            target_ifindex: ifindex,
            attach_type: BPF_XDP,
            flags,
        };
        // SAFETY: the kernel reads `size_of` bytes of `attributes`, which outlives the call, and writes
        // none.
        let fd = unsafe {
            libc::syscall(libc::SYS_bpf, BPF_LINK_CREATE, &raw const attributes, size_of::<LinkCreate>())
        };
        match i32::try_from(fd) {
            // SAFETY: a successful call returns a new descriptor that nobody else owns.
            Ok(fd) if fd >= 0 => Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) }, ours: true }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Puts `program` in the place of the one that is there: at no moment there is none.
    fn update(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        let attributes = LinkUpdate {
            link_fd: self.fd.as_raw_fd().cast_unsigned(),
            new_prog_fd: program.as_raw_fd().cast_unsigned(),
            flags: 0,
            old_prog_fd: 0,
        };
        // SAFETY: the kernel reads `size_of` bytes of `attributes`, which outlives the call, and writes
        // none.
        let done = unsafe {
            libc::syscall(libc::SYS_bpf, BPF_LINK_UPDATE, &raw const attributes, size_of::<LinkUpdate>())
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// The interface that `link` is on; none when it is no XDP link, or its interface is gone.
fn interface_of(link: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let mut info = LinkInfo::default();
    let attributes = InfoByFd {
        bpf_fd: link.as_raw_fd().cast_unsigned(),
        info_len: size_of::<LinkInfo>() as u32,
        info: (&raw mut info).expose_provenance() as u64,
    };
    // SAFETY: the kernel reads `attributes` and writes at most `info_len` bytes to `info`; both outlive the call.
    let done = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &raw const attributes, size_of::<InfoByFd>())
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((info.kind == BPF_LINK_TYPE_XDP && info.ifindex != 0).then_some(info.ifindex))
}

impl Drop for Link {
    fn drop(&mut self) {
        if !self.ours {
            return;
        }
        let attributes = self.fd.as_raw_fd().cast_unsigned();
        // SAFETY: the kernel reads the four bytes of `attributes`, which outlives the call, and writes none.
        // It fails only when the interface is gone, and the program with it.
        unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_DETACH, &raw const attributes, size_of::<u32>()) };
    }
}

impl Program {
    /// Attaches to the interface `ifindex` of the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// See [`AttachError`]; the interface is as it was then, and another program that is there stays.
    pub fn attach(&mut self, ifindex: u32, mode: AttachMode) -> Result<(), AttachError> {
        if self.link.is_some() {
            return Err(AttachError::Attached);
        }
        // Asked beforehand, because BPF_LINK_CREATE answers EINVAL for a missing interface.
        if let Attached::Yes { id } = occupied(ifindex)? {
            return Err(AttachError::Busy { ifindex, occupant: occupant(id) });
        }
        let xdp = self.xdp().and_then(|xdp| xdp.fd().ok());
        let program = xdp.ok_or_else(|| io::Error::other("the program isn't loaded"));
        match program.and_then(|program| Link::create(program.as_fd(), ifindex, mode)) {
            Ok(link) => {
                self.link = Some(link);
                Ok(())
            }
            Err(source) => Err(match source.raw_os_error() {
                // Somebody was faster, in our mode (EBUSY) or in the other (EEXIST).
                Some(libc::EBUSY | libc::EEXIST) => {
                    let id = match occupied(ifindex)? {
                        Attached::Yes { id } => id,
                        Attached::No => None,
                    };
                    AttachError::Busy { ifindex, occupant: occupant(id) }
                }
                Some(libc::EOPNOTSUPP) if mode == AttachMode::Native => AttachError::NoNative { ifindex },
                Some(libc::EPERM | libc::EACCES) => AttachError::Privilege,
                Some(libc::ENODEV) => AttachError::NoInterface { ifindex },
                _ => AttachError::Kernel { ifindex, source },
            }),
        }
    }

    /// Takes the place of the program that another process has attached to `ifindex` by `link`, which it gave to this
    /// one: the interface has one of the two at any moment, in the mode that the link was made with. From now on the link is
    /// ours too, and ends when both have closed it.
    ///
    /// # Errors
    ///
    /// [`AttachError::NotItsLink`] for any other descriptor, and whatever else [`AttachError`] says; the program that was there stays as long as
    /// the other process has the link.
    pub fn succeed(&mut self, link: OwnedFd, ifindex: u32) -> Result<(), AttachError> {
        if self.link.is_some() {
            return Err(AttachError::Attached);
        }
        // An interface of another namespace may have the same index; whose link it is, the giver has seen to.
        if interface_of(link.as_fd()).ok().flatten() != Some(ifindex) {
            return Err(AttachError::NotItsLink { ifindex });
        }
        let mut link = Link { fd: link, ours: false };
        let xdp = self.xdp().and_then(|xdp| xdp.fd().ok());
        let program = xdp.ok_or_else(|| io::Error::other("the program isn't loaded"));
        match program.and_then(|program| link.update(program.as_fd())) {
            Ok(()) => {
                link.ours = true;
                self.link = Some(link);
                Ok(())
            }
            Err(source) => Err(match source.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => AttachError::Privilege,
                Some(libc::ENOLINK | libc::ENODEV) => AttachError::NoInterface { ifindex },
                _ => AttachError::Kernel { ifindex, source },
            }),
        }
    }

    /// The link by which the program is attached, for the process that is to [`succeed`](Self::succeed) this one; none
    /// when it isn't attached.
    pub fn link(&self) -> Option<BorrowedFd<'_>> {
        self.link.as_ref().map(|link| link.fd.as_fd())
    }

    /// Leaves the link to the process that it was given to: dropped from now on, it is closed and nothing detached.
    pub fn leave(&mut self) {
        if let Some(link) = &mut self.link {
            link.ours = false;
        }
    }

    /// Takes the program off its interface; nothing happens when it is on none. Maps and counters stay.
    pub fn detach(&mut self) {
        self.link = None;
    }

    /// Whether the program was attached and not detached. An interface that was deleted takes its
    /// program along without telling.
    pub fn is_attached(&self) -> bool {
        self.link.is_some()
    }
}

fn occupied(ifindex: u32) -> Result<Attached, AttachError> {
    interface::attached(ifindex).map_err(|source| match source.raw_os_error() {
        Some(libc::ENODEV) => AttachError::NoInterface { ifindex },
        _ => AttachError::Kernel { ifindex, source },
    })
}

/// The XDP program that is on `ifindex` of the calling thread's network namespace, whoever put it there.
///
/// # Errors
///
/// ENODEV when there is no such interface; whatever else rtnetlink answers.
pub fn on_interface(ifindex: u32) -> io::Result<Option<Occupant>> {
    Ok(match interface::attached(ifindex)? {
        Attached::No => None,
        Attached::Yes { id } => Some(occupant(id)),
    })
}

/// The name needs a walk over all programs, which the kernel may refuse us.
fn occupant(id: Option<u32>) -> Occupant {
    let mut programs = loaded_programs().flatten();
    let program = programs.find(|program| Some(program.id()) == id);
    let name = program.and_then(|program| program.name_as_str().map(str::to_owned));
    Occupant { id, name: name.filter(|name| !name.is_empty()) }
}
