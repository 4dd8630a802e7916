//! Methods for the server's own observations.

use std::rc::Rc;

use mlua::{Lua, Result, Value};

use super::arguments::{target, target_or_new};
use super::naming::text;
use crate::bindings::args::Args;
use crate::bindings::hub::HubState;
use crate::bindings::hub::callbacks::Observer;
use crate::broker::Observed;
use crate::protocol::Tid;

pub(super) fn observe(lua: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<Option<bool>> {
    let function = args.function(2, "func")?;
    let target = target_or_new(hub, args, 1)?;
    let observed = hub.act(|outbox| hub.broker.observe(outbox, hub.broker.server(), target, false));
    let (name, is_topic) = match observed {
        Observed::Topic => (text(lua, hub.broker.topic_name(Tid(target.0)))?.map_or(Value::Nil, Value::String), true),
        Observed::Peer => (Value::Integer(i64::from(target.0)), false),
        Observed::Nothing | Observed::Refused | Observed::Own => return Ok(None),
    };
    hub.observers.borrow_mut().insert(target.0, Observer { function, name, is_topic });
    Ok(Some(true))
}

pub(super) fn unobserve(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<()> {
    if let Some(target) = target(hub, args, 1)? {
        hub.observers.borrow_mut().remove(&target.0);
        hub.broker.unobserve(hub.broker.server(), target);
    }
    Ok(())
}
