//! The hub's methods, in the order of the API document. Each converts its arguments, calls the broker, and converts the
//! result.

mod arguments;
mod managing;
mod naming;
mod observing;
mod publishing;
mod subscribing;

use std::rc::Rc;

use mlua::{Lua, MultiValue, ObjectLike, Result, UserData, UserDataMethods, Value};

use super::{HubHandle, HubState};
use crate::bindings::args::{Args, no_object};
use crate::bindings::request::Request;
use managing::{etid2peer, peers, setkeepalive, shutdown, sock2peer};
use naming::{create, createsub, names, subtopic2tid, tid2subtopic, tid2topic, topic2tid};
use observing::{observe, unobserve};
use publishing::{publish, pubon};
use subscribing::{onmsg, subscribe, unsubscribe};

impl UserData for HubHandle {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_function("connect", connect);
        add(methods, "create", "hub:create", create);
        add(methods, "createsub", "hub:createsub", createsub);
        add(methods, "gettid", "hub:gettid", |_, hub, _| Ok(hub.broker.server().etid().0));
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
        add(methods, "topics", "hub:topics", |lua, hub, _| names(lua, hub.broker.topics()));
        add(methods, "subtopics", "hub:subtopics", |lua, hub, _| names(lua, hub.broker.subtopics()));
        add(methods, "peers", "hub:peers", peers);
        add(methods, "sock2peer", "hub:sock2peer", sock2peer);
        add(methods, "etid2peer", "hub:etid2peer", etid2peer);
        add(methods, "queuesize", "hub:queuesize", |_, hub, _| Ok((hub.queue_size, 0)));
        add(methods, "setkeepalive", "hub:setkeepalive", setkeepalive);
        add(methods, "shutdown", "hub:shutdown", shutdown);
    }
}

/// Adds a method. Error messages call it `title`; the positions of its arguments do not count the hub.
fn add<M: UserDataMethods<HubHandle>, R: mlua::IntoLuaMulti + 'static>(
    methods: &mut M,
    name: &'static str,
    title: &'static str,
    method: impl Fn(&Lua, &Rc<HubState>, &Args<'_>) -> Result<R> + 'static,
) {
    // A function rather than a method: with a method the userdata would stay borrowed while callbacks run, which use
    // it, too.
    methods.add_function(name, move |lua, mut values: MultiValue| {
        let hub = take_hub(title, &mut values)?;
        method(lua, &hub, &Args::new(lua, title, values))
    });
}

fn take_hub(title: &str, values: &mut MultiValue) -> Result<Rc<HubState>> {
    let value = values.pop_front().unwrap_or(Value::Nil);
    let handle = value.as_userdata().and_then(|data| data.borrow::<HubHandle>().ok());
    let hub = handle.ok_or_else(|| no_object(title, "a hub"))?.0.upgrade();
    hub.ok_or_else(|| mlua::Error::runtime(format!("{title} was called on a hub that has ended with its app")))
}

/// `hub:connect(request[, arg])`: returns when the handshake is over. A request that does not ask for SMQ is answered
/// with a 404, and the script goes on.
async fn connect(lua: Lua, mut values: MultiValue) -> Result<()> {
    const TITLE: &str = "hub:connect";
    let hub = take_hub(TITLE, &mut values)?;
    let (request, value, arg) = {
        let args = Args::new(&lua, TITLE, values);
        let request = args.object::<Request>(1, "request", "request")?.clone();
        (request, args.value(1), args.value(2))
    };
    if hub.connect(request, arg).await? {
        return Ok(());
    }
    match value {
        Value::UserData(request) => request.call_method("senderror", 404),
        _ => Ok(()),
    }
}
