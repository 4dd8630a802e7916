//! How many connections there may be, in all and from one address, and which shard serves each.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// The address by which clients are counted. For IPv6 that is the network of 64 bits: a customer gets all of it, so a client
/// could use a new address each time.
pub fn counted(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

/// Counts the open connections. Each holds a [`Seat`].
pub struct Seats {
    max: usize,
    /// 0: no limit.
    max_per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    in_all: usize,
    by_shard: Vec<usize>,
    /// Kept only if there is a limit per address.
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's place, which is free again when this is dropped.
pub struct Seat {
    seats: Arc<Seats>,
    address: IpAddr,
    shard: usize,
}

/// Why there is no place for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The server has as many connections as it may have.
    #[error(
        "the server has as many connections as it may have (--max-connections, or the limit of open files, ulimit -n)"
    )]
    InAll,
    /// The client's address has as many connections as it may have.
    #[error("that address has as many connections as it may have (--max-connections-per-address)")]
    Address,
}

impl Seats {
    /// Room for `max` connections, of which each address may have `max_per_address` (0 for no limit), on so many shards (at
    /// least one).
    pub fn new(max: usize, max_per_address: usize, shards: usize) -> Arc<Self> {
        let taken = Taken { by_shard: vec![0; shards.max(1)], ..Taken::default() };
        Arc::new(Self { max, max_per_address, taken: Mutex::new(taken) })
    }

    /// Takes a place on the shard that has the fewest connections.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<Seat, Full> {
        let address = counted(address);
        let mut taken = self.taken.lock();
        if taken.in_all >= self.max {
            return Err(Full::InAll);
        }
        if self.max_per_address > 0 {
            let count = taken.by_address.entry(address).or_default();
            if *count >= self.max_per_address {
                return Err(Full::Address);
            }
            *count += 1;
        }
        taken.in_all += 1;
        let shards = taken.by_shard.iter_mut().enumerate();
        let shard = shards.min_by_key(|(_, count)| **count).map_or(0, |(shard, count)| {
            *count += 1;
            shard
        });
        Ok(Seat { seats: self.clone(), address, shard })
    }
}

impl Seat {
    /// The number of the shard that serves the connection, from 0.
    pub fn shard(&self) -> usize {
        self.shard
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock();
        taken.in_all -= 1;
        taken.by_shard[self.shard] -= 1;
        if let Some(count) = taken.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn a_seat_is_free_again_when_its_connection_ends() {
        let seats = Seats::new(1, 0, 1);
        let seat = seats.take(A).ok();
        assert_eq!(seats.take(B).err(), Some(Full::InAll));
        drop(seat);
        assert!(seats.take(B).is_ok());
    }

    #[test]
    fn one_address_cannot_take_all_seats() {
        let seats = Seats::new(10, 1, 1);
        let seat = seats.take(A).ok();
        assert_eq!(seats.take(A).err(), Some(Full::Address));
        assert!(seats.take(B).is_ok());
        drop(seat);
        assert!(seats.take(A).is_ok());
        assert!(seats.taken.lock().by_address.is_empty(), "nothing is kept for addresses without connections");
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let seats = Seats::new(10, 1, 1);
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let _seat = seats.take(address("2001:db8::1")).ok();
        assert_eq!(seats.take(address("2001:db8::ffff:2")).err(), Some(Full::Address));
        assert!(seats.take(address("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn an_address_that_leaves_one_of_its_seats_still_has_the_others() {
        let seats = Seats::new(10, 2, 1);
        let mut taken = vec![seats.take(A).ok(), seats.take(A).ok()];
        taken.pop();
        taken.push(seats.take(A).ok());
        assert!(taken.iter().all(Option::is_some));
        assert_eq!(seats.take(A).err(), Some(Full::Address));
    }

    #[test]
    fn a_connection_goes_to_the_shard_that_has_the_fewest() {
        let seats = Seats::new(10, 0, 3);
        let mut taken: Vec<_> = (0..6).map(|_| seats.take(IpAddr::from([127, 0, 0, 1])).ok().unwrap()).collect();
        assert_eq!(taken.iter().map(Seat::shard).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
        taken.remove(1);
        assert_eq!(seats.take(IpAddr::from([127, 0, 0, 1])).ok().unwrap().shard(), 1);
    }
}
