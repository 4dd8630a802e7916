//! Seeds for login pages that hash the password instead of sending it: a challenge and response as in CRAM-MD5 (RFC
//! 2195), but with SHA-256.
//!
//! The seed's key is a signature (an HMAC) of the seed and its time. So the server remembers only the seeds that were
//! used, not those of login pages that nobody fills in.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use tokio::time::Instant;

use crate::bindings::ba::encoding::{hex, random_hex, unhex};

/// How long a seed is valid, which is how long a login page may be open.
const LIFE: Duration = Duration::from_secs(1800);
/// The most logins within that time. Further ones are refused, and the login page is shown again.
const MAX_LOGINS: usize = 65_536;

/// What a login page gets, and sends back.
pub struct Seed {
    /// See [`random_hex`].
    pub text: String,
    /// The time when the seed was made (milliseconds, hexadecimal), a dot, and the signature of time and text.
    pub key: String,
}

/// The seeds of one authenticator.
pub struct Seeds {
    /// What seeds are signed with.
    secret: [u8; 32],
    began: Instant,
    /// The seeds that were used for a login, and when they were made, as time since `began`.
    used: RefCell<HashMap<String, Duration>>,
}

impl Default for Seeds {
    fn default() -> Self {
        Self { secret: rand::random(), began: Instant::now(), used: RefCell::default() }
    }
}

impl Seeds {
    /// A new seed.
    pub fn make(&self) -> Seed {
        let text = random_hex();
        let made = format!("{:x}", self.began.elapsed().as_millis());
        let seal = hex(&self.seal(&made, &text).finalize().into_bytes());
        Seed { text, key: format!("{made}.{seal}") }
    }

    /// Accepts a seed for a login: false if it was not made here, has expired, or has been used.
    pub fn take(&self, text: &str, key: &str) -> bool {
        let Some(made) = self.made(text, key) else { return false };
        let now = self.began.elapsed();
        let is_fresh = |made: Duration| now.saturating_sub(made) < LIFE;
        let mut used = self.used.borrow_mut();
        used.retain(|_, made| is_fresh(*made));
        is_fresh(made) && used.len() < MAX_LOGINS && used.insert(text.to_owned(), made).is_none()
    }

    /// When a seed was made; `None` if the signature is not ours.
    fn made(&self, text: &str, key: &str) -> Option<Duration> {
        let (made, seal) = key.split_once('.')?;
        let seal = unhex(seal)?;
        self.seal(made, text).verify_slice(&seal).ok()?;
        u64::from_str_radix(made, 16).ok().map(Duration::from_millis)
    }

    /// The signature of a seed and the time when it was made.
    fn seal(&self, made: &str, text: &str) -> Hmac<Sha256> {
        keyed(&self.secret, format!("{made}.{text}").as_bytes())
    }
}

/// Whether `response` is the HMAC-SHA-256 of the seed with this password as its key, in hexadecimal digits: what a
/// login page computes.
pub fn prove(password: &[u8], seed: &str, response: &str) -> bool {
    unhex(response).is_some_and(|response| keyed(password, seed.as_bytes()).verify_slice(&response).is_ok())
}

fn keyed(key: &[u8], text: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_seed_is_accepted_once_and_until_it_expires() {
        let seeds = Seeds::default();
        let (one, other) = (seeds.make(), seeds.make());
        assert_ne!(one.text, other.text);
        assert!(seeds.take(&one.text, &one.key));
        assert!(!seeds.take(&one.text, &one.key));
        tokio::time::advance(LIFE).await;
        assert!(!seeds.take(&other.text, &other.key));
        let next = seeds.make();
        assert!(seeds.take(&next.text, &next.key));
        assert_eq!(seeds.used.borrow().len(), 1, "what is too old is forgotten");
    }

    #[tokio::test]
    async fn a_seed_with_another_signature_is_refused() {
        let (seeds, others) = (Seeds::default(), Seeds::default());
        let (seed, foreign) = (seeds.make(), others.make());
        let (made, seal) = seed.key.split_once('.').expect("time and seal");
        for (text, key) in [
            (foreign.text.as_str(), foreign.key.as_str()),
            (foreign.text.as_str(), seed.key.as_str()),
            (seed.text.as_str(), &format!("f{made}.{seal}")),
            (seed.text.as_str(), &format!("{made}.")),
            (seed.text.as_str(), &format!("{made}.{}", &seal[1..])),
            (seed.text.as_str(), ""),
            ("", ""),
        ] {
            assert!(!seeds.take(text, key), "{text} {key}");
        }
        assert!(seeds.take(&seed.text, &seed.key));
    }

    #[test]
    fn a_response_is_proof_if_it_is_the_hmac_of_the_seed_with_the_password() {
        // RFC 4231, test case 2.
        let response = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert!(prove(b"Jefe", "what do ya want for nothing?", response));
        assert!(prove(b"Jefe", "what do ya want for nothing?", &response.to_uppercase()));
        for wrong in ["", "5b", "5bd", "xx", &response[2..], "\u{e9}\u{e9}"] {
            assert!(!prove(b"Jefe", "what do ya want for nothing?", wrong), "{wrong}");
        }
        assert!(!prove(b"jefe", "what do ya want for nothing?", response));
    }
}
