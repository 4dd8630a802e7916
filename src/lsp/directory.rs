//! Directories that scripts make (`ba.create.dir`), and finding those that answer a path.
//!
//! Each app has a tree of them, and there is one more beside all apps. For a path, a directory is asked in this order:
//! its guard (who may enter), its prologue (children that come before files and pages), the files and pages if it is
//! the root of an app, its named children, its own function, its unnamed children. The search collects these as steps;
//! then the steps are taken until one of them answers.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use hyper::HeaderMap;
use mlua::{Function, Result, Value};

use super::shared::Shared;
use super::{AppId, page};
use crate::bindings::auth::Guard;
use crate::bindings::request::{Defaults, Request};
use crate::http::{PageReply, PageRequest, absolute_url, redirect};
use crate::lua::hop::Reply;
use crate::lua::life::{Kept, Life};
use crate::lua::{World, budget};

/// A place in the URL space where a script may answer.
pub struct Directory {
    /// `None` for a directory that sees the same paths as its parent, and is asked last.
    name: Option<String>,
    /// -127 to 127; the highest is asked first.
    priority: i32,
    function: RefCell<Option<Kept>>,
    guard: RefCell<Option<Rc<Guard>>>,
    /// Headers of responses from here, instead of the server's default ones.
    headers: RefCell<Option<Rc<HeaderMap>>>,
    /// Children that are asked before anything else in here, in the same order as `children`.
    prologue: RefCell<Vec<Rc<Directory>>>,
    /// By priority; those of equal priority in the order of their insertion.
    children: RefCell<Vec<Rc<Directory>>>,
    parent: RefCell<Weak<Directory>>,
    /// For roots only.
    root: Option<Root>,
    /// The life of the app whose script made it.
    life: Life,
}

/// Where a tree is mounted, and what other threads know about it.
struct Root {
    uri: String,
    shared: Arc<Shared>,
}

impl Directory {
    /// The root of a tree that is mounted at `uri`. `shared` is told of changes.
    pub fn root(uri: String, shared: Arc<Shared>, life: Life) -> Rc<Self> {
        Self::make(None, 0, Some(Root { uri, shared }), life)
    }

    /// A directory that is mounted nowhere yet.
    pub fn new(name: Option<String>, priority: i32) -> Rc<Self> {
        let name = name.map(|name| name.trim_matches('/').to_owned()).filter(|name| !name.is_empty());
        Self::make(name, priority, None, Life::current())
    }

    fn make(name: Option<String>, priority: i32, root: Option<Root>, life: Life) -> Rc<Self> {
        Rc::new(Self {
            name,
            priority,
            function: RefCell::default(),
            guard: RefCell::default(),
            headers: RefCell::default(),
            prologue: RefCell::default(),
            children: RefCell::default(),
            parent: RefCell::default(),
            root,
            life,
        })
    }

    /// Sets the function that answers for what is below, or removes it.
    pub fn set_function(&self, function: Option<Function>) {
        *self.function.borrow_mut() = function.map(|function| self.life.keep(function));
        self.note_use();
    }

    /// Protects everything in here by `guard`, or by nothing any more.
    pub fn set_guard(&self, guard: Option<Guard>) {
        *self.guard.borrow_mut() = guard.map(Rc::new);
        self.note_use();
    }

    /// Sets the headers of responses from here, in the place of earlier ones.
    pub fn set_headers(&self, headers: HeaderMap) {
        if let Some(root) = &self.root {
            root.shared.set_headers(headers.clone());
        }
        *self.headers.borrow_mut() = Some(Rc::new(headers));
    }

    /// Mounts `child` below this directory, and unmounts it from where it was. False, without a change, if that would
    /// make a cycle.
    pub fn insert(self: &Rc<Self>, child: &Rc<Directory>) -> bool {
        self.insert_into(&self.children, child)
    }

    /// Mounts `child` as [`Directory::insert`] does, but so that it is asked before anything else in here, files and
    /// pages of an app included.
    pub fn insert_prologue(self: &Rc<Self>, child: &Rc<Directory>) -> bool {
        self.insert_into(&self.prologue, child)
    }

