//! The beat: what a node tells another one by itself, for all groups that the two have in common.
//!
//! A beat says that its sender lives and since which start, and asks for the receiver's support. The
//! promise of support for the receiver rides on it, so a pair of nodes costs one small message per
//! direction and interval, however many groups there are. What is promised, for how long, and what
//! may be concluded from it is decided elsewhere (`support` in the package `kontiki`).
//!
//! What always holds: a beat has the size of a message header, and kind, flags and checksum lie
//! where a message header has them, so the two share frames. Times are those of one node's clock:
//! whoever gets them hands them back, and never compares them with its own.
//!
//! Deliberately absent: any judgement of what a beat says, but for what no node can mean.

use kontiki_raft::Time;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use crate::DecodeError;
use crate::wire::{BeatMessage, MessageCode, NUMBER_MAX, checksum};

const PROMISES: u8 = 1;

/// What a node tells another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Beat {
    /// The sender's boot epoch: higher after every start, never zero.
    pub epoch: u64,
    /// Counts the sender's beats to this receiver in this epoch.
    pub sequence: u64,
    /// When the beat left, on the sender's clock.
    pub sent_at: Time,
    /// What the sender promises to the receiver, if anything.
    pub promise: Option<Promise>,
}

/// The sender of the beat supports its receiver: a promise, good for a while after `answers` came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Promise {
    /// The receiver's boot epoch, which alone is supported; never zero.
    pub epoch: u64,
    /// How often the sender has let the receiver's support lapse since the sender's own start. With
    /// the sender's epoch it names one unbroken promise.
    pub lapses: u64,
    /// `sent_at` of the newest of the receiver's beats: on the receiver's clock.
    pub answers: Time,
    /// For how long the promise holds from the receipt of that beat, on the sender's clock; not zero.
    pub for_us: u32,
    /// How long ago that was when this beat left, on the sender's clock. Only good for figures.
    pub held_us: u32,
}

/// Appends `beat` to `buf`.
#[inline]
pub fn encode_beat(buf: &mut Vec<u8>, beat: &Beat) {
    let said = beat.promise.as_ref();
    let number = |of: fn(&Promise) -> u64| U64::new(said.map_or(0, of));
    let span = |of: fn(&Promise) -> u32| U32::new(said.map_or(0, of));
    let mut message = BeatMessage {
        epoch: U64::new(beat.epoch),
        sequence: U64::new(beat.sequence),
        sent_at: U64::new(beat.sent_at.0),
        promised_epoch: number(|promise| promise.epoch),
        lapses: number(|promise| promise.lapses),
        answers: number(|promise| promise.answers.0),
        for_us: span(|promise| promise.for_us),
        held_us: span(|promise| promise.held_us),
        reserved: [U64::ZERO; 4],
        kind: MessageCode::Beat.code(),
        flags: if said.is_some() { PROMISES } else { 0 },
        reserved2: U16::ZERO,
        crc32c: U32::ZERO,
    };
    message.crc32c = checksum(&message);
    buf.extend_from_slice(message.as_bytes());
}

/// Reads a beat whose checksum and kind were checked.
pub(crate) fn decode_beat(message: &BeatMessage) -> Result<Beat, DecodeError> {
    if message.flags > PROMISES
        || message.reserved2 != U16::ZERO
        || message.reserved.iter().any(|word| *word != U64::ZERO)
    {
        return Err(DecodeError::Reserved);
    }
    let numbers = [
        message.epoch,
        message.sequence,
        message.sent_at,
        message.promised_epoch,
        message.lapses,
        message.answers,
    ]
    .map(U64::get);
    if let Some(&number) = numbers.iter().find(|&&number| number > NUMBER_MAX) {
        return Err(DecodeError::Number(number));
    }
    let [epoch, sequence, sent_at, promised_epoch, lapses, answers] = numbers;
    let (for_us, held_us) = (message.for_us.get(), message.held_us.get());
    let promise = if message.flags == PROMISES {
        if promised_epoch == 0 {
            return Err(DecodeError::ZeroEpoch);
        }
        if for_us == 0 {
            return Err(DecodeError::EmptyPromise);
        }
        let answers = Time(answers);
        Some(Promise { epoch: promised_epoch, lapses, answers, for_us, held_us })
    } else if (promised_epoch, lapses, answers, for_us, held_us) == (0, 0, 0, 0, 0) {
        None
    } else {
        return Err(DecodeError::Reserved);
    };
    if epoch == 0 {
        return Err(DecodeError::ZeroEpoch);
    }
    Ok(Beat { epoch, sequence, sent_at: Time(sent_at), promise })
}

#[cfg(test)]
mod tests;
