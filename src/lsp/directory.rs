//! Directories that scripts make, and the search for the directory functions that may answer a path.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::StatusCode;
use hyper::header::{CONTENT_LENGTH, HeaderValue, LOCATION};
use mlua::{Function, Result, Value};
use tokio::sync::oneshot;

use super::{AppId, page};
use crate::bindings::request::{Defaults, Request};
use crate::http::{PageReply, PageRequest, Response};
use crate::lua::{World, budget};

/// A place in the URL space where a script may answer.
pub struct Directory {
    /// `None`: a fallback of its parent, which sees the same paths.
    name: Option<String>,
    /// -127 to 127, high first.
    priority: i32,
    function: RefCell<Option<Function>>,
    /// By priority, equal ones in the order of their insertion.
    children: RefCell<Vec<Rc<Directory>>>,
    parent: RefCell<Weak<Directory>>,
    /// Roots only: where the tree is mounted, and the flags that tell other threads whether it is in use.
    root: Option<Root>,
}

struct Root {
    uri: String,
    in_use: RefCell<Vec<Arc<AtomicBool>>>,
}

impl Directory {
    /// The root of an app's tree. `in_use` is kept true while there is anything in it.
    pub fn root(uri: String, in_use: Arc<AtomicBool>) -> Rc<Self> {
        Self::make(None, 0, Some(Root { uri, in_use: RefCell::new(vec![in_use]) }))
    }

    /// A directory that is mounted nowhere yet.
    pub fn new(name: Option<String>, priority: i32) -> Rc<Self> {
        let name = name.map(|name| name.trim_matches('/').to_owned()).filter(|name| !name.is_empty());
        Self::make(name, priority, None)
    }

    fn make(name: Option<String>, priority: i32, root: Option<Root>) -> Rc<Self> {
        let (function, children, parent) = Default::default();
        Rc::new(Self { name, priority, function, children, parent, root })
    }

    pub fn set_function(&self, function: Option<Function>) {
        *self.function.borrow_mut() = function;
        self.note_use();
    }

    /// Mounts `child` below, and takes it away from where it was. False when it contains this directory.
    pub fn insert(self: &Rc<Self>, child: &Rc<Directory>) -> bool {
        if child.root.is_some() || child.contains(self) {
            return false;
        }
        child.unlink();
        *child.parent.borrow_mut() = Rc::downgrade(self);
        let mut children = self.children.borrow_mut();
        let place = children.partition_point(|sibling| sibling.priority >= child.priority);
        children.insert(place, child.clone());
        drop(children);
        self.note_use();
        true
    }

    fn contains(self: &Rc<Self>, other: &Rc<Directory>) -> bool {
        let mut at = Some(other.clone());
        while let Some(directory) = at {
            if Rc::ptr_eq(&directory, self) {
                return true;
            }
            at = directory.parent();
        }
        false
    }

    fn parent(&self) -> Option<Rc<Directory>> {
        self.parent.borrow().upgrade()
    }

    /// Takes the directory out of its parent; false when it has none.
    pub fn unlink(self: &Rc<Self>) -> bool {
        let Some(parent) = self.parent() else { return false };
        parent.children.borrow_mut().retain(|child| !Rc::ptr_eq(child, self));
        *self.parent.borrow_mut() = Weak::new();
        parent.note_use();
        true
    }

    /// The path from the server's root, with a slash at both ends; of a tree that is not mounted, from its top.
    pub fn base_uri(&self) -> String {
        let above = match (&self.root, self.parent()) {
            (Some(root), _) => root.uri.clone(),
            (None, Some(parent)) => parent.base_uri(),
            (None, None) => "/".into(),
        };
        self.name.as_ref().map_or_else(|| above.clone(), |name| format!("{above}{name}/"))
    }

    /// Lets `other`'s flags also tell that this tree is in use, since searches of `other` go on here.
    pub fn share_use_with(&self, other: &Directory) {
        if let (Some(own), Some(other)) = (&self.root, &other.root) {
            own.in_use.borrow_mut().extend(other.in_use.borrow().iter().cloned());
        }
        if self.is_in_use() {
            self.note_use();
        }
    }