    fn insert_into(self: &Rc<Self>, list: &RefCell<Vec<Rc<Directory>>>, child: &Rc<Directory>) -> bool {
        if child.root.is_some() || child.contains(self) {
            return false;
        }
        child.unlink();
        *child.parent.borrow_mut() = Rc::downgrade(self);
        let mut list = list.borrow_mut();
        let place = list.partition_point(|sibling| sibling.priority >= child.priority);
        list.insert(place, child.clone());
        drop(list);
        self.note_use();
        true
    }

    /// Whether `other` is this directory or below it.
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

    /// Unmounts the directory; false if it is not mounted.
    pub fn unlink(self: &Rc<Self>) -> bool {
        let Some(parent) = self.parent() else { return false };
        parent.children.borrow_mut().retain(|child| !Rc::ptr_eq(child, self));
        parent.prologue.borrow_mut().retain(|child| !Rc::ptr_eq(child, self));
        *self.parent.borrow_mut() = Weak::new();
        true
    }

    /// Ends and removes what scripts of this app have made here and below.
    pub fn end_all_of(&self, life: &Life) {
        for list in [&self.children, &self.prologue] {
            let ended: Vec<_> = list.borrow_mut().extract_if(.., |child| child.life.is(life)).collect();
            ended.iter().for_each(|child| child.end());
            list.borrow().iter().for_each(|child| child.end_all_of(life));
        }
    }

    /// Drops the scripts' functions here and below. A function that refers to its own directory would never be freed
    /// otherwise.
    pub fn end(&self) {
        self.function.take();
        self.guard.take();
        for list in [&self.children, &self.prologue] {
            list.take().iter().for_each(|child| child.end());
        }
    }

    /// The path from the server's root, or from the top of a tree that is not mounted; with a slash at both ends.
    pub fn base_uri(&self) -> String {
        let above = match (&self.root, self.parent()) {
            (Some(root), _) => root.uri.clone(),
            (None, Some(parent)) => parent.base_uri(),
            (None, None) => "/".into(),
        };
        self.name.as_ref().map_or_else(|| above.clone(), |name| format!("{above}{name}/"))
    }

    /// Tells other threads that requests for this app have to be brought here.
    fn note_use(&self) {
        let Some(root) = &self.root else { return };
        if self.function.borrow().is_some() || !self.children.borrow().is_empty() {
            root.shared.note_directories();
        }
        if self.guard.borrow().is_some() || !self.prologue.borrow().is_empty() {
            root.shared.note_gate();
        }
    }

    /// Adds what comes before files and pages: the guard, then the prologue.
    fn search_gate(&self, path: &str, found: &mut Found) {
        if let Some(guard) = &*self.guard.borrow() {
            let (guard, life) = (guard.clone(), self.life.clone());
            found.steps.push(Step::Admit { guard, path: path.to_owned(), life });
        }
        search_all(self.prologue.borrow().iter(), path, found);
    }

    /// Adds what comes after files and pages: named children, the directory's own function, unnamed children.
    fn search(&self, path: &str, found: &mut Found) {
        let children = self.children.borrow();
        let is_named = |child: &&Rc<Directory>| child.name.is_some();
        search_all(children.iter().filter(is_named), path, found);
        if let Some(function) = self.function.borrow().as_ref().and_then(|kept| kept.get().ok()) {
            let (headers, life) = (found.headers.clone(), self.life.clone());
            found.steps.push(Step::Ask { function, path: path.to_owned(), headers, life });
        }
        search_all(children.iter().filter(|child| !is_named(child)), path, found);
    }
}

/// Searches those of the children that `path` leads to.
fn search_all<'a>(children: impl IntoIterator<Item = &'a Rc<Directory>>, path: &str, found: &mut Found) {
    for child in children {
        let Some(name) = child.name.as_deref() else {
            found.within(child, path);
            continue;
        };
        let Some(rest) = path.strip_prefix(name) else { continue };
        match rest.strip_prefix('/') {
            Some(rest) => found.within(child, rest),
            None if rest.is_empty() => found.needs_slash |= !found.has_functions(),
            None => {}
        }
    }
}

/// The result of a search.
#[derive(Default)]
pub struct Found {
    /// Whether the path names a directory, but lacks the slash at its end.
    needs_slash: bool,
    /// What to do, in this order.
    steps: Vec<Step>,
    /// The headers of the directory that is being searched.
    headers: Option<Rc<HeaderMap>>,
}

