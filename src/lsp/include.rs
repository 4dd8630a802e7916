//! `response:include` and `response:forward`: finding and running another page, a file, or directory functions.

use std::fs::{File, Metadata};
use std::io::Read;
use std::rc::Rc;

use mlua::{Error, Function, Result, Value};

use super::app::State;
use super::directory::Found;
use super::page;
use crate::bindings::io::LuaIo;
use crate::bindings::request::Request;
use crate::http::site::INDEX;
use crate::lua::{World, budget};
use crate::stamp::Stamp;

/// The most bytes of a file that are in memory at a time.
const PIECE: usize = 16 * 1024;

/// What a path leads to.
pub enum Target {
    Page { app: Rc<State>, path: String, stamp: Stamp },
    File { app: Rc<State>, path: String },
    Functions { app: Rc<State>, path: String, functions: Vec<(Function, String)> },
}

impl Target {
    /// The app to which it belongs.
    pub fn app(&self) -> &Rc<State> {
        match self {
            Self::Page { app, .. } | Self::File { app, .. } | Self::Functions { app, .. } => app,
        }
    }

    /// Its path from the app's root.
    pub fn path(&self) -> &str {
        match self {
            Self::Page { path, .. } | Self::File { path, .. } | Self::Functions { path, .. } => path,
        }
    }
}

/// Finds what `path` means to the page at `base`: relative to that page, and looked for in its own app first, or `/...`
/// from the server's root. Hidden files are found, too; nothing outside the apps is. There may be several targets, to
/// be tried in this order, since directory functions may decline.
pub fn find(world: &World, own: Option<&Rc<State>>, base: &str, path: &str) -> Vec<Target> {
    let Some(full) = absolute(base, path) else { return Vec::new() };
    let own = own.filter(|_| !path.starts_with('/')).cloned();
    let others =
        world.apps.by_priority().into_iter().filter(|app| own.as_ref().is_none_or(|own| !Rc::ptr_eq(own, app)));
    own.iter().cloned().chain(others).filter_map(|app| find_in(app, &full)).collect()
}

/// The path from the server's root; `None` if it leads above that, or is no valid path.
fn absolute(base: &str, path: &str) -> Option<String> {
    if path.is_empty() || path.contains(['\0', '\\']) {
        return None;
    }
    let folder = if path.starts_with('/') { "" } else { &base[..base.rfind('/').unwrap_or(0)] };
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    let slash = if path.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    Some(format!("/{}{slash}", parts.join("/")))
}

fn find_in(app: Rc<State>, full: &str) -> Option<Target> {
    let below = full.strip_prefix(&app.uri())?;
    let found = app.io.borrow::<LuaIo>().ok().and_then(|io| find_file(&io, below));
    if let Some((path, metadata)) = found {
        return Some(if path.ends_with(".lsp") {
            Target::Page { app, path, stamp: Stamp::of(&metadata) }
        } else {
            Target::File { app, path }
        });
    }
    let functions = Found::behind_files(&app.directory, below).into_functions();
    (!functions.is_empty()).then(|| Target::Functions { app, path: below.to_owned(), functions })
}

fn find_file(io: &LuaIo, below: &str) -> Option<(String, Metadata)> {
    if below.is_empty() || below.ends_with('/') {
        return INDEX.iter().find_map(|index| find_file(io, &format!("{below}{index}")));
    }
    let metadata = io.metadata(below).ok()?;
    metadata.is_file().then(|| (below.to_owned(), metadata))
}

/// Runs the target, which writes to the request's response. False if it declined.
pub async fn run(world: &World, request: &Request, target: &Target) -> Result<bool> {
    match target {
        Target::Page { app, path, stamp } => page::run(world, app, path, *stamp, request).await?,
        Target::File { app, path } => {
            let opened = app.io.borrow::<LuaIo>()?.open_file(path);
            let file = opened.map_err(|error| Error::runtime(format!("{path}: cannot be read: {error}")))?;
            send(request, file, path).await?;
        }
        Target::Functions { functions, .. } => return ask(world, request, functions).await,
    }
    Ok(true)
}

/// Sends a file. Errors call it `path`.
async fn send(request: &Request, mut file: File, path: &str) -> Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let count =
            file.read(&mut piece).map_err(|error| Error::runtime(format!("{path}: cannot be read: {error}")))?;
        if count == 0 {
            return Ok(());
        }
        request.write(&piece[..count]).await?;
    }
}

/// Calls the functions until one has answered: it did not return false, or has begun a response nevertheless.
async fn ask(world: &World, request: &Request, functions: &[(Function, String)]) -> Result<bool> {
    let was_answered = request.is_answered();
    for (function, path) in functions {
        let answer: Value = budget::call(function, (request.environment(&world.lua)?, path.as_str())).await?;
        if answer != Value::Boolean(false) || request.is_answered() != was_answered {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::absolute;

    #[test]
    fn a_path_is_relative_to_the_page_or_to_the_servers_root() {
        for (base, path, full) in [
            ("/a/b.lsp", "c.lsp", Some("/a/c.lsp")),
            ("/a/b.lsp", "../c/", Some("/c/")),
            ("/a/b.lsp", "/c//./.d.lsp", Some("/c/.d.lsp")),
            ("/a/b.lsp", "..", Some("/")),
            ("/a/b.lsp", "../..", None),
            ("/a/b.lsp", "/../etc", None),
            ("/a/b.lsp", "c\\..\\d", None),
            ("/a/b.lsp", "c\0", None),
            ("/a/b.lsp", "", None),
        ] {
            assert_eq!(absolute(base, path).as_deref(), full, "{path}");
        }
    }
}
