//! The handshake: Init, Connect, authentication, Connack.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::{Upgrade, while_sending};
use crate::broker::hooks::{Newcomer, Verdict};
use crate::broker::outbound::Outbound;
use crate::broker::outbox::with_outbox;
use crate::broker::peer::{CloseReason, Identity, Peer};
use crate::broker::session::Session;
use crate::broker::{Shutdowns, encoded};
use crate::protocol::{Connect, Etid, MIN_UID, Packet, ReturnCode, VERSION};
use crate::socket::{Keepalive, Socket};
use crate::transport::wire::{First, PlainWriter, Wire};

/// How often a client that waits for its turn, or for the end of an older one, is checked: it may have left meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Room for a WebSocket's response head and Init.
const USUAL_GREETING: usize = 256;

/// How long the timer of [`keep_a_timer`] runs.
const SOON: Duration = Duration::from_millis(100);

thread_local! {
    /// Whether it runs.
    static HAS_TIMER: Cell<bool> = const { Cell::new(false) };
}

impl Upgrade {
    /// Makes a registered client of a socket. `None` if no client comes of it; then the socket is closed.
    pub(super) async fn handshake(
        self,
        socket: Socket,
        early: Bytes,
        mut shutdowns: Shutdowns,
    ) -> Option<(Wire, Session)> {
        let (mut wire, writer) = Wire::new(socket, self.greeting.framing(), &early);
        let admitted = tokio::select! {
            biased;
            admitted = self.admit(&mut wire) => admitted,
            () = shutdowns.next() => Err(Refusal::ShutDown),
        };
        let (peer, newcomer) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => {
                refusal.tell(wire).await;
                return None;
            }
        };
        if let Some(farewell) = shutdowns.farewell() {
            // It may have been registered too late to be closed with the others.
            with_outbox(|outbox| self.hub.close(outbox, &peer, CloseReason::Shutdown, farewell.as_deref()));
        }
        if let Some(writer) = writer {
            peer.outbound.open(Box::<PlainWriter>::new(writer));
        }
        if self.hub.interest().onconnect {
            while_sending(&mut wire, &peer, self.hub.hooks().connected(peer.clone(), newcomer)).await;
        }
        Some((wire, Session::new(self.hub, peer)))
    }

    /// Init, Connect, authentication, and the Connack, which is queued when this returns.
    async fn admit(&self, wire: &mut Wire) -> Result<(Arc<Peer>, Newcomer), Refusal> {
        let seed = rand::random();
        let limit = self.hub.handshake_timeout();
        timeout(limit, self.greet(wire, seed)).await.map_err(|_| Refusal::Lost)?.map_err(|_| Refusal::Lost)?;
        keep_a_timer();
        let connect = timeout(limit, read_connect(wire)).await;
        let connect = connect.unwrap_or(Err(Refusal::Connack(ReturnCode::UNAVAILABLE, Vec::new())))?;
        let newcomer = Newcomer {
            token: self.token,
            seed,
            identity: connect.identity,
            credentials: connect.credentials,
            address: self.address,
        };
        if self.hub.interest().authenticate {
            let verdict = self.hub.hooks().authenticate(newcomer.clone()).await;
            let Verdict { code, reason } = verdict.map_err(|_| Refusal::ShutDown)?;
            if code != ReturnCode::ACCEPTED {
                return Err(Refusal::Connack(code, reason));
            }
            if wire.has_been_left() {
                return Err(Refusal::Lost);
            }
        }
        let peer = self.register(wire, &newcomer).await.ok_or(Refusal::Lost)?;
        Ok((peer, newcomer))
    }

    async fn greet(&self, wire: &mut Wire, seed: u32) -> std::io::Result<()> {
        let keepalive = self.hub.keepalive();
        // Accepted sockets have the default already, from the listener.
        if keepalive != Keepalive::default() {
            keepalive.apply(wire.tcp());
        }
        let mut greeting = Vec::with_capacity(USUAL_GREETING);
        greeting.extend_from_slice(self.greeting.response().as_bytes());
        if wire.is_tls() {
            // In a TLS record of its own: some clients discard what follows the response's head in the same record.
            wire.write_all(std::mem::take(&mut greeting)).await?;
        }
        let address = self.address.map(|address| address.ip().to_string()).unwrap_or_default();
        let init = encoded(&Packet::Init { version: VERSION, seed, address: address.as_bytes() });
        greeting.extend_from_slice(&wire.framing().converted(&init));
        wire.write_all(greeting).await
    }

    /// Registers the client. An older one with the same uid is closed first, and its etid is used again; of several that
    /// come meanwhile, each takes the place of the one before it. `None` if the client has left meanwhile, since the
    /// callbacks for the older one's end may take long.
    async fn register(&self, wire: &Wire, newcomer: &Newcomer) -> Option<Arc<Peer>> {
        let place = self.hub.line_up(&newcomer.identity.uid);
        let mut turn = pin!(place.turn());
        let _turn = loop {
            match timeout(LOOK_AGAIN, turn.as_mut()).await {
                Ok(turn) => break turn,
                Err(_) if wire.has_been_left() => return None,
                Err(_) => {}
            }
        };
        let mut etid = None;
        loop {
            let older = self.hub.client_with_uid(&newcomer.identity.uid);
            if (older.is_some() || etid.is_some()) && wire.has_been_left() {
                return None;
            }
            if let Some(older) = older {
                with_outbox(|outbox| self.hub.close(outbox, &older, CloseReason::Kicked, Some(b"reconnect")));
                etid = Some(older.etid());
                let _ = timeout(LOOK_AGAIN, older.ended()).await;
                continue;
            }
            let etid = etid.take().unwrap_or_else(|| self.hub.new_etid());
            let outbound = Outbound::new(wire.framing(), self.hub.limits().queued);
            let peer =
                Arc::new(Peer::client(etid, newcomer.identity.clone(), newcomer.address, newcomer.token, outbound));
            let connack = Packet::Connack { code: ReturnCode::ACCEPTED, etid, reason: b"" };
            if with_outbox(|outbox| self.hub.connect(outbox, &peer, &connack)).is_ok() {
                return Some(peer);
            }
        }
    }
}

