//! Lua Server Pages. A page is compiled when it is first asked for and when its file has changed, and run for each
//! request.

use std::cell::RefCell;
use std::fs;
use std::rc::Rc;

use mlua::{Error, Function, Lua, Result, Table};

use super::AppId;
use super::app::State;
use super::compile::compile;
use super::error_page::error_page;
use crate::bindings::console;
use crate::bindings::coroutine::{is_nil, is_page_ended};
use crate::bindings::request::{Defaults, Request};
use crate::http::{PageReply, PageRequest};
use crate::lua::hop::Reply;
use crate::lua::life::Life;
use crate::lua::{World, budget};
use crate::stamp::Stamp;

/// A page file.
pub struct Page {
    /// What the page knows as `page`. It stays the same when the file is changed.
    table: Table,
    compiled: RefCell<Option<(Stamp, Function)>>,
}

impl State {
    /// The page at `path`, made when it is asked for the first time.
    fn page(&self, lua: &Lua, path: &str) -> Result<Rc<Page>> {
        if let Some(page) = self.pages.borrow().get(path) {
            return Ok(page.clone());
        }
        let page = Rc::new(Page { table: lua.create_table()?, compiled: RefCell::default() });
        self.pages.borrow_mut().insert(path.to_owned(), page.clone());
        Ok(page)
    }

    /// The page's function. Compiles the file if that has changed, without a pause: a page that could be included where
    /// nothing can wait, such as in a function that string.gsub calls, always can.
    fn function(&self, lua: &Lua, page: &Page, path: &str, stamp: Stamp) -> Result<Function> {
        if let Some((compiled, function)) = &*page.compiled.borrow()
            && *compiled == stamp
        {
            return Ok(function.clone());
        }
        let name = self.file_name(path);
        let source = fs::read(self.root.join(path));
        let source = source.map_err(|error| Error::runtime(format!("{name}: cannot be read: {error}")))?;
        let chunk =
            compile(&source).map_err(|error| Error::runtime(format!("{name}:{}: {}", error.line, error.mistake)))?;
        let function = lua.load(chunk).set_name(format!("@{name}")).into_function()?;
        *page.compiled.borrow_mut() = Some((stamp, function.clone()));
        Ok(function)
    }
}

/// Answers a request with the page at `path`.
pub async fn serve(
    world: &Rc<World>,
    id: AppId,
    path: String,
    stamp: Stamp,
    request: Box<PageRequest>,
    reply: Reply<PageReply>,
) {
    // The app may have been unloaded just now. Dropping the reply tells HTTP so.
    let Some(app) = world.apps.get(id) else { return };
    let request = Request::new(world, request, reply, Defaults::Page);
    request.start_in(Some(&app), format!("{}{path}", app.uri()));
    let outcome = within(&app.life, run(world, &app, &path, stamp, &request)).await;
    finish(world, &request, outcome).await;
}

/// Waits for an app's answer; an error if the app ends meanwhile.
pub async fn within<T>(life: &Life, answer: impl Future<Output = Result<T>>) -> Result<T> {
    let ended = || Err(Error::runtime("the app was loaded again meanwhile"));
    life.clone().run(answer).await.unwrap_or_else(ended)
}

/// Runs the page at `path` for a request, in the request's environment.
pub async fn run(world: &World, app: &State, path: &str, stamp: Stamp, request: &Request) -> Result<()> {
    let page = app.page(&world.lua, path)?;
    let function = app.function(&world.lua, &page, path, stamp)?;
    let environment = request.environment(&world.lua)?;
    budget::call(&function, (environment, path, &app.io, &page.table, &app.table)).await
}

/// Ends the response, and logs the error if the page ended by one.
pub async fn finish(world: &World, request: &Request, outcome: Result<()>) {
    let is_end = |error: &Error| is_page_ended(error) || (request.is_complete() && is_nil(error));
    let outcome = outcome.or_else(|error| if is_end(&error) { Ok(()) } else { Err(error) });
    if let Err(error) = &outcome {
        console::report(&request.name(), error);
        if world.settings.is_dev {
            request.show_error(&error_page("This page has failed", &console::describe(error)));
        }
    }
    request.finish(outcome.is_err()).await;
}