/// One step towards an answer, and the path that guard or function see.
enum Step {
    /// If the guard does not admit the client, the guard has answered, and no further step is taken.
    Admit { guard: Rc<Guard>, path: String, life: Life },
    /// If the function does not return false, it has answered, and no further step is taken.
    Ask { function: Function, path: String, headers: Option<Rc<HeaderMap>>, life: Life },
}

impl Found {
    fn has_functions(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Ask { .. }))
    }

    /// Searches a child, with its headers in force.
    fn within(&mut self, child: &Directory, path: &str) {
        let outer = self.headers.clone();
        if let Some(headers) = &*child.headers.borrow() {
            self.headers = Some(headers.clone());
        }
        child.search_gate(path, self);
        child.search(path, self);
        self.headers = outer;
    }

    /// What may answer `path` below a root, after its files and pages.
    pub fn behind_files(root: &Directory, path: &str) -> Self {
        let mut found = Self::default();
        root.search(path, &mut found);
        found
    }

    /// The functions alone, with the paths that they see: for a page that includes them, which needs no permission.
    pub fn into_functions(self) -> Vec<(Function, String)> {
        let function = |step| match step {
            Step::Ask { function, path, .. } => Some((function, path)),
            Step::Admit { .. } => None,
        };
        self.steps.into_iter().filter_map(function).collect()
    }
}

/// Asks the guard and the prologue of an app's root directory.
pub async fn enter(world: &Rc<World>, id: AppId, path: String, request: Box<PageRequest>, reply: Reply<PageReply>) {
    let Some(app) = world.apps.get(id) else { return };
    let mut found = Found::default();
    app.directory.search_gate(&path, &mut found);
    answer(world, Some(&app), found, request, reply).await;
}

/// Asks the directory functions of an app.
pub async fn serve(world: &Rc<World>, id: AppId, path: String, request: Box<PageRequest>, reply: Reply<PageReply>) {
    let Some(app) = world.apps.get(id) else { return };
    let found = Found::behind_files(&app.directory, &path);
    answer(world, Some(&app), found, request, reply).await;
}

/// Asks the directory functions that are mounted beside all apps.
pub async fn serve_beside(world: &Rc<World>, path: String, request: Box<PageRequest>, reply: Reply<PageReply>) {
    let found = Found::behind_files(&world.apps.server, &path);
    answer(world, None, found, request, reply).await;
}

/// Answers a request by what was found. If that declines, HTTP gets the request back.
async fn answer(
    world: &Rc<World>,
    app: Option<&Rc<super::AppState>>,
    found: Found,
    request: Box<PageRequest>,
    reply: Reply<PageReply>,
) {
    if found.needs_slash {
        let url = absolute_url(&request.head, request.ends, &format!("{}/", request.head.uri.path()));
        // A client that is gone needs no answer.
        reply.send(PageReply::Response(redirect(&url)));
        return;
    }
    let request = Request::new(world, request, reply, Defaults::None);
    request.start_in(app, request.uri());
    match take(world, &request, found.steps).await {
        Ok(false) => request.not_mine(),
        outcome => page::finish(world, &request, outcome.map(drop)).await,
    }
}

/// Takes the steps until one of them has answered the request. False if none has: only a function that returns `false`,
/// and has not begun a response, leaves the request to the next step.
async fn take(world: &World, request: &Request, steps: Vec<Step>) -> Result<bool> {
    for step in steps {
        let (function, path, life) = match step {
            Step::Admit { guard, path, life } => {
                if !page::within(&life, guard.admit(world, request, &path)).await? {
                    return Ok(true);
                }
                continue;
            }
            Step::Ask { function, path, headers, life } => {
                request.set_app_headers(headers);
                (function, path, life)
            }
        };
        let call = budget::call(&function, (request.environment(&world.lua)?, path));
        let answer: Value = page::within(&life, call).await?;
        if answer != Value::Boolean(false) || request.is_answered() {
            return Ok(true);
        }
        request.decline();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Rc<Directory> {
        Directory::root("/app/".into(), Arc::default(), Life::default())
    }

    #[test]
    fn the_base_uri_of_a_directory_begins_where_its_tree_is_mounted() {
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
    fn the_root_of_an_app_stays_where_it_is_mounted() {
        let (root, other) = (root(), Directory::new(Some("a".into()), 0));
        assert!(!other.insert(&root));
        assert_eq!(root.base_uri(), "/app/");
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
