//! The bytes of a command: one or several puts and deletes that are applied together.
//!
//! A command is the payload of one log entry. Each operation is an 8-byte header and its bytes:
//! ```text
//! op u8 | flags u8 (zero) | key_len u16 | value_len u32 | key | value
//! ```
//! Invariant: [`Command::parse`] checks a command as a whole, so that its operations can be walked without
//! errors and a malformed command changes nothing. The limits are part of what replicas must agree on: a
//! version that changes them needs a new operation code.
//!
//! Deliberately absent: the range check (the store routes, the machine applies what was committed) and
//! conditions (compare-and-set comes as an operation of its own).

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The longest key.
pub const KEY_BYTES_MAX: usize = 4 << 10;
/// The longest value.
pub const VALUE_BYTES_MAX: usize = 4 << 20;
/// The longest command: what fits one log entry.
pub const COMMAND_BYTES_MAX: usize = kontiki_net::ENTRY_BYTES_MAX;

const OP_PUT: u8 = 1;
const OP_DELETE: u8 = 2;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct OpHeader {
    op: u8,
    flags: u8,
    key_len: U16,
    value_len: U32,
}

/// Size of an operation's header.
pub const OP_HEADER_BYTES: usize = size_of::<OpHeader>();

const _: () = assert!(OP_HEADER_BYTES == 8);
const _: () = assert!(OP_HEADER_BYTES + KEY_BYTES_MAX + VALUE_BYTES_MAX <= COMMAND_BYTES_MAX);
const _: () = assert!(KEY_BYTES_MAX <= u16::MAX as usize);

/// One operation of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// Sets the value of a key.
    Put {
        /// The key.
        key: &'a [u8],
        /// The value.
        value: &'a [u8],
    },
    /// Removes a key; nothing when it does not exist.
    Delete {
        /// The key.
        key: &'a [u8],
    },
}

impl<'a> Op<'a> {
    /// The key it changes.
    #[must_use]
    pub const fn key(&self) -> &'a [u8] {
        match *self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    /// The bytes it takes in a command.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        match *self {
            Self::Put { key, value } => OP_HEADER_BYTES + key.len() + value.len(),
            Self::Delete { key } => OP_HEADER_BYTES + key.len(),
        }
    }
}

/// Why bytes are not a command, or operations do not make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// It holds no operation.
    Empty,
    /// It ends inside the operation that starts at byte `at`.
    Truncated {
        /// Where the operation starts.
        at: usize,
        /// The bytes it needs.
        needed: usize,
        /// The bytes there are.
        left: usize,
    },
    /// No operation has this code.
    UnknownOp {
        /// Where the operation starts.
        at: usize,
        /// Its code.
        op: u8,
    },
    /// Flags that this version does not know.
    UnknownFlags {
        /// Where the operation starts.
        at: usize,
        /// The flags.
        flags: u8,
    },
    /// A delete that carries a value.
    DeleteWithValue {
        /// Where the operation starts.
        at: usize,
    },
    /// A key past [`KEY_BYTES_MAX`].
    KeyTooLong {
        /// Its length.
        len: usize,
    },
    /// A value past [`VALUE_BYTES_MAX`].
    ValueTooLong {
        /// Its length.
        len: usize,
    },
    /// A command past [`COMMAND_BYTES_MAX`].
    TooLong {
        /// Its length.
        len: usize,
    },
}

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Empty => f.write_str("a command without operations"),
            Self::Truncated { at, needed, left } => {
                write!(f, "the operation at byte {at} needs {needed} bytes and has {left}")
            }
            Self::UnknownOp { at, op } => write!(f, "unknown operation {op} at byte {at}"),
            Self::UnknownFlags { at, flags } => {
                write!(f, "unknown flags {flags:#04x} at byte {at}")
            }
            Self::DeleteWithValue { at } => write!(f, "a delete with a value at byte {at}"),
            Self::KeyTooLong { len } => {
                write!(f, "a key of {len} bytes; at most {KEY_BYTES_MAX} are possible")
            }
            Self::ValueTooLong { len } => {
                write!(f, "a value of {len} bytes; at most {VALUE_BYTES_MAX} are possible")
            }
            Self::TooLong { len } => {
                write!(f, "a command of {len} bytes; at most {COMMAND_BYTES_MAX} are possible")
            }
        }
    }
}

impl std::error::Error for CommandError {}

/// Appends the command that sets `key` to `value`.
///
/// # Errors
/// When key or value is too long; `buf` is then as it was.
#[inline]
pub fn encode_put(buf: &mut Vec<u8>, key: &[u8], value: &[u8]) -> Result<(), CommandError> {
    append(buf, Op::Put { key, value })
}

/// Appends the command that removes `key`.
///
/// # Errors
/// When the key is too long; `buf` is then as it was.
#[inline]
pub fn encode_delete(buf: &mut Vec<u8>, key: &[u8]) -> Result<(), CommandError> {
    append(buf, Op::Delete { key })
}

