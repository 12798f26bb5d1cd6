//! The block's golden bytes, its refusals, and the round trip of random runs.

use proptest::prelude::*;

use super::*;

fn meta() -> BlockMeta {
    BlockMeta {
        group: 0x0102_0304_0506_0708,
        first_index: Index(42),
        term: Term(7),
        kind: BlockKind::Command,
    }
}

fn sample() -> Vec<u8> {
    let mut buf = Vec::new();
    let lengths = [2_u32.to_le_bytes(), 0_u32.to_le_bytes()].concat();
    let runs = [
        Run { lengths: &lengths, payload: b"ab" },
        Run { lengths: &3_u32.to_le_bytes(), payload: b"xyz" },
    ];
    encode_block(&mut buf, meta(), runs.into_iter());
    buf
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_bytes() {
    assert_eq!(crc32c::crc32c(b"123456789"), 0xE306_9283, "CRC-32C as everybody computes it");
    let golden = [
        "0807060504030201", // group
        "2a00000000000000", // first index
        "0700000000000000", // term
        "03000000",         // count
        "11000000",         // bytes of the body
        "1345d7b9",         // crc32c
        "01",               // kind
        "00",               // flags
        "0000",             // reserved
        "020000000000000003000000",
        "616278797a",
    ];
    assert_eq!(hex(&sample()), golden.concat());
}

#[test]
fn a_block_reads_back() {
    let bytes = [sample(), vec![9; 5]].concat();
    let (block, rest) = Block::parse(&bytes).unwrap();
    assert_eq!(rest, [9; 5]);
    block.verify().unwrap();
    assert_eq!(
        (block.group(), block.term(), block.kind()),
        (meta().group, Term(7), BlockKind::Command)
    );
    assert_eq!((block.first(), block.last(), block.count()), (Index(42), Index(44), 3));
    assert_eq!(block.bytes(), sample());
    assert_eq!(block.entries().len(), 3);
    assert_eq!(block.entries().collect::<Vec<_>>(), [&b"ab"[..], b"", b"xyz"]);
}

#[test]
fn the_place_in_the_buffer_does_not_matter() {
    let mut buf = vec![1, 2, 3];
    let range = encode_entry(&mut buf, BlockMeta { kind: BlockKind::NoOp, ..meta() }, b"");
    assert_eq!(range, 3..3 + BLOCK_HEADER_BYTES + 4);
    let (block, rest) = Block::parse(&buf[range]).unwrap();
    block.verify().unwrap();
    assert!(rest.is_empty());
    assert_eq!(block.entries().collect::<Vec<_>>(), [b""]);
}

/// The sample with `bytes` at `at`.
fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut block = sample();
    block[at..at + bytes.len()].copy_from_slice(bytes);
    block
}

#[test]
fn each_fault_has_its_error() {
    let body = 17;
    let over = u32::try_from(BLOCK_BYTES_MAX).unwrap() + 1;
    let lone = u32::try_from(ENTRY_BYTES_MAX).unwrap() + 5;
    let single = [patched(24, &1_u32.to_le_bytes())[..28].to_vec(), lone.to_le_bytes().to_vec()];
    let mut single = single.concat();
    single.extend_from_slice(&sample()[32..]);
    let cases = [
        (sample()[..39].to_vec(), DecodeError::Truncated { needed: 40, left: 39 }),
        (sample()[..56].to_vec(), DecodeError::Truncated { needed: body, left: 16 }),
        (patched(36, &[0]), DecodeError::BlockKind(0)),
        (patched(36, &[5]), DecodeError::BlockKind(5)),
        (patched(37, &[1]), DecodeError::Reserved),
        (patched(38, &[1]), DecodeError::Reserved),
        (patched(39, &[128]), DecodeError::Reserved),
        (patched(24, &[0; 4]), DecodeError::BlockRange { first: 42, count: 0 }),
        (patched(8, &[0; 8]), DecodeError::BlockRange { first: 0, count: 3 }),
        (patched(8, &[255; 8]), DecodeError::BlockRange { first: u64::MAX, count: 3 }),
        (patched(16, &[255; 8]), DecodeError::Number(u64::MAX)),
        (
            patched(28, &over.to_le_bytes()),
            DecodeError::BlockTooLarge { len: u64::from(over), max: BLOCK_BYTES_MAX as u64 },
        ),
        (
            single,
            DecodeError::BlockTooLarge { len: u64::from(lone), max: body_bytes_max(1) as u64 },
        ),
        (patched(24, &[5]), DecodeError::BlockLengths { announced: 20, body }),
        (patched(24, &[255; 4]), DecodeError::BlockLengths { announced: 17_179_869_180, body }),
        (patched(40, &[3]), DecodeError::BlockLengths { announced: 18, body }),
        (patched(43, &[255]), DecodeError::BlockLengths { announced: 4_278_190_097, body }),
    ];
    for (bytes, error) in cases {
        assert_eq!(Block::parse(&bytes).map(|_| ()), Err(error), "{}", hex(&bytes));
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = sample();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let noticed = match Block::parse(&flipped) {
            Err(_) => true,
            Ok((block, _)) => block.verify().is_err(),
        };
        assert!(noticed, "bit {bit}");
    }
}

#[test]
#[should_panic(expected = "a block needs entries")]
fn a_block_without_entries_is_our_fault() {
    encode_block(&mut Vec::new(), meta(), std::iter::empty());
}

#[test]
#[should_panic(expected = "a block of 2 entries")]
fn a_block_past_its_limit_is_our_fault() {
    let payload = vec![0; BLOCK_BYTES_MAX];
    let half = u32::try_from(payload.len() / 2).unwrap().to_le_bytes();
    let lengths = [half, half].concat();
    encode_block(
        &mut Vec::new(),
        meta(),
        std::iter::once(Run { lengths: &lengths, payload: &payload }),
    );
}

proptest! {
    #[test]
    fn runs_round_trip(
        runs in proptest::collection::vec(
            proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6),
            1..6,
        ),
        group: u64,
        first in 1..=NUMBER_MAX - 1_000,
        term in 0..=NUMBER_MAX,
    ) {
        let entries: Vec<&Vec<u8>> = runs.iter().flatten().collect();
        prop_assume!(!entries.is_empty());
        let packed: Vec<(Vec<u8>, Vec<u8>)> = runs
            .iter()
            .map(|run| {
                let len = |entry: &Vec<u8>| u32::try_from(entry.len()).unwrap().to_le_bytes();
                (run.iter().flat_map(len).collect(), run.concat())
            })
            .collect();
        let meta = BlockMeta {
            group,
            first_index: Index(first),
            term: Term(term),
            kind: BlockKind::Admin,
        };
        let mut buf = Vec::new();
        let views = packed.iter().map(|(lengths, payload)| Run { lengths, payload });
        let range = encode_block(&mut buf, meta, views);
        prop_assert_eq!(range, 0..buf.len());
        let (block, rest) = Block::parse(&buf).unwrap();
        prop_assert!(rest.is_empty());
        prop_assert_eq!(block.verify(), Ok(()));
        prop_assert_eq!((block.group(), block.first(), block.term()), (group, Index(first), Term(term)));
        prop_assert!(block.entries().eq(entries.iter().map(|entry| entry.as_slice())));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok((block, _)) = Block::parse(&bytes) {
            prop_assert_eq!(block.entries().count(), block.count() as usize);
        }
    }
}