/// What a Connect says.
struct Introduction {
    identity: Identity,
    credentials: Box<[u8]>,
}

/// Why no client came of a connection.
enum Refusal {
    /// A Connack tells the client.
    Connack(ReturnCode, Vec<u8>),
    /// The hub was shut down meanwhile, or its owner has gone.
    ShutDown,
    /// The client has closed its WebSocket, and the answer waits to be sent.
    Closed,
    /// The connection is lost.
    Lost,
}

impl Refusal {
    /// Says what there is to say, and closes the connection.
    async fn tell(self, mut wire: Wire) {
        match &self {
            Self::Lost => return,
            Self::Closed => return wire.close().await,
            Self::ShutDown => {}
            Self::Connack(code, reason) => {
                let reason = &reason[..reason.len().min(crate::protocol::MAX_NAME)];
                let connack = encoded(&Packet::Connack { code: *code, etid: Etid(0), reason });
                wire.add_last_words(&wire.framing().converted(&connack));
            }
        }
        wire.add_close_frame();
        wire.close().await;
    }
}

/// Sees to it that a timer is due before the time limits of the handshakes that follow soon. A timer that becomes the next one
/// due costs tokio a system call, since the event loop has to learn of it. Without other timers most handshakes would set such
/// a one.
fn keep_a_timer() {
    if !HAS_TIMER.replace(true) {
        tokio::spawn(async {
            sleep(SOON).await;
            HAS_TIMER.set(false);
        });
    }
}

async fn read_connect(wire: &mut Wire) -> Result<Introduction, Refusal> {
    loop {
        match wire.first_message().await {
            Ok(First::Message(message)) => return introduction(&message),
            Ok(First::Malformed) => return Err(malformed()),
            Ok(First::Answer(answer)) => wire.write_all(answer).await.map_err(|_| Refusal::Lost)?,
            Ok(First::Closed(answer)) => {
                wire.add_last_words(&answer);
                return Err(Refusal::Closed);
            }
            Err(_) => return Err(Refusal::Lost),
        }
    }
}

fn introduction(message: &[u8]) -> Result<Introduction, Refusal> {
    match Packet::decode(message) {
        Ok(Packet::Connect(Connect { uid, credentials, info, .. })) if uid.len() >= MIN_UID => Ok(Introduction {
            identity: Identity { uid: uid.into(), info: info.into() },
            credentials: credentials.into(),
        }),
        _ => Err(malformed()),
    }
}

fn malformed() -> Refusal {
    Refusal::Connack(ReturnCode::VERSION, Vec::new())
}
