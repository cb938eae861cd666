//! The messages that are made of what is kept, each written into the frame that it leaves in.

use core::net::SocketAddr;

use strowger_sip::{Buffer, EditError, EditPlan, Message, Reply, limit};

use super::Core;
use crate::branch::Slot;
use crate::counters::{Counters, Event};
use crate::engine::Flow;
use crate::fork::targets::{self, Retarget};
use crate::keys::Keys;
use crate::outbox::{Item, Kind};
use crate::refusal::reply_event;
use crate::request::own_tag;
use crate::site::Site;

/// What became of a descriptor.
enum Written {
    /// The message is in the buffer, leaves from the listen address with this index, and is counted so.
    Sent(u8, SocketAddr, Event),
    /// What it was for is over.
    Stale,
    /// The buffer is too small.
    NoRoom,
}

impl Core {
    /// The next message that waits, written into `buffer`. See [`Engine::transmit`](crate::Engine::transmit).
    pub(crate) fn transmit(
        &mut self,
        site: &Site,
        keys: &Keys,
        buffer: &mut Buffer<'_>,
        counters: &mut Counters,
    ) -> Option<Flow> {
        while let Some(item) = self.outbox.first() {
            match self.write(item, (site, keys), buffer) {
                Written::Sent(local, remote, event) => {
                    self.outbox.pop();
                    counters.count(event);
                    if let Some(listen) = site.listen(local) {
                        return Some(Flow { local: listen.address, remote });
                    }
                }
                Written::Stale => self.outbox.pop(),
                Written::NoRoom if buffer.capacity() < limit::MESSAGE => {
                    buffer.place(0);
                    return None;
                }
                Written::NoRoom => {
                    self.outbox.pop();
                    counters.count(Event::DropNoRoom);
                }
            }
            buffer.place(0);
        }
        None
    }

    fn write(&mut self, item: Item, own: (&Site, &Keys), buffer: &mut Buffer<'_>) -> Written {
        match item.kind {
            Kind::Response => self.write_response(item, own.1, buffer),
            Kind::Request | Kind::Cancel | Kind::Ack => self.write_request(item, own, buffer),
        }
    }

    fn write_response(&mut self, item: Item, keys: &Keys, buffer: &mut Buffer<'_>) -> Written {
        let Self { transactions, arena, plan, index, .. } = self;
        if !transactions.is(item.slot, item.generation) {
            return Written::Stale;
        }
        let Some(transaction) = transactions.get_mut(item.slot) else { return Written::Stale };
        let kept = if transaction.local { &transaction.request } else { &transaction.last };
        let Some(kept) = kept else { return Written::Stale };
        let Some(place) = buffer.place(kept.len()) else { return Written::NoRoom };
        if arena.read(kept, place).is_none() {
            return Written::Stale;
        }
        let event = if transaction.code != 0 { Event::ResponseRepeated } else { Event::Reply100 };
        if !transaction.local {
            return Written::Sent(transaction.listen, transaction.reply_to, event);
        }
        // Section 8.2.6; a request that we sent could be read.
        let code = transaction.code;
        let written = edit(buffer, index, plan, |message, plan| {
            let tag = own_tag(message, keys).filter(|_| code != 100);
            let to_tag = tag.as_ref().map(|tag| &tag[..]);
            plan.reply(message, &Reply { code, to_tag, skip_vias: 1, ..Reply::default() })
        });
        match written {
            Ok(()) => Written::Sent(transaction.listen, transaction.reply_to, reply_event(code)),
            Err(EditError::NoRoom { .. }) => Written::NoRoom,
            Err(_) => Written::Stale,
        }
    }

    fn write_request(
        &mut self,
        item: Item,
        (site, keys): (&Site, &Keys),
        buffer: &mut Buffer<'_>,
    ) -> Written {
        let Self { transactions, branches, arena, plan, index, scratch, worker, .. } = self;
        if !branches.is(item.slot, item.generation) {
            return Written::Stale;
        }
        let Some(branch) = branches.get_mut(item.slot) else { return Written::Stale };
        let Some(context) = transactions.get(branch.transaction) else { return Written::Stale };
        let Some(request) = &context.request else { return Written::Stale };
        let Some(place) = buffer.place(request.len()) else { return Written::NoRoom };
        if arena.read(request, place).is_none() {
            return Written::Stale;
        }
        if let Some(target) = &branch.target {
            let Some((uri, path)) = arena.read(target, scratch).and_then(targets::read) else {
                return Written::Stale;
            };
            let retarget = Retarget {
                site,
                keys,
                uri,
                path,
                slot: Slot { worker: *worker, slot: item.slot, generation: item.generation },
                bound_to: context.reply_to,
                local: branch.local,
                first_local: context.first_local,
                listen: context.listen,
                recorded: context.recorded,
                first_path: context.first_path,
                breadth: branch.breadth,
            };
            match edit(buffer, index, plan, |first, plan| retarget.plan(first, plan)) {
                Ok(()) => {}
                Err(EditError::NoRoom { .. }) => return Written::NoRoom,
                Err(_) => return Written::Stale,
            }
        }
        let (written, event) = match item.kind {
            Kind::Cancel => {
                (edit(buffer, index, plan, |invite, plan| plan.cancel(invite)), Event::CancelSent)
            }
            Kind::Ack => {
                let to = branch.to.as_ref().and_then(|to| arena.read(to, scratch));
                let Some(to) = to else { return Written::Stale };
                (edit(buffer, index, plan, |invite, plan| plan.ack(invite, to)), Event::AckSent)
            }
            Kind::Request | Kind::Response if branch.is_sent() => (Ok(()), Event::RequestRepeated),
            Kind::Request | Kind::Response => (Ok(()), Event::RequestForwarded),
        };
        match written {
            Ok(()) => Written::Sent(branch.local, branch.remote, event),
            Err(EditError::NoRoom { .. }) => Written::NoRoom,
            Err(_) => Written::Stale,
        }
    }
}

/// Carries out, on the message in the buffer, the plan that `make` makes for it.
fn edit(
    buffer: &mut Buffer<'_>,
    index: &mut strowger_sip::Index,
    plan: &mut EditPlan,
    make: impl FnOnce(&Message<'_>, &mut EditPlan) -> Result<(), EditError>,
) -> Result<(), EditError> {
    // What is kept was read when it came; that it cannot be read now would be a bug, and is treated as if it were gone.
    let message = Message::parse(buffer.message(), index).map_err(|_| EditError::OtherMessage)?;
    make(&message, plan)?;
    plan.apply(buffer)
}
