//! What answers a URL: the one place that decides.
//!
//! The apps are asked by priority. Within an app, files and pages come before directories made in Lua. A path that
//! nothing answers and that may be the name of a directory is redirected to the name with a slash.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use parking_lot::RwLock;

use super::connection::Handler;
use super::rtl::Rtl;
use super::url_path::{Refused, UrlPath};
use super::{Arrival, PageReply, PageRequest, Response, absolute_url, answers, rtl, static_files};
use crate::bindings::request::Admission;
use crate::lsp::App;

/// What a directory's URL shows, in the order in which they are tried.
pub const INDEX: [&str; 3] = ["index.html", "index.htm", "index.lsp"];

/// Everything that is served: the apps, the built-in files, and error pages for apps that could not be loaded.
pub struct Site {
    mounts: RwLock<Arc<Mounts>>,
    rtl: Rtl,
}

struct Mounts {
    /// By priority, the highest first.
    apps: Vec<Arc<App>>,
    broken: Vec<Broken>,
}

/// An app that has failed to load; its author is shown why.
pub struct Broken {
    /// It was to be mounted at `/NAME/`; empty: at `/`.
    pub name: String,
    /// HTML.
    pub page: String,
}

/// Where the search for an answer stands.
enum Search {
    Answered(PageReply),
    /// It goes on with the next mount.
    Continues(Request),
}

impl From<PageReply> for Search {
    fn from(reply: PageReply) -> Self {
        match reply {
            PageReply::NotMine(request) => Self::Continues(Request::Read(request)),
            reply => Self::Answered(reply),
        }
    }
}

/// A request, whose body is not read before Lua is asked.
enum Request {
    Unread(Box<Arrival>),
    Read(Box<PageRequest>),
}

/// What a path leads to in an app's folder.
enum Found {
    File(PathBuf),
    /// A page: its path from the app's root.
    Page(String, Metadata),
    /// A directory without its slash.
    Directory,
    Nothing,
}

impl Site {
    /// Of apps with the same priority, named ones are asked before root apps, and otherwise in the order given. What no app
    /// answers, `broken` do.
    pub fn new(apps: Vec<Arc<App>>, broken: Vec<Broken>, rtl: Rtl) -> Self {
        Self { mounts: RwLock::new(Mounts::new(apps, broken)), rtl }
    }

    /// From now on these apps are asked. Requests that are being answered go on with the apps they began with.
    pub fn replace(&self, apps: Vec<Arc<App>>, broken: Vec<Broken>) {
        *self.mounts.write() = Mounts::new(apps, broken);
    }

    async fn find(&self, arrival: Box<Arrival>, path: &UrlPath) -> PageReply {
        if let Some(file) = path.below(rtl::NAME)
            && let Some(response) = self.rtl.serve(&arrival.head, arrival.ends.peer, &file).await
        {
            return PageReply::Response(response);
        }
        let mounts = self.mounts.read().clone();
        let mut request = Request::Unread(arrival);
        for app in &mounts.apps {
            let Some(below) = path.below(app.name()) else { continue };
            request = match ask(app, path, &below, request).await {
                Search::Answered(mut reply) => {
                    if let PageReply::Response(response) = &mut reply {
                        app.add_headers(response);
                    }
                    return reply;
                }
                Search::Continues(request) => request,
            };
        }
        if let Some(broken) = mounts.broken.iter().find(|broken| path.below(&broken.name).is_some()) {
            return PageReply::Response(answers::failure(broken.page.clone()));
        }
        if mounts.apps.is_empty() {
            let status = if path.is_root() { StatusCode::OK } else { StatusCode::NOT_FOUND };
            return PageReply::Response(answers::welcome(status));
        }
        match mounts.find_beside(path, request).await {
            Search::Answered(reply) => reply,
            Search::Continues(request) if path.may_be_a_directory() => request.redirect_to_directory(path),
            Search::Continues(request) => request.answer(answers::error(StatusCode::NOT_FOUND)),
        }
    }
}

impl Mounts {
    fn new(mut apps: Vec<Arc<App>>, broken: Vec<Broken>) -> Arc<Self> {
        apps.sort_by_key(|app| (-app.priority(), app.name().is_empty()));
        Arc::new(Self { apps, broken })
    }

    /// Asks the directories beside all apps.
    async fn find_beside(&self, path: &UrlPath, request: Request) -> Search {
        let app = self.apps.first().filter(|app| app.has_directories_beside());
        let (Some(app), Some(below)) = (app, path.below("")) else { return Search::Continues(request) };
        request.pass_to(|request| app.directories_beside(&below, request)).await
    }
}

impl Handler for Site {
    async fn handle(&self, arrival: Box<Arrival>) -> PageReply {
        let mut reply = match UrlPath::parse(arrival.head.uri.path()) {
            Ok(path) => self.find(arrival, &path).await,
            Err(Refused::Malformed) if is_about_server(&arrival.head) => {
                PageReply::Response(answers::options(static_files::METHODS))
            }
            Err(Refused::Malformed) => PageReply::Response(answers::error(StatusCode::BAD_REQUEST)),
            Err(Refused::Hidden) => PageReply::Response(answers::error(StatusCode::NOT_FOUND)),
        };
        if let PageReply::Response(response) = &mut reply {
            answers::add_default_headers(response);
        }
        reply
    }
}

