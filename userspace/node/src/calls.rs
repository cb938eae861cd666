//! The calls that go through the node, for operators: `strowger calls` lists them, `strowger kill` ends one.
//!
//! A worker's dialogs are its engine's, which nobody else may touch. So the control side leaves an errand, the worker
//! does it in its loop, a bounded piece each turn, and answers by the channel that came with it. A worker looks for
//! errands with one relaxed load, and never waits for whoever sent them.

pub(crate) mod client;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strowger_engine::{DialogFilter, DialogId, DialogState, DialogView, Engine, KillError, Time};
use tokio::sync::oneshot;

/// Errands that wait for one worker at most; there is one operator, or a few.
const WAITING: usize = 16;
/// Dialogs that one errand brings at most.
const PIECE: usize = 256;
/// Calls that are listed at most, whatever is asked.
pub(crate) const MOST: usize = 10_000;
/// How long a worker may take for one errand. It looks at least every 20 ms.
const PATIENCE: Duration = Duration::from_millis(250);

/// What is wanted of a worker.
#[derive(Debug)]
enum Errand {
    /// Some of its dialogs, from a place on.
    List(DialogFilter, u32, usize, oneshot::Sender<Piece>),
    /// The end of one.
    Kill(DialogId, oneshot::Sender<Result<(), KillError>>),
}

/// Some dialogs, the place to go on at, and the worker's time.
type Piece = (Vec<DialogView>, Option<u32>, Time);

/// One worker's errands.
#[derive(Debug, Default)]
pub(crate) struct Errands {
    any: AtomicBool,
    waiting: Mutex<VecDeque<Errand>>,
}

impl Errands {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Errand>> {
        // The queue is whole between any two of its calls.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the worker: does one errand, if there is any. True when it may have left something to be sent.
    pub(crate) fn serve(&self, engine: &mut Engine, now: Time) -> bool {
        if !self.any.load(Ordering::Relaxed) {
            return false;
        }
        let errand = {
            // Somebody is leaving one just now: the next turn will do.
            let Ok(mut waiting) = self.waiting.try_lock() else { return false };
            let errand = waiting.pop_front();
            self.any.store(!waiting.is_empty(), Ordering::Relaxed);
            errand
        };
        // Who does not wait any more is not told.
        match errand {
            None => false,
            Some(Errand::List(filter, from, most, reply)) => {
                let (views, next) = engine.dialogs(&filter, from, most);
                let _ = reply.send((views, next, now));
                false
            }
            Some(Errand::Kill(id, reply)) => {
                let _ = reply.send(engine.kill(now, id));
                true
            }
        }
    }

    /// For the control side: leaves an errand and waits for its answer; `None` when the worker does not answer.
    async fn ask<T>(&self, errand: impl FnOnce(oneshot::Sender<T>) -> Errand) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if waiting.len() >= WAITING {
                return None;
            }
            waiting.push_back(errand(reply));
            self.any.store(true, Ordering::Relaxed);
        }
        tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()
    }

    /// Hands each dialog that fits to `each` until it says no; false when the worker does not answer.
    async fn walk(&self, filter: &DialogFilter, mut each: impl FnMut(DialogView, Time) -> bool) -> bool {
        let mut from = 0;
        loop {
            let errand = |reply| Errand::List(filter.clone(), from, PIECE, reply);
            let Some((views, next, now)) = self.ask(errand).await else { return false };
            for view in views {
                if !each(view, now) {
                    return true;
                }
            }
            match next {
                Some(next) => from = next,
                None => return true,
            }
        }
    }
}

/// One end of a [`Call`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    /// URI of From or To.
    pub uri: String,
    /// Where its messages come from; none before one came.
    pub address: Option<String>,
}

/// A dialog as it is shown. A forked call is several, with one Call-ID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Call {
    /// Call-ID: what `strowger kill` wants.
    pub call_id: String,
    /// `trying`, `ringing`, `up`, or `ending`.
    pub state: String,
    /// Who called.
    pub caller: End,
    /// Who was called.
    pub callee: End,
    /// Seconds since the INVITE.
    pub age_s: u64,
    /// Seconds since the answer; none without one.
    pub up_s: Option<u64>,
    /// The gateway group it went to.
    pub gateway: Option<String>,
    /// The worker that knows it.
    pub worker: usize,
}

/// The answer to `strowger calls`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listing {
    /// In no order.
    pub calls: Vec<Call>,
    /// There are more than were asked for.
    pub more: bool,
    /// Workers that do not answer.
    pub silent: Vec<usize>,
}

/// The answer to `strowger kill`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Killed {
    /// Dialogs of this Call-ID that are being ended.
    pub killed: usize,
    /// Why others are not.
    pub refused: Vec<String>,
    /// Workers that do not answer.
    pub silent: Vec<usize>,
}

/// Lists calls of all workers whose caller or callee contains `uri`, at most `most`.
pub(crate) async fn list(
    workers: &[(usize, std::sync::Arc<Errands>)],
    gateways: &[String],
    uri: Option<&str>,
    most: usize,
) -> Listing {
    let filter = DialogFilter { uri: uri.map(|uri| uri.as_bytes().to_vec()), ..DialogFilter::default() };
    let most = most.min(MOST);
    let mut listing = Listing::default();
    for (worker, errands) in workers {
        let Listing { calls, more, silent } = &mut listing;
        let answered = errands
            .walk(&filter, |view, now| {
                *more |= calls.len() >= most;
                if !*more {
                    calls.push(shown(&view, now, *worker, gateways));
                }
                !*more
            })
            .await;
        if !answered {
            silent.push(*worker);
        }
    }
    listing
}

/// Ends every dialog with this Call-ID: a BYE to each end.
pub(crate) async fn kill(workers: &[(usize, std::sync::Arc<Errands>)], call_id: &str) -> Killed {
    let filter = DialogFilter { call_id: Some(call_id.as_bytes().to_vec()), ..DialogFilter::default() };
    let mut done = Killed::default();
    for (worker, errands) in workers {
        let mut ids = Vec::new();
        let mut answered = errands
            .walk(&filter, |view, _| {
                ids.push(view.id);
                true
            })
            .await;
        for id in ids {
            match errands.ask(|reply| Errand::Kill(id, reply)).await {
                Some(Ok(())) => done.killed += 1,
                Some(Err(error)) => done.refused.push(error.to_string()),
                None => answered = false,
            }
        }
        if !answered {
            done.silent.push(*worker);
        }
    }
    done
}

fn shown(view: &DialogView, now: Time, worker: usize, gateways: &[String]) -> Call {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let end = |end: &strowger_engine::DialogEnd| End {
        uri: text(&end.uri),
        address: end.remote.map(|remote| remote.to_string()),
    };
    let state = match view.state {
        DialogState::Trying => "trying",
        DialogState::Early => "ringing",
        DialogState::Confirmed => "up",
        DialogState::Ending => "ending",
    };
    Call {
        call_id: text(&view.call_id),
        state: state.to_owned(),
        caller: end(&view.caller),
        callee: end(&view.callee),
        age_s: now.since(view.begun).as_secs(),
        up_s: view.answered.map(|at| now.since(at).as_secs()),
        gateway: view.gateway.and_then(|group| gateways.get(usize::from(group)).cloned()),
        worker,
    }
}

#[cfg(test)]
mod tests;