/// Appends one command of all `ops`, which will be applied together and in this order.
///
/// # Errors
/// When there is no operation, one is too long, or all together are; `buf` is then as it was.
pub fn encode_batch<'a>(
    buf: &mut Vec<u8>,
    ops: impl IntoIterator<Item = Op<'a>>,
) -> Result<(), CommandError> {
    let start = buf.len();
    let mut result = Ok(());
    for op in ops {
        result = append(buf, op);
        let len = buf.len() - start;
        if result.is_ok() && len > COMMAND_BYTES_MAX {
            result = Err(CommandError::TooLong { len });
        }
        if result.is_err() {
            break;
        }
    }
    if result.is_ok() && buf.len() == start {
        result = Err(CommandError::Empty);
    }
    if result.is_err() {
        buf.truncate(start);
    }
    result
}

/// Checks a key and a value against their limits.
///
/// # Errors
/// [`CommandError::KeyTooLong`] or [`CommandError::ValueTooLong`].
#[inline]
pub const fn check_limits(key: &[u8], value: &[u8]) -> Result<(), CommandError> {
    if key.len() > KEY_BYTES_MAX {
        return Err(CommandError::KeyTooLong { len: key.len() });
    }
    if value.len() > VALUE_BYTES_MAX {
        return Err(CommandError::ValueTooLong { len: value.len() });
    }
    Ok(())
}

#[inline]
fn append(buf: &mut Vec<u8>, op: Op<'_>) -> Result<(), CommandError> {
    let (code, key, value): (u8, &[u8], &[u8]) = match op {
        Op::Put { key, value } => (OP_PUT, key, value),
        Op::Delete { key } => (OP_DELETE, key, &[]),
    };
    check_limits(key, value)?;
    let header = OpHeader {
        op: code,
        flags: 0,
        key_len: U16::new(u16::try_from(key.len()).expect("checked against KEY_BYTES_MAX")),
        value_len: U32::new(u32::try_from(value.len()).expect("checked against VALUE_BYTES_MAX")),
    };
    buf.reserve(OP_HEADER_BYTES + key.len() + value.len());
    buf.extend_from_slice(header.as_bytes());
    buf.extend_from_slice(key);
    buf.extend_from_slice(value);
    Ok(())
}

/// A command whose bytes were checked.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    bytes: &'a [u8],
}

impl<'a> Command<'a> {
    /// Checks all of `bytes`.
    ///
    /// # Errors
    /// [`CommandError`] says what is wrong, and where.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, CommandError> {
        if bytes.is_empty() {
            return Err(CommandError::Empty);
        }
        if bytes.len() > COMMAND_BYTES_MAX {
            return Err(CommandError::TooLong { len: bytes.len() });
        }
        let mut at = 0;
        while at < bytes.len() {
            at += check(bytes, at)?;
        }
        Ok(Self { bytes })
    }

    /// Its operations, in order.
    #[must_use]
    pub fn ops(&self) -> Ops<'a> {
        Ops { bytes: self.bytes }
    }
}

/// The operations of a command.
#[derive(Clone, Debug)]
pub struct Ops<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for Ops<'a> {
    type Item = Op<'a>;

    #[inline]
    fn next(&mut self) -> Option<Op<'a>> {
        // `parse` has checked every header and length, so the fallible steps end at the end only.
        let (header, rest) = OpHeader::ref_from_prefix(self.bytes).ok()?;
        let (key, rest) = rest.split_at_checked(usize::from(header.key_len.get()))?;
        if header.op == OP_DELETE {
            self.bytes = rest;
            return Some(Op::Delete { key });
        }
        let (value, rest) = rest.split_at_checked(header.value_len.get() as usize)?;
        self.bytes = rest;
        Some(Op::Put { key, value })
    }
}

