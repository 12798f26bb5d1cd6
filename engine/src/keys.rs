//! Every key that a store writes, in one place: its bytes, its owner and how long it lives.
//!
//! Numbers in keys are big-endian, because there byte order is key order; values are little-endian. This is
//! the only file that may use big-endian bytes.
//!
//! | database | key | bytes | owner | lives until |
//! |---|---|---|---|---|
//! | `log/`, family `batch` | [`Key::Batch`] | batch u64, part u16 | log writer | the batch's last live block is compacted |
//! | `log/`, family `group` | [`Key::Group`] | group u64 | log writer | the replica is destroyed |
//! | `log/`, family `store` | [`Key::Store`] | name | open and format | the store |
//! | `state/` | [`Key::User`] | `k`, user key | the shard that serves the key | deleted by a client |
//! | `state/` | [`Key::Applied`] | `r`, group u64 | the shard of the group | the replica is destroyed |
//! | `state/` | [`Key::Identity`] | `i` | open | the store |
//!
//! Invariant: in `state/` every group's user keys and applied record go down in the same batch, so that a
//! crash leaves both or neither.
//! Deliberately absent: values (each owner encodes its own), and any key per proposal.

/// A key of one of the two databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// A part of a batch of the log. Part 0 is the batch's header; the others are the rounds' bytes.
    Batch {
        /// The batch's number, rising by one.
        number: u64,
        /// The part within the batch.
        part: u16,
    },
    /// The hard state and membership of a group.
    Group(u64),
    /// A record of the store itself.
    Store(StoreName),
    /// A client's key.
    User(&'a [u8]),
    /// How far a group is applied in the state.
    Applied(u64),
    /// Which store the state belongs to.
    Identity,
}

/// The column families; those of `log/` are RocksDB families, `state/` has one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `log/`: the rounds' bytes.
    Batch,
    /// `log/`: a record per group.
    Group,
    /// `log/`: the store's own records.
    Store,
    /// `state/`: everything.
    State,
}

impl Family {
    /// The name of the family in RocksDB. `state/` uses the default family.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Group => "group",
            Self::Store => "store",
            Self::State => "default",
        }
    }
}

/// The names in family `store`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreName {
    /// Magic, version, least reader and writer, cluster, node and store id.
    Format,
    /// Raised at each writable open.
    BootEpoch,
}

impl StoreName {
    /// The bytes of the key.
    #[must_use]
    pub const fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Format => b"format",
            Self::BootEpoch => b"epoch",
        }
    }
}

/// First byte of every user key in `state/`.
pub const USER_TAG: u8 = b'k';
/// First byte of every applied record in `state/`.
pub const APPLIED_TAG: u8 = b'r';
/// The identity record in `state/`.
pub const IDENTITY_TAG: u8 = b'i';

/// Why bytes are not a key of their family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// A fixed-size key has another length.
    Length {
        /// The family it was read from.
        family: Family,
        /// Its length.
        len: usize,
    },
    /// No kind of key starts with this byte.
    Tag(Option<u8>),
    /// Family `store` has no record of this name.
    Name,
}

impl std::fmt::Display for KeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Length { family, len } => {
                write!(f, "a key of {len} bytes in family {}", family.name())
            }
            Self::Tag(Some(tag)) => write!(f, "unknown key tag {tag:#04x} in the state"),
            Self::Tag(None) => f.write_str("an empty key in the state"),
            Self::Name => f.write_str("unknown record in family store"),
        }
    }
}

impl std::error::Error for KeyError {}

impl<'a> Key<'a> {
    /// The family the key belongs to.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self {
            Self::Batch { .. } => Family::Batch,
            Self::Group(_) => Family::Group,
            Self::Store(_) => Family::Store,
            Self::User(_) | Self::Applied(_) | Self::Identity => Family::State,
        }
    }

    /// Appends the key's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Batch { number, part } => out.extend_from_slice(&batch_key(number, part)),
            Self::Group(group) => out.extend_from_slice(&group_key(group)),
            Self::Store(name) => out.extend_from_slice(name.as_bytes()),
            Self::User(key) => {
                out.push(USER_TAG);
                out.extend_from_slice(key);
            }
            Self::Applied(group) => out.extend_from_slice(&applied_key(group)),
            Self::Identity => out.push(IDENTITY_TAG),
        }
    }

    /// Reads a key of `family` back.
    ///
    /// # Errors
    /// When the bytes are not a key that this version writes.
    pub fn parse(family: Family, bytes: &'a [u8]) -> Result<Self, KeyError> {
        let wrong = KeyError::Length { family, len: bytes.len() };
        match family {
            Family::Batch => {
                let (number, part) = parse_batch_key(bytes).ok_or(wrong)?;
                Ok(Self::Batch { number, part })
            }
            Family::Group => Ok(Self::Group(be_u64(bytes).ok_or(wrong)?)),
            Family::Store => [StoreName::Format, StoreName::BootEpoch]
                .into_iter()
                .find(|name| name.as_bytes() == bytes)
                .map(Self::Store)
                .ok_or(KeyError::Name),
            Family::State => match bytes.split_first() {
                Some((&USER_TAG, key)) => Ok(Self::User(key)),
                Some((&APPLIED_TAG, group)) => Ok(Self::Applied(be_u64(group).ok_or(wrong)?)),
                Some((&IDENTITY_TAG, [])) => Ok(Self::Identity),
                Some((&tag, _)) => Err(KeyError::Tag(Some(tag))),
                None => Err(KeyError::Tag(None)),
            },
        }
    }
}

