//! Responses that the other server has compressed.

use std::io::{self, Write};

use bytes::{Buf, Bytes, BytesMut};
use flate2::write::MultiGzDecoder;

/// Compressed bytes that are unpacked at a time: what comes out is at most a thousand times as long.
const STEP: usize = 1024;

/// Unpacks gzip, no more of it than is asked for.
pub struct Unpacker {
    decoder: MultiGzDecoder<Vec<u8>>,
    packed: Bytes,
    /// Nothing at all is no broken body: an answer to HEAD has none.
    is_begun: bool,
}

impl Unpacker {
    pub fn new() -> Self {
        Self { decoder: MultiGzDecoder::new(Vec::new()), packed: Bytes::new(), is_begun: false }
    }

    /// Takes the next bytes from the server. The last ones must have been unpacked.
    pub fn feed(&mut self, packed: Bytes) {
        self.packed = packed;
    }

    /// Unpacks some of what was fed, behind what is in `output`; false when nothing is left of it.
    pub fn step(&mut self, output: &mut BytesMut) -> io::Result<bool> {
        if self.packed.is_empty() {
            return Ok(false);
        }
        let count = self.decoder.write(&self.packed[..self.packed.len().min(STEP)])?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "bytes behind the end of the compressed data"));
        }
        self.is_begun = true;
        self.packed.advance(count);
        self.flush(output);
        Ok(true)
    }

    /// The server has sent all.
    pub fn finish(&mut self, output: &mut BytesMut) -> io::Result<()> {
        if self.is_begun {
            self.decoder.try_finish()?;
            self.flush(output);
        }
        Ok(())
    }

    fn flush(&mut self, output: &mut BytesMut) {
        output.extend_from_slice(self.decoder.get_ref());
        self.decoder.get_mut().clear();
    }
}
