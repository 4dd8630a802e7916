//! Maps keyed by ids, which are random already: hashing them again with a keyed hash would cost time and memory for nothing.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

pub type IdMap<Id, Value> = HashMap<Id, Value, BuildHasherDefault<IdHasher>>;
pub type IdSet<Id> = HashSet<Id, BuildHasherDefault<IdHasher>>;

/// Spreads an id over 64 bits: a table takes its tag from the upper ones and the bucket from the lower ones.
#[derive(Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 << 8) | u64::from(byte);
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = u64::from(id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
