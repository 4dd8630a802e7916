//! What a user database knows about a password, and comparing it in constant time.

use md5::Md5;
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

use crate::bindings::ba::encoding::hex;

/// What a user database knows about a password. Has no `Debug`, so that it is never logged by accident.
#[derive(Clone)]
pub enum Secret {
    Password(Vec<u8>),
    /// The MD5 of `name:realm:password` in lower-case hexadecimal digits, as in RFC 7616.
    Ha1(Vec<u8>),
    /// Nothing: a script has checked the password that the client sent, and accepted it.
    Accepted,
}

impl Secret {
    /// Whether `sent` is the password.
    pub fn is(&self, sent: &[u8], name: &[u8], realm: &str) -> bool {
        match self {
            Self::Password(password) => equal(password, sent),
            Self::Ha1(_) => self.ha1(name, realm).is_some_and(|known| equal(&known, &ha1(name, realm, sent))),
            Self::Accepted => true,
        }
    }

    /// The HA1 of RFC 7616. `None` if a script checks passwords itself.
    pub fn ha1(&self, name: &[u8], realm: &str) -> Option<Vec<u8>> {
        match self {
            Self::Password(password) => Some(ha1(name, realm, password)),
            Self::Ha1(hash) => Some(hash.to_ascii_lowercase()),
            Self::Accepted => None,
        }
    }

    /// The password in plain text, if it is known.
    pub fn password(&self) -> Option<&[u8]> {
        match self {
            Self::Password(password) => Some(password),
            Self::Ha1(_) | Self::Accepted => None,
        }
    }
}

fn ha1(name: &[u8], realm: &str, password: &[u8]) -> Vec<u8> {
    md5_hex(&[name, realm.as_bytes(), password])
}

/// The MD5 of the parts with a colon between them, in hexadecimal digits.
pub fn md5_hex(parts: &[&[u8]]) -> Vec<u8> {
    hex(&Md5::digest(parts.join(&b':'))).into_bytes()
}

/// Compares in constant time. Comparing the hashes hides the length, too.
pub fn equal(one: &[u8], other: &[u8]) -> bool {
    Sha1::digest(one).ct_eq(&Sha1::digest(other)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_recognized_in_plain_text_and_as_its_hash() {
        let kept = [
            Secret::Password(b"Circle of Life".to_vec()),
            Secret::Ha1(md5_hex(&[b"Mufasa", b"testrealm", b"Circle of Life"])),
        ];
        for secret in kept {
            assert!(secret.is(b"Circle of Life", b"Mufasa", "testrealm"));
            assert!(!secret.is(b"circle of life", b"Mufasa", "testrealm"));
            assert!(!secret.is(b"", b"Mufasa", "testrealm"));
        }
    }
}
