//! What the loader changes while the program runs: one value, written by whoever has something to change.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aya::maps::{Array, MapData};

use super::MapError;
use crate::{Switches, map};

/// The switches, shared by the parts of the loader.
#[derive(Clone)]
pub(super) struct Switchboard(Arc<Mutex<(Array<MapData, Switches>, Switches)>>);

impl fmt::Debug for Switchboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Switchboard")
    }
}

impl Switchboard {
    pub(super) fn new(map: Array<MapData, Switches>) -> Self {
        Self(Arc::new(Mutex::new((map, Switches::default()))))
    }

    /// Lets `change` at the switches, and writes them.
    pub(super) fn change(&self, change: impl FnOnce(&mut Switches)) -> Result<(), MapError> {
        // A panic of another holder leaves at worst a value that isn't written yet.
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (map, switches) = &mut *held;
        change(switches);
        map.set(0, *switches, 0).map_err(|error| MapError::kernel(map::SWITCHES, error))
    }
}
