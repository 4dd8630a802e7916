//! A server that behaves as a test says.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// A server for one client that reads the request's head and then does this; its URL.
pub fn stranger(act: impl FnOnce(&mut TcpStream, String) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let head = read_head(&mut stream);
        act(&mut stream, head);
        // Holds the connection until the client has had enough.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    url
}

/// A server for one client that answers its request with these bytes; its URL.
pub fn says(bytes: impl AsRef<[u8]>) -> String {
    let bytes = bytes.as_ref().to_vec();
    stranger(move |stream, _| stream.write_all(&bytes).expect("the client reads"))
}

pub fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a whole head");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("a head of text")
}
