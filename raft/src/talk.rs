//! What a replica owes to others whatever its role, and the reads it has forwarded.
//!
//! Nearly always there is neither, and then it is one word and no heap block.
//!
//! - The *outbox* holds replies: votes, rejections, answers to old leaders. All but the answers to
//!   reads are of the present term, and all wait for it to be durable. A newer one of the same kind to the same peer replaces an
//!   older one, so the outbox is bounded by the membership.
//! - *Forwarded reads* go to the leader as one request at a time. Later reads wait for the answer
//!   and then go together. A request is named by a number drawn at random, since an answer may be
//!   on its way from a life of this replica that it does not remember.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::discriminant;

use crate::message::{Message, MessageKind, ReadId, ReadReady};
use crate::types::Index;

#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Talk(Option<Box<Inner>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct Inner {
    outbox: Vec<Message>,
    reads: ForwardedReads,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct ForwardedReads {
    /// The last read that is part of no request.
    open: Option<ReadId>,
    asked: Option<Asked>,
    /// Answered, and not yet told to the caller.
    ready: Option<ReadReady>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Asked {
    request: u64,
    /// The last read that waits for the answer.
    up_to: ReadId,
    /// The request is on its way.
    sent: bool,
}

impl Talk {
    pub(crate) fn post(&mut self, message: Message) {
        let outbox = &mut self.0.get_or_insert_default().outbox;
        let same = |other: &&mut Message| {
            other.to == message.to && discriminant(&other.kind) == discriminant(&message.kind)
        };
        match outbox.iter_mut().find(same) {
            Some(older) => *older = message,
            None => outbox.push(message),
        }
    }

    #[inline]
    pub(crate) fn owes(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| !inner.outbox.is_empty())
    }

    pub(crate) fn take(&mut self) -> Option<Message> {
        let outbox = &mut self.0.as_mut()?.outbox;
        let message = if outbox.is_empty() { None } else { Some(outbox.remove(0)) };
        self.trim();
        message
    }

    /// Withdraws the replies of a term that ends. Those to reads stay, since they stay true and
    /// whoever asked may hear of nothing else (hazard R3).
    pub(crate) fn clear(&mut self) {
        if let Some(inner) = &mut self.0 {
            let lasts = |m: &Message| {
                matches!(m.kind, MessageKind::ReadIndexReply { .. } | MessageKind::Resign)
            };
            inner.outbox.retain(lasts);
        }
        self.trim();
    }

    /// A read waits for the leader.
    pub(crate) fn add_read(&mut self, id: ReadId) {
        self.0.get_or_insert_default().reads.open = Some(id);
    }

    /// The request that may leave now. `draw` gives its number.
    #[inline]
    pub(crate) fn take_request(&mut self, draw: impl FnOnce() -> u64) -> Option<MessageKind> {
        let reads = &mut self.0.as_mut()?.reads;
        if reads.asked.is_none() {
            let up_to = reads.open.take()?;
            reads.asked = Some(Asked { request: draw(), up_to, sent: false });
        }
        let asked = reads.asked.as_mut().filter(|asked| !asked.sent)?;
        asked.sent = true;
        Some(MessageKind::ReadIndex { request: asked.request })
    }

    /// The request may have been lost with a connection, and goes out again. It names the same
    /// reads: whichever answer comes, it is of a round that began after they did.
    pub(crate) fn ask_again(&mut self) {
        if let Some(asked) = self.0.as_mut().and_then(|inner| inner.reads.asked.as_mut()) {
            asked.sent = false;
        }
    }

    /// The leader has answered.
    pub(crate) fn on_answer(&mut self, request: u64, index: Index) {
        let Some(inner) = &mut self.0 else { return };
        let Some(asked) = inner.reads.asked.filter(|asked| asked.request == request) else {
            return;
        };
        inner.reads.asked = None;
        let up_to = asked.up_to;
        inner.reads.ready = Some(if index == Index::ZERO {
            ReadReady::Lost { up_to }
        } else {
            ReadReady::Confirmed { up_to, index }
        });
    }

    /// What became of forwarded reads.
    #[inline]
    pub(crate) fn take_ready(&mut self) -> Option<ReadReady> {
        let ready = self.0.as_mut()?.reads.ready.take();
        self.trim();
        ready
    }

    /// Whether a read waits; there is nobody to answer it any more.
    pub(crate) fn lose_reads(&mut self) -> bool {
        let Some(inner) = &mut self.0 else { return false };
        let reads = core::mem::take(&mut inner.reads);
        let waiting = reads != ForwardedReads::default();
        self.trim();
        waiting
    }

    /// Whether anybody waits for anything here.
    pub(crate) const fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    /// Gives the heap block back when nothing is in it.
    fn trim(&mut self) {
        let idle =
            |inner: &Inner| inner.outbox.is_empty() && inner.reads == ForwardedReads::default();
        if self.0.as_deref().is_some_and(idle) {
            self.0 = None;
        }
    }
}
