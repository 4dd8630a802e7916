//! Names and their numbers: topics and sub-topics alike.

use std::collections::HashMap;
use std::sync::Arc;

use super::id_map::IdMap;

/// A two-way map of names and numbers. A name keeps its number for good.
#[derive(Default)]
pub struct Names {
    by_name: HashMap<Arc<[u8]>, u32>,
    by_number: IdMap<u32, Arc<[u8]>>,
    /// Bytes of all names together.
    bytes: usize,
}

impl Names {
    /// The number of a name, if it is known.
    pub fn number(&self, name: &[u8]) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The name with a number, if there is one.
    pub fn name(&self, number: u32) -> Option<&Arc<[u8]>> {
        self.by_number.get(&number)
    }

    /// Enters a new name. The caller has chosen a number that is free.
    pub fn insert(&mut self, name: &[u8], number: u32) {
        self.bytes += name.len();
        let name: Arc<[u8]> = name.into();
        self.by_name.insert(name.clone(), number);
        self.by_number.insert(number, name);
    }

    /// Bytes of all names together.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of names.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// All numbers and names, in no order.
    pub fn all(&self) -> Vec<(u32, Arc<[u8]>)> {
        self.by_number.iter().map(|(&number, name)| (number, name.clone())).collect()
    }
}

/// A random number that is not 0 and not taken.
pub fn random_number(is_taken: impl Fn(u32) -> bool) -> u32 {
    loop {
        let number = rand::random();
        if number != 0 && !is_taken(number) {
            return number;
        }
    }
}
