//! A blocking SMQ client for tests, over every transport.

use std::io::{Read, Write};
use std::time::Duration;

use tungstenite::{Bytes, Message, WebSocket};

use super::packet::{self, describe};
use super::stream::{Stream, is_end, is_timeout};
use super::{PATIENCE, Server};

/// How a client reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Raw frames, and no HTTP response before them.
    Raw,
    /// Raw frames behind a response to `SendSmqHttpResponse: true`.
    RawAfterResponse,
    WebSocket,
    RawTls,
    WebSocketTls,
}

impl Via {
    pub const ALL: [Self; 5] = [Self::Raw, Self::RawAfterResponse, Self::WebSocket, Self::RawTls, Self::WebSocketTls];
    /// One of each framing: enough where TLS and the bootstrap make no difference.
    pub const BOTH: [Self; 2] = [Self::Raw, Self::WebSocket];

    pub fn is_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::WebSocketTls)
    }

    fn dial(self, server: &Server) -> Stream {
        match self {
            Self::RawTls | Self::WebSocketTls => server.dial_tls(),
            _ => server.dial(),
        }
    }
}

enum Wire {
    Raw { stream: Stream, inbox: Vec<u8> },
    Web(Box<WebSocket<Stream>>),
}

/// Why no packet came.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The server ended the connection; a WebSocket's close code, if it sent one.
    Closed(Option<u16>),
    /// Nothing came in time.
    Silence,
    /// What came was no packet.
    Broken(String),
}

/// One connection to a hub. Every expectation that fails panics with the client's name and transport.
pub struct Client {
    wire: Wire,
    close_code: Option<u16>,
    via: Via,
    /// The uid once connected; for messages.
    pub name: String,
    /// From Connack; 0 before.
    pub etid: u32,
    /// From Init.
    pub seed: u32,
    /// From Init: the client's own address as the server sees it.
    pub address: String,
}

impl Client {
    /// Sends the HTTP request for `path`, and reads up to and with Init.
    pub fn open(server: &Server, via: Via, path: &str) -> Self {
        let wire = match via {
            Via::WebSocket | Via::WebSocketTls => Wire::Web(Box::new(upgrade(via.dial(server), path))),
            Via::RawAfterResponse => start_raw(via.dial(server), path, "SendSmqHttpResponse: true\r\n"),
            Via::Raw | Via::RawTls => start_raw(via.dial(server), path, ""),
        };
        let mut client = Self::on(wire, via);
        if via == Via::RawAfterResponse {
            let head = client.read_head();
            assert!(head.starts_with("HTTP/1.1 200"), "not the 200 that was asked for: {head}");
        }
        client.read_init();
        client
    }

    /// A raw client on a stream whose request has been sent, Init not yet read.
    pub fn raw(stream: Stream) -> Self {
        Self::on(Wire::Raw { stream, inbox: Vec::new() }, Via::Raw)
    }

    fn on(wire: Wire, via: Via) -> Self {
        let name = "a client".into();
        Self { wire, close_code: None, via, name, etid: 0, seed: 0, address: String::new() }
    }

