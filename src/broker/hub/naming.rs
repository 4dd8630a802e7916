//! Topics and sub-topics: names and their numbers.

use std::sync::Arc;

use super::{Hub, Route};
use crate::broker::directory::Directory;
use crate::broker::names::{Names, random_number};
use crate::broker::topic::Topic;
use crate::protocol::{Subtid, Tid};

/// Who asks for a name's number. Clients leave a tenth of all names to the server's scripts: otherwise a few of them could keep
/// the scripts from making topics until the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creator {
    Server,
    Client,
}

impl Creator {
    fn share(self, limit: usize) -> usize {
        match self {
            Self::Server => limit,
            Self::Client => limit - limit / 10,
        }
    }
}

impl Hub {
    /// The number of a topic, which is created if it is new, with the `wanted` number if that is free. `None` if the name is
    /// too long, or the hub is full ([`Limits`](crate::broker::Limits)).
    pub fn create(&self, creator: Creator, name: &[u8], wanted: Option<Tid>) -> Option<Tid> {
        self.create_in(&mut self.0.directory.lock(), creator, name, wanted)
    }

    pub(super) fn create_in(
        &self,
        directory: &mut Directory,
        creator: Creator,
        name: &[u8],
        wanted: Option<Tid>,
    ) -> Option<Tid> {
        if let Some(number) = directory.topics.number(name) {
            return Some(Tid(number));
        }
        if !self.has_room_for(creator, name, &directory.topics, self.0.limits.topics) {
            return None;
        }
        let mut routes = self.0.routes.write();
        let number = match wanted {
            Some(Tid(number)) if number != 0 && !routes.contains_key(&number) => number,
            _ => random_number(|number| routes.contains_key(&number)),
        };
        routes.insert(number, Route::Topic(Arc::new(Topic::new(Tid(number)))));
        directory.topics.insert(name, number);
        Some(Tid(number))
    }

    /// The same as [`Hub::create`], for a sub-topic.
    pub fn createsub(&self, creator: Creator, name: &[u8], wanted: Option<Subtid>) -> Option<Subtid> {
        let names = &mut self.0.directory.lock().subtopics;
        if let Some(number) = names.number(name) {
            return Some(Subtid(number));
        }
        if !self.has_room_for(creator, name, names, self.0.limits.subtopics) {
            return None;
        }
        let number = match wanted {
            Some(Subtid(number)) if number != 0 && names.name(number).is_none() => number,
            _ => random_number(|number| names.name(number).is_some()),
        };
        names.insert(name, number);
        Some(Subtid(number))
    }

    fn has_room_for(&self, creator: Creator, name: &[u8], names: &Names, most: usize) -> bool {
        let limits = &self.0.limits;
        name.len() <= limits.name
            && names.len() < creator.share(most)
            && names.bytes() + name.len() <= creator.share(limits.names)
    }

    /// The number of a topic, if there is a topic of this name.
    pub fn topic_number(&self, name: &[u8]) -> Option<Tid> {
        self.0.directory.lock().topics.number(name).map(Tid)
    }

    /// The name of a topic, if there is a topic with this number.
    pub fn topic_name(&self, tid: Tid) -> Option<Arc<[u8]>> {
        self.0.directory.lock().topics.name(tid.0).cloned()
    }

    /// The number of a sub-topic, if there is a sub-topic of this name.
    pub fn subtopic_number(&self, name: &[u8]) -> Option<Subtid> {
        self.0.directory.lock().subtopics.number(name).map(Subtid)
    }

    /// The name of a sub-topic, if there is a sub-topic with this number.
    pub fn subtopic_name(&self, subtid: Subtid) -> Option<Arc<[u8]>> {
        self.0.directory.lock().subtopics.name(subtid.0).cloned()
    }

    /// The numbers and names of all topics, in no order.
    pub fn topics(&self) -> Vec<(u32, Arc<[u8]>)> {
        self.0.directory.lock().topics.all()
    }

    /// The numbers and names of all sub-topics, in no order.
    pub fn subtopics(&self) -> Vec<(u32, Arc<[u8]>)> {
        self.0.directory.lock().subtopics.all()
    }
}
