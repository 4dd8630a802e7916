//! One client: its connection, its session, and its buffers.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::session::{self, Event, Role, Session};
use super::target::Target;
use crate::dial::Duplex;

/// The most bytes of one read.
const READ: usize = 256 * 1024;
/// The number of reads in a row before other clients have a turn.
const READS_PER_TURN: usize = 4;

/// What the clients of a run do together. Each client is known by its slot, its index among the roles.
pub trait Workload: 'static {
    /// Called when the client in `slot` may publish. If it cannot publish as much as it wants, it keeps `waker`, to be
    /// woken when it can.
    fn fill(&mut self, slot: usize, sender: &mut Sender<'_>, waker: &Waker);

    /// Called when the client in `slot` has received a message.
    ///
    /// # Errors
    /// If it should not have received it.
    fn on_message(&mut self, slot: usize, payload: &[u8], sender: &mut Sender<'_>, now: Instant) -> Result<()>;
}

/// By which a workload sends messages of one client.
pub struct Sender<'a> {
    session: &'a mut dyn Session,
    out: &'a mut Vec<u8>,
}

impl Sender<'_> {
    /// Publishes to the client's topic.
    pub fn publish(&mut self, payload: &[u8]) {
        self.session.publish(payload, self.out);
    }

    /// Answers the message that the client has received last.
    pub fn reply(&mut self, payload: &[u8]) {
        self.session.reply(payload, self.out);
    }
}

/// What all clients share. They are tasks of one thread.
pub struct Crew<W> {
    pub workload: RefCell<W>,
    /// The buffer for reads.
    buffer: RefCell<Vec<u8>>,
}

impl<W> Crew<W> {
    /// The crew of a workload.
    pub fn new(workload: W) -> Rc<Self> {
        Rc::new(Self { workload: RefCell::new(workload), buffer: RefCell::new(vec![0; READ]) })
    }
}

/// A client, which is connected.
pub struct Client {
    stream: Box<dyn Duplex>,
    session: Box<dyn Session>,
    /// The beginning of an event whose rest has not arrived.
    undecoded: Vec<u8>,
    unsent: Vec<u8>,
}

impl Client {
    /// Connects, and waits until the broker has set up the client's topic.
    pub async fn open(target: &Target, role: &Role, uid: &str) -> Result<Self> {
        let mut client = Self {
            stream: target.connect().await?,
            session: session::new(target, role, uid),
            undecoded: Vec::new(),
            unsent: Vec::new(),
        };
        client.session.start(&mut client.unsent);
        while !client.is_ready()? {
            client.stream.write_all(&client.unsent).await?;
            client.stream.flush().await?;
            client.unsent.clear();
            client.undecoded.reserve(4096);
            if client.stream.read_buf(&mut client.undecoded).await? == 0 {
                bail!("the broker closed the connection");
            }
        }
        client.undecoded.shrink_to_fit();
        Ok(client)
    }

    fn is_ready(&mut self) -> Result<bool> {
        while let Some((length, event)) = self.session.decode(&self.undecoded, &mut self.unsent)? {
            let is_ready = event == Event::Ready;
            self.undecoded.drain(..length);
            if is_ready {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Disconnects, and waits until the broker has closed the connection.
    pub async fn leave(mut self) -> Result<()> {
        self.session.disconnect(&mut self.unsent);
        self.stream.write_all(&self.unsent).await?;
        self.stream.shutdown().await?;
        loop {
            self.undecoded.clear();
            self.undecoded.reserve(4096);
            match self.stream.read_buf(&mut self.undecoded).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // The broker may close the connection without reading everything.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                // Brokers may end TLS without a close_notify.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes part in a workload until something fails.
    pub async fn work<W: Workload>(mut self, slot: usize, crew: Rc<Crew<W>>) -> Result<()> {
        let worked = poll_fn(|cx| self.poll_turn(cx, slot, &crew)).await;
        worked.with_context(|| format!("client {slot}"))
    }

    /// Publishes and receives until there is nothing to receive, or other clients should have a turn.
    fn poll_turn<W: Workload>(&mut self, cx: &mut Context<'_>, slot: usize, crew: &Crew<W>) -> Poll<Result<()>> {
        for _ in 0..READS_PER_TURN {
            let mut sender = Sender { session: &mut *self.session, out: &mut self.unsent };
            crew.workload.borrow_mut().fill(slot, &mut sender, cx.waker());
            if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
                return Poll::Ready(Err(error.into()));
            }
            ready!(self.poll_receive(cx, slot, crew))?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Sends what is unsent. Pending if the connection does not take all of it.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unsent.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let mut sent = 0;
        let flushed = loop {
            if sent == self.unsent.len() {
                break Pin::new(&mut self.stream).poll_flush(cx);
            }
            match Pin::new(&mut self.stream).poll_write(cx, &self.unsent[sent..]) {
                Poll::Ready(Ok(count)) => sent += count,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.unsent.drain(..sent);
        flushed
    }

    fn poll_receive<W: Workload>(&mut self, cx: &mut Context<'_>, slot: usize, crew: &Crew<W>) -> Poll<Result<()>> {
        let mut buffer = crew.buffer.borrow_mut();
        let mut buffer = ReadBuf::new(&mut buffer);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Err(anyhow::anyhow!("the broker closed the connection")));
        }
        Poll::Ready(self.take(buffer.filled(), slot, &mut *crew.workload.borrow_mut()))
    }

    /// Handles what was received, and keeps an incomplete event for later.
    fn take(&mut self, fresh: &[u8], slot: usize, workload: &mut impl Workload) -> Result<()> {
        let now = Instant::now();
        if self.undecoded.is_empty() {
            let used = self.decode(fresh, slot, workload, now)?;
            self.undecoded.extend_from_slice(&fresh[used..]);
            return Ok(());
        }
        let mut input = std::mem::take(&mut self.undecoded);
        input.extend_from_slice(fresh);
        let used = self.decode(&input, slot, workload, now)?;
        input.drain(..used);
        self.undecoded = input;
        Ok(())
    }

    /// Handles all complete events. Returns the number of their bytes.
    fn decode(&mut self, input: &[u8], slot: usize, workload: &mut impl Workload, now: Instant) -> Result<usize> {
        let mut used = 0;
        while let Some((length, event)) = self.session.decode(&input[used..], &mut self.unsent)? {
            used += length;
            if let Event::Message(payload) = event {
                let mut sender = Sender { session: &mut *self.session, out: &mut self.unsent };
                workload.on_message(slot, payload, &mut sender, now)?;
            }
        }
        Ok(used)
    }
}
