//! What scripts can call: one file per module, one line each in [`install`].

pub mod ba;

use std::rc::Rc;

use crate::lua::World;

pub fn install(_world: &Rc<World>) -> mlua::Result<()> {
    Ok(())
}
