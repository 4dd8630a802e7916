//! `ba.datetime` and `ba.clock`: points in time.

mod span;

use std::cmp::Ordering;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Instant;

use mlua::{IntoLua, IntoLuaMulti, Lua, MetaMethod, MultiValue, Result, Table, UserData, UserDataMethods, Value};
use time::format_description::well_known::Rfc3339;
use time::{Date, Month, OffsetDateTime, UtcOffset};

use crate::bindings::args::Args;
use crate::bindings::options::Options;
use crate::lua::World;

pub fn register(world: &Rc<World>, ba: &Table) -> Result<()> {
    ba.set("clock", world.lua.create_function(|_, _: MultiValue| Ok(clock()))?)?;
    ba.set("datetime", world.lua.create_function(datetime)?)
}

/// `ba.clock()`: a monotonic clock in milliseconds.
fn clock() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    // A u64 holds half a billion years of milliseconds.
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}

/// A point in time, exact to the nanosecond, with the offset from UTC in which it is shown.
#[derive(Clone, Copy)]
struct Moment(OffsetDateTime);

/// `ba.datetime("NOW" | "MIN" | "MAX")`, `ba.datetime(text)` (RFC 3339), `ba.datetime(seconds [, nanoseconds [, offset]])`
/// since 1970 with the offset in minutes, `ba.datetime{year=, month=, day=, hour=, min=, sec=, nsec=, offset=}`. A text
/// or table that is no date gives nil and a reason.
fn datetime(lua: &Lua, args: MultiValue) -> Result<MultiValue> {
    let args = Args::new(lua, "ba.datetime", args);
    let moment = match args.value(1) {
        Value::String(text) => from_text(&text.to_string_lossy()),
        Value::Table(_) => from_fields(&Options::required(&args, 1, "time")?)?,
        Value::Integer(_) | Value::Number(_) => {
            let nanoseconds = args.optional_integer(2, "nanoseconds")?.unwrap_or(0);
            let offset = args.optional_integer(3, "offset")?.unwrap_or(0);
            from_ticks(args.integer(1, "seconds")?, nanoseconds, offset)
        }
        other => return Err(args.mismatch(1, "time", "string, number or table", &other)),
    };
    match moment {
        Some(moment) => moment.into_lua_multi(lua),
        None => (Value::Nil, "no date and time of the years 0 to 9999").into_lua_multi(lua),
    }
}

fn from_text(text: &str) -> Option<Moment> {
    match text {
        "NOW" => Some(Moment(OffsetDateTime::now_utc())),
        "MIN" => from_fields_of(0, 1, 1, [0, 0, 0, 0], 0),
        "MAX" => from_fields_of(9999, 12, 31, [23, 59, 59, 999_999_999], 0),
        text => OffsetDateTime::parse(text, &Rfc3339).ok().and_then(checked),
    }
}

fn from_ticks(seconds: i64, nanoseconds: i64, offset: i64) -> Option<Moment> {
    let nanoseconds = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let moment = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok()?;
    moment.checked_to_offset(offset_of(offset)?).and_then(checked)
}

fn from_fields(fields: &Options) -> Result<Option<Moment>> {
    let field = |name: &'static str, default: Option<i64>| -> Result<i64> {
        match (fields.value(name)?, default) {
            (Value::Integer(number), _) => Ok(number),
            (Value::Number(number), _) if number.fract() == 0.0 && number.abs() < 9e15 => Ok(number as i64),
            (Value::Nil, Some(default)) => Ok(default),
            (other, _) => Err(fields.mismatch(name, "integer", &other)),
        }
    };
    let (year, month, day) = (field("year", None)?, field("month", None)?, field("day", None)?);
    let clock = [field("hour", Some(0))?, field("min", Some(0))?, field("sec", Some(0))?, field("nsec", Some(0))?];
    Ok(from_fields_of(year, month, day, clock, field("offset", Some(0))?))
}

fn from_fields_of(year: i64, month: i64, day: i64, clock: [i64; 4], offset: i64) -> Option<Moment> {
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?).ok()?;
    let [hour, minute, second, nanosecond] = clock;
    let byte = |number: i64| u8::try_from(number).ok();
    let time = date.with_hms_nano(byte(hour)?, byte(minute)?, byte(second)?, u32::try_from(nanosecond).ok()?).ok()?;
    checked(time.assume_offset(offset_of(offset)?))
}

