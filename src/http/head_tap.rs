//! The header names of a request in the letter case in which they were sent.
//!
//! hyper shows names in lower case only, while `request:header()` shows them "as sent". So the tap sees all bytes that hyper
//! reads from the socket, keeps those of one request head, and parses them a second time. It decides nothing: what it
//! finds is used only if it agrees with what hyper found.

use bytes::{Bytes, BytesMut};
use hyper::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};

use super::limits::{MAX_HEAD_SIZE, MAX_HEADERS, MAX_URI_SIZE};

/// The most bytes of a request line beside the URI: method, version and blanks.
const LINE_EXTRA: usize = 64;

/// Names, in the letter case in which they were sent, and values, in the order in which they were sent.
pub type SentHeaders = Vec<(Bytes, Bytes)>;

#[derive(Default)]
pub struct HeadTap {
    /// The bytes of the next request head that have been read so far, and maybe more behind it.
    read: BytesMut,
    /// How many more bytes have been read and not kept, since no head is so long.
    unkept: u64,
    expects: Expects,
}

/// What the next bytes on the socket are.
#[derive(Default)]
enum Expects {
    #[default]
    Head,
    /// So many bytes of a body, then a head.
    Body(u64),
    /// A body whose end the tap does not know: it comes in chunks, or its head was missed.
    Unknown,
}

impl HeadTap {
    /// Takes note of bytes that hyper has read.
    pub fn note(&mut self, mut bytes: &[u8]) {
        match &mut self.expects {
            Expects::Head => {}
            Expects::Unknown => return,
            Expects::Body(left) => {
                let skipped = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= skipped as u64;
                bytes = &bytes[skipped..];
                if *left == 0 {
                    self.expects = Expects::Head;
                }
            }
        }
        let room = MAX_HEAD_SIZE.saturating_sub(self.read.len());
        let kept = bytes.len().min(room);
        self.read.extend_from_slice(&bytes[..kept]);
        self.unkept += (bytes.len() - kept) as u64;
    }

    /// Whether a request line has come whose URI is longer than allowed, however much of it is still to come.
    pub fn has_overlong_line(&self) -> bool {
        let limit = MAX_URI_SIZE + LINE_EXTRA;
        matches!(self.expects, Expects::Head)
            && self.read.len() > limit
            && !self.read[..limit].contains(&b'\n')
            && self.read[..LINE_EXTRA].contains(&b' ')
    }

    /// The headers of the request that hyper has just parsed to `parsed`, in the order and letter case in which they
    /// were sent. Makes the tap ready for the next request.
    pub fn take_head(&mut self, parsed: &HeaderMap) -> SentHeaders {
        // Nothing is kept between requests, so an idle connection costs nothing.
        let read = std::mem::take(&mut self.read).freeze();
        let (headers, size) = parse(&read).unwrap_or_default();
        self.skip_body(&read[size..], size == 0, parsed);
        if agree(&headers, parsed) { headers } else { from_map(parsed) }
    }

    /// A body has been read to its end: what comes now is a head.
    pub fn end_of_body(&mut self) {
        if matches!(self.expects, Expects::Unknown) {
            self.expects = Expects::Head;
        }
    }

    /// `rest` is what has been kept from behind the head.
    fn skip_body(&mut self, rest: &[u8], was_missed: bool, parsed: &HeaderMap) {
        let unkept = std::mem::take(&mut self.unkept);
        if was_missed || parsed.contains_key(TRANSFER_ENCODING) {
            self.expects = Expects::Unknown;
            return;
        }
        let length = parsed.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.trim().parse().ok()).unwrap_or(0);
        let left = u64::saturating_sub(length, unkept);
        self.expects = if left == 0 { Expects::Head } else { Expects::Body(left) };
        self.note(rest);
    }
}

/// The headers of the head at the start of `bytes`, of which they are parts, and its size.
fn parse(bytes: &Bytes) -> Option<(SentHeaders, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let size = match request.parse(bytes) {
        Ok(httparse::Status::Complete(size)) => size,
        _ => return None,
    };
    let part = |part: &[u8]| bytes.slice_ref(part);
    let headers = request.headers.iter().map(|header| (part(header.name.as_bytes()), part(header.value))).collect();
    Some((headers, size))
}

/// Whether both hold the same headers. hyper drops a repeated `Content-Length`; such a request is read from the map.
fn agree(sent: &SentHeaders, parsed: &HeaderMap) -> bool {
    let values = |name: &[u8]| str::from_utf8(name).ok().map(|name| parsed.get_all(name));
    sent.len() == parsed.len()
        && sent
            .iter()
            .all(|(name, value)| values(name).is_some_and(|found| found.iter().any(|found| found == &value[..])))
}

