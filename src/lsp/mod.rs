//! Application folders on the Lua thread: `.preload`, pages, directory functions, `onunload`.

pub mod compile;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::http::{PageReply, PageRequest};
use crate::lua::LuaThread;

/// The apps that are mounted.
#[derive(Default)]
pub struct Apps {}

/// An app as the command line or the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppSpec {
    /// `""` for the root app.
    pub name: String,
    /// -127 to 127; the highest is asked first.
    pub priority: i32,
    pub path: PathBuf,
}

/// A mounted app.
pub struct App {
    spec: AppSpec,
    root: PathBuf,
}

impl App {
    pub async fn load(_lua: &LuaThread, spec: &AppSpec) -> Result<Arc<App>> {
        let root = spec.path.canonicalize().with_context(|| format!("no folder {}", spec.path.display()))?;
        Ok(Arc::new(App { spec: spec.clone(), root }))
    }

    pub fn name(&self) -> &str {
        &self.spec.name
    }

    pub fn priority(&self) -> i32 {
        self.spec.priority
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub async fn page(&self, _path: &str, _meta: &std::fs::Metadata, request: PageRequest) -> PageReply {
        PageReply::NotMine(Box::new(request))
    }

    pub async fn directories(&self, _path: &str, request: PageRequest) -> PageReply {
        PageReply::NotMine(Box::new(request))
    }

    pub fn has_directories(&self) -> bool {
        false
    }

    pub async fn unload(&self) {}
}
