//! Maps keyed by ids. Ids are random and chosen by the server, so a cheap hash is enough: nobody can make them collide.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

/// Maps with room for no more entries than this keep their memory.
const SMALL: usize = 256;

/// A map keyed by an id.
pub type IdMap<Id, Value> = HashMap<Id, Value, BuildHasherDefault<IdHasher>>;
/// A set of ids.
pub type IdSet<Id> = HashSet<Id, BuildHasherDefault<IdHasher>>;

/// Removes an entry. Frees memory when less than an eighth of it is in use.
pub fn remove_from<K, V, S, Q>(map: &mut HashMap<K, V, S>, key: &Q) -> Option<V>
where
    K: Borrow<Q> + Eq + Hash,
    S: BuildHasher,
    Q: Eq + Hash + ?Sized,
{
    let value = map.remove(key);
    if is_nearly_empty(map.len(), map.capacity()) {
        map.shrink_to(2 * map.len());
    }
    value
}

/// Likewise, of a set. Says whether there was one.
pub fn remove_from_set<T, S, Q>(set: &mut HashSet<T, S>, value: &Q) -> bool
where
    T: Borrow<Q> + Eq + Hash,
    S: BuildHasher,
    Q: Eq + Hash + ?Sized,
{
    let was_there = set.remove(value);
    if is_nearly_empty(set.len(), set.capacity()) {
        set.shrink_to(2 * set.len());
    }
    was_there
}

fn is_nearly_empty(length: usize, capacity: usize) -> bool {
    capacity > SMALL && length < capacity / 8
}

/// Spreads an id over 64 bits, since a hash table uses the upper bits as well as the lower ones.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_gives_memory_back_when_most_of_its_entries_have_gone() {
        let mut map: IdMap<u32, u32> = (0..10_000).map(|id| (id, id)).collect();
        for id in 100..10_000 {
            assert_eq!(remove_from(&mut map, &id), Some(id));
        }
        assert!(map.capacity() < 1000);
        assert!((0..100).all(|id| map.get(&id) == Some(&id)));
    }

    #[test]
    fn a_set_gives_memory_back_when_most_of_its_entries_have_gone() {
        let mut set: IdSet<u32> = (0..10_000).collect();
        for id in 100..10_000 {
            assert!(remove_from_set(&mut set, &id));
        }
        assert!(set.capacity() < 1000);
        assert!((0..100).all(|id| set.contains(&id)));
    }
}
