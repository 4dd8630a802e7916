//! Methods for publishing.

use std::rc::Rc;
use std::sync::Arc;

use mlua::{Lua, Result, Value};

use super::arguments::{check_subtopic, number, optional_number, string, subtopic_or_new, target_or_new};
use crate::bindings::args::Args;
use crate::bindings::ba::json;
use crate::bindings::hub::HubState;
use crate::broker::encoded;
use crate::broker::peer::Peer;
use crate::protocol::{Etid, MAX_PAYLOAD, Packet, Publish, Subtid, Target};

pub(super) fn publish(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<u32> {
    let payload = payload(args)?;
    let subtopic = args.value(3);
    check_subtopic(hub, args, 3, &subtopic)?;
    let server = hub.broker.server();
    let publisher = optional_number(args, 4, "ptid")?.map_or(server.etid(), Etid);
    let target = target_or_new(hub, args, 2)?;
    let subtid = subtopic_or_new(hub, args, 3, &subtopic)?;
    let publish = Publish { target, publisher, subtid, payload: &payload };
    let peer = hub.broker.peer(publisher).unwrap_or_else(|| server.clone());
    if hub.permits_own(&publish, &peer) {
        send(hub, &publish, &peer);
    }
    // The number of queued messages, which is always 0: what a slow client does not take waits in its own queue.
    Ok(0)
}

pub(super) fn pubon(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<bool> {
    let payload = string(args, 1, "data")?;
    check_length(args, &payload)?;
    let to = number(args, 2, "totid")?;
    let from = number(args, 3, "fromtid")?;
    let subtid = Subtid(number(args, 4, "subtopic")?);
    let client = |etid| hub.broker.client(Etid(etid));
    let (Some(_), Some(publisher)) = (client(to), client(from)) else { return Ok(false) };
    let publish = Publish { target: Target(to), publisher: Etid(from), subtid, payload: &payload };
    send(hub, &publish, &publisher);
    Ok(true)
}

/// Routes a message. Callbacks of the server's own subscriptions run before this returns, and so does `ondrop` if the
/// message reaches nobody.
fn send(hub: &Rc<HubState>, publish: &Publish<'_>, peer: &Arc<Peer>) {
    let frame = encoded(&Packet::Publish(*publish));
    if hub.callbacks.ondrop.is_none() {
        return hub.act(|outbox| hub.broker.route_soon(outbox, publish.target, &frame));
    }
    let delivered = hub.act(|outbox| {
        let span = outbox.append(&frame);
        hub.broker.route(outbox, publish.target, span)
    });
    if !delivered {
        hub.dropped_own(publish, peer);
    }
}

/// The payload in argument 1: a string as it is, a table as JSON.
fn payload(args: &Args<'_>) -> Result<Vec<u8>> {
    let payload = match args.value(1) {
        Value::String(data) => data.as_bytes().to_vec(),
        Value::Table(table) => json::encode(&table)?,
        other => return Err(args.mismatch(1, "data", "string or table", &other)),
    };
    check_length(args, &payload)?;
    Ok(payload)
}

fn check_length(args: &Args<'_>, payload: &[u8]) -> Result<()> {
    if payload.len() <= MAX_PAYLOAD {
        return Ok(());
    }
    Err(args.refuse(1, "data", &format!("at most {MAX_PAYLOAD} bytes expected, got {}", payload.len())))
}
