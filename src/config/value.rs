//! Values of a configuration file, copied from the Lua state in which it ran, so that they can be copied into another.

use mlua::{Lua, Result, Table, Value};

/// How deep tables may be nested. Deeper ones are left out, so that a table that contains itself is finite.
const MAX_DEPTH: usize = 16;

/// A value that scripts may read. Functions are left out.
#[derive(Debug, Clone, PartialEq)]
pub enum ConfigValue {
    Boolean(bool),
    Integer(i64),
    Number(f64),
    Text(Vec<u8>),
    Table(Vec<(ConfigValue, ConfigValue)>),
}

impl ConfigValue {
    /// The pairs of a table.
    pub fn pairs(table: &Table) -> Vec<(Self, Self)> {
        Self::pairs_within(table, MAX_DEPTH)
    }

    fn pairs_within(table: &Table, depth: usize) -> Vec<(Self, Self)> {
        let pairs = table.pairs::<Value, Value>().flatten();
        pairs.filter_map(|(key, value)| Some((Self::of(&key, 0)?, Self::of(&value, depth)?))).collect()
    }

    fn of(value: &Value, depth: usize) -> Option<Self> {
        Some(match value {
            Value::Boolean(value) => Self::Boolean(*value),
            Value::Integer(value) => Self::Integer(*value),
            Value::Number(value) => Self::Number(*value),
            Value::String(text) => Self::Text(text.as_bytes().to_vec()),
            Value::Table(table) if depth > 0 => Self::Table(Self::pairs_within(table, depth - 1)),
            _ => return None,
        })
    }

    /// The value for a script.
    pub fn to_lua(&self, lua: &Lua) -> Result<Value> {
        Ok(match self {
            Self::Boolean(value) => Value::Boolean(*value),
            Self::Integer(value) => Value::Integer(*value),
            Self::Number(value) => Value::Number(*value),
            Self::Text(text) => Value::String(lua.create_string(text)?),
            Self::Table(pairs) => Value::Table(Self::to_table(pairs, lua)?),
        })
    }

    /// A table with these pairs.
    pub fn to_table(pairs: &[(Self, Self)], lua: &Lua) -> Result<Table> {
        let table = lua.create_table()?;
        for (key, value) in pairs {
            table.raw_set(key.to_lua(lua)?, value.to_lua(lua)?)?;
        }
        Ok(table)
    }
}

impl From<&str> for ConfigValue {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_copied_to_another_lua_state_without_functions_and_endless_tables() {
        let (from, to) = (Lua::new(), Lua::new());
        let source = "local t = {port = 1, x = 1.5, users = {'a', true}, f = print} t.t = t return t";
        let table: Table = from.load(source).eval().unwrap();
        let table = ConfigValue::to_table(&ConfigValue::pairs(&table), &to).unwrap();
        to.globals().set("t", table).unwrap();
        let seen: String = to
            .load("return ('%s %s %s %s %s %s'):format(t.port, t.x, t.users[1], t.users[2], t.f, t.t.port)")
            .eval()
            .unwrap();
        assert_eq!(seen, "1 1.5 a true nil 1");
    }
}
