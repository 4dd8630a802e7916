//! Bodies that pages read themselves.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::Frame;
use smq::http::Upload;

use super::*;

/// A body that comes in these pieces, and breaks off behind them if it is said to.
struct Pieces {
    pieces: VecDeque<Bytes>,
    breaks_off: bool,
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let broken = self.breaks_off.then(|| Err(io::ErrorKind::ConnectionReset.into()));
        Poll::Ready(self.pieces.pop_front().map(|piece| Ok(Frame::data(piece))).or(broken))
    }
}

fn upload(content_type: &str, body: &str, size: usize, breaks_off: bool) -> PageRequest {
    let pieces = body.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect();
    let upload = Some(Upload::new(Pieces { pieces, breaks_off }));
    PageRequest { upload, ..request(Method::POST, "/", &[("Content-Type", content_type)], "") }
}

async fn answer(code: &str, request: PageRequest) -> String {
    let site = site(&[("index.lsp", &format!("<?lsp {code} ?>"))]).await;
    text(site.send("index.lsp", request).await).await
}

#[tokio::test]
async fn a_body_is_read_as_it_comes() {
    let code =
        "local n, all = 0, {} for data in request:rawrdr(4) do n = n + 1 all[n] = data end print(n, table.concat(all))";
    assert_eq!(answer(code, upload("text/plain", "hello world", 5, false)).await, "5\thello world\n");
    let ready = request(Method::POST, "/", &[("Content-Type", "text/plain")], "hello world");
    assert_eq!(answer(code, ready).await, "3\thello world\n");
    assert_eq!(answer(code, get("/")).await, "0\t\n");
}

#[tokio::test]
async fn a_reader_reads_as_much_as_it_is_asked_for() {
    let code = "local r = request:rawrdr() print(r:read(3), r:read(100), r:read(), r:read())";
    assert_eq!(answer(code, upload("text/plain", "hello", 100, false)).await, "hel\tlo\tnil\tnil\n");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error_and_not_an_end() {
    let code = "print(pcall(function() for data in request:rawrdr() do response:write(data, '|') end end))";
    let text = answer(code, upload("text/plain", "hello", 5, true)).await;
    assert!(text.starts_with("hello|false\tindex.lsp:1: the client breaks off its request body: "), "{text}");
}

#[tokio::test]
async fn a_body_that_is_still_to_come_is_read_by_one_and_keeps_the_socket() {
    let code = "local r = request:rawrdr() print(pcall(request.rawrdr, request)) \
                print(pcall(request.multipart, request, {})) \
                print(pcall(request.rawrdr, request, 0)) print(pcall(request.rawrdr, request, {}))";
    let text = answer(code, upload("multipart/form-data; boundary=x", "hello", 5, false)).await;
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].ends_with("request:rawrdr: somebody else reads the body of this request"), "{text}");
    assert!(lines[1].ends_with("request:multipart: somebody else reads the body of this request"), "{text}");
    assert!(
        lines[2].contains("1..1048576 expected, got 0") && lines[3].contains("integer expected, got table"),
        "{text}"
    );
    let site = site_with_take(&[(
        "index.lsp",
        "<?lsp print(take(request)) for _ in request:rawrdr() do end app.taken = take(request) ?>",
    )])
    .await;
    let metadata = std::fs::metadata(site.folder.0.join("index.lsp")).expect("the page exists");
    let reply = site.app.page("index.lsp", &metadata, Box::new(upload("text/plain", "hello", 2, false))).await;
    assert!(matches!(reply, PageReply::Taken(_)), "once the body has been read");
}

const FORM: &str = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n--x\r\n\
    Content-Disposition: form-data; name=\"f\"; filename=\"../f.txt\"\r\nContent-Type: text/plain\r\n\
    Content-Transfer-Encoding: binary\r\n\r\nfile data\r\n--x--\r\n";

const CALLBACKS: &str = "local data = {} print(request:multipart{ \
    formdata = function(name, value) print('field', name, value) end, \
    beginfile = function(name, filename, contenttype, encoding) ba.sleep(1) print('file', name, filename, contenttype, encoding) end, \
    filedata = function(piece) data[#data + 1] = piece end, \
    endofreq = function() print('end', table.concat(data)) end, \
    error = function(why) print('error', why) end})";

#[tokio::test]
async fn the_data_of_files_is_read_without_their_names() {
    let code = "print(request:multipart{filedata = function(piece) response:write(piece, '|') end})";
    let form = upload("multipart/form-data; boundary=x", FORM, 1000, false);
    assert_eq!(answer(code, form).await, "file data|true\n");
}