/// Checks the operation at `at` and returns its length.
#[inline]
fn check(bytes: &[u8], at: usize) -> Result<usize, CommandError> {
    let left = bytes.len() - at;
    let Ok((header, _)) = OpHeader::ref_from_prefix(&bytes[at..]) else {
        return Err(CommandError::Truncated { at, needed: OP_HEADER_BYTES, left });
    };
    if header.op != OP_PUT && header.op != OP_DELETE {
        return Err(CommandError::UnknownOp { at, op: header.op });
    }
    if header.flags != 0 {
        return Err(CommandError::UnknownFlags { at, flags: header.flags });
    }
    let (key_len, value_len) = (usize::from(header.key_len.get()), header.value_len.get() as usize);
    if key_len > KEY_BYTES_MAX {
        return Err(CommandError::KeyTooLong { len: key_len });
    }
    if value_len > VALUE_BYTES_MAX {
        return Err(CommandError::ValueTooLong { len: value_len });
    }
    if header.op == OP_DELETE && value_len != 0 {
        return Err(CommandError::DeleteWithValue { at });
    }
    let needed = OP_HEADER_BYTES + key_len + value_len;
    if needed > left {
        return Err(CommandError::Truncated { at, needed, left });
    }
    Ok(needed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_layout_is_fixed() {
        let mut bytes = Vec::new();
        encode_put(&mut bytes, b"key", b"value").unwrap();
        assert_eq!(bytes, b"\x01\0\x03\0\x05\0\0\0keyvalue");
        bytes.clear();
        encode_delete(&mut bytes, b"key").unwrap();
        assert_eq!(bytes, b"\x02\0\x03\0\0\0\0\0key");
    }

    #[test]
    fn limits_are_checked_when_encoding_and_leave_the_buffer() {
        let mut bytes = b"before".to_vec();
        let long = vec![0; VALUE_BYTES_MAX + 1];
        let key_error = encode_put(&mut bytes, &long[..=KEY_BYTES_MAX], b"");
        assert_eq!(key_error, Err(CommandError::KeyTooLong { len: KEY_BYTES_MAX + 1 }));
        let value_error = encode_put(&mut bytes, b"", &long);
        assert_eq!(value_error, Err(CommandError::ValueTooLong { len: VALUE_BYTES_MAX + 1 }));
        assert_eq!(encode_batch(&mut bytes, []), Err(CommandError::Empty));
        let value = &long[..VALUE_BYTES_MAX];
        let two = [Op::Put { key: b"a", value }, Op::Put { key: b"b", value }];
        assert!(matches!(encode_batch(&mut bytes, two), Err(CommandError::TooLong { .. })));
        assert_eq!(bytes, b"before");
    }

    #[test]
    fn each_fault_has_its_error() {
        let parse = |bytes: &[u8]| Command::parse(bytes).map(|_| ()).unwrap_err();
        assert_eq!(parse(b""), CommandError::Empty);
        assert_eq!(parse(b"\x01\0\0"), CommandError::Truncated { at: 0, needed: 8, left: 3 });
        assert_eq!(
            parse(b"\x01\0\x01\0\0\0\0\0"),
            CommandError::Truncated { at: 0, needed: 9, left: 8 }
        );
        assert_eq!(parse(b"\x03\0\0\0\0\0\0\0"), CommandError::UnknownOp { at: 0, op: 3 });
        assert_eq!(parse(b"\x01\x01\0\0\0\0\0\0"), CommandError::UnknownFlags { at: 0, flags: 1 });
        assert_eq!(parse(b"\x02\0\0\0\x01\0\0\0x"), CommandError::DeleteWithValue { at: 0 });
        assert_eq!(parse(b"\x01\0\xff\xff\0\0\0\0"), CommandError::KeyTooLong { len: 0xffff });
        assert_eq!(
            parse(b"\x01\0\0\0\xff\xff\xff\xff"),
            CommandError::ValueTooLong { len: 0xffff_ffff }
        );
        let second = b"\x02\0\x01\0\0\0\0\0k\x07\0\0\0\0\0\0\0";
        assert_eq!(parse(second), CommandError::UnknownOp { at: 9, op: 7 });
        assert!(matches!(parse(&vec![1; COMMAND_BYTES_MAX + 1]), CommandError::TooLong { .. }));
    }

    #[derive(Clone, Debug)]
    struct OwnedOp(Vec<u8>, Option<Vec<u8>>);

    impl OwnedOp {
        fn op(&self) -> Op<'_> {
            match &self.1 {
                Some(value) => Op::Put { key: &self.0, value },
                None => Op::Delete { key: &self.0 },
            }
        }
    }

    fn owned_op() -> impl Strategy<Value = OwnedOp> {
        let key = prop::collection::vec(any::<u8>(), 0..20);
        (key, prop::option::of(prop::collection::vec(any::<u8>(), 0..40)))
            .prop_map(|(k, v)| OwnedOp(k, v))
    }

    proptest! {
        #[test]
        fn what_was_encoded_reads_back(ops in prop::collection::vec(owned_op(), 1..8)) {
            let mut bytes = Vec::new();
            encode_batch(&mut bytes, ops.iter().map(OwnedOp::op)).unwrap();
            prop_assert_eq!(bytes.len(), ops.iter().map(|op| op.op().encoded_len()).sum::<usize>());
            let command = Command::parse(&bytes).unwrap();
            prop_assert!(command.ops().eq(ops.iter().map(OwnedOp::op)));
        }

        #[test]
        fn any_bytes_are_a_command_or_a_typed_error(bytes in prop::collection::vec(0u8..4, 0..40)) {
            if let Ok(command) = Command::parse(&bytes) {
                let walked: usize = command.ops().map(|op| op.encoded_len()).sum();
                prop_assert_eq!(walked, bytes.len());
            }
        }
    }
}
