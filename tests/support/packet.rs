//! Packets as bytes: the type byte, then the body. The raw transport puts a length in front, WebSocket nothing.

pub const INIT: u8 = 1;
pub const CONNECT: u8 = 2;
pub const CONNACK: u8 = 3;
pub const SUBSCRIBE: u8 = 4;
pub const SUBACK: u8 = 5;
pub const CREATE: u8 = 6;
pub const CREATEACK: u8 = 7;
pub const PUBLISH: u8 = 8;
pub const UNSUBSCRIBE: u8 = 9;
pub const DISCONNECT: u8 = 11;
pub const PING: u8 = 12;
pub const PONG: u8 = 13;
pub const OBSERVE: u8 = 14;
pub const UNOBSERVE: u8 = 15;
pub const CHANGE: u8 = 16;
pub const CREATESUB: u8 = 17;
pub const CREATESUBACK: u8 = 18;
pub const PUBFRAG: u8 = 19;

/// The largest payload of a message, on every transport.
pub const MAX_PAYLOAD: usize = 0xFFF0;
/// The server's ephemeral topic id.
pub const SERVER: u32 = 1;

pub const ACCEPTED: u8 = 0;
pub const BAD_VERSION: u8 = 1;
pub const UNAVAILABLE: u8 = 2;
pub const BAD_CREDENTIALS: u8 = 3;
pub const ACCESS_DENIED: u8 = 6;

pub fn packet(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![kind];
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

fn numbers(kind: u8, numbers: &[u32], rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    numbers.iter().for_each(|n| bytes.extend_from_slice(&n.to_be_bytes()));
    bytes.extend_from_slice(rest);
    bytes
}

pub fn connect(uid: &[u8], credentials: &[u8], info: &[u8]) -> Vec<u8> {
    packet(CONNECT, &[&[1], &[uid.len() as u8], uid, &[credentials.len() as u8], credentials, info])
}

pub fn connect_v2(number: u16, uid: &[u8], credentials: &[u8], info: &[u8]) -> Vec<u8> {
    let lengths = [uid.len() as u8, credentials.len() as u8];
    packet(CONNECT, &[&[2], &number.to_be_bytes(), &lengths[..1], uid, &lengths[1..], credentials, info])
}

pub fn connack(code: u8, etid: u32, text: &str) -> Vec<u8> {
    packet(CONNACK, &[&[code], &etid.to_be_bytes(), text.as_bytes()])
}

pub fn subscribe(name: impl AsRef<[u8]>) -> Vec<u8> {
    packet(SUBSCRIBE, &[name.as_ref()])
}

pub fn create(name: impl AsRef<[u8]>) -> Vec<u8> {
    packet(CREATE, &[name.as_ref()])
}

pub fn createsub(name: impl AsRef<[u8]>) -> Vec<u8> {
    packet(CREATESUB, &[name.as_ref()])
}

/// Suback, Createack or Createsuback.
pub fn ack(kind: u8, status: u8, number: u32, name: impl AsRef<[u8]>) -> Vec<u8> {
    packet(kind, &[&[status], &number.to_be_bytes(), name.as_ref()])
}

pub fn publish(tid: u32, ptid: u32, subtid: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    numbers(PUBLISH, &[tid, ptid, subtid], payload.as_ref())
}

pub fn pubfrag(tid: u32, ptid: u32, subtid: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    numbers(PUBFRAG, &[tid, ptid, subtid], payload.as_ref())
}

pub fn unsubscribe(tid: u32) -> Vec<u8> {
    numbers(UNSUBSCRIBE, &[tid], b"")
}

pub fn observe(tid: u32) -> Vec<u8> {
    numbers(OBSERVE, &[tid], b"")
}

pub fn unobserve(tid: u32) -> Vec<u8> {
    numbers(UNOBSERVE, &[tid], b"")
}

pub fn change(tid: u32, subscribers: u32) -> Vec<u8> {
    numbers(CHANGE, &[tid, subscribers], b"")
}

pub fn disconnect(text: &str) -> Vec<u8> {
    packet(DISCONNECT, &[text.as_bytes()])
}

pub fn ping() -> Vec<u8> {
    vec![PING]
}

pub fn pong() -> Vec<u8> {
    vec![PONG]
}

/// The packet as a frame of the raw transport.
///
/// Panics if it does not fit into one.
pub fn frame(packet: &[u8]) -> Vec<u8> {
    let length = u16::try_from(packet.len() + 2).expect("a raw frame has at most 65535 bytes");
    [&length.to_be_bytes(), packet].concat()
}

/// One WebSocket frame as a client sends it. `first` is the first byte: FIN, reserved bits and opcode.
pub fn web_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
    let mut bytes = web_head(first, payload.len(), 0x80);
    bytes.extend_from_slice(&MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// The same without a mask, which only a server may send.
pub fn web_frame_unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = web_head(first, payload.len(), 0);
    bytes.extend_from_slice(payload);
    bytes
}

fn web_head(first: u8, length: usize, masked: u8) -> Vec<u8> {
    match length {
        0..126 => vec![first, masked | length as u8],
        126..65536 => [&[first, masked | 126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[first, masked | 127][..], &(length as u64).to_be_bytes()].concat(),
    }
}

pub fn number_at(packet: &[u8], offset: usize) -> u32 {
    let bytes = packet.get(offset..offset + 4).unwrap_or_else(|| panic!("too short: {}", describe(packet)));
    u32::from_be_bytes(bytes.try_into().expect("four bytes"))
}

/// The packet for people: its name, the first bytes in hexadecimal and as text.
pub fn describe(packet: &[u8]) -> String {
    const NAMES: [&str; 20] = [
        "0",
        "Init",
        "Connect",
        "Connack",
        "Subscribe",
        "Suback",
        "Create",
        "Createack",
        "Publish",
        "Unsubscribe",
        "10",
        "Disconnect",
        "Ping",
        "Pong",
        "Observe",
        "Unobserve",
        "Change",
        "Createsub",
        "Createsuback",
        "PubFrag",
    ];
    let Some((&kind, body)) = packet.split_first() else { return "an empty packet".into() };
    let name = NAMES.get(usize::from(kind)).copied().unwrap_or("unknown type");
    let start = &body[..body.len().min(48)];
    let hex: Vec<String> = start.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name} [{}] \"{}\" ({} bytes)", hex.join(" "), start.escape_ascii(), packet.len())
}
