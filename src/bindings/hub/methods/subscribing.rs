//! Methods for the server's own subscriptions.

use std::rc::Rc;

use mlua::{Lua, Result};

use super::arguments::{check_subtopic, subtopic_or_new, target, target_or_new};
use crate::bindings::args::Args;
use crate::bindings::hub::HubState;
use crate::bindings::hub::callbacks::Handler;
use crate::bindings::options::Options;
use crate::protocol::{Target, Tid};

pub(super) fn subscribe(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<u32> {
    let options = Options::optional(args, 2, "op")?;
    let json = options.truth("json")?;
    let handler = options.function("onmsg")?.map(|function| Handler { function, json });
    let subtopic = options.value("subtopic")?;
    options.warn_of_unknown()?;
    check_subtopic(hub, args, 2, &subtopic)?;
    let target = target_or_new(hub, args, 1)?;
    let is_self = target == Target::from(hub.broker.server().etid());
    if !is_self && hub.broker.topic_name(Tid(target.0)).is_none() {
        return Err(args.refuse(
            1,
            "topic",
            &format!("{target} is no topic; only its own client receives for an etid"),
        ));
    }
    if let Some(handler) = handler {
        let subtid = subtopic_or_new(hub, args, 2, &subtopic)?;
        let mut topics = hub.topics.borrow_mut();
        let callbacks = topics.entry(target.0).or_default();
        if subtopic.is_nil() {
            callbacks.catch_all = Some(handler);
        } else {
            callbacks.by_subtopic.insert(subtid.0, handler);
        }
    }
    if !is_self {
        hub.act(|outbox| hub.broker.subscribe_server(outbox, Tid(target.0)));
    }
    Ok(target.0)
}

pub(super) fn unsubscribe(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<()> {
    if let Some(target) = target(hub, args, 1)? {
        hub.topics.borrow_mut().remove(&target.0);
        hub.act(|outbox| hub.broker.unsubscribe(outbox, hub.broker.server(), Tid(target.0)));
    }
    Ok(())
}

pub(super) fn onmsg(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<()> {
    *hub.onmsg.borrow_mut() = Some(args.function(1, "func")?);
    Ok(())
}