    /// Reads the head of an HTTP response; what follows it stays for the packets.
    pub fn read_head(&mut self) -> String {
        let Wire::Raw { stream, inbox } = &mut self.wire else { panic!("tungstenite reads the head") };
        loop {
            if let Some(end) = inbox.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = inbox.drain(..end + 4).collect();
                return String::from_utf8(head).expect("a head of text");
            }
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).expect("the server answers");
            assert!(count > 0, "closed before the end of the head: {:?}", inbox.escape_ascii().to_string());
            inbox.extend_from_slice(&buffer[..count]);
        }
    }

    pub fn read_init(&mut self) {
        let init = self.receive();
        assert_eq!(init.first(), Some(&packet::INIT), "{self}: expected Init, got {}", describe(&init));
        assert_eq!(init.get(1), Some(&1), "{self}: Init carries version 1: {}", describe(&init));
        self.seed = packet::number_at(&init, 2);
        self.address = String::from_utf8(init[6..].to_vec()).expect("the address is text");
    }

    /// Sends Connect and expects to be accepted.
    pub fn login(&mut self, uid: &str, credentials: &str, info: &str) {
        self.send(&packet::connect(uid.as_bytes(), credentials.as_bytes(), info.as_bytes()));
        self.name = uid.into();
        self.expect_accepted();
    }

    /// Expects a Connack of acceptance and learns the etid from it.
    pub fn expect_accepted(&mut self) {
        let connack = self.receive();
        self.etid = packet::number_at(&connack, 2);
        assert_eq!(describe(&connack), describe(&packet::connack(0, self.etid, "")), "{self}: not accepted");
        assert!(self.etid > 1, "{self}: {} is no client's etid", self.etid);
    }

    /// Expects a Connack with this code, and the end of the connection.
    pub fn expect_refused(&mut self, code: u8) {
        let connack = self.receive();
        assert_eq!(connack.first(), Some(&packet::CONNACK), "{self}: expected Connack, got {}", describe(&connack));
        assert_eq!(connack.get(1), Some(&code), "{self}: another code: {}", describe(&connack));
        assert_eq!(packet::number_at(&connack, 2), 0, "{self}: a refused client has no etid");
        self.expect_closed();
    }

    pub fn send(&mut self, packet: &[u8]) {
        match &mut self.wire {
            Wire::Raw { .. } => self.send_bytes(&packet::frame(packet)),
            Wire::Web(web) => {
                let sent = web.send(Message::Binary(Bytes::copy_from_slice(packet)));
                check_sent(&self.name, sent);
            }
        }
    }

    /// Sends packets in one write, so that the server reads them together.
    pub fn send_together(&mut self, packets: &[Vec<u8>]) {
        let frames = packets.iter().map(|packet| match self.wire {
            Wire::Raw { .. } => packet::frame(packet),
            Wire::Web(_) => packet::web_frame(0x82, packet),
        });
        let bytes: Vec<u8> = frames.flatten().collect();
        self.send_bytes(&bytes);
    }

    /// Sends a message of text; WebSocket only.
    pub fn send_text(&mut self, text: &str) {
        let sent = self.web().send(Message::text(text));
        check_sent(&self.name, sent);
    }

    /// Sends bytes below the framing, whatever they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let name = self.name.clone();
        let stream = self.stream();
        match stream.write_all(bytes).and_then(|()| stream.flush()) {
            // The next expectation finds the connection closed and says so.
            Err(error) if is_end(&error) => {}
            Err(error) => panic!("{name}: the server does not read: {error}"),
            Ok(()) => {}
        }
    }

    /// The next packet, or why there is none.
    pub fn next(&mut self) -> Result<Vec<u8>, End> {
        match &mut self.wire {
            Wire::Raw { stream, inbox } => next_frame(stream, inbox),
            Wire::Web(web) => next_message(web, &mut self.close_code),
        }
    }

    pub fn receive(&mut self) -> Vec<u8> {
        self.next().unwrap_or_else(|end| panic!("{self}: expected a packet: {end:?}"))
    }

    pub fn expect(&mut self, packet: &[u8]) {
        match self.next() {
            Ok(got) => assert!(got == packet, "{self}:\n expected {}\n      got {}", describe(packet), describe(&got)),
            Err(end) => panic!("{self}: {end:?}, expected {}", describe(packet)),
        }
    }

    /// Expects these packets in any order.
    pub fn expect_set(&mut self, packets: &[Vec<u8>]) {
        let mut got: Vec<String> = packets.iter().map(|_| describe(&self.receive())).collect();
        let mut wanted: Vec<String> = packets.iter().map(|packet| describe(packet)).collect();
        got.sort();
        wanted.sort();
        assert_eq!(got, wanted, "{self}");
    }

    /// Expects the server to end the connection without a further packet.
    pub fn expect_closed(&mut self) -> Option<u16> {
        match self.next() {
            Err(End::Closed(code)) => code,
            Err(end) => panic!("{self}: {end:?}, expected the end of the connection"),
            Ok(got) => panic!("{self}: expected the end of the connection, got {}", describe(&got)),
        }
    }

    pub fn expect_close_code(&mut self, code: u16) {
        let got = self.expect_closed();
        assert_eq!(got, Some(code), "{self}: the close frame's status");
    }

    /// Expects that the server has sent nothing: the answer to a Ping comes next.
    pub fn expect_silence(&mut self) {
        self.send(&packet::ping());
        self.expect(&packet::pong());
    }

    /// Waits until the server has carried out all that was sent.
    pub fn sync(&mut self) {
        self.expect_silence();
    }

    /// Subscribes and returns the topic's number.
    pub fn subscribe(&mut self, topic: &str) -> u32 {
        self.request(&packet::subscribe(topic), packet::SUBACK, topic)
    }

    pub fn create(&mut self, topic: &str) -> u32 {
        self.request(&packet::create(topic), packet::CREATEACK, topic)
    }

    pub fn createsub(&mut self, subtopic: &str) -> u32 {
        self.request(&packet::createsub(subtopic), packet::CREATESUBACK, subtopic)
    }

    fn request(&mut self, request: &[u8], ack: u8, name: &str) -> u32 {
        self.send(request);
        let got = self.receive();
        let number = if got.len() >= 6 { packet::number_at(&got, 2) } else { 0 };
        assert_eq!(describe(&got), describe(&packet::ack(ack, 0, number, name)), "{self}");
        assert_ne!(number, 0, "{self}: a granted number is not 0");
        number
    }

    /// Publishes under the own etid.
    pub fn publish(&mut self, tid: u32, subtid: u32, payload: impl AsRef<[u8]>) {
        self.send(&packet::publish(tid, self.etid, subtid, payload));
    }

    pub fn set_patience(&mut self, patience: Duration) {
        self.stream().set_patience(patience);
    }

    /// Waits so long for a packet, then goes back to the usual patience.
    pub fn next_within(&mut self, patience: Duration) -> Result<Vec<u8>, End> {
        self.set_patience(patience);
        let next = self.next();
        self.set_patience(PATIENCE);
        next
    }

    /// Sends a close frame with this code; WebSocket only.
    pub fn send_close(&mut self, code: u16) {
        self.send_bytes(&packet::web_frame(0x88, &code.to_be_bytes()));
    }

    /// Ends the connection as a crash does: with a reset instead of a farewell.
    pub fn reset(mut self) {
        let socket = socket2::SockRef::from(self.stream().socket()).set_linger(Some(Duration::ZERO));
        socket.expect("the socket is open");
    }

    pub fn web(&mut self) -> &mut WebSocket<Stream> {
        match &mut self.wire {
            Wire::Web(web) => web,
            Wire::Raw { .. } => panic!("a raw connection is no WebSocket"),
        }
    }

    /// The socket below the framing.
    pub fn stream(&mut self) -> &mut Stream {
        match &mut self.wire {
            Wire::Raw { stream, .. } => stream,
            Wire::Web(web) => web.get_mut(),
        }
    }
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({:?})", self.name, self.via)
    }
}

