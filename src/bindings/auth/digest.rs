//! The `Authorization` header of digest authentication (RFC 7616), with MD5 and `qop=auth`: the only variant that all
//! clients support.

use std::collections::HashMap;

use super::secret::{equal, md5_hex};

/// The parameters by which a client proves that it knows the password.
pub struct Credentials {
    fields: HashMap<String, String>,
}

impl Credentials {
    /// Reads what follows `Digest ` in the header. `None` if it is malformed, incomplete, or of another variant than
    /// our challenge asks for.
    pub fn parse(text: &str) -> Option<Self> {
        let fields = parameters(text)?;
        let is = |name: &str, value: &str| fields.get(name).is_some_and(|sent| sent.eq_ignore_ascii_case(value));
        let has_all = ["username", "realm", "nonce", "uri", "response", "nc", "cnonce"];
        let is_ours = has_all.iter().all(|name| fields.contains_key(*name))
            && is("qop", "auth")
            && (is("algorithm", "MD5") || !fields.contains_key("algorithm"));
        is_ours.then_some(Self { fields })
    }

    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub fn user(&self) -> &str {
        self.field("username")
    }

    pub fn realm(&self) -> &str {
        self.field("realm")
    }

    pub fn nonce(&self) -> &str {
        self.field("nonce")
    }

    /// The URL that the client says it asks for. Whoever checks the proof has to compare it with the request's.
    pub fn uri(&self) -> &str {
        self.field("uri")
    }

    /// The nonce count `nc`: how many requests the client has made with this nonce; 0 if it is no number.
    pub fn count(&self) -> u64 {
        u64::from_str_radix(self.field("nc"), 16).unwrap_or(0)
    }

    /// Whether the client knows the password that `ha1` was made of. `method` is the request's.
    pub fn prove(&self, ha1: &[u8], method: &str) -> bool {
        let ha2 = md5_hex(&[method.as_bytes(), self.uri().as_bytes()]);
        let [nonce, nc, cnonce, qop] = ["nonce", "nc", "cnonce", "qop"].map(|name| self.field(name).as_bytes());
        let expected = md5_hex(&[ha1, nonce, nc, cnonce, qop, &ha2]);
        equal(&expected, self.field("response").to_ascii_lowercase().as_bytes())
    }
}

/// Parameters of the form `name=value` or `name="value"`, separated by commas. The names are returned in lower case.
fn parameters(mut text: &str) -> Option<HashMap<String, String>> {
    let mut fields = HashMap::new();
    loop {
        text = text.trim_start_matches([' ', '\t', ',']);
        if text.is_empty() {
            return Some(fields);
        }
        let (name, rest) = text.split_once('=')?;
        let (value, rest) = match rest.strip_prefix('"') {
            Some(rest) => quoted(rest)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), &rest[end..])
            }
        };
        // With a repeated name, others might read another value than we do.
        if fields.insert(name.trim().to_ascii_lowercase(), value).is_some() {
            return None;
        }
        text = rest;
    }
}

/// A quoted string without its escapes, and what follows it. `text` begins after the opening quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7616, section 3.9.1.
    const EXAMPLE: &str = "username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", \
        algorithm=MD5, nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
        cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, \
        response=\"8ca523f5e9506fed4657c9700eebdbec\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";

    #[test]
    fn the_example_of_the_rfc_is_proven_for_its_own_method_only() {
        let credentials = Credentials::parse(EXAMPLE).expect("it is ours");
        let ha1 = md5_hex(&[b"Mufasa", b"http-auth@example.org", b"Circle of Life"]);
        assert!(credentials.prove(&ha1, "GET"));
        assert!(!credentials.prove(&ha1, "POST"));
        assert_eq!((credentials.user(), credentials.count()), ("Mufasa", 1));
    }

    #[test]
    fn malformed_incomplete_and_unsupported_credentials_are_refused() {
        for text in ["", "username", r#"username="a"#, "username=a, username=b"] {
            assert!(Credentials::parse(text).is_none(), "{text}");
        }
        for name in ["username", "realm", "nonce", "uri", "response", "nc", "cnonce", "qop"] {
            let without = EXAMPLE.replacen(&format!("{name}="), "other=", 1);
            assert!(Credentials::parse(&without).is_none(), "{without}");
        }
        for (ours, other) in [("qop=auth", "qop=auth-int"), ("algorithm=MD5", "algorithm=SHA-256")] {
            assert!(Credentials::parse(&EXAMPLE.replace(ours, other)).is_none(), "{other}");
        }
        assert!(Credentials::parse(&EXAMPLE.replace("algorithm=MD5, ", "")).is_some(), "MD5 is the default");
    }
}
