//! The hub's methods, as the document lists them: each converts its arguments, calls the core, converts the answer.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mlua::{Function, Lua, MultiValue, ObjectLike, Result, Table, UserData, UserDataMethods, UserDataRef, Value};

use super::super::args::Args;
use super::super::ba::json;
use super::super::options::Options;
use super::super::request;
use super::callbacks::{Handler, Observer};
use super::peers::{HubSocket, is_registered};
use super::{HubHandle, HubState};
use crate::broker::outbox::with_outbox;
use crate::broker::peer::{CloseReason, Peer};
use crate::broker::{Keepalive, Named, Observed, encoded};
use crate::protocol::{Etid, MAX_PAYLOAD, Packet, Publish, Subtid, Target, Tid};

/// The name under which scripts mean the server's own etid.
const SELF: &[u8] = b"self";

impl UserData for HubHandle {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_function("connect", connect);
        add(methods, "create", "hub:create", create);
        add(methods, "createsub", "hub:createsub", createsub);
        add(methods, "gettid", "hub:gettid", |_, hub, _| Ok(hub.hub.server().etid().0));
        add(methods, "publish", "hub:publish", publish);
        add(methods, "pubon", "hub:pubon", pubon);
        add(methods, "subscribe", "hub:subscribe", subscribe);
        add(methods, "unsubscribe", "hub:unsubscribe", unsubscribe);
        add(methods, "observe", "hub:observe", observe);
        add(methods, "unobserve", "hub:unobserve", unobserve);
        add(methods, "onmsg", "hub:onmsg", onmsg);
        add(methods, "topic2tid", "hub:topic2tid", topic2tid);
        add(methods, "tid2topic", "hub:tid2topic", tid2topic);
        add(methods, "subtopic2tid", "hub:subtopic2tid", subtopic2tid);
        add(methods, "tid2subtopic", "hub:tid2subtopic", tid2subtopic);
        add(methods, "topics", "hub:topics", |lua, hub, _| names(lua, hub.hub.topics()));
        add(methods, "subtopics", "hub:subtopics", |lua, hub, _| names(lua, hub.hub.subtopics()));
        add(methods, "peers", "hub:peers", peers);
        add(methods, "sock2peer", "hub:sock2peer", sock2peer);
        add(methods, "etid2peer", "hub:etid2peer", etid2peer);
        add(methods, "queuesize", "hub:queuesize", |_, hub, _| Ok((hub.queue_size, 0)));
        add(methods, "setkeepalive", "hub:setkeepalive", setkeepalive);
        add(methods, "shutdown", "hub:shutdown", shutdown);
    }
}

/// Adds a method. `title` is how error messages call it; positions of its arguments count without the hub.
fn add<M: UserDataMethods<HubHandle>, R: mlua::IntoLuaMulti + 'static>(
    methods: &mut M,
    name: &'static str,
    title: &'static str,
    method: impl Fn(&Lua, &Rc<HubState>, &Args<'_>) -> Result<R> + 'static,
) {
    // A function and not a method, so that the hub is not borrowed while callbacks run that use it, too.
    methods.add_function(name, move |lua, mut values: MultiValue| {
        let hub = take_hub(title, &mut values)?;
        method(lua, &hub, &Args::new(lua, title, values))
    });
}

fn take_hub(title: &str, values: &mut MultiValue) -> Result<Rc<HubState>> {
    let value = values.pop_front().unwrap_or(Value::Nil);
    let hub = value.as_userdata().and_then(|data| data.borrow::<HubHandle>().ok()).map(|handle| handle.0.clone());
    hub.ok_or_else(|| {
        mlua::Error::runtime(format!(
            "{title} was called without its hub, on a {}; write it with a colon",
            value.type_name()
        ))
    })
}

async fn connect(lua: Lua, mut values: MultiValue) -> Result<()> {
    const TITLE: &str = "hub:connect";
    let hub = take_hub(TITLE, &mut values)?;
    let (request, value, arg) = {
        let args = Args::new(&lua, TITLE, values);
        let value = args.value(1);
        let request = request::from_value(&value).ok_or_else(|| args.mismatch(1, "request", "request", &value))?;
        (request, value, args.value(2))
    };
    if hub.connect(request, arg).await? {
        return Ok(());
    }
    // What is no SMQ request gets the page that says so, and the script goes on.
    match value {
        Value::UserData(request) => request.call_method("senderror", 404),
        _ => Ok(()),
    }
}

