//! The account of a run: which messages were published, and which subscriber has received which of them.

use anyhow::{Context, Result, bail};

/// Which clients there are: each of `topics` topics has so many publishers and subscribers. Publishers are numbered
/// over all topics, and so are subscribers.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub topics: usize,
    pub publishers: usize,
    pub subscribers: usize,
}

impl Shape {
    pub fn all_publishers(&self) -> usize {
        self.topics * self.publishers
    }

    pub fn all_subscribers(&self) -> usize {
        self.topics * self.subscribers
    }
}

pub struct Ledger {
    windows: Vec<Window>,
    inboxes: Vec<Inbox>,
    /// The number of deliveries that are still to come.
    pub outstanding: u64,
    /// The number of deliveries that will not come, since a later message has come first.
    pub lost: u64,
    pub duplicates: u64,
}

/// The latest messages of one publisher.
struct Window {
    subscribers: u32,
    next: u32,
    /// By sequence number modulo the window's size: how many subscribers have yet to get the message.
    missing: Vec<u32>,
}

/// What one subscriber expects.
struct Inbox {
    first_publisher: usize,
    /// The next sequence number of each publisher of the topic.
    expected: Vec<u32>,
}

impl Ledger {
    /// Each publisher may have `window` messages under way.
    pub fn new(shape: &Shape, window: usize) -> Self {
        let subscribers = shape.subscribers as u32;
        let inbox = |index| Inbox {
            first_publisher: index / shape.subscribers * shape.publishers,
            expected: vec![0; shape.publishers],
        };
        Self {
            windows: (0..shape.all_publishers())
                .map(|_| Window { subscribers, next: 0, missing: vec![0; window] })
                .collect(),
            inboxes: (0..shape.all_subscribers()).map(inbox).collect(),
            outstanding: 0,
            lost: 0,
            duplicates: 0,
        }
    }

    pub fn has_room(&self, publisher: usize) -> bool {
        let window = &self.windows[publisher];
        window.missing[window.place(window.next)] == 0
    }

    /// The sequence number of the publisher's next message, if its window has room for one.
    pub fn publish(&mut self, publisher: usize) -> Option<u32> {
        if !self.has_room(publisher) {
            return None;
        }
        let window = &mut self.windows[publisher];
        let sequence = window.next;
        let place = window.place(sequence);
        window.missing[place] = window.subscribers;
        window.next += 1;
        self.outstanding += u64::from(window.subscribers);
        Some(sequence)
    }

    /// Enters a delivery. False if the subscriber has received this message before. An error if it should never receive
    /// it.
    pub fn deliver(&mut self, subscriber: usize, publisher: usize, sequence: u32) -> Result<bool> {
        let inbox = self.inboxes.get_mut(subscriber).context("a publisher got a message")?;
        let place = publisher.checked_sub(inbox.first_publisher);
        let expected =
            place.and_then(|place| inbox.expected.get_mut(place)).context("a message of another topic came")?;
        let window = &mut self.windows[publisher];
        if sequence >= window.next {
            bail!("a message came that was never published");
        }
        if sequence < *expected {
            self.duplicates += 1;
            return Ok(false);
        }
        // Messages of a publisher come in order: those skipped will not come.
        for settled in *expected..=sequence {
            let place = window.place(settled);
            window.missing[place] -= 1;
        }
        let skipped = u64::from(sequence - *expected);
        *expected = sequence + 1;
        self.outstanding -= skipped + 1;
        self.lost += skipped;
        Ok(true)
    }
}

impl Window {
    fn place(&self, sequence: u32) -> usize {
        sequence as usize % self.missing.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(topics: usize, publishers: usize, subscribers: usize) -> Ledger {
        Ledger::new(&Shape { topics, publishers, subscribers }, 3)
    }

    #[test]
    fn the_slowest_subscriber_holds_the_window() {
        let mut ledger = ledger(1, 1, 2);
        while ledger.publish(0).is_some() {}
        assert_eq!(ledger.outstanding, 6);
        for sequence in 0..3 {
            assert!(ledger.deliver(0, 0, sequence).unwrap());
        }
        assert!(!ledger.has_room(0));
        assert!(ledger.deliver(1, 0, 0).unwrap());
        assert_eq!((ledger.publish(0), ledger.publish(0)), (Some(3), None));
    }

    #[test]
    fn skipped_messages_are_lost_and_make_room() {
        let mut ledger = ledger(1, 1, 1);
        while ledger.publish(0).is_some() {}
        assert!(ledger.deliver(0, 0, 2).unwrap());
        assert_eq!((ledger.lost, ledger.outstanding, ledger.has_room(0)), (2, 0, true));
    }

    #[test]
    fn a_message_that_comes_again_is_a_duplicate() {
        let mut ledger = ledger(1, 1, 1);
        ledger.publish(0);
        assert!(ledger.deliver(0, 0, 0).unwrap());
        assert!(!ledger.deliver(0, 0, 0).unwrap());
        assert_eq!((ledger.duplicates, ledger.outstanding), (1, 0));
    }

    #[test]
    fn a_message_that_comes_to_the_wrong_subscriber_is_an_error() {
        let mut ledger = ledger(2, 2, 1);
        ledger.publish(2);
        for (subscriber, publisher, sequence) in [(0, 2, 0), (2, 2, 0), (1, 2, 1), (1, 9, 0)] {
            assert!(ledger.deliver(subscriber, publisher, sequence).is_err());
        }
        assert!(ledger.deliver(1, 2, 0).unwrap());
    }
}
