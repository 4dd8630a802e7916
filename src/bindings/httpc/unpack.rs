//! Decompressing responses.

use std::io::{self, Write};

use bytes::{Buf, Bytes, BytesMut};
use flate2::write::MultiGzDecoder;

/// The compressed bytes that are decompressed at a time. The result is at most about a thousand times as long, so that
/// a small response cannot fill the memory.
const STEP: usize = 1024;

/// Decompresses gzip step by step, as the script reads.
pub struct Unpacker {
    decoder: MultiGzDecoder<Vec<u8>>,
    /// What was fed and not decompressed yet.
    packed: Bytes,
    /// Whether there was any data. An empty body is allowed, since an answer to HEAD has none.
    is_begun: bool,
}

impl Unpacker {
    pub fn new() -> Self {
        Self { decoder: MultiGzDecoder::new(Vec::new()), packed: Bytes::new(), is_begun: false }
    }

    /// Takes the next bytes from the server. All earlier ones must have been decompressed.
    pub fn feed(&mut self, packed: Bytes) {
        self.packed = packed;
    }

    /// Decompresses some of what was fed, and appends it to `output`. False if nothing is left.
    pub fn step(&mut self, output: &mut BytesMut) -> io::Result<bool> {
        if self.packed.is_empty() {
            return Ok(false);
        }
        let count = self.decoder.write(&self.packed[..self.packed.len().min(STEP)])?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "there are bytes after the end of the compressed data",
            ));
        }
        self.is_begun = true;
        self.packed.advance(count);
        self.flush(output);
        Ok(true)
    }

    /// Ends the data, and appends the rest to `output`. An error if the data is incomplete.
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
