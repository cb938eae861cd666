//! A data plane in the place of another process's: see [`handover`].

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use strowger_engine::Time;
use strowger_xdp::{AttachMode, KnownSources};
use strowger_xsk::KernelSocket;

use super::crew::{Crew, Fitting};
use super::layout::Layout;
use super::watch::Succession;
use super::{Plane, kernel_socket, nic};
use crate::config::{Config, Mode};
use crate::fault::Fault;
use crate::handover::taker::{Heirloom, Predecessor, Silence};
use crate::handover::{self, Offer};
use crate::orders::Orders;
use crate::policing::Police;
use crate::users::UserTable;
use crate::worker::monotonic;

/// What was taken over.
#[derive(Debug)]
pub(crate) struct Taken {
    /// From whom.
    pub offer: Offer,
    /// Whether that one's process ended before all was given.
    pub died: bool,
    /// Its status socket.
    pub desk: Option<OwnedFd>,
    /// Users and bindings there are now.
    pub users: usize,
    pub bindings: usize,
    /// Users that found no place here.
    pub refused: usize,
    /// Bans that hold here too.
    pub bans: usize,
    /// Kernel sockets.
    pub sockets: usize,
    /// How long nobody served. None when it isn't known.
    pub gap: Option<Duration>,
    /// Octets of memory of what waited in the kernel sockets at the end of that.
    pub waiting: u64,
    /// Datagrams that found no room there, and messages left in the other's rings: lost, as far as it is known.
    pub lost: u64,
}

/// Those that have come, and where they go.
struct Users<'c> {
    crew: &'c mut Crew,
    lineage: strowger_engine::Lineage,
    known: Option<KnownSources>,
    /// Whose turn it is.
    next: usize,
    refused: usize,
}

impl Users<'_> {
    fn take(&mut self, block: &[u8]) {
        let now = monotonic();
        let mut seen = |address, until: Time| {
            if let Some(known) = &self.known {
                known.publish(address, now.as_nanos(), until.as_nanos());
            }
        };
        self.next = (self.next + 1) % self.crew.engines.len().max(1);
        let Some(engine) = self.crew.engines.get_mut(self.next) else { return };
        match engine.inherit(now, block, &self.lineage, &mut seen) {
            Ok(_) => {}
            Err(why) => {
                if self.refused == 0 {
                    tracing::warn!(%why, "a user is not taken over; further ones are counted");
                }
                self.refused += 1;
            }
        }
    }
}

impl Plane {
    /// Takes the place of the node whose status socket `path` is. Call through [`crate::netns::inside`]. On an error that node serves
    /// on, unless it ends by itself.
    pub(crate) fn replace(
        config: &Config,
        users: &Arc<UserTable>,
        path: &Path,
    ) -> Result<(Plane, Taken), Fault> {
        let refused = |why: String| Fault::Replace { path: path.into(), why };
        let mut predecessor = Predecessor::greet(path, config)?;
        let mut crew = Crew::muster(config, users, Layout::of(config)?)?;
        predecessor.same_secret(&handover::seal(&crew.location), path.into(), config)?;
        let mut program = match &crew.layout.nic {
            Some(_) => Some(nic::load(config, crew.layout.workers(), (crew.steering, &crew.pings), None)?),
            None => None,
        };
        // Who is registered has shown who he is, where everybody is asked.
        let known = match (&program, config.auth.required) {
            (Some(program), true) => program.known_sources(),
            _ => None,
        };
        let police = match &mut program {
            Some(program) => Police::start(config, program, crew.layout.count)?,
            None => None,
        };

        let offer = predecessor.offer.clone();
        let lineage = crew.engines.first().map(|engine| engine.lineage(&offer.listen, &offer.domains));
        let Some(lineage) = lineage else { return Err(refused("there is no worker".to_owned())) };
        let (mut users, mut heirloom) =
            (Users { crew: &mut crew, lineage, known, next: 0, refused: 0 }, Heirloom::default());
        let came = predecessor
            .copy(|block| users.take(block))
            .and_then(|()| predecessor.take(&mut heirloom, |block| users.take(block)));
        let kept = |why| refused(format!("the node that runs serves on: {why}"));
        let mut died = match came {
            Ok(()) => false,
            Err(Silence::Dead) => true,
            Err(Silence::Kept(why)) => return Err(kept(why)),
        };
        let not_taken = users.refused;

        let bans = police.as_ref().map_or(0, |(police, _)| police.inherit(&heirloom.bans));
        let sockets = heirloom.sockets.len();
        let (kernel, descriptors) = deal(config, crew.layout.count, heirloom.sockets)?;
        let succession = Succession {
            link: heirloom.link.filter(|_| config.dataplane.mode != Mode::Off).map(|link| {
                let generic = offer.mode == "generic";
                (link, if generic { AttachMode::Generic } else { AttachMode::Native })
            }),
        };
        let fitting = match &crew.layout.nic {
            None => Fitting::none(),
            Some(nic) => Fitting {
                facts: nic.facts("is being taken over; the kernel's sockets serve until then"),
                program,
                shares: Vec::new(),
                police,
                succession: Some(succession),
            },
        };
        let orders = Arc::new(Orders::default());
        orders.stand_still();
        let plane = crew.start(config, kernel, fitting, orders)?;
        if !died {
            match predecessor.ready() {
                Ok(()) => {}
                Err(Silence::Dead) => died = true,
                Err(Silence::Kept(why)) => return Err(kept(why)),
            }
        }
        let waiting = descriptors.iter().filter_map(|socket| strowger_xsk::waiting(socket).ok()).sum();
        plane.orders().go_on();
        let account = heirloom.account.as_ref();
        let gap = account.map(|account| monotonic().since(Time::from_nanos(account.since_ns)));
        let dropped: u64 = descriptors.iter().filter_map(|socket| strowger_xsk::drops(socket).ok()).sum();
        let lost = account.map_or(0, |a| dropped.saturating_sub(a.dropped) + a.left as u64);
        let taken = Taken {
            offer,
            died,
            desk: heirloom.desk,
            users: plane.location.registered(),
            bindings: plane.location.bindings(),
            refused: not_taken,
            bans,
            sockets,
            gap,
            waiting,
            lost,
        };
        Ok((plane, taken))
    }
}

