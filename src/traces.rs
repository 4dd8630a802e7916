//! What scripts print and trace and their errors, for the trace console of `--dev`.
//!
//! A tracing layer that keeps the last lines and hands on each new one. It never waits for a reader: one that falls too
//! far behind misses lines, and is told how many.

use std::collections::VecDeque;
use std::fmt::{Debug, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::broadcast::{self, error::RecvError};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// The tracing target of all that scripts say.
const TARGET: &str = "lua";
/// Lines kept for whoever comes later.
const KEPT: usize = 200;
/// Lines that a reader may be behind.
const MAX_BEHIND: usize = 512;
/// Bytes of a line; what is longer is cut.
const MAX_TEXT: usize = 16 * 1024;

/// A line that a script wrote, or an error with its traceback.
#[derive(Debug)]
pub struct Line {
    /// Increases by one from line to line, and from one run of the server to the next.
    pub id: u64,
    pub time: SystemTime,
    pub level: Level,
    /// May itself have several lines.
    pub text: String,
}

/// What a reader gets.
#[derive(Debug)]
pub enum News {
    Line(Arc<Line>),
    /// So many lines came and went before they could be read.
    Missed(u64),
}

/// The lines; all clones share them.
#[derive(Clone)]
pub struct Traces(Arc<Shared>);

struct Shared {
    first_id: u64,
    log: Mutex<Log>,
}

struct Log {
    next_id: u64,
    kept: VecDeque<Arc<Line>>,
    live: broadcast::Sender<Arc<Line>>,
}

/// One reader's place in the lines.
pub struct Reader {
    missed: u64,
    kept: VecDeque<Arc<Line>>,
    live: broadcast::Receiver<Arc<Line>>,
}

impl Default for Traces {
    fn default() -> Self {
        // No run writes more than a line per microsecond, so the next one begins with a greater number.
        let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let first_id = u64::try_from(age.as_micros()).unwrap_or(0);
        let log =
            Log { next_id: first_id, kept: VecDeque::with_capacity(KEPT), live: broadcast::Sender::new(MAX_BEHIND) };
        Self(Arc::new(Shared { first_id, log: Mutex::new(log) }))
    }
}

impl Traces {
    /// Reads the kept lines that come after `last`, the id of the line read last, and then each new one.
    pub fn read_after(&self, last: Option<u64>) -> Reader {
        let log = self.0.log.lock();
        let live = log.live.subscribe();
        // An id of another run says nothing about this one.
        let Some(last) = last.filter(|id| (self.0.first_id..log.next_id).contains(id)) else {
            return Reader { missed: 0, kept: log.kept.clone(), live };
        };
        let kept: VecDeque<_> = log.kept.iter().filter(|line| line.id > last).cloned().collect();
        let missed = kept.front().map_or(0, |oldest| oldest.id - last - 1);
        Reader { missed, kept, live }
    }

    fn add(&self, level: Level, text: String) {
        let mut log = self.0.log.lock();
        let line = Arc::new(Line { id: log.next_id, time: SystemTime::now(), level, text: cut(text) });
        log.next_id += 1;
        if log.kept.len() == KEPT {
            log.kept.pop_front();
        }
        log.kept.push_back(line.clone());
        // That nobody reads is the usual case.
        let _ = log.live.send(line);
    }
}

impl Reader {
    /// Waits for the next line; `None` once no more can come.
    pub async fn next(&mut self) -> Option<News> {
        if self.missed > 0 {
            return Some(News::Missed(std::mem::take(&mut self.missed)));
        }
        if let Some(line) = self.kept.pop_front() {
            return Some(News::Line(line));
        }
        match self.live.recv().await {
            Ok(line) => Some(News::Line(line)),
            Err(RecvError::Lagged(count)) => Some(News::Missed(count)),
            Err(RecvError::Closed) => None,
        }
    }
}

impl<S: Subscriber> Layer<S> for Traces {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == TARGET {
            let mut text = Text(String::new());
            event.record(&mut text);
            self.add(*event.metadata().level(), text.0);
        }
    }
}

/// An event's message with its fields behind it.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        let left_out = text.len() - end;
        text.truncate(end);
        let _ = write!(text, "… and {left_out} bytes more");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_lines(count: usize) -> Traces {
        let traces = Traces::default();
        add(&traces, 0..count);
        traces
    }

    fn add(traces: &Traces, numbers: std::ops::Range<usize>) {
        numbers.for_each(|number| traces.add(Level::INFO, number.to_string()));
    }

    async fn line(reader: &mut Reader) -> (u64, String) {
        match reader.next().await {
            Some(News::Line(line)) => (line.id, line.text.clone()),
            other => panic!("a line was expected, not {other:?}"),
        }
    }

    #[tokio::test]
    async fn who_comes_later_gets_the_last_lines_and_then_each_new_one() {
        let traces = with_lines(KEPT + 3);
        let mut reader = traces.read_after(None);
        add(&traces, 1000..1001);
        for expected in (3..KEPT + 3).chain([1000]) {
            assert_eq!(line(&mut reader).await.1, expected.to_string());
        }
    }

    #[tokio::test]
    async fn who_comes_back_gets_what_is_new_and_learns_what_is_gone() {
        let traces = with_lines(1);
        let (last, _) = line(&mut traces.read_after(None)).await;
        add(&traces, 1..2);
        assert_eq!(line(&mut traces.read_after(Some(last))).await.1, "1");
        add(&traces, 2..KEPT + 3);
        let mut reader = traces.read_after(Some(last));
        assert!(matches!(reader.next().await, Some(News::Missed(2))));
        assert_eq!(line(&mut reader).await.1, "3");
    }

    #[tokio::test]
    async fn an_id_of_another_run_counts_for_nothing() {
        let traces = with_lines(2);
        for id in [0, u64::MAX] {
            assert_eq!(line(&mut traces.read_after(Some(id))).await.1, "0");
        }
    }

    #[tokio::test]
    async fn a_slow_reader_misses_lines_and_is_told_how_many() {
        let traces = Traces::default();
        let mut reader = traces.read_after(None);
        add(&traces, 0..MAX_BEHIND + 7);
        assert!(matches!(reader.next().await, Some(News::Missed(7))));
        assert_eq!(line(&mut reader).await.1, "7");
    }

    #[test]
    fn a_long_line_is_cut_between_two_characters() {
        let text = cut("é".repeat(MAX_TEXT));
        assert!(text.ends_with("é… and 16384 bytes more"));
        assert_eq!(cut("short".into()), "short");
    }
}
