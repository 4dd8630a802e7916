//! What one HTTP client may ask of the server.

use std::time::Duration;

/// Bytes of a URI; a longer one is refused with 414.
pub const MAX_URI_SIZE: usize = 8 * 1024;
/// Bytes of a request head; a longer one is refused with 431.
pub const MAX_HEAD_SIZE: usize = 32 * 1024;
/// Headers of a request; more are refused with 431. This is hyper's default, which is not set
/// explicitly: hyper would then initialize two lists of that length for each request.
pub const MAX_HEADERS: usize = 100;
/// Bytes of an urlencoded form; a longer one is refused with 413.
pub const MAX_BODY_SIZE: usize = 1024 * 1024;
/// Bytes of any other body that is read before a page runs; a longer one the page reads as it comes.
pub const MAX_READY_BODY_SIZE: usize = 64 * 1024;
/// Time for a TLS handshake.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Time for a request head, and for a kept-alive connection to begin its next one.
pub const HEAD_TIME: Duration = Duration::from_secs(15);
/// Time for a whole request body that is read before a page runs, and for each piece of any other.
pub const BODY_TIME: Duration = Duration::from_secs(30);
/// Time in which a client must take at least something of a response.
pub const WRITE_STALL_TIME: Duration = Duration::from_secs(60);
/// Time in which a client may read the last response before its connection is reset.
pub const LINGER_TIME: Duration = Duration::from_secs(2);
