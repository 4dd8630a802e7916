//! Converting arguments that several methods have.

use mlua::{Result, Value};

use crate::bindings::args::Args;
use crate::bindings::hub::HubState;
use crate::broker::Creator;
use crate::protocol::{Subtid, Target};

/// The name by which scripts address the server's own etid.
pub(super) const SELF: &[u8] = b"self";

/// A string. Unlike [`Args::string`] it takes no number, which would mean an id where a name may also stand.
pub(super) fn string(args: &Args<'_>, position: usize, title: &str) -> Result<Vec<u8>> {
    match args.value(position) {
        Value::String(text) => Ok(text.as_bytes().to_vec()),
        other => Err(args.mismatch(position, title, "string", &other)),
    }
}

/// A number of 32 bits.
pub(super) fn number(args: &Args<'_>, position: usize, title: &str) -> Result<u32> {
    // The range makes the conversion exact.
    args.integer_in(position, title, 0..=i64::from(u32::MAX)).map(|number| number as u32)
}

pub(super) fn optional_number(args: &Args<'_>, position: usize, title: &str) -> Result<Option<u32>> {
    if args.is_absent(position) { Ok(None) } else { number(args, position, title).map(Some) }
}

/// The target that a topic argument names: a number, `"self"`, or a topic's name if it is known.
pub(super) fn target(hub: &HubState, args: &Args<'_>, position: usize) -> Result<Option<Target>> {
    match args.value(position) {
        Value::String(name) if &*name.as_bytes() == SELF => Ok(Some(hub.broker.server().etid().into())),
        Value::String(name) => Ok(hub.broker.topic_number(&name.as_bytes()).map(Target::from)),
        Value::Integer(_) | Value::Number(_) => Ok(Some(Target(number(args, position, "topic")?))),
        other => Err(args.mismatch(position, "topic", "string or number", &other)),
    }
}

/// The target that a topic argument names; an unknown name is made a topic.
pub(super) fn target_or_new(hub: &HubState, args: &Args<'_>, position: usize) -> Result<Target> {
    if let Some(target) = target(hub, args, position)? {
        return Ok(target);
    }
    let name = new_name(hub, args, position, "topic")?;
    created(args, position, "topic", hub.broker.create(Creator::Server, &name, None)).map(Target::from)
}

/// Checks that a value can name a sub-topic. Called before anything is created.
pub(super) fn check_subtopic(hub: &HubState, args: &Args<'_>, position: usize, value: &Value) -> Result<()> {
    match value {
        Value::Nil => Ok(()),
        Value::String(name) => check_name(hub, args, position, "subtopic", &name.as_bytes()),
        value if subtopic_number(value).is_some() => Ok(()),
        other => Err(args.mismatch(position, "subtopic", "string or number of 32 bits", other)),
    }
}

/// The number of a sub-topic, given by a name or number that [`check_subtopic`] has checked; 0 for nil. An unknown name
/// is made a sub-topic.
pub(super) fn subtopic_or_new(hub: &HubState, args: &Args<'_>, position: usize, value: &Value) -> Result<Subtid> {
    match value {
        Value::String(name) => {
            created(args, position, "subtopic", hub.broker.createsub(Creator::Server, &name.as_bytes(), None))
        }
        value => Ok(Subtid(subtopic_number(value).unwrap_or(0))),
    }
}

/// A number of 32 bits, given as an integer or a float.
fn subtopic_number(value: &Value) -> Option<u32> {
    match value {
        Value::Integer(number) => u32::try_from(*number).ok(),
        // The range makes the conversion exact.
        Value::Number(number) if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(number) => {
            Some(*number as u32)
        }
        _ => None,
    }
}

/// A name that a topic or sub-topic can have.
pub(super) fn new_name(hub: &HubState, args: &Args<'_>, position: usize, title: &str) -> Result<Vec<u8>> {
    let name = string(args, position, title)?;
    check_name(hub, args, position, title, &name)?;
    Ok(name)
}

fn check_name(hub: &HubState, args: &Args<'_>, position: usize, title: &str, name: &[u8]) -> Result<()> {
    let most = hub.broker.limits().name;
    if name.len() <= most {
        return Ok(());
    }
    Err(args.refuse(position, title, &format!("a name of at most {most} bytes expected, got {}", name.len())))
}

/// The number of a name that the hub was asked to create, and that is not too long.
pub(super) fn created<T>(args: &Args<'_>, position: usize, title: &str, number: Option<T>) -> Result<T> {
    number.ok_or_else(|| args.refuse(position, title, "the hub has its fill of names"))
}