/// `OPTIONS *` asks what the server can do, wherever.
fn is_about_server(head: &Parts) -> bool {
    head.method == Method::OPTIONS && head.uri.path() == "*"
}

/// Asks one app for what is at `below` in it.
async fn ask(app: &Arc<App>, path: &UrlPath, below: &str, request: Request) -> Search {
    // The mount itself, without its slash.
    if below.is_empty() && !path.is_dir() {
        return Search::Answered(request.redirect_to_directory(path));
    }
    let request = if app.has_gate() {
        // Before any of the app's files is looked for.
        match request.pass_to(|request| app.enter(below, request)).await {
            Search::Continues(request) => request,
            answered => return answered,
        }
    } else {
        request
    };
    match look_up(app.root(), below) {
        Found::File(file) => {
            let response = static_files::serve(request.head(), &file, app.gzip_of(&file).as_deref()).await;
            Search::Answered(request.answer(response))
        }
        Found::Directory => Search::Answered(request.redirect_to_directory(path)),
        Found::Page(page, metadata) => request.pass_to(|request| app.page(&page, &metadata, request)).await,
        Found::Nothing if !app.has_directories() => Search::Continues(request),
        Found::Nothing => request.pass_to(|request| app.directories(below, request)).await,
    }
}

impl Request {
    fn head(&self) -> &Parts {
        match self {
            Self::Unread(arrival) => &arrival.head,
            Self::Read(request) => &request.head,
        }
    }

    /// Answers with what is no script's, and adds what scripts have set that did not want the request.
    fn answer(&self, mut response: Response) -> PageReply {
        if let Some(admission) = self.head().extensions.get::<Admission>() {
            admission.add_to(response.headers_mut());
        }
        PageReply::Response(response)
    }

    fn redirect_to_directory(&self, path: &UrlPath) -> PageReply {
        let ends = match self {
            Self::Unread(arrival) => arrival.ends,
            Self::Read(request) => request.ends,
        };
        self.answer(answers::redirect(&absolute_url(self.head(), ends, &path.to_directory_url())))
    }

    /// Lets scripts answer, for which the body has to be read.
    async fn pass_to<F: Future<Output = PageReply>>(self, ask: impl FnOnce(Box<PageRequest>) -> F) -> Search {
        let read = match self {
            Self::Unread(arrival) => arrival.into_page_request().await,
            Self::Read(request) => Ok(request),
        };
        match read {
            Ok(request) => Search::from(ask(request).await),
            Err(status) => Search::Answered(PageReply::Response(answers::error(status))),
        }
    }
}

/// Looks for a file. The calls wait for the file system, as the shard does meanwhile: names of a local disk that are
/// in use come from memory, faster than another thread could be asked.
fn look_up(root: &Path, below: &str) -> Found {
    let is_dir = below.is_empty() || below.ends_with('/');
    let Some((path, metadata)) = stat(root, below) else { return Found::Nothing };
    match (metadata.is_dir(), is_dir) {
        (true, true) => INDEX.iter().find_map(|index| look_up_file(root, format!("{below}{index}"))),
        (true, false) => Some(Found::Directory),
        (false, false) => file(path, below.to_owned(), metadata),
        (false, true) => None,
    }
    .unwrap_or(Found::Nothing)
}

fn look_up_file(root: &Path, below: String) -> Option<Found> {
    let (path, metadata) = stat(root, &below)?;
    file(path, below, metadata)
}

/// A socket, pipe or device in the folder is nothing to serve.
fn file(path: PathBuf, below: String, metadata: Metadata) -> Option<Found> {
    let is_page = below.ends_with(".lsp");
    metadata.is_file().then_some(if is_page { Found::Page(below, metadata) } else { Found::File(path) })
}

/// The real place of a path, unless a symbolic link led out of the root.
fn stat(root: &Path, below: &str) -> Option<(PathBuf, Metadata)> {
    if let Some(found) = stat_without_links(root, below).ok()? {
        return Some(found);
    }
    let path = root.join(below).canonicalize().ok()?;
    if !path.starts_with(root) {
        tracing::warn!(path = below, "a symbolic link leads out of the app");
        return None;
    }
    let metadata = path.metadata().ok()?;
    Some((path, metadata))
}

/// The same, unless there is a symbolic link on the way: one system call for each part of the path, where resolving links
/// takes one for each part of the root, too.
fn stat_without_links(root: &Path, below: &str) -> std::io::Result<Option<(PathBuf, Metadata)>> {
    let mut path = root.to_path_buf();
    let mut metadata = None;
    for part in below.split('/').filter(|part| !part.is_empty()) {
        path.push(part);
        let found = path.symlink_metadata()?;
        if found.is_symlink() || part == ".." {
            return Ok(None);
        }
        metadata = Some(found);
    }
    let metadata = metadata.map_or_else(|| root.metadata(), Ok)?;
    Ok(Some((path, metadata)))
}
