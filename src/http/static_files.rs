//! Static files: media types, versions (ETag and time), ranges; streamed from disk in pieces.

use std::fs::Metadata;
use std::io::{self, SeekFrom};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap,
    HeaderValue, RANGE, VARY,
};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncSeekExt, ReadBuf};

use super::conditional::{Part, Version};
use super::{Body, Response, answers, encodings, media_type};

/// The methods that the server answers by itself.
pub const METHODS: &str = "GET, HEAD, OPTIONS";
/// Bytes that are read from disk, and held in memory, at a time.
const PIECE: usize = 64 * 1024;

/// Answers a request for the file at `path`, which may also be there as `gzip`.
pub async fn serve(head: &Parts, path: &Path, gzip: Option<&Path>) -> Response {
    if let Some(answer) = answer_by_method(&head.method) {
        return answer;
    }
    let coded = gzip.filter(|_| takes_gzip(&head.headers));
    let mut answer = serve_file(head, coded.unwrap_or(path)).await;
    if answer.status().is_success() {
        answer.headers_mut().insert(CONTENT_TYPE, media_type::of(path));
    }
    if coded.is_some() && answer.status() == StatusCode::OK {
        answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if gzip.is_some() {
        answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    answer
}

/// Whether to send the gzip form. Not for a range, since ranges count bytes of the plain file.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING).map_or(&b""[..], HeaderValue::as_bytes);
    encodings::allows(accepted, "gzip") && !headers.contains_key(RANGE)
}

async fn serve_file(head: &Parts, path: &Path) -> Response {
    let opened = async {
        let file = File::open(path).await?;
        let metadata = file.metadata().await?;
        Ok::<_, io::Error>((file, metadata))
    };
    let (file, metadata) = match opened.await {
        Ok(opened) => opened,
        Err(error) => return unreadable(path, &error),
    };
    let (size, version) = (metadata.len(), version_of(&metadata));
    let mut answer = match plan(head, &version, size) {
        Plan::Unwanted => return status(StatusCode::PRECONDITION_FAILED),
        Plan::Known => status(StatusCode::NOT_MODIFIED),
        Plan::Part(Part::Unsatisfiable) => return unsatisfiable(size),
        Plan::Part(Part::Whole) => with_body(head, file, 0, size).await,
        Plan::Part(Part::Range(first, length)) => {
            let mut answer = with_body(head, file, first, length).await;
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            insert(answer.headers_mut(), CONTENT_RANGE, format!("bytes {first}-{}/{size}", first + length - 1));
            answer
        }
    };
    version.add_to(answer.headers_mut());
    answer.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer
}

/// Answers a request for a file that is part of the program.
pub fn serve_embedded(head: &Parts, name: &str, bytes: &'static [u8], version: &Version) -> Response {
    if let Some(answer) = answer_by_method(&head.method) {
        return answer;
    }
    if version.is_unwanted(&head.headers) {
        return status(StatusCode::PRECONDITION_FAILED);
    }
    let mut answer = if version.is_known(&head.headers) {
        status(StatusCode::NOT_MODIFIED)
    } else {
        let mut answer =
            Response::new(if head.method == Method::HEAD { answers::empty() } else { answers::whole(bytes) });
        answer.headers_mut().insert(CONTENT_LENGTH, bytes.len().into());
        answer.headers_mut().insert(CONTENT_TYPE, media_type::of(Path::new(name)));
        answer
    };
    version.add_to(answer.headers_mut());
    answer
}

enum Plan {
    Unwanted,
    Known,
    Part(Part),
}

fn plan(head: &Parts, version: &Version, size: u64) -> Plan {
    if version.is_unwanted(&head.headers) {
        Plan::Unwanted
    } else if version.is_known(&head.headers) {
        Plan::Known
    } else if head.method == Method::GET {
        Plan::Part(version.part(&head.headers, size))
    } else {
        Plan::Part(Part::Whole)
    }
}

/// The answer, unless the method is one that reads.
pub fn answer_by_method(method: &Method) -> Option<Response> {
    match *method {
        Method::GET | Method::HEAD => None,
        Method::OPTIONS => Some(answers::options(METHODS)),
        _ => Some(answers::method_not_allowed(METHODS)),
    }
}

/// Time and size: an edit changes one of them.
fn version_of(metadata: &Metadata) -> Version {
    let modified = metadata.modified().ok();
    let age = modified.and_then(|modified| modified.duration_since(SystemTime::UNIX_EPOCH).ok());
    let etag = format!("\"{:x}-{:x}\"", age.unwrap_or(Duration::ZERO).as_nanos(), metadata.len());
    Version { etag, modified }
}

async fn with_body(head: &Parts, mut file: File, first: u64, length: u64) -> Response {
    if first > 0
        && let Err(error) = file.seek(SeekFrom::Start(first)).await
    {
        tracing::warn!(%error, "cannot seek in a static file");
        return answers::error(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let mut answer =
        Response::new(if head.method == Method::HEAD { answers::empty() } else { FileBody::of(file, length) });
    answer.headers_mut().insert(CONTENT_LENGTH, length.into());
    answer
}

fn status(status: StatusCode) -> Response {
    let mut answer = Response::new(answers::empty());
    *answer.status_mut() = status;
    answer
}

fn unsatisfiable(size: u64) -> Response {
    let mut answer = status(StatusCode::RANGE_NOT_SATISFIABLE);
    insert(answer.headers_mut(), CONTENT_RANGE, format!("bytes */{size}"));
    answer
}

fn unreadable(path: &Path, error: &io::Error) -> Response {
    if error.kind() == io::ErrorKind::NotFound {
        return answers::error(StatusCode::NOT_FOUND);
    }
    tracing::warn!(path = %path.display(), %error, "cannot read a static file");
    answers::error(StatusCode::FORBIDDEN)
}

fn insert(headers: &mut HeaderMap, name: hyper::header::HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// A part of a file, read when the client has taken what was read before.
struct FileBody {
    file: File,
    left: u64,
    piece: Vec<u8>,
}

impl FileBody {
    fn of(mut file: File, length: u64) -> Body {
        file.set_max_buf_size(PIECE);
        Self { file, left: length, piece: Vec::new() }.boxed_unsync()
    }
}

impl HttpBody for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        this.piece.resize(usize::try_from(this.left).unwrap_or(PIECE).min(PIECE), 0);
        let mut buffer = ReadBuf::new(&mut this.piece);
        ready!(Pin::new(&mut this.file).poll_read(cx, &mut buffer))?;
        let count = buffer.filled().len();
        if count == 0 {
            // The length has been sent already: all that can be done is to end the connection early.
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        this.left -= count as u64;
        let mut piece = std::mem::take(&mut this.piece);
        piece.truncate(count);
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
