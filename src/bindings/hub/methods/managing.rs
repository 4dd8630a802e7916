//! Methods about peers, the hub's settings, and its end.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use mlua::{Function, Lua, MultiValue, Result, Table, UserDataRef, Value};

use super::arguments::{number, optional_number};
use crate::bindings::args::Args;
use crate::bindings::hub::HubState;
use crate::bindings::hub::options::KEEPALIVE_SECONDS;
use crate::bindings::hub::peers::{HubSocket, is_registered};
use crate::broker::Keepalive;
use crate::protocol::Etid;

/// `hub:peers()`: an iterator over sockets and peer tables of those who are connected now. Peers that end during the
/// loop are left out.
pub(super) fn peers(lua: &Lua, hub: &Rc<HubState>, _: &Args<'_>) -> Result<Function> {
    let (hub, peers, at) = (hub.clone(), hub.broker.peers(), Cell::new(0));
    lua.create_function(move |_, _: MultiValue| {
        while let Some(peer) = peers.get(at.replace(at.get() + 1)) {
            if is_registered(&hub.broker, peer) {
                let table = hub.peer_table(peer)?;
                return Ok((table.raw_get::<Value>("sock")?, Some(table)));
            }
        }
        Ok((Value::Nil, None))
    })
}

pub(super) fn sock2peer(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<Option<Table>> {
    let value = args.value(1);
    let socket: UserDataRef<HubSocket> = match &value {
        Value::Nil if args.count() > 0 => return Ok(None),
        Value::UserData(data) => match data.borrow() {
            Ok(socket) => socket,
            Err(_) => return Ok(None),
        },
        other => return Err(args.mismatch(1, "sock", "socket", other)),
    };
    let peer = socket.peer().filter(|peer| is_registered(&hub.broker, peer));
    peer.map(|peer| hub.peer_table(&peer)).transpose()
}

pub(super) fn etid2peer(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<Option<Table>> {
    let etid = Etid(number(args, 1, "etid")?);
    hub.broker.peer(etid).map(|peer| hub.peer_table(&peer)).transpose()
}

pub(super) fn setkeepalive(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<()> {
    let seconds = |position, name: &str| {
        let seconds = args.number(position, name)?;
        if KEEPALIVE_SECONDS.contains(&seconds) {
            return Ok(Duration::from_secs_f64(seconds));
        }
        let (least, most) = KEEPALIVE_SECONDS.into_inner();
        Err(args.refuse(position, name, &format!("{least}..{most} seconds expected, got {seconds}")))
    };
    let idle = seconds(1, "keepalive")?;
    // As the API document says: without an interval, the first time is used for both.
    let interval = if args.is_absent(2) { idle } else { seconds(2, "interval")? };
    hub.broker.set_keepalive(Keepalive::new(idle, Some(interval)));
    Ok(())
}

pub(super) fn shutdown(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<()> {
    let farewell = args.optional_string(1, "msg")?;
    match optional_number(args, 2, "etid")? {
        Some(etid) => hub.shut_down_one(Etid(etid), farewell.as_deref()),
        None => drop(hub.shut_down(farewell.as_deref())),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use mlua::UserDataRef;

    use super::*;
    use crate::bindings::hub::HubHandle;
    use crate::lua::LuaThread;

    /// The times of a new hub after this call, in seconds.
    async fn after(call: &'static str) -> (u64, u64) {
        let (lua, _) = LuaThread::start().unwrap();
        let found = lua.call(move |world| async move {
            let source = format!("local hub = require'smq.hub'.create() {call} return hub");
            let hub: UserDataRef<HubHandle> = world.lua.load(source).eval().unwrap();
            let Keepalive { idle, interval } = hub.0.upgrade().unwrap().broker.keepalive();
            (idle.as_secs(), interval.as_secs())
        });
        let found = found.await.unwrap();
        lua.stop();
        found
    }

    #[tokio::test]
    async fn a_single_keepalive_time_is_used_before_and_between_probes() {
        assert_eq!(after("").await, (230, 23));
        assert_eq!(after("hub:setkeepalive(100)").await, (100, 100));
        assert_eq!(after("hub:setkeepalive(100, 20)").await, (100, 20));
        assert_eq!(after("hub:setkeepalive(1)").await, (1, 3));
    }
}
