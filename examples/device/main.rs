//! A thermometer with a heater, as a device on the raw transport: it publishes a reading each second and obeys commands.
//!
//! Usage: `device [NAME [ADDRESS]]`, by default `thermometer-1` and `127.0.0.1:8080`.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use smq::protocol::{Connect, Etid, Packet, Publish, ReturnCode, Subtid, Target, decode_frame};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const INTERVAL: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "thermometer-1".into());
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into());
    let mut link = Link::open(&address, "/smq/")?;
    let etid = link.connect(&name)?;
    let readings = link.create("readings")?;
    println!("{name} is connected to {address} as {etid}");
    run(&mut link, etid, readings)
}

/// Publishes a reading per interval, and carries out commands as they come.
fn run(link: &mut Link, etid: Etid, readings: Target) -> Result<()> {
    let mut room = Room { temperature: 19.0, heater: false };
    let mut next = Instant::now();
    loop {
        let left = next.saturating_duration_since(Instant::now());
        if left.is_zero() {
            room.pass(INTERVAL);
            link.publish(readings, etid, &room.reading())?;
            next += INTERVAL;
            continue;
        }
        if let Some(command) = link.message_within(left)? {
            println!("obeying {command}");
            room.obey(&command);
            // The browser sees at once that its command has arrived.
            link.publish(readings, etid, &room.reading())?;
        }
    }
}

/// What the device measures, and what it can do about it.
struct Room {
    /// In degrees Celsius.
    temperature: f64,
    heater: bool,
}

impl Room {
    fn pass(&mut self, time: Duration) {
        let goal = if self.heater { 28.0 } else { 18.0 };
        self.temperature += (goal - self.temperature) * 0.05 * time.as_secs_f64();
    }

    fn reading(&self) -> String {
        format!(r#"{{"temperature":{:.2},"heater":{}}}"#, self.temperature, self.heater)
    }

    fn obey(&mut self, command: &str) {
        match command {
            r#"{"heater":true}"# => self.heater = true,
            r#"{"heater":false}"# => self.heater = false,
            _ => println!("that is no command"),
        }
    }
}

/// A connection on the raw transport: frames in, frames out.
struct Link {
    stream: TcpStream,
    /// What was read and is not yet taken; it may end within a frame.
    inbox: Vec<u8>,
}

impl Link {
    /// Asks the server for SMQ. It answers with Init, and with no HTTP response.
    fn open(address: &str, path: &str) -> Result<Self> {
        let mut stream =
            TcpStream::connect(address).map_err(|error| format!("cannot connect to {address}: {error}"))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nSimpleMQ: 1\r\n\r\n")?;
        let mut link = Self { stream, inbox: Vec::new() };
        link.receive(|packet| match packet {
            Packet::Init { .. } => Ok(Some(())),
            _ => Err("the server did not begin with Init".into()),
        })?;
        Ok(link)
    }

    /// The uid has more than the name, as a hub takes none of less than six bytes.
    fn connect(&mut self, name: &str) -> Result<Etid> {
        let uid = format!("device {name}");
        self.send(Packet::Connect(Connect { version: 1, uid: uid.as_bytes(), credentials: b"", info: b"device" }))?;
        self.receive(|packet| match packet {
            Packet::Connack { code: ReturnCode::ACCEPTED, etid, .. } => Ok(Some(etid)),
            Packet::Connack { code, reason, .. } => {
                Err(format!("refused with code {}: {}", code.0, String::from_utf8_lossy(reason)).into())
            }
            _ => Ok(None),
        })
    }

    /// Asks for a topic's number.
    fn create(&mut self, topic: &str) -> Result<Target> {
        self.send(Packet::Create { name: topic.as_bytes() })?;
        self.receive(|packet| match packet {
            Packet::Createack(ack) => match ack.granted {
                Some(number) => Ok(Some(Target(number))),
                None => Err(format!("the topic {} is denied", String::from_utf8_lossy(ack.name)).into()),
            },
            _ => Ok(None),
        })
    }

    fn publish(&mut self, target: Target, publisher: Etid, payload: &str) -> Result<()> {
        self.send(Packet::Publish(Publish { target, publisher, subtid: Subtid(0), payload: payload.as_bytes() }))
    }

    /// The next message to this device, unless the time passes first.
    fn message_within(&mut self, time: Duration) -> Result<Option<String>> {
        self.stream.set_read_timeout(Some(time))?;
        let message = self.receive(|packet| match packet {
            Packet::Publish(message) => Ok(Some(Some(String::from_utf8_lossy(message.payload).into_owned()))),
            Packet::Disconnect { reason } => Err(format!("disconnected: {}", String::from_utf8_lossy(reason)).into()),
            _ => Ok(None),
        });
        match message {
            Err(error) if error.downcast_ref().is_some_and(is_timeout) => Ok(None),
            other => other,
        }
    }

    fn send(&mut self, packet: Packet<'_>) -> Result<()> {
        let mut frame = Vec::new();
        packet.encode(&mut frame)?;
        Ok(self.stream.write_all(&frame)?)
    }

    /// Shows packet after packet to `wanted` until it returns something.
    fn receive<T>(&mut self, mut wanted: impl FnMut(Packet<'_>) -> Result<Option<T>>) -> Result<T> {
        loop {
            while let Some((packet, length)) = decode_frame(&self.inbox)? {
                let found = wanted(packet)?;
                self.inbox.drain(..length);
                if let Some(found) = found {
                    return Ok(found);
                }
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer)? {
                0 => return Err("the server closed the connection".into()),
                count => self.inbox.extend_from_slice(&buffer[..count]),
            }
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
