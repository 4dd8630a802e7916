//! The server under test: the real binary, in a process of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::thread;
use std::time::Instant;

use rustls::pki_types::CertificateDer;

use super::{App, PATIENCE, Stream};

/// A running `smq serve`; the process ends when this is dropped.
pub struct Server {
    process: Mutex<Child>,
    output: Arc<Mutex<Vec<String>>>,
    http: SocketAddr,
    https: SocketAddr,
    certificate: CertificateDer<'static>,
    app: App,
}

/// An answer to a plain HTTP request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Server {
    /// The server that the tests of one binary share. It lives as long as some test holds it, so that none is left
    /// over at the end.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        // A test that failed to start the server has said why; the next one tries again.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start(App::hubs()));
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// Serves the app at `/`, on a free port each for HTTP and HTTPS, and waits until both are ready.
    pub fn start(app: App) -> Self {
        Self::start_with(app, &[], &[])
    }

    /// Likewise, with further arguments, which may name the port, and environment variables.
    pub fn start_with(app: App, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let secrets = tempfile::tempdir().expect("the system has room for a temporary folder");
        let (cert, key) = (secrets.path().join("cert.pem"), secrets.path().join("key.pem"));
        let certificate = write_certificate(&cert, &key);
        let port: &[&str] = if arguments.contains(&"--port") { &[] } else { &["--port", "0"] };
        let mut process = Command::new(env!("CARGO_BIN_EXE_smq"))
            .arg("serve")
            .arg(app.path())
            // Several shards, so that clients of different threads meet on every machine.
            .args(["--shards", "3"])
            .args(port)
            .args(["--tls-port", "0", "--cert"])
            .arg(&cert)
            .arg("--key")
            .arg(&key)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cargo has built the binary");
        let output = Arc::new(Mutex::new(Vec::new()));
        let (lines, said) = mpsc::channel();
        collect(process.stdout.take().expect("it is piped"), &output, lines.clone());
        collect(process.stderr.take().expect("it is piped"), &output, lines);
        let (http, https) = match listeners(&said) {
            Some(ports) => ports,
            None => {
                // It may have ended already.
                let _ = process.kill();
                panic!("the server did not say where it listens:\n{}", text(&output));
            }
        };
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self { process: Mutex::new(process), output, http: local(http), https: local(https), certificate, app }
    }

    pub fn http(&self) -> SocketAddr {
        self.http
    }

    pub fn https(&self) -> SocketAddr {
        self.https
    }

    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub fn app(&self) -> &App {
        &self.app
    }

    pub fn dial(&self) -> Stream {
        Stream::plain(self.http)
    }

    pub fn dial_tls(&self) -> Stream {
        Stream::tls(self.https, &self.certificate)
    }

    /// What the process has printed so far, on both of its outputs.
    pub fn output(&self) -> String {
        text(&self.output)
    }

    /// Waits until the process has printed this.
    pub fn expect_output(&self, expected: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.output().contains(expected) {
            assert!(Instant::now() < deadline, "the server has not said {expected:?}:\n{}", self.output());
            thread::yield_now();
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.get_as("localhost", path)
    }

    /// Asks for a path of the server by another name.
    pub fn get_as(&self, host: &str, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n"))
    }

    pub fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let encode = |text| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC);
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let body = fields.join("&");
        self.ask(&format!(
            "POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// Sends a request of HTTP/1.0, whose answer ends with the connection and is never chunked.
    fn ask(&self, request: &str) -> Answer {
        let mut stream = self.dial();
        stream.write_all(request.as_bytes()).expect("the server reads requests");
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            panic!("no whole answer to {:?}: {error}\n{}", request.lines().next(), self.output());
        }
        Answer::parse(&String::from_utf8_lossy(&answer))
    }

    /// Resident memory of the server's process in bytes.
    #[cfg(target_os = "linux")]
    pub fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("the process lives");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("every process has it");
        let kilobytes = line.split_whitespace().nth(1).and_then(|number| number.parse::<usize>().ok());
        kilobytes.expect("a number of kB") * 1024
    }

    /// Where the system does not tell, memory is not checked.
    #[cfg(not(target_os = "linux"))]
    pub fn memory(&self) -> usize {
        0
    }

    /// Sends a signal, such as `TERM`, and waits for the end of the process.
    pub fn stop(&self, signal: &str) -> ExitStatus {
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(self.id().to_string()).status();
        assert!(sent.expect("every system has kill").success(), "the server has ended by itself:\n{}", self.output());
        self.end()
    }

    /// Waits until the server has ended.
    pub fn end(&self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.process.lock().expect("no test panics here").try_wait().expect("it is our child")
            {
                return status;
            }
            thread::yield_now();
        }
        panic!("the server has not ended:\n{}", self.output());
    }

    pub fn id(&self) -> u32 {
        self.process.lock().expect("no test panics here").id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let process = self.process.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Both fail only if it has ended already.
        let _ = process.kill();
        let _ = process.wait();
    }
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("not an HTTP answer: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status in {head:?}"));
        Self { status, head: head.into(), body: body.into() }
    }
}

fn write_certificate(cert: &PathBuf, key: &PathBuf) -> CertificateDer<'static> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("the names are valid");
    std::fs::write(cert, made.cert.pem()).expect("the temporary folder is ours");
    std::fs::write(key, made.signing_key.serialize_pem()).expect("the temporary folder is ours");
    made.cert.der().clone()
}

fn collect(from: impl Read + Send + 'static, output: &Arc<Mutex<Vec<String>>>, lines: mpsc::Sender<String>) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            output.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
            // Once the server is ready nobody listens any more.
            let _ = lines.send(line);
        }
    });
}

/// The ports for HTTP and HTTPS, once both are announced.
fn listeners(lines: &mpsc::Receiver<String>) -> Option<(u16, u16)> {
    let (mut http, mut https) = (None, None);
    while http.is_none() || https.is_none() {
        let line = lines.recv_timeout(PATIENCE).ok()?;
        http = http.or_else(|| port_in(&line, "http://127.0.0.1:"));
        https = https.or_else(|| port_in(&line, "https://127.0.0.1:"));
    }
    http.zip(https)
}

fn port_in(line: &str, prefix: &str) -> Option<u16> {
    let (_, rest) = line.split_once(prefix)?;
    rest.split_once('/')?.0.parse().ok()
}

fn text(output: &Mutex<Vec<String>>) -> String {
    output.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
}
