//! Methods about the names of topics and sub-topics.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use mlua::{Function, Lua, LuaString, MultiValue, Result};

use super::arguments::{SELF, created, new_name, number, optional_number, string};
use crate::bindings::args::Args;
use crate::bindings::hub::HubState;
use crate::broker::Creator;
use crate::protocol::{Subtid, Tid};

pub(super) fn create(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<u32> {
    let name = new_name(hub, args, 1, "topic")?;
    let wanted = optional_number(args, 2, "tid")?.map(Tid);
    if &name[..] == SELF {
        return Err(args.refuse(1, "topic", "'self' is the server's own address and no topic"));
    }
    created(args, 1, "topic", hub.broker.create(Creator::Server, &name, wanted)).map(u32::from)
}

pub(super) fn createsub(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<u32> {
    if args.is_absent(1) {
        return Ok(0);
    }
    let name = new_name(hub, args, 1, "subtopic")?;
    let wanted = optional_number(args, 2, "subtid")?.map(Subtid);
    created(args, 1, "subtopic", hub.broker.createsub(Creator::Server, &name, wanted)).map(u32::from)
}

pub(super) fn topic2tid(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<Option<u32>> {
    let name = string(args, 1, "topic")?;
    // For scripts this name is the server's own address, even if a client has made a topic of that name.
    if name == SELF { Ok(None) } else { Ok(hub.broker.topic_number(&name).map(u32::from)) }
}

pub(super) fn subtopic2tid(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<Option<u32>> {
    Ok(hub.broker.subtopic_number(&string(args, 1, "subtopic")?).map(u32::from))
}

pub(super) fn tid2topic(lua: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<Option<LuaString>> {
    text(lua, hub.broker.topic_name(Tid(number(args, 1, "tid")?)))
}

pub(super) fn tid2subtopic(lua: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<Option<LuaString>> {
    text(lua, hub.broker.subtopic_name(Subtid(number(args, 1, "subtid")?)))
}

pub(super) fn text(lua: &Lua, name: Option<Arc<[u8]>>) -> Result<Option<LuaString>> {
    name.map(|name| lua.create_string(&name[..])).transpose()
}

/// An iterator over numbers and names. It goes over those that exist now, whatever the loop does.
pub(super) fn names(lua: &Lua, names: Vec<(u32, Arc<[u8]>)>) -> Result<Function> {
    let at = Cell::new(0);
    lua.create_function(move |lua, _: MultiValue| {
        let Some((number, name)) = names.get(at.replace(at.get() + 1)) else { return Ok((None, None)) };
        Ok((Some(*number), Some(lua.create_string(&name[..])?)))
    })
}
