//! Any cutting of a stream gives the same frames, and memory follows the frames.

use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::*;
use crate::wire::{FrameKind, MESSAGE_HEADER_BYTES};

fn frame(len: usize, fill: u8) -> Vec<u8> {
    let header = FrameHeader::new(FrameKind::Messages, u32::try_from(len).unwrap(), 1);
    [header.as_bytes(), &vec![fill; len]].concat()
}

fn offer(buffer: &mut ReadBuffer, bytes: &[u8]) -> usize {
    let space = buffer.space();
    assert!(!space.is_empty());
    let n = space.len().min(bytes.len());
    space[..n].copy_from_slice(&bytes[..n]);
    buffer.filled(n);
    n
}

#[test]
fn the_buffer_grows_for_a_large_frame_and_shrinks_again() {
    let mut buffer = ReadBuffer::new();
    let large = frame(5 << 20, 7);
    let mut bytes = &large[..];
    while !bytes.is_empty() {
        assert!(buffer.next_frame(FRAME_BYTES_MAX).unwrap().is_none());
        let n = offer(&mut buffer, bytes);
        bytes = &bytes[n..];
    }
    assert_eq!(buffer.capacity(), 8 << 20);
    let got = buffer.next_frame(FRAME_BYTES_MAX).unwrap().unwrap();
    assert_eq!(got.body(), &large[FRAME_HEADER_BYTES..]);
    buffer.space();
    assert_eq!(buffer.capacity(), READ_BUFFER_KEPT_BYTES);
}

proptest! {
    #[test]
    fn any_cutting_gives_the_same_frames(
        sizes in proptest::collection::vec(MESSAGE_HEADER_BYTES..50_000, 1..30),
        cuts in proptest::collection::vec(1..70_000_usize, 1..30),
    ) {
        let fill = |at: usize| u8::try_from(at).unwrap();
        let stream: Vec<u8> =
            sizes.iter().enumerate().flat_map(|(at, size)| frame(*size, fill(at))).collect();
        let mut buffer = ReadBuffer::new();
        let (mut bytes, mut got) = (&stream[..], 0);
        let mut cuts = cuts.iter().cycle();
        while got < sizes.len() {
            let cut = (*cuts.next().unwrap()).min(bytes.len());
            let n = offer(&mut buffer, &bytes[..cut]);
            bytes = &bytes[n..];
            loop {
                let ready = buffer.is_ready(FRAME_BYTES_MAX);
                let Some(frame) = buffer.next_frame(FRAME_BYTES_MAX).unwrap() else {
                    prop_assert!(!ready);
                    break;
                };
                prop_assert!(ready);
                prop_assert_eq!(frame.body(), vec![fill(got); sizes[got]]);
                got += 1;
            }
        }
        prop_assert_eq!((buffer.unread(), buffer.capacity()), (0, READ_BUFFER_BYTES));
    }
}