fn start_raw(mut stream: Stream, path: &str, headers: &str) -> Wire {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nSimpleMQ: 1\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("the server reads requests");
    stream.flush().expect("the server reads requests");
    Wire::Raw { stream, inbox: Vec::new() }
}

fn upgrade(stream: Stream, path: &str) -> WebSocket<Stream> {
    let url = format!("ws://localhost{path}");
    match tungstenite::client(url, stream) {
        Ok((web, _)) => web,
        Err(error) => panic!("no WebSocket at {path}: {error}"),
    }
}

fn check_sent(name: &str, sent: tungstenite::Result<()>) {
    use tungstenite::Error::*;
    match sent {
        // The next expectation finds the connection closed and says so.
        Ok(()) | Err(ConnectionClosed | AlreadyClosed | Protocol(_)) => {}
        Err(Io(error)) if is_end(&error) => {}
        Err(error) => panic!("{name}: cannot send: {error}"),
    }
}

fn next_frame(stream: &mut Stream, inbox: &mut Vec<u8>) -> Result<Vec<u8>, End> {
    loop {
        if let Some(&[high, low]) = inbox.first_chunk() {
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length < 3 {
                return Err(End::Broken(format!("a frame of length {length}")));
            }
            if inbox.len() >= length {
                return Ok(inbox.drain(..length).skip(2).collect());
            }
        }
        let mut buffer = [0; 65536];
        match stream.read(&mut buffer) {
            Ok(0) => return Err(end_of(inbox)),
            Ok(count) => inbox.extend_from_slice(&buffer[..count]),
            Err(error) if is_timeout(&error) => return Err(End::Silence),
            Err(error) if is_end(&error) => return Err(end_of(inbox)),
            Err(error) => return Err(End::Broken(error.to_string())),
        }
    }
}

fn end_of(inbox: &[u8]) -> End {
    if inbox.is_empty() {
        return End::Closed(None);
    }
    End::Broken(format!("closed within a frame: {} bytes, {}", inbox.len(), inbox.escape_ascii()))
}

fn next_message(web: &mut WebSocket<Stream>, close_code: &mut Option<u16>) -> Result<Vec<u8>, End> {
    use tungstenite::Error;
    loop {
        match web.read() {
            Ok(Message::Binary(packet)) => return Ok(packet.to_vec()),
            Ok(Message::Close(frame)) => *close_code = frame.map(|frame| frame.code.into()),
            Ok(Message::Ping(_)) => {}
            Ok(other) => return Err(End::Broken(format!("a message that is not binary: {other:?}"))),
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Err(End::Closed(*close_code)),
            Err(Error::Io(error)) if is_timeout(&error) => return Err(End::Silence),
            Err(Error::Io(error)) if is_end(&error) => return Err(End::Closed(*close_code)),
            Err(Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
                return Err(End::Closed(*close_code));
            }
            Err(error) => return Err(End::Broken(error.to_string())),
        }
    }
}