#[tokio::test]
async fn a_form_with_files_is_handed_to_callbacks() {
    let expected = "field\ta\tone\nfile\tf\t../f.txt\ttext/plain\tbinary\nend\tfile data\ntrue\n";
    for size in [1, 7, 1000] {
        let form = upload("multipart/form-data; boundary=x", FORM, size, false);
        assert_eq!(answer(CALLBACKS, form).await, expected);
    }
    let ready = request(Method::POST, "/", &[("Content-Type", "multipart/form-data; boundary=x")], FORM);
    assert_eq!(answer(CALLBACKS, ready).await, expected);
}

#[tokio::test]
async fn callbacks_may_take_the_environment_first() {
    let code = "request:multipart{formdata = function(_ENV, name, value) response:write(name, '=', value, ' ') end, \
                beginfile = function(_ENV, name) response:write(name, ':') end, filedata = function(_ENV, data) response:write(data) end}";
    let form = upload("multipart/form-data; boundary=x", FORM, 1000, false);
    assert_eq!(answer(code, form).await, "a=one f:file data");
}

#[tokio::test]
async fn each_callback_takes_the_environment_or_not() {
    let code = "request:multipart{formdata = function(_ENV, name, value) response:write(name, '=', value, ' ') end, \
                filedata = function(data) response:write(data) end, endofreq = function(...) response:write(' ', select('#', ...)) end, \
                beginfile = function(name, filename, contenttype, encoding) response:write(name, ':') end}";
    let form = upload("multipart/form-data; boundary=x", FORM, 1000, false);
    assert_eq!(answer(code, form).await, "a=one f:file data 0");
}

#[tokio::test]
async fn a_callback_with_too_few_parameters_to_tell_is_called_like_the_others() {
    let write = "response:write(name, ' ') end";
    for first in ["", "_ENV, "] {
        let code = format!(
            "request:multipart{{formdata = function({first}name, value) {write}, beginfile = function({first}name) {write}}}"
        );
        let form = upload("multipart/form-data; boundary=x", FORM, 1000, false);
        assert_eq!(answer(&code, form).await, "a f ", "{first}");
    }
}

#[tokio::test]
async fn a_field_may_have_64_kilobytes() {
    let code = "request:multipart{formdata = function(name, value) response:write(#value) end}";
    let body = format!("--x\r\nContent-Disposition: form-data; name=a\r\n\r\n{}\r\n--x--", "y".repeat(65_536));
    assert_eq!(answer(code, upload("multipart/form-data; boundary=x", &body, 1000, false)).await, "65536");
}

#[tokio::test]
async fn a_file_that_is_not_wanted_is_skipped() {
    let code = "print(request:multipart{beginfile = function() return false end, filedata = error})";
    let form = upload("multipart/form-data; boundary=x", FORM, 1000, false);
    assert_eq!(answer(code, form).await, "true\n");
}

#[tokio::test]
async fn what_is_no_such_form_is_said_to_the_error_callback() {
    let no_form = "the request is no multipart/form-data with a boundary";
    let big = format!("--x\r\nContent-Disposition: form-data; name=a\r\n\r\n{}\r\n--x--", "y".repeat(70_000));
    let many = "--x\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n".repeat(1001) + "--x--";
    let quiet = CALLBACKS.replace("print('field', name, value)", "");
    for (content_type, body, breaks_off, why) in [
        ("text/plain", FORM, false, no_form),
        ("multipart/form-data", FORM, false, no_form),
        ("multipart/form-data; boundary=x", "", false, "the body ends before its last boundary"),
        ("multipart/form-data; boundary=x", &FORM[..70], false, "the body ends before its last boundary"),
        ("multipart/form-data; boundary=x", "--x\r\n\r\n", false, "a part has no name"),
        ("multipart/form-data; boundary=x", &FORM[..10], true, "the client breaks off its request body"),
        ("multipart/form-data; boundary=x", &big, false, "a field has more than 65536 bytes"),
        ("multipart/form-data; boundary=x", &many, false, "the form has more than 1000 parts"),
    ] {
        let text = answer(&quiet, upload(content_type, body, 1000, breaks_off)).await;
        assert!(text.contains(&format!("error\t{why}")) && text.contains(&format!("nil\t{why}")), "{why}: {text}");
    }
    for callbacks in ["nil", "1", "{filedata = 1}"] {
        let text = run(&format!("print(pcall(request.multipart, request, {callbacks}))")).await;
        assert!(text.contains("bad argument #1 'callbacks' to 'request:multipart' ("), "{text}");
    }
}
