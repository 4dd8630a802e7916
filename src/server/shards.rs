//! The threads that serve connections.

use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

/// The threads that serve connections.
pub(super) struct Shards {
    threads: Vec<Shard>,
}

/// A thread with an event loop of its own.
struct Shard {
    runtime: Handle,
    close: watch::Sender<bool>,
    thread: thread::JoinHandle<()>,
}

impl Shards {
    pub(super) fn start(count: usize) -> Result<Self> {
        let shard = |index| Shard::start(index).with_context(|| format!("cannot start shard {index}"));
        Ok(Self { threads: (0..count).map(shard).collect::<Result<_>>()? })
    }

    /// The number of shards; at least one.
    pub(super) fn count(&self) -> usize {
        self.threads.len()
    }

    /// Their runtimes, by number.
    pub(super) fn runtimes(&self) -> Arc<[Handle]> {
        self.threads.iter().map(|shard| shard.runtime.clone()).collect()
    }

    /// Ends the threads, and with them every connection.
    pub(super) fn close(self) {
        for shard in &self.threads {
            let _ = shard.close.send(true);
        }
        for shard in self.threads {
            if shard.thread.join().is_err() {
                tracing::error!("a shard has failed");
            }
        }
    }
}

impl Shard {
    fn start(index: usize) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (close, mut closing) = watch::channel(false);
        let run = move || {
            // An error means that the sender is gone, and so is the server.
            let _ = runtime.block_on(closing.wait_for(|closing| *closing));
            // Does not wait for files that are being read in other threads.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name(format!("shard-{index}")).spawn(run)?;
        Ok(Self { runtime: handle, close, thread })
    }
}
