//! A parser of `multipart/form-data` (RFC 7578) that takes the body piece by piece: a state machine without I/O.

use bytes::{Buf, Bytes, BytesMut};

/// The most bytes of a part's headers.
const MAX_HEAD: usize = 8 * 1024;
/// The most bytes of a boundary (RFC 2046).
const MAX_BOUNDARY: usize = 70;
/// The most blanks between a boundary and its line break.
const MAX_PADDING: usize = 256;

/// Why a body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a boundary is not followed by a line break")]
    Boundary,
    #[error("a part has more than {MAX_HEAD} bytes of headers")]
    LongHead,
    #[error("a part has no name")]
    NoName,
}

/// What comes next in a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing yet: call [`Parser::feed`] first.
    NeedsMore,
    /// A part begins.
    Begin(Part),
    /// Data of the part that has begun; never empty.
    Data(Bytes),
    /// The part ends.
    End,
}

/// The headers of a part.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Part {
    pub name: Vec<u8>,
    /// The file's name on the client. Only files have one.
    pub filename: Option<Vec<u8>>,
    pub content_type: Option<Vec<u8>>,
    pub transfer_encoding: Option<Vec<u8>>,
}

/// Where the parser is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first boundary.
    Preamble,
    /// Between a boundary and its line break.
    Boundary,
    /// In the headers of a part.
    Head,
    /// In the data of a part.
    Data,
    /// After the last boundary.
    Done,
}

/// The parser: [`Parser::next`] gives events until it needs more data, which [`Parser::feed`] takes.
pub struct Parser {
    /// A line break, two hyphens, and the boundary.
    delimiter: Vec<u8>,
    buffer: BytesMut,
    state: State,
}

impl Parser {
    /// A parser for a body with this boundary.
    pub fn new(boundary: &[u8]) -> Self {
        // Before the first boundary there need not be a line break. With one in the buffer it is like the others.
        Self { delimiter: [b"\r\n--", boundary].concat(), buffer: BytesMut::from(&b"\r\n"[..]), state: State::Preamble }
    }

    /// Adds data. Once `next` needs more, the buffer holds no more of it than an incomplete header or boundary.
    pub fn feed(&mut self, data: &[u8]) {
        if self.state != State::Done {
            self.buffer.extend_from_slice(data);
        }
    }

    /// Whether the last boundary has come.
    pub fn is_complete(&self) -> bool {
        self.state == State::Done
    }

    /// The next event.
    pub fn next(&mut self) -> Result<Event, Malformed> {
        loop {
            match self.state {
                State::Preamble => match find(&self.buffer, &self.delimiter) {
                    Some(at) => self.enter_boundary(at),
                    None => {
                        let kept = self.buffer.len().min(self.delimiter.len() - 1);
                        self.buffer.advance(self.buffer.len() - kept);
                        return Ok(Event::NeedsMore);
                    }
                },
                State::Boundary => {
                    if !self.leave_boundary()? {
                        return Ok(Event::NeedsMore);
                    }
                }
                State::Head => return self.head(),
                State::Data => return Ok(self.data()),
                State::Done => return Ok(Event::NeedsMore),
            }
        }
    }

    fn enter_boundary(&mut self, at: usize) {
        self.buffer.advance(at + self.delimiter.len());
        self.state = State::Boundary;
    }

    /// Goes on after a boundary; false if it is not known yet what follows it.
    fn leave_boundary(&mut self) -> Result<bool, Malformed> {
        if self.buffer.starts_with(b"--") {
            self.buffer.clear();
            self.state = State::Done;
            return Ok(true);
        }
        let padding = self.buffer.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let rest = &self.buffer[padding..];
        if rest.starts_with(b"\r\n") {
            self.buffer.advance(padding + 2);
            self.state = State::Head;
            return Ok(true);
        }
        let may_follow = rest.is_empty() || rest == b"\r" || (padding == 0 && rest == b"-");
        if may_follow && padding <= MAX_PADDING { Ok(false) } else { Err(Malformed::Boundary) }
    }