/// The key of part `part` of batch `number` in family `batch`.
#[must_use]
#[expect(clippy::big_endian_bytes, reason = "byte order is key order")]
pub fn batch_key(number: u64, part: u16) -> [u8; 10] {
    let mut key = [0; 10];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key[8..].copy_from_slice(&part.to_be_bytes());
    key
}

/// The batch number and part of a key of family `batch`; `None` when it has another length.
#[must_use]
#[expect(clippy::big_endian_bytes, reason = "byte order is key order")]
pub fn parse_batch_key(key: &[u8]) -> Option<(u64, u16)> {
    let (number, part) = key.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*number), u16::from_be_bytes(part.try_into().ok()?)))
}

/// The key of `group` in family `group`.
#[must_use]
#[expect(clippy::big_endian_bytes, reason = "byte order is key order")]
pub fn group_key(group: u64) -> [u8; 8] {
    group.to_be_bytes()
}

/// The group of a key of family `group`; `None` when it has another length.
#[must_use]
pub fn parse_group_key(key: &[u8]) -> Option<u64> {
    be_u64(key)
}

/// The key of the applied record of `group` in `state/`.
#[must_use]
pub fn applied_key(group: u64) -> [u8; 9] {
    let mut key = [APPLIED_TAG; 9];
    key[1..].copy_from_slice(&group_key(group));
    key
}

/// The group whose applied record has this key.
#[must_use]
pub fn parse_applied_key(key: &[u8]) -> Option<u64> {
    be_u64(key.strip_prefix(&[APPLIED_TAG])?)
}

/// The first eight bytes of `key` as a number whose order is the order of the bytes; short keys are padded
/// with zeros. Keys with different prefixes compare as their prefixes do.
#[must_use]
#[inline]
#[expect(clippy::big_endian_bytes, reason = "byte order is key order")]
pub fn order_prefix(key: &[u8]) -> u64 {
    if let Some(first) = key.first_chunk::<8>() {
        return u64::from_be_bytes(*first);
    }
    let mut padded = [0; 8];
    padded[..key.len()].copy_from_slice(key);
    u64::from_be_bytes(padded)
}

/// The shortest key whose [`order_prefix`] is `prefix`: its eight bytes without trailing zeros.
#[must_use]
#[expect(clippy::big_endian_bytes, reason = "byte order is key order")]
pub fn key_of_prefix(prefix: u64) -> Vec<u8> {
    let bytes = prefix.to_be_bytes();
    let len = bytes.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1);
    bytes[..len].to_vec()
}

#[expect(clippy::big_endian_bytes, reason = "byte order is key order")]
fn be_u64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_reads_back_and_sorts_by_its_numbers() {
        let keys = [
            Key::Batch { number: 0x0102_0304_0506_0708, part: 0x090a },
            Key::Group(7),
            Key::Store(StoreName::Format),
            Key::Store(StoreName::BootEpoch),
            Key::User(b"hello"),
            Key::User(b""),
            Key::Applied(300),
            Key::Identity,
        ];
        for key in keys {
            let mut bytes = Vec::new();
            key.encode(&mut bytes);
            assert_eq!(Key::parse(key.family(), &bytes), Ok(key));
        }
        assert!(batch_key(1, 9) < batch_key(2, 0));
        assert!(batch_key(255, 0) < batch_key(256, 0));
        assert!(applied_key(255) < applied_key(256));
    }

    #[test]
    fn the_bytes_of_keys_are_fixed() {
        assert_eq!(batch_key(0x0102_0304_0506_0708, 0x090a), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(applied_key(1), *b"r\0\0\0\0\0\0\0\x01");
    }

    #[test]
    fn foreign_bytes_are_refused() {
        let short = KeyError::Length { family: Family::Batch, len: 9 };
        assert_eq!(Key::parse(Family::Batch, &[0; 9]), Err(short));
        assert!(Key::parse(Family::Group, &[0; 9]).is_err());
        assert!(Key::parse(Family::State, b"r123").is_err());
        assert!(Key::parse(Family::State, b"i1").is_err());
        assert_eq!(Key::parse(Family::State, b"z"), Err(KeyError::Tag(Some(b'z'))));
        assert_eq!(Key::parse(Family::State, b""), Err(KeyError::Tag(None)));
        assert_eq!(Key::parse(Family::Store, b"other"), Err(KeyError::Name));
    }

    #[test]
    fn prefixes_order_as_keys_do() {
        let mut keys: Vec<&[u8]> =
            vec![b"", b"\0", b"a", b"a\0", b"ab", b"abcdefgh", b"abcdefghi", b"b", b"\xff"];
        keys.sort_unstable();
        assert!(keys.is_sorted_by_key(|key| order_prefix(key)));
        assert_eq!(key_of_prefix(0x6162_0000_0000_0000), b"ab");
        assert_eq!(key_of_prefix(0), b"");
        assert_eq!(order_prefix(&key_of_prefix(0x0100_0000_0000_0001)), 0x0100_0000_0000_0001);
    }
}