/// Gives the sockets to `workers`, so that each has one of each listen address at least: with more workers than before some are bound
/// anew, with fewer some have several. Also each descriptor once more.
fn deal(
    config: &Config,
    workers: usize,
    given: Vec<(SocketAddr, OwnedFd)>,
) -> Result<(Vec<Vec<KernelSocket>>, Vec<OwnedFd>), Fault> {
    let useless = |error| Fault::Other(format!("a socket that was given: {error}"));
    let mut dealt: Vec<Vec<KernelSocket>> = (0..workers).map(|_| Vec::new()).collect();
    for address in &config.sip.listen {
        let mut sockets = VecDeque::new();
        for (_, socket) in given.iter().filter(|(of, _)| of == address) {
            sockets.push_back(socket.try_clone().map_err(useless)?);
        }
        // Round by round, and the first round goes to everybody.
        let mut first = true;
        while first || !sockets.is_empty() {
            for worker in &mut dealt {
                let socket = match sockets.pop_front() {
                    Some(socket) => KernelSocket::over(socket).map_err(useless)?,
                    None if first => kernel_socket(*address)?,
                    None => break,
                };
                worker.push(socket);
            }
            first = false;
        }
    }
    Ok((dealt, given.into_iter().map(|(_, socket)| socket).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn every_worker_has_every_address_whatever_was_given() {
        let bind = |address: &str| {
            KernelSocket::bind(address.parse().expect("an address"), true, 4096).expect("binds")
        };
        let addresses = [bind("127.0.0.1:0").local(), bind("[::1]:0").local()];
        let text = format!(
            "dataplane: {{ mode: off }}\nsip: {{ listen: [\"{}\", \"{}\"] }}\n",
            addresses[0], addresses[1]
        );
        let config = Config::parse(&text, Path::new("test.yaml")).expect("valid");
        for (before, now) in [(2, 2), (3, 1), (5, 2), (1, 3), (0, 2)] {
            let mut given = Vec::new();
            for _ in 0..before {
                for address in addresses {
                    let socket = bind(&address.to_string());
                    given.push((address, socket.as_fd().try_clone_to_owned().expect("a descriptor")));
                }
            }
            let (dealt, descriptors) = deal(&config, now, given).expect("dealt");
            assert_eq!((dealt.len(), descriptors.len()), (now, before * 2));
            for address in addresses {
                let count =
                    |sockets: &Vec<KernelSocket>| sockets.iter().filter(|s| s.local() == address).count();
                let counts: Vec<usize> = dealt.iter().map(count).collect();
                assert!(counts.iter().all(|count| *count > 0), "{before} to {now}: {counts:?}");
                assert_eq!(counts.iter().sum::<usize>(), before.max(now), "{before} to {now}: {counts:?}");
            }
        }
    }
}
