//! The table of listeners: kept here, and written set by set into the program's map.

use std::net::SocketAddr;

use aya::maps::{Array, MapData};

use super::MapError;
use super::switchboard::Switchboard;
use crate::{LISTENERS_OF_A_SET, ListenerKey, ListenerSet, MAX_LISTENERS, map};

/// Who listens, in the program's map and in the order of asking.
pub(super) struct Listeners {
    map: Array<MapData, ListenerSet>,
    all: Vec<SocketAddr>,
}

impl Listeners {
    pub(super) fn new(map: Array<MapData, ListenerSet>) -> Self {
        Self { map, all: Vec::new() }
    }

    pub(super) fn add(&mut self, listener: SocketAddr, switches: &Switchboard) -> Result<(), MapError> {
        if self.all.contains(&listener) {
            return Ok(());
        }
        if self.all.len() >= MAX_LISTENERS as usize {
            return Err(MapError::TooManyListeners { limit: MAX_LISTENERS });
        }
        self.all.push(listener);
        let written = self.write(listener);
        if written.is_err() {
            self.all.pop();
            // What the first of its two sets got, it loses again; there was room for the rest before.
            self.write(listener)?;
        }
        // The port last: until it is there, nobody looks for the rest.
        written.and_then(|()| self.write_ports(switches))
    }

    pub(super) fn remove(&mut self, listener: SocketAddr, switches: &Switchboard) -> Result<(), MapError> {
        let before = self.all.len();
        self.all.retain(|other| *other != listener);
        if self.all.len() == before {
            return Ok(());
        }
        self.write_ports(switches)?;
        self.write(listener)
    }

    /// Writes the sets of `listener` and of its address.
    fn write(&mut self, listener: SocketAddr) -> Result<(), MapError> {
        let key = ListenerKey::from(listener);
        self.write_set(key.set())?;
        self.write_set(key.of_address().set())
    }

    /// Writes what belongs into `set`, once: listeners may share an address, and two addresses that differ in an IPv6
    /// scope alone are one key.
    fn write_set(&mut self, set: u32) -> Result<(), MapError> {
        let mut keys = [ListenerKey::NONE; LISTENERS_OF_A_SET];
        let mut used = 0;
        let all = self.all.iter().map(|other| ListenerKey::from(*other));
        for key in all.flat_map(|key| [key, key.of_address()]).filter(|key| key.set() == set) {
            let (taken, free) = keys.split_at_mut(used);
            if !taken.contains(&key) {
                *free.first_mut().ok_or(MapError::ListenersCollide { limit: LISTENERS_OF_A_SET })? = key;
                used += 1;
            }
        }
        self.map.set(set, keys, 0).map_err(|error| MapError::kernel(map::LISTENERS, error))
    }

    fn write_ports(&self, switches: &Switchboard) -> Result<(), MapError> {
        let ports = self.all.iter().fold(0, |bits, other| bits | ListenerKey::port_bit(other.port()));
        switches.change(|switches| switches.ports = ports)
    }
}