    fn head(&mut self) -> Result<Event, Malformed> {
        if self.buffer.starts_with(b"\r\n") {
            return Err(Malformed::NoName);
        }
        let end = find(&self.buffer, b"\r\n\r\n");
        if end.unwrap_or(self.buffer.len()) > MAX_HEAD {
            return Err(Malformed::LongHead);
        }
        let Some(end) = end else { return Ok(Event::NeedsMore) };
        let part = part(&self.buffer[..end]).ok_or(Malformed::NoName)?;
        self.buffer.advance(end + 4);
        self.state = State::Data;
        Ok(Event::Begin(part))
    }

    fn data(&mut self) -> Event {
        match find(&self.buffer, &self.delimiter) {
            Some(0) => {
                self.enter_boundary(0);
                Event::End
            }
            Some(at) => Event::Data(self.buffer.split_to(at).freeze()),
            None => {
                let sure = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
                if sure == 0 { Event::NeedsMore } else { Event::Data(self.buffer.split_to(sure).freeze()) }
            }
        }
    }
}

/// The boundary in a `Content-Type` of `multipart/form-data`; `None` for another type, or without a valid boundary.
pub fn boundary(content_type: &[u8]) -> Option<Vec<u8>> {
    let (media_type, parameters) = split(content_type, b';');
    if !media_type.trim_ascii().eq_ignore_ascii_case(b"multipart/form-data") {
        return None;
    }
    let boundary = parameter(parameters, b"boundary")?;
    (1..=MAX_BOUNDARY).contains(&boundary.len()).then_some(boundary)
}

/// Reads the headers of a part; `None` if they have no name.
fn part(head: &[u8]) -> Option<Part> {
    let mut part = Part::default();
    let mut has_name = false;
    for line in head.split(|&byte| byte == b'\n') {
        let (name, value) = split(line, b':');
        let value = value.trim_ascii();
        match name.trim_ascii().to_ascii_lowercase().as_slice() {
            b"content-disposition" => {
                let (_, parameters) = split(value, b';');
                part.name = parameter(parameters, b"name")?;
                part.filename = encoded_filename(parameters).or_else(|| parameter(parameters, b"filename"));
                has_name = true;
            }
            b"content-type" => part.content_type = Some(value.to_vec()),
            b"content-transfer-encoding" => part.transfer_encoding = Some(value.to_vec()),
            _ => {}
        }
    }
    has_name.then_some(part)
}

/// The value of `name=value` or `name="value"` among parameters that are separated by semicolons.
fn parameter(mut text: &[u8], wanted: &[u8]) -> Option<Vec<u8>> {
    while !text.is_empty() {
        let equals = text.iter().position(|&byte| byte == b'=')?;
        let name = text[..equals].trim_ascii();
        let (value, rest) = value(text[equals + 1..].trim_ascii_start())?;
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        text = split(rest, b';').1;
    }
    None
}

/// The name in `filename*=UTF-8''n%C3%A4me.txt` (RFC 5987). If the encoding is unknown: the plain `filename`, or the
/// parameter as it was sent.
fn encoded_filename(parameters: &[u8]) -> Option<Vec<u8>> {
    let encoded = parameter(parameters, b"filename*")?;
    let (encoding, rest) = split(&encoded, b'\'');
    let (_language, name) = split(rest, b'\'');
    let name: Vec<u8> = percent_encoding::percent_decode(name).collect();
    match encoding.to_ascii_lowercase().as_slice() {
        b"utf-8" => Some(name),
        b"iso-8859-1" => Some(name.into_iter().map(char::from).collect::<String>().into_bytes()),
        _ => parameter(parameters, b"filename").or(Some(encoded)),
    }
}

/// A value, in quotes or not, and what follows it; `None` if the closing quote is missing.
fn value(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|&byte| byte == b';').unwrap_or(text.len());
        return Some((text[..end].trim_ascii().to_vec(), &text[end..]));
    };
    let mut value = Vec::new();
    let mut at = 0;
    loop {
        match quoted.get(at..)? {
            [b'"', rest @ ..] => return Some((value, rest)),
            // A backslash before anything else belongs to a Windows path.
            [b'\\', b'"', ..] => {
                value.push(b'"');
                at += 2;
            }
            [byte, ..] => {
                value.push(*byte);
                at += 1;
            }
            [] => return None,
        }
    }
}

