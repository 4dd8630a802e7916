//! Raw frames: a 16 bit length that counts itself, the type, the body. Inside the server packets have this form, too.

use crate::protocol::{Error, frame_length};

/// How many bytes at the start of `input` are whole frames, and the error if what follows them can never be one.
pub fn whole_frames(input: &[u8]) -> (usize, Result<(), Error>) {
    let mut end = 0;
    loop {
        match frame_length(&input[end..]) {
            Ok(Some(length)) if length <= input.len() - end => end += length,
            Ok(_) => return (end, Ok(())),
            Err(error) => return (end, Err(error)),
        }
    }
}

/// Cuts whole frames apart; each begins with its length.
pub fn frames(frames: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = frames;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (frame, behind) = rest.split_at(first_length(rest).clamp(2, rest.len()));
        rest = behind;
        Some(frame)
    })
}

/// The length that the frame at the start of `frames` declares.
pub fn first_length(frames: &[u8]) -> usize {
    match *frames {
        [high, low, ..] => usize::from(u16::from_be_bytes([high, low])),
        _ => frames.len(),
    }
}
