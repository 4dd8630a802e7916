//! `Accept-Encoding` (RFC 9110, section 12.5.3).

/// Whether the header's value allows the content coding `name`. What is not named is not allowed.
pub fn allows(accepted: &[u8], name: &str) -> bool {
    String::from_utf8_lossy(accepted).to_ascii_lowercase().split(',').any(|entry| {
        let (coding, parameters) = entry.split_once(';').unwrap_or((entry, ""));
        let weight = parameters.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
        coding.trim() == name && weight.unwrap_or(0.0) > 0.0
    })
}

#[cfg(test)]
mod tests {
    use super::allows;

    #[test]
    fn a_coding_is_allowed_where_it_is_named_with_a_weight() {
        for accepted in ["gzip, deflate, br", "GZIP; q=1", "br,gzip;q=0.5"] {
            assert!(allows(accepted.as_bytes(), "gzip"), "{accepted}");
        }
        for accepted in ["", "br", "gzip;q=0", "gzip;q=x", "gzipped"] {
            assert!(!allows(accepted.as_bytes(), "gzip"), "{accepted}");
        }
    }
}