    fn is_in_use(&self) -> bool {
        self.function.borrow().is_some() || !self.children.borrow().is_empty()
    }

    /// A flag that is true for nothing costs a search; one that is false too early would hide a directory. So flags
    /// only ever rise.
    fn note_use(&self) {
        if let Some(root) = &self.root
            && self.is_in_use()
        {
            root.in_use.borrow().iter().for_each(|flag| flag.store(true, Ordering::Relaxed));
        }
    }

    /// What answers `path`, which is relative to this directory: named children, then its own function, then the
    /// unnamed children.
    fn search(&self, path: &str, found: &mut Found) {
        let children = self.children.borrow();
        for child in children.iter() {
            let Some(rest) = child.name.as_deref().and_then(|name| path.strip_prefix(name)) else { continue };
            match rest.strip_prefix('/') {
                Some(rest) => child.search(rest, found),
                None if rest.is_empty() => found.needs_slash |= found.functions.is_empty(),
                None => {}
            }
        }
        if let Some(function) = &*self.function.borrow() {
            found.functions.push((function.clone(), path.to_owned()));
        }
        for child in children.iter().filter(|child| child.name.is_none()) {
            child.search(path, found);
        }
    }
}

/// The outcome of a search.
#[derive(Default)]
struct Found {
    /// The path names a directory but lacks the slash behind it.
    needs_slash: bool,
    /// Directory functions with the paths they are to see, in the order in which they are asked.
    functions: Vec<(Function, String)>,
}

/// Asks the directory functions of an app; the server's own directories come last, below the root app.
pub async fn serve(
    world: &Rc<World>,
    id: AppId,
    path: String,
    request: PageRequest,
    reply: oneshot::Sender<PageReply>,
) {
    let Some(app) = world.apps.get(id) else { return };
    let mut found = Found::default();
    app.directory.search(&path, &mut found);
    if app.name.is_empty() {
        world.apps.server.search(&path, &mut found);
    }
    if found.needs_slash {
        // A client that is gone needs no answer.
        let _ = reply.send(PageReply::Response(with_slash(&request)));
        return;
    }
    let request = Request::new(request, reply, Defaults::None);
    match ask(world, &request, found.functions).await {
        Ok(false) => request.not_mine(),
        outcome => page::finish(world, &request, outcome.map(drop)).await,
    }
}

/// Whether one of the functions took the request. Only `false` means that it did not.
async fn ask(world: &World, request: &Request, functions: Vec<(Function, String)>) -> Result<bool> {
    if functions.is_empty() {
        return Ok(false);
    }
    let environment = request.environment(&world.lua)?;
    for (function, path) in functions {
        let answer: Value = budget::call(&function, (&environment, path)).await?;
        if answer != Value::Boolean(false) || request.is_answered() {
            return Ok(true);
        }
        request.start_over();
    }
    Ok(false)
}

/// Sends the client to the same URL with a slash behind its path.
fn with_slash(request: &PageRequest) -> Response {
    let location = crate::bindings::request::with_slash(request);
    let mut response = Response::new(Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    // The parts of the location were parsed as a URL and a header, so they can be one again.
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Rc<Directory> {
        Directory::root("/app/".into(), Arc::default())
    }

    #[test]
    fn a_directory_knows_its_place() {
        let (root, outer, inner) = (root(), Directory::new(Some("a".into()), 0), Directory::new(Some("b".into()), 0));
        assert!(outer.insert(&inner) && root.insert(&outer));
        assert_eq!(inner.base_uri(), "/app/a/b/");
        assert!(outer.unlink());
        assert_eq!(inner.base_uri(), "/a/b/");
    }

    #[test]
    fn a_directory_cannot_be_mounted_below_itself() {
        let (outer, inner) = (Directory::new(Some("a".into()), 0), Directory::new(Some("b".into()), 0));
        assert!(outer.insert(&inner));
        assert!(!inner.insert(&outer));
        assert!(!inner.insert(&inner));
    }

    #[test]
    fn a_path_without_the_slash_of_its_directory_needs_one() {
        let (root, child) = (root(), Directory::new(Some("a".into()), 0));
        assert!(root.insert(&child));
        let mut found = Found::default();
        root.search("a", &mut found);
        assert!(found.needs_slash);
    }
}
