//! A request body that a page reads while it comes.

use std::io;

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::Body;
use super::limits::BODY_TIME;

/// The pieces come as fast as they are asked for: what the page does not take waits in the client's socket.
pub struct Upload(Body);

impl Upload {
    pub fn new<B>(body: B) -> Self
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        Self(body.map_err(io::Error::other).boxed_unsync())
    }

    /// The next piece, which is not empty; `None` at the end.
    ///
    /// # Errors
    /// When the client breaks off, or sends nothing for so long that it must have gone.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let frame = timeout(BODY_TIME, self.0.frame()).await.map_err(|_| io::ErrorKind::TimedOut)?;
            let Some(frame) = frame else { return Ok(None) };
            // Trailers are no part of the body.
            match frame?.into_data() {
                Ok(data) if !data.is_empty() => return Ok(Some(data)),
                _ => {}
            }
        }
    }
}
