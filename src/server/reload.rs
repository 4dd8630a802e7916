//! `--dev`: an app is loaded again when its `.preload` or a Lua file of it changes.
//!
//! The app that was loaded before gets its `onunload`. Then all ends that its scripts have started: pages that run, timers,
//! jobs, sockets, directories beside all apps (`d:insert()`), and its hubs, whose clients are closed so that they come back
//! to the new ones. What it has left behind in `_G` stays. Other apps, their hubs and clients notice nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

use super::{Place, Server, say};
use crate::stamp::Stamp;

/// Between two looks at the files.
const PERIOD: Duration = Duration::from_millis(300);
/// Files looked at for one app; one with more is not for this.
const MAX_FILES: usize = 10_000;

/// The scripts of an app that run only once.
pub(super) type Scripts = BTreeMap<PathBuf, Stamp>;

/// Watches the files of all apps, for as long as it is polled.
pub async fn watch(server: &mut Server) {
    say("apps are loaded again when their Lua files change (--dev)");
    loop {
        sleep(PERIOD).await;
        for index in 0..server.places.len() {
            if server.places[index].has_changed() {
                server.reload(index).await;
            }
        }
    }
}

impl Server {
    async fn reload(&mut self, index: usize) {
        let place = &mut self.places[index];
        if let Some(app) = place.app.take() {
            app.retire().await;
        }
        place.look();
        place.load(&self.lua).await;
        if let Some(open) = &self.open {
            open.site.replace(self.apps(), self.broken());
        }
    }
}

impl Place {
    /// Remembers the scripts as they are before they run: a change while they do is one, too.
    pub(super) fn look(&mut self) {
        self.seen = scripts(&self.spec.path);
    }

    fn has_changed(&self) -> bool {
        scripts(&self.spec.path) != self.seen
    }
}

/// `.preload` and all Lua files below the folder, or the zip file.
fn scripts(root: &Path) -> Scripts {
    let mut found = Scripts::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let Ok(metadata) = path.symlink_metadata() else { continue };
        if metadata.is_dir() {
            left.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        } else if path == root || path.ends_with(".preload") || path.extension().is_some_and(|ending| ending == "lua") {
            found.insert(path, Stamp::of(&metadata));
        }
        if found.len() + left.len() > MAX_FILES {
            break;
        }
    }
    found
}