fn from_map(parsed: &HeaderMap) -> SentHeaders {
    let copy = Bytes::copy_from_slice;
    parsed.iter().map(|(name, value)| (copy(name.as_ref()), copy(value.as_bytes()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect::<Vec<_>>().into_iter().fold(
            HeaderMap::new(),
            |mut map: HeaderMap, (name, value): (hyper::header::HeaderName, _)| {
                map.append(name, value);
                map
            },
        )
    }

    fn names(tap: &mut HeadTap, parsed: &[(&str, &str)]) -> Vec<Bytes> {
        tap.take_head(&map(parsed)).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn names_come_as_sent_however_the_head_is_cut() {
        let mut tap = HeadTap::default();
        for piece in ["GET / HT", "TP/1.1\r\nHOST: a\r\nSim", "pleMQ: 1\r\n\r\n"] {
            tap.note(piece.as_bytes());
        }
        assert_eq!(names(&mut tap, &[("host", "a"), ("simplemq", "1")]), ["HOST", "SimpleMQ"]);
    }

    #[test]
    fn a_body_is_not_taken_for_a_head() {
        let mut tap = HeadTap::default();
        tap.note(b"POST / HTTP/1.1\r\nHost: a\r\nContent-length: 3\r\n\r\na");
        assert_eq!(names(&mut tap, &[("host", "a"), ("content-length", "3")]), ["Host", "Content-length"]);
        tap.note(b"bcGET / HTTP/1.1\r\nhOST: a\r\n\r\n");
        assert_eq!(names(&mut tap, &[("host", "a")]), ["hOST"]);
    }

    #[test]
    fn a_long_body_that_comes_with_its_head_is_skipped_to_its_end() {
        let mut tap = HeadTap::default();
        let body = "x".repeat(2 * MAX_HEAD_SIZE);
        tap.note(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len() + 1).as_bytes());
        let length = (body.len() + 1).to_string();
        assert_eq!(names(&mut tap, &[("host", "a"), ("content-length", &length)]), ["Host", "Content-Length"]);
        tap.note(b"xGET / HTTP/1.1\r\nhOST: a\r\n\r\n");
        assert_eq!(names(&mut tap, &[("host", "a")]), ["hOST"]);
    }

    #[test]
    fn pipelined_heads_are_told_apart() {
        let mut tap = HeadTap::default();
        tap.note(b"GET /1 HTTP/1.1\r\nHOST: a\r\n\r\nGET /2 HTTP/1.1\r\nHoSt: a\r\n\r\n");
        assert_eq!(names(&mut tap, &[("host", "a")]), ["HOST"]);
        assert_eq!(names(&mut tap, &[("host", "a")]), ["HoSt"]);
    }

    #[test]
    fn what_does_not_agree_with_hyper_is_not_believed() {
        let mut tap = HeadTap::default();
        tap.note(b"GET / HTTP/1.1\r\nHost: a\r\nX-Evil: 1\r\n\r\n");
        assert_eq!(names(&mut tap, &[("host", "a")]), ["host"]);
        assert_eq!(names(&mut tap, &[("host", "a"), ("x-b", "2")]), ["host", "x-b"]);
    }

    #[test]
    fn a_body_behind_a_head_that_was_missed_is_not_taken_for_a_request_line() {
        let mut tap = HeadTap::default();
        tap.note(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        names(&mut tap, &[("host", "a"), ("transfer-encoding", "chunked")]);
        tap.note(b"0\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n");
        tap.end_of_body();
        names(&mut tap, &[("host", "a"), ("content-length", "9000")]);
        tap.note("a ".repeat(4500).as_bytes());
        assert!(!tap.has_overlong_line());
        tap.end_of_body();
        tap.note(b"GET / HTTP/1.1\r\nhOST: a\r\n\r\n");
        assert_eq!(names(&mut tap, &[("host", "a")]), ["hOST"]);
    }

    #[test]
    fn an_overlong_request_line_is_seen_before_it_ends() {
        let mut tap = HeadTap::default();
        tap.note(format!("GET /{}", "a".repeat(MAX_URI_SIZE - 1)).as_bytes());
        assert!(!tap.has_overlong_line());
        tap.note(&[b'a'; LINE_EXTRA]);
        assert!(tap.has_overlong_line());
    }
}
