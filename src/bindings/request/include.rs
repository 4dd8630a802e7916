//! `response:include` and `response:forward`, and the methods that tell a page how it was reached.

use std::path::Path;
use std::rc::{Rc, Weak};

use hyper::header::CONTENT_TYPE;
use mlua::{Error, Lua, MultiValue, Result, UserDataMethods, UserDataRef, UserDataRegistry};

use super::Request;
use super::output::Output;
use crate::bindings::args::{Args, brief};
use crate::bindings::coroutine::PageEnded;
use crate::http::media_type;
use crate::lsp::{AppState, Target, find_targets, run_target};

/// How deep pages may include each other. More can only be a page that includes itself.
const MAX_DEPTH: usize = 32;

/// A page, file or directory function that answers a request.
#[derive(Clone)]
pub struct Running {
    /// Without an app for a directory beside all apps. Weak, since the app's scripts may keep a deferred response, and neither
    /// would ever be freed.
    app: Weak<AppState>,
    /// The decoded path from the server's root, to which relative paths are resolved.
    url: String,
    how: How,
}

/// How it was reached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Initial,
    Included,
    Forwarded,
}

impl Running {
    /// What the request's URL led to.
    pub fn initial(app: Option<&Rc<AppState>>, url: String) -> Self {
        Self { app: app.map(Rc::downgrade).unwrap_or_default(), url, how: How::Initial }
    }
}

pub fn register(registry: &mut UserDataRegistry<Request>) {
    registry.add_async_method("include", |lua, this: UserDataRef<Request>, args: MultiValue| {
        let request = this.clone();
        async move { include(&lua, &request, args).await }
    });
    registry.add_async_method("forward", |lua, this: UserDataRef<Request>, args: MultiValue| {
        let request = this.clone();
        async move { forward(&lua, &request, args).await }
    });
    registry.add_method("isinclude", |_, this, _: MultiValue| Ok(this.how() == How::Included));
    registry.add_method("isforward", |_, this, _: MultiValue| Ok(this.how() == How::Forwarded));
    registry.add_method("initial", |_, this, _: MultiValue| Ok(this.how() == How::Initial));
}

/// `response:include(path)`: runs what is at the path, whose output comes at this place of the response; then true.
async fn include(lua: &Lua, request: &Request, args: MultiValue) -> Result<bool> {
    let path = Args::new(lua, "response:include", args).text(1, "path")?;
    request.run_first(&path, request.targets(&path)?, How::Included).await?;
    Ok(true)
}

/// `response:forward(path)`: ends this page, and lets what is at the path answer instead.
async fn forward(lua: &Lua, request: &Request, args: MultiValue) -> Result<()> {
    let path = Args::new(lua, "response:forward", args).text(1, "path")?;
    let targets = request.targets(&path)?;
    request.uncommitted(Output::clear)?;
    request.run_first(&path, targets, How::Forwarded).await?;
    if !request.0.is_deferred.get() {
        request.0.output.borrow_mut().abort();
    }
    Err(Error::external(PageEnded))
}

/// Sets the headers of a response that is all the target's.
fn describe(output: &mut Output, target: &Target) {
    match target {
        Target::Page { .. } => output.add_default_headers(),
        Target::File { path, .. } => drop(output.headers.insert(CONTENT_TYPE, media_type::of(Path::new(path)))),
        Target::Functions { .. } => {}
    }
}

fn not_found(path: &str) -> Error {
    Error::runtime(format!("Error pagenotfound: {}", brief(path)))
}

impl Request {
    /// Runs the login page at `path`, or sends the file there. A path without a leading slash is relative to the app's
    /// root, whatever URL the client asked for. Directory functions are left out, since the login may protect them.
    pub async fn include_login_page(&self, path: &str) -> Result<()> {
        let world = self.world()?;
        let app = self.0.running.borrow().last().and_then(|running| running.app.upgrade());
        let root = app.as_ref().map_or_else(|| "/".into(), |app| app.uri());
        let mut targets = find_targets(&world, app.as_ref(), &root, path);
        targets.retain(|target| !matches!(target, Target::Functions { .. }));
        self.run_first(path, targets, How::Included).await
    }

    /// How the code that is running now was reached.
    fn how(&self) -> How {
        self.0.running.borrow().last().map_or(How::Initial, |running| running.how)
    }

    /// What may be at `path`, in the order in which it is to be tried. An error if there is nothing.
    fn targets(&self, path: &str) -> Result<Vec<Target>> {
        let world = self.world()?;
        let running = self.0.running.borrow().last().cloned();
        let (app, url) = running.map_or((None, String::new()), |running| (running.app.upgrade(), running.url));
        let targets = find_targets(&world, app.as_ref(), &url, path);
        if targets.is_empty() { Err(not_found(path)) } else { Ok(targets) }
    }

    /// Runs the first target that does not decline. An error if all do.
    async fn run_first(&self, path: &str, targets: Vec<Target>, how: How) -> Result<()> {
        for target in targets {
            if how == How::Forwarded {
                self.uncommitted(|output| describe(output, &target))?;
            }
            if self.run(&target, how).await? {
                return Ok(());
            }
        }
        Err(not_found(path))
    }

    /// Runs a target, on top of what is running. False if the target declined.
    async fn run(&self, target: &Target, how: How) -> Result<bool> {
        let world = self.world()?;
        let url = format!("{}{}", target.app().uri(), target.path());
        let depth = {
            let mut running = self.0.running.borrow_mut();
            if running.len() > MAX_DEPTH {
                let why = format!("{url}: pages include each other more than {MAX_DEPTH} deep");
                return Err(Error::runtime(why));
            }
            running.push(Running { app: Rc::downgrade(target.app()), url, how });
            running.len()
        };
        let outcome = run_target(&world, self, target).await;
        self.0.running.borrow_mut().truncate(depth - 1);
        // After the page's end (when only the page itself may be left on the stack) nothing else drops the environment.
        if self.0.is_page_over.get() && depth <= 2 {
            self.0.environment.borrow_mut().take();
        }
        outcome
    }
}