// ---- Names ----

fn create(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<u32> {
    let name = name(args, 1, "topic")?;
    let wanted = optional_number(args, 2, "tid")?.map(Tid);
    if &name[..] == SELF {
        return Err(args.refuse(1, "topic", "'self' is the server's own address and no topic"));
    }
    created(args, 1, hub.hub.create(&name, wanted)).map(u32::from)
}

fn createsub(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<u32> {
    if args.is_absent(1) {
        return Ok(0);
    }
    let name = name(args, 1, "subtopic")?;
    let wanted = optional_number(args, 2, "subtid")?.map(Subtid);
    created(args, 1, hub.hub.createsub(&name, wanted)).map(u32::from)
}

fn created<T>(args: &Args<'_>, position: usize, named: Named<T>) -> Result<T> {
    match named {
        Named::Known(id) => Ok(id),
        Named::Refused => Err(args.refuse(position, "name", "the name is too long, or the hub has its fill of names")),
    }
}

fn topic2tid(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<Option<u32>> {
    Ok(hub.hub.topic_number(&name(args, 1, "topic")?).map(u32::from))
}

fn subtopic2tid(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<Option<u32>> {
    Ok(hub.hub.subtopic_number(&name(args, 1, "subtopic")?).map(u32::from))
}

fn tid2topic(lua: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<Option<mlua::LuaString>> {
    text(lua, hub.hub.topic_name(Tid(number(args, 1, "tid")?)))
}

fn tid2subtopic(lua: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<Option<mlua::LuaString>> {
    text(lua, hub.hub.subtopic_name(Subtid(number(args, 1, "subtid")?)))
}

fn text(lua: &Lua, name: Option<Arc<[u8]>>) -> Result<Option<mlua::LuaString>> {
    name.map(|name| lua.create_string(&name[..])).transpose()
}

/// An iterator over numbers and names as they are now, whatever the loop does.
fn names(lua: &Lua, names: Vec<(u32, Arc<[u8]>)>) -> Result<Function> {
    let at = Cell::new(0);
    lua.create_function(move |lua, _: MultiValue| {
        let Some((number, name)) = names.get(at.replace(at.get() + 1)) else { return Ok((None, None)) };
        Ok((Some(*number), Some(lua.create_string(&name[..])?)))
    })
}

// ---- Publishing ----

fn publish(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<u32> {
    let payload = payload(args)?;
    let target = target_or_new(hub, args, 2)?;
    let subtid = subtopic_or_new(hub, args, 3, &args.value(3))?;
    let server = hub.hub.server();
    let publisher = optional_number(args, 4, "ptid")?.map_or(server.etid(), Etid);
    let publish = Publish { target, publisher, subtid, payload: &payload };
    let peer = hub.hub.peer(publisher).unwrap_or_else(|| server.clone());
    if hub.permits_own(&publish, &peer) {
        send(hub, &publish, &peer);
    }
    // Nothing stays queued here: what a slow client does not take waits in that client's own queue.
    Ok(0)
}

fn pubon(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<bool> {
    let payload = match args.value(1) {
        Value::String(data) => data.as_bytes().to_vec(),
        other => return Err(args.mismatch(1, "data", "string", &other)),
    };
    check_length(args, &payload)?;
    let to = number(args, 2, "totid")?;
    let from = number(args, 3, "fromtid")?;
    let subtid = Subtid(number(args, 4, "subtopic")?);
    let (Some(_), Some(publisher)) = (client(hub, Etid(to)), client(hub, Etid(from))) else { return Ok(false) };
    let publish = Publish { target: Target(to), publisher: Etid(from), subtid, payload: &payload };
    send(hub, &publish, &publisher);
    Ok(true)
}

/// Routes a message and runs the callbacks of the server's own subscriptions.
fn send(hub: &Rc<HubState>, publish: &Publish<'_>, peer: &Arc<Peer>) {
    let frame = encoded(&Packet::Publish(*publish));
    if hub.callbacks.ondrop.is_none() {
        return hub.act(|outbox| hub.hub.route_soon(outbox, publish.target, &frame));
    }
    let delivered = hub.act(|outbox| {
        let span = outbox.place(&frame);
        hub.hub.route(outbox, publish.target, span)
    });
    if !delivered {
        hub.dropped_own(publish, peer);
    }
}

/// A string as it is, a table as JSON.
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

// ---- Subscribing ----

fn subscribe(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<u32> {
    let options = Options::optional(args, 2, "op")?;
    let json = options.truth("json")?;
    let handler = options.function("onmsg")?.map(|function| Handler { function, json });
    let subtopic = options.value("subtopic")?;
    check_subtopic(args, 2, &subtopic)?;
    let target = target_or_new(hub, args, 1)?;
    let is_self = target == Target::from(hub.hub.server().etid());
    if !is_self && hub.hub.topic_name(Tid(target.0)).is_none() {
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
        hub.act(|outbox| hub.hub.subscribe_server(outbox, Tid(target.0)));
    }
    Ok(target.0)
}

fn unsubscribe(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<()> {
    if let Some(target) = target(hub, args, 1)? {
        hub.topics.borrow_mut().remove(&target.0);
        hub.act(|outbox| hub.hub.unsubscribe(outbox, hub.hub.server(), Tid(target.0)));
    }
    Ok(())
}

fn onmsg(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<()> {
    *hub.onmsg.borrow_mut() = Some(args.function(1, "func")?);
    Ok(())
}

// ---- Observing ----

fn observe(lua: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<Option<bool>> {
    let function = args.function(2, "func")?;
    let target = target_or_new(hub, args, 1)?;
    let observed = hub.act(|outbox| hub.hub.observe(outbox, hub.hub.server(), target, false));
    let (name, is_topic) = match observed {
        Observed::Topic => (text(lua, hub.hub.topic_name(Tid(target.0)))?.map_or(Value::Nil, Value::String), true),
        Observed::Peer => (Value::Integer(i64::from(target.0)), false),
        Observed::Nothing | Observed::Own => return Ok(None),
    };
    hub.observers.borrow_mut().insert(target.0, Observer { function, name, is_topic });
    Ok(Some(true))
}

fn unobserve(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<()> {
    if let Some(target) = target(hub, args, 1)? {
        hub.observers.borrow_mut().remove(&target.0);
        hub.hub.unobserve(hub.hub.server(), target);
    }
    Ok(())
}

// ---- Management ----

/// An iterator over the peers that are connected now; those that end during the loop are left out.
fn peers(lua: &Lua, hub: &Rc<HubState>, _: &Args<'_>) -> Result<Function> {
    let (hub, peers, at) = (hub.clone(), hub.hub.peers(), Cell::new(0));
    lua.create_function(move |_, _: MultiValue| {
        while let Some(peer) = peers.get(at.replace(at.get() + 1)) {
            if is_registered(&hub.hub, peer) {
                let table = hub.peer_table(peer)?;
                return Ok((table.raw_get::<Value>("sock")?, Some(table)));
            }
        }
        Ok((Value::Nil, None))
    })
}

fn sock2peer(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<Option<Table>> {
    let value = args.value(1);
    let socket: UserDataRef<HubSocket> = match &value {
        Value::Nil if args.count() > 0 => return Ok(None),
        Value::UserData(data) => match data.borrow() {
            Ok(socket) => socket,
            Err(_) => return Ok(None),
        },
        other => return Err(args.mismatch(1, "sock", "socket", other)),
    };
    let peer = socket.peer().filter(|peer| is_registered(&hub.hub, peer));
    peer.map(|peer| hub.peer_table(&peer)).transpose()
}

fn etid2peer(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<Option<Table>> {
    let etid = Etid(number(args, 1, "etid")?);
    hub.hub.peer(etid).map(|peer| hub.peer_table(&peer)).transpose()
}

fn setkeepalive(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<()> {
    let seconds = |position, name: &str| {
        let seconds = args.number(position, name)?;
        // The kernel takes no more than 32767 seconds.
        if (1.0..=32_767.0).contains(&seconds) {
            return Ok(Duration::from_secs_f64(seconds));
        }
        Err(args.refuse(position, name, &format!("1..32767 seconds expected, got {seconds}")))
    };
    let idle = seconds(1, "keepalive")?;
    let interval = if args.is_absent(2) { None } else { Some(seconds(2, "interval")?) };
    hub.hub.set_keepalive(Keepalive::new(idle, interval));
    Ok(())
}

fn shutdown(_: &Lua, hub: &Rc<HubState>, args: &Args<'_>) -> Result<()> {
    let farewell = args.optional_string(1, "msg")?;
    let peers = match optional_number(args, 2, "etid")? {
        Some(etid) => client(hub, Etid(etid)).into_iter().collect(),
        None => hub.hub.peers(),
    };
    let clients: Vec<_> = peers.into_iter().filter(|peer| !peer.is_server()).collect();
    with_outbox(|outbox| {
        for peer in &clients {
            hub.hub.close(outbox, peer, CloseReason::Shutdown, farewell.as_deref());
        }
        outbox.flush();
    });
    for peer in clients {
        hub.end_now(peer);
    }
    Ok(())
}

// ---- Arguments ----

/// The connected client with this etid; neither the server nor a topic.
fn client(hub: &HubState, etid: Etid) -> Option<Arc<Peer>> {
    hub.hub.peer(etid).filter(|peer| !peer.is_server())
}

fn name(args: &Args<'_>, position: usize, title: &str) -> Result<Vec<u8>> {
    match args.value(position) {
        Value::String(name) => Ok(name.as_bytes().to_vec()),
        other => Err(args.mismatch(position, title, "string", &other)),
    }
}

/// A number of 32 bits.
fn number(args: &Args<'_>, position: usize, title: &str) -> Result<u32> {
    // The range makes the conversion exact.
    args.integer_in(position, title, 0..=i64::from(u32::MAX)).map(|number| number as u32)
}

fn optional_number(args: &Args<'_>, position: usize, title: &str) -> Result<Option<u32>> {
    if args.is_absent(position) { Ok(None) } else { number(args, position, title).map(Some) }
}

/// The target that a topic argument names: a number, `"self"`, or a topic's name if it is known.
fn target(hub: &HubState, args: &Args<'_>, position: usize) -> Result<Option<Target>> {
    match args.value(position) {
        Value::String(name) if &*name.as_bytes() == SELF => Ok(Some(hub.hub.server().etid().into())),
        Value::String(name) => Ok(hub.hub.topic_number(&name.as_bytes()).map(Target::from)),
        Value::Integer(_) | Value::Number(_) => Ok(Some(Target(number(args, position, "topic")?))),
        other => Err(args.mismatch(position, "topic", "string or number", &other)),
    }
}

/// Likewise; an unknown name becomes a topic.
fn target_or_new(hub: &HubState, args: &Args<'_>, position: usize) -> Result<Target> {
    if let Some(target) = target(hub, args, position)? {
        return Ok(target);
    }
    let name = name(args, position, "topic")?;
    created(args, position, hub.hub.create(&name, None)).map(Target::from)
}

fn check_subtopic(args: &Args<'_>, position: usize, value: &Value) -> Result<()> {
    match value {
        Value::Nil | Value::String(_) => Ok(()),
        Value::Integer(number) if u32::try_from(*number).is_ok() => Ok(()),
        other => {
            let got = match other {
                Value::Integer(number) => number.to_string(),
                other => other.type_name().to_owned(),
            };
            Err(args.refuse(position, "subtopic", &format!("string or number of 32 bits expected, got {got}")))
        }
    }
}

/// The number of a sub-topic given by name or number; 0 for nil. An unknown name becomes a sub-topic.
fn subtopic_or_new(hub: &HubState, args: &Args<'_>, position: usize, value: &Value) -> Result<Subtid> {
    check_subtopic(args, position, value)?;
    match value {
        Value::String(name) => created(args, position, hub.hub.createsub(&name.as_bytes(), None)),
        // Checked to fit above.
        Value::Integer(number) => Ok(Subtid(*number as u32)),
        _ => Ok(Subtid(0)),
    }
}
