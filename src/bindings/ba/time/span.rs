//! What is added to a moment, and what lies between two: a number of seconds, or a table such as `{days=1, hours=-2}`.

use mlua::{Error, Result, Value};
use time::{Duration, OffsetDateTime};

use super::{Moment, checked};

const NANOSECONDS: i128 = 1_000_000_000;
/// Nanoseconds of each field of a table.
const FIELDS: [(&str, i128); 5] = [
    ("days", 86_400 * NANOSECONDS),
    ("hours", 3_600 * NANOSECONDS),
    ("mins", 60 * NANOSECONDS),
    ("secs", NANOSECONDS),
    ("nsecs", 1),
];
/// Times the unit; more than all years there are, even in nanoseconds, and small enough for sums of such.
const MAX_COUNT: f64 = 1e18;

/// The span in nanoseconds.
pub fn read(value: &Value) -> Result<i128> {
    let Value::Table(table) = value else { return times(value, NANOSECONDS).ok_or_else(|| refuse(value)) };
    let mut sum = 0;
    for pair in table.pairs::<Value, Value>() {
        let (name, count) = pair?;
        let name = name.to_string()?;
        let unit = FIELDS.iter().find(|(field, _)| *field == name).map(|(_, unit)| *unit);
        let unit = unit.ok_or_else(|| misfit(&name, "days, hours, mins, secs and nsecs are known"))?;
        sum += times(&count, unit).ok_or_else(|| misfit(&name, "number expected"))?;
    }
    Ok(sum)
}

fn times(count: &Value, unit: i128) -> Option<i128> {
    match count {
        Value::Integer(count) if (*count as f64).abs() <= MAX_COUNT => Some(i128::from(*count) * unit),
        Value::Number(count) if count.abs() <= MAX_COUNT => Some((count * unit as f64).round() as i128),
        _ => None,
    }
}

/// The moment so many nanoseconds later, with its offset.
pub fn plus(moment: OffsetDateTime, nanoseconds: i128) -> Result<Moment> {
    let seconds = i64::try_from(nanoseconds.div_euclid(NANOSECONDS)).ok();
    // The rest is below 10^9.
    let span = seconds.map(|seconds| Duration::new(seconds, nanoseconds.rem_euclid(NANOSECONDS) as i32));
    let sum = span.and_then(|span| moment.checked_add(span)).and_then(checked);
    sum.ok_or_else(|| Error::runtime("no date and time of the years 0 to 9999 is so far away"))
}

/// In seconds, an integer if nothing is left over.
pub fn seconds(span: Duration) -> Value {
    match span.subsec_nanoseconds() {
        0 => Value::Integer(span.whole_seconds()),
        _ => Value::Number(span.as_seconds_f64()),
    }
}

/// The error for what is no span.
pub fn refuse(value: &Value) -> Error {
    Error::runtime(format!("attempt to perform arithmetic on datetime and {}", value.type_name()))
}

fn misfit(field: &str, why: &str) -> Error {
    Error::runtime(format!("attempt to perform arithmetic on datetime and table (field '{field}': {why})"))
}