/// Less than a day, which is what RFC 3339 can write.
fn offset_of(minutes: i64) -> Option<UtcOffset> {
    let minutes = i32::try_from(minutes).ok().filter(|minutes| minutes.abs() < 24 * 60)?;
    UtcOffset::from_whole_seconds(minutes * 60).ok()
}

/// Only years that have a written form in RFC 3339, in UTC, too.
fn checked(moment: OffsetDateTime) -> Option<Moment> {
    let utc = moment.checked_to_offset(UtcOffset::UTC)?;
    [moment.year(), utc.year()].iter().all(|year| (0..=9999).contains(year)).then_some(Moment(moment))
}

impl Moment {
    fn ticks(&self) -> (i64, u32, i16) {
        (self.0.unix_timestamp(), self.0.nanosecond(), self.0.offset().whole_minutes())
    }

    /// The same moment at another offset in minutes.
    fn at(&self, args: &Args) -> Result<Self> {
        let Some(minutes) = args.optional_integer(1, "offset")? else { return Ok(*self) };
        let moment = offset_of(minutes).and_then(|offset| self.0.checked_to_offset(offset)).and_then(checked);
        moment.ok_or_else(|| args.refuse(1, "offset", &format!("minutes within a day expected, got {minutes}")))
    }

    fn fields(&self, lua: &Lua) -> Result<Table> {
        let (moment, fields) = (self.0, lua.create_table()?);
        fields.set("year", moment.year())?;
        fields.set("month", u8::from(moment.month()))?;
        fields.set("day", moment.day())?;
        fields.set("hour", moment.hour())?;
        fields.set("min", moment.minute())?;
        fields.set("sec", moment.second())?;
        fields.set("nsec", moment.nanosecond())?;
        fields.set("offset", moment.offset().whole_minutes())?;
        fields.set("wday", moment.weekday().number_days_from_sunday() + 1)?;
        fields.set("yday", moment.ordinal())?;
        Ok(fields)
    }

    fn text(&self) -> Result<String> {
        self.0.format(&Rfc3339).map_err(mlua::Error::external)
    }
}

impl UserData for Moment {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        // dt:ticks(): seconds since 1970, nanoseconds, offset in minutes.
        methods.add_method("ticks", |_, this, _: MultiValue| Ok(this.ticks()));
        // dt:date([offset]): a table as os.date"*t" gives it, with nsec and offset.
        methods.add_method("date", |lua, this, args: MultiValue| {
            this.at(&Args::new(lua, "datetime:date", args))?.fields(lua)
        });
        // dt:tostring([offset]): as RFC 3339 writes it.
        methods.add_method("tostring", |lua, this, args: MultiValue| {
            this.at(&Args::new(lua, "datetime:tostring", args))?.text()
        });
        methods.add_meta_method(MetaMethod::ToString, |_, this, _: MultiValue| this.text());
        methods.add_meta_function(MetaMethod::Add, |_, (one, other): (Value, Value)| match as_moment(&one) {
            Some(moment) => span::plus(moment, span::read(&other)?),
            None => span::plus(as_moment(&other).ok_or_else(|| span::refuse(&other))?, span::read(&one)?),
        });
        methods.add_meta_function(MetaMethod::Sub, |lua, (one, other): (Value, Value)| {
            match (as_moment(&one), as_moment(&other)) {
                (Some(one), Some(other)) => Ok(span::seconds(one - other)),
                (Some(one), None) => span::plus(one, -span::read(&other)?)?.into_lua(lua),
                _ => Err(span::refuse(&one)),
            }
        });
        methods.add_meta_function(MetaMethod::Eq, |_, pair| Ok(compare(pair).is_ok_and(Ordering::is_eq)));
        methods.add_meta_function(MetaMethod::Lt, |_, pair| Ok(compare(pair)? == Ordering::Less));
        methods.add_meta_function(MetaMethod::Le, |_, pair| Ok(compare(pair)? != Ordering::Greater));
    }
}

fn compare((one, other): (Value, Value)) -> Result<Ordering> {
    Ok(moment(&one)?.cmp(&moment(&other)?))
}

fn moment(value: &Value) -> Result<OffsetDateTime> {
    let refuse = || mlua::Error::runtime(format!("attempt to compare datetime with {}", value.type_name()));
    as_moment(value).ok_or_else(refuse)
}

fn as_moment(value: &Value) -> Option<OffsetDateTime> {
    value.as_userdata().and_then(|data| data.borrow::<Moment>().ok()).map(|moment| moment.0)
}