/// The text before and after the first such byte.
fn split(text: &[u8], byte: u8) -> (&[u8], &[u8]) {
    let at = text.iter().position(|&found| found == byte);
    at.map_or((text, &[]), |at| (&text[..at], &text[at + 1..]))
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window[0] == wanted[0] && window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &[u8] = b"preamble\r\n--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n--x  \r\n\
        content-disposition: form-data; filename=\"C:\\t\\\"u\\\".txt\"; name=f\r\nContent-Type: text/plain\r\n\r\n\
        \r\n-x\r\n--not\r\n--x\r\nContent-Disposition: form-data; name=\"\"\r\n\r\n\r\n--x--\r\nepilogue";

    /// Name, file name and data of all parts.
    fn parse(
        pieces: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<Vec<(String, Option<String>, String)>, Malformed> {
        let mut parser = Parser::new(b"x");
        let (mut pieces, mut parts) = (pieces.into_iter(), Vec::new());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        loop {
            match parser.next()? {
                Event::NeedsMore => match pieces.next() {
                    Some(piece) => parser.feed(piece.as_ref()),
                    None => return Ok(parts),
                },
                Event::Begin(part) => parts.push((text(part.name), part.filename.map(text), String::new())),
                Event::Data(data) => parts.last_mut().expect("a part").2.push_str(&text(data.to_vec())),
                Event::End => {}
            }
        }
    }

    #[test]
    fn a_form_is_read_the_same_in_pieces_of_any_size() {
        let whole = parse([FORM]).expect("a form");
        let file = ("f".to_owned(), Some("C:\\t\"u\".txt".to_owned()), "\r\n-x\r\n--not".to_owned());
        assert_eq!(whole, [("a".into(), None, "one".into()), file, ("".into(), None, "".into())]);
        for size in 1..40 {
            assert_eq!(parse(FORM.chunks(size)).expect("a form"), whole, "{size}");
        }
    }

    #[test]
    fn a_file_may_have_an_encoded_name_alone() {
        for (parameters, expected) in [
            ("filename*=UTF-8''n%C3%A4me%20x.txt", Some("n\u{e4}me x.txt")),
            ("filename*=iso-8859-1'de'%e4.txt", Some("\u{e4}.txt")),
            ("filename=\"ae.txt\"; filename*=utf-8''%c3%a4.txt", Some("\u{e4}.txt")),
            ("filename*=koi8-r''%c1; filename=a", Some("a")),
            ("filename*=koi8-r''%c1", Some("koi8-r''%c1")),
            ("filename*=x", Some("x")),
            ("other=1", None),
        ] {
            let form = format!("--x\r\nContent-Disposition: form-data; name=f; {parameters}\r\n\r\nhi\r\n--x--");
            let parts = parse([form]).expect("a form");
            assert_eq!(parts, [("f".to_owned(), expected.map(str::to_owned), "hi".to_owned())], "{parameters}");
        }
    }

    #[test]
    fn a_malformed_form_is_refused_with_its_mistake() {
        let long = [b"--x\r\n".to_vec(), vec![b'a'; MAX_HEAD + 1]].concat();
        for (text, why) in [
            (&b"--xyz"[..], Malformed::Boundary),
            (b"--x\r\n\r\n", Malformed::NoName),
            (b"--x\r\n\r\n\r\n\r\n", Malformed::NoName),
            (b"--x\r\nContent-Disposition: form-data; name=\"a\r\n\r\n", Malformed::NoName),
            (&long, Malformed::LongHead),
        ] {
            assert_eq!(parse([text]).err(), Some(why), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_boundary_may_be_quoted_and_must_be_there() {
        for (content_type, expected) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            ("Multipart/Form-Data; charset=x; Boundary=\"a b\"", Some("a b")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data; boundary=\"a", None),
            ("multipart/mixed; boundary=a", None),
            ("", None),
        ] {
            let found = boundary(content_type.as_bytes());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{content_type}");
        }
        assert_eq!(boundary(format!("multipart/form-data; boundary={}", "x".repeat(71)).as_bytes()), None);
    }
}
