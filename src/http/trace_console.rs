//! `/rtl/trace/` with `--dev`: a page that shows what scripts print and trace and their errors, as it happens. Only
//! browsers on this machine see it.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::rtl::Embedded;
use super::{Piece, Response, static_files, streamed};
use crate::traces::{News, Reader, Traces};

/// The page's place below the server's root.
pub const PATH: &str = "rtl/trace/";

/// Events that may wait for a browser; the lines behind them wait in [`Traces`], where they are counted.
const MAX_WAITING: usize = 16;
/// Time without a line after which something is sent nevertheless, to find out whether the browser is gone.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// Makes browsers come back a second after the server has gone; and gets the head of the answer on its way.
const GREETING: &[u8] = b"retry: 1000\n\n";

/// The page and its events.
pub struct TraceConsole {
    page: Embedded,
    traces: Traces,
}

impl TraceConsole {
    pub fn new(traces: Traces) -> Self {
        Self { page: Embedded::new("trace.html", include_bytes!("../rtl/trace.html")), traces }
    }

    /// Answers a request for `path` below `/rtl/`; `None` when there is no such file for this client.
    pub fn serve(&self, head: &Parts, peer: SocketAddr, path: &str) -> Option<Response> {
        if !is_on_this_machine(head, peer.ip()) {
            return None;
        }
        match path {
            "trace/" => Some(self.page.serve(head)),
            "trace/events" => Some(static_files::answer_by_method(&head.method).unwrap_or_else(|| self.events(head))),
            _ => None,
        }
    }

    fn events(&self, head: &Parts) -> Response {
        let last = head.headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
        let (events, body) = streamed(MAX_WAITING);
        tokio::spawn(send(self.traces.read_after(last), events));
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// Whether the client is on this machine, and asks for it by a local name. Another name would mean a proxy that serves others,
/// or the page of a stranger whose host name resolves to this machine (DNS rebinding).
fn is_on_this_machine(head: &Parts, peer: IpAddr) -> bool {
    let Some(host) = head.headers.get(HOST) else { return peer.is_loopback() };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_local_name =
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    is_local_name && peer.is_loopback()
}

/// Hands events to the connection until it ends.
async fn send(mut reader: Reader, events: mpsc::Sender<Piece>) {
    let mut event = Bytes::from_static(GREETING);
    while events.send(Ok(event)).await.is_ok() {
        let news = tokio::select! {
            () = events.closed() => return,
            news = timeout(SIGN_OF_LIFE, reader.next()) => news,
        };
        event = match news {
            Ok(Some(news)) => encode(&news).into(),
            Ok(None) => return,
            Err(_) => Bytes::from_static(b":\n\n"),
        };
    }
}

/// A line's data is its time in milliseconds since 1970 and its level, and below that the text.
fn encode(news: &News) -> String {
    match news {
        News::Missed(count) => format!("event: missed\ndata: {count}\n\n"),
        News::Line(line) => {
            let time = line.time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis();
            let mut event = format!("id: {}\ndata: {time} {}\n", line.id, line.level);
            // A carriage return would end a line of the event, and what follows it would be taken for another field.
            for part in line.text.replace("\r\n", "\n").split(['\n', '\r']) {
                // Writing to a string cannot fail.
                let _ = writeln!(event, "data: {part}");
            }
            event.push('\n');
            event
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use tracing::Level;

    use super::*;
    use crate::traces::Line;

    fn is_let_in(peer: &str, host: &str) -> bool {
        let request = hyper::Request::builder().header(HOST, host).body(()).expect("a valid request");
        is_on_this_machine(&request.into_parts().0, peer.parse().expect("an address"))
    }

    #[test]
    fn only_browsers_on_this_machine_are_let_in() {
        for peer in ["127.0.0.1", "127.0.1.1", "::1"] {
            for host in ["localhost:8080", "LOCALHOST", "127.0.0.1:8080", "[::1]:8080"] {
                assert!(is_let_in(peer, host), "{peer} {host}");
            }
        }
        for peer in ["192.0.2.1", "10.0.0.1", "2001:db8::1"] {
            assert!(!is_let_in(peer, "localhost"), "{peer}");
        }
    }

    #[test]
    fn other_names_for_this_machine_are_refused() {
        for host in ["example.org", "localhost.example.org", "192.0.2.1:8080", ""] {
            assert!(!is_let_in("127.0.0.1", host), "{host}");
        }
    }

    #[test]
    fn a_text_cannot_break_out_of_its_event() {
        let text = "a\r\nb\rid: 7\n\nc".into();
        let line = Line { id: 5, time: SystemTime::UNIX_EPOCH, level: Level::INFO, text };
        let expected = "id: 5\ndata: 0 INFO\ndata: a\ndata: b\ndata: id: 7\ndata: \ndata: c\n\n";
        assert_eq!(encode(&News::Line(Arc::new(line))), expected);
    }
}
