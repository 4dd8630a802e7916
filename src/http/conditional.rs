//! Conditional and partial requests (RFC 9110, sections 13 and 14) as pure functions of headers.

use std::time::{Duration, SystemTime};

use hyper::header::{
    ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
};

/// What tells one version of a resource from another.
pub struct Version {
    /// With its quotes.
    pub etag: String,
    pub modified: Option<SystemTime>,
}

/// What part of a resource to send.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    Whole,
    /// First byte and length; the length is at least 1.
    Range(u64, u64),
    /// No byte of the range exists.
    Unsatisfiable,
}

impl Version {
    /// Whether the client asks for another version only, so that 412 answers it.
    pub fn is_unwanted(&self, headers: &HeaderMap) -> bool {
        if headers.contains_key(IF_MATCH) {
            return !self.is_among(headers, &IF_MATCH, |tag| tag);
        }
        match (self.modified, date(headers, &IF_UNMODIFIED_SINCE)) {
            (Some(modified), Some(since)) => whole_seconds(modified) > whole_seconds(since),
            _ => false,
        }
    }

    /// Whether the client has this version already, so that 304 answers it.
    pub fn is_known(&self, headers: &HeaderMap) -> bool {
        if headers.contains_key(IF_NONE_MATCH) {
            return self.is_among(headers, &IF_NONE_MATCH, |tag| tag.strip_prefix("W/").unwrap_or(tag));
        }
        match (self.modified, date(headers, &IF_MODIFIED_SINCE)) {
            (Some(modified), Some(since)) => whole_seconds(modified) <= whole_seconds(since),
            _ => false,
        }
    }

    /// The part a GET asks for. Several ranges at once, other units and what cannot be read get the whole.
    pub fn part(&self, headers: &HeaderMap, size: u64) -> Part {
        match headers.get(RANGE).and_then(|range| range.to_str().ok()) {
            Some(range) if self.is_in_range(headers) => parse_range(range, size),
            _ => Part::Whole,
        }
    }

    pub fn add_to(&self, headers: &mut HeaderMap) {
        if let Ok(etag) = HeaderValue::from_str(&self.etag) {
            headers.insert(ETAG, etag);
        }
        let modified = self.modified.map(|modified| HeaderValue::try_from(httpdate::fmt_http_date(modified)));
        if let Some(Ok(modified)) = modified {
            headers.insert(LAST_MODIFIED, modified);
        }
    }

    /// Whether a header lists this version; `strong` makes of each tag what ours is compared with.
    fn is_among(&self, headers: &HeaderMap, name: &HeaderName, strong: fn(&str) -> &str) -> bool {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        // Our tags hold no comma, so a list may be cut at each.
        values.flat_map(|list| list.split(',')).map(str::trim).any(|tag| tag == "*" || strong(tag) == self.etag)
    }

    /// `If-Range`: a range of an older version would not fit what the client has.
    fn is_in_range(&self, headers: &HeaderMap) -> bool {
        let Some(condition) = headers.get(IF_RANGE) else { return true };
        if condition.as_bytes() == self.etag.as_bytes() {
            return true;
        }
        let date = date(headers, &IF_RANGE).map(whole_seconds);
        date.is_some() && date == self.modified.map(whole_seconds)
    }
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

fn whole_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

fn parse_range(range: &str, size: u64) -> Part {
    let Some((unit, spec)) = range.split_once('=') else { return Part::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || spec.contains(',') {
        return Part::Whole;
    }
    let Some((first, last)) = spec.trim().split_once('-') else { return Part::Whole };
    match (number(first), number(last)) {
        (Some(None), Some(Some(0))) => Part::Unsatisfiable,
        (Some(None), Some(Some(_))) if size == 0 => Part::Unsatisfiable,
        (Some(None), Some(Some(count))) => Part::Range(size.saturating_sub(count), count.min(size)),
        (Some(Some(first)), Some(last)) if last.is_none_or(|last| last >= first) => {
            if first >= size {
                return Part::Unsatisfiable;
            }
            let last = last.unwrap_or(u64::MAX).min(size - 1);
            Part::Range(first, last - first + 1)
        }
        _ => Part::Whole,
    }
}

/// `Some(None)` for an empty text, `None` if it is not a number. A number beyond 64 bits counts as the largest.
fn number(text: &str) -> Option<Option<u64>> {
    let text = text.trim();
    if text.is_empty() {
        return Some(None);
    }
    text.bytes().all(|b| b.is_ascii_digit()).then(|| Some(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version() -> Version {
        Version { etag: "\"abc\"".into(), modified: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(86_400_500)) }
    }

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_known_tag_is_found_in_every_form() {
        for tags in ["\"abc\"", "W/\"abc\"", "\"x\", \"abc\"", "*"] {
            assert!(version().is_known(&headers(&[(IF_NONE_MATCH, tags)])), "{tags}");
        }
        assert!(!version().is_known(&headers(&[(IF_NONE_MATCH, "\"abcd\"")])));
    }

    #[test]
    fn a_tag_decides_before_a_date() {
        let asked = [(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, "Fri, 02 Jan 1970 00:00:00 GMT")];
        assert!(version().is_known(&headers(&asked[1..])));
        assert!(!version().is_known(&headers(&asked)));
    }

    #[test]
    fn a_version_is_wanted_unless_another_one_was_asked_for() {
        let (before, same) = ("Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 02 Jan 1970 00:00:00 GMT");
        for (asked, is_unwanted) in [
            (&[][..], false),
            (&[(IF_MATCH, "*")], false),
            (&[(IF_MATCH, "\"x\", \"abc\"")], false),
            (&[(IF_MATCH, "\"x\"")], true),
            // What is only as good as ours is not ours.
            (&[(IF_MATCH, "W/\"abc\"")], true),
            (&[(IF_UNMODIFIED_SINCE, same)], false),
            (&[(IF_UNMODIFIED_SINCE, before)], true),
            (&[(IF_UNMODIFIED_SINCE, "yesterday")], false),
            (&[(IF_MATCH, "\"abc\""), (IF_UNMODIFIED_SINCE, before)], false),
        ] {
            assert_eq!(version().is_unwanted(&headers(asked)), is_unwanted, "{asked:?}");
        }
    }

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        for (range, part) in [
            ("bytes=0-0", Part::Range(0, 1)),
            ("bytes=2-", Part::Range(2, 8)),
            ("bytes=5-99", Part::Range(5, 5)),
            ("bytes=-3", Part::Range(7, 3)),
            ("bytes=-99", Part::Range(0, 10)),
            ("bytes=0-99999999999999999999999", Part::Range(0, 10)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=3-2", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=-", Part::Whole),
            ("lines=0-1", Part::Whole),
        ] {
            assert_eq!(version().part(&headers(&[(RANGE, range)]), 10), part, "{range}");
        }
        for range in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            assert_eq!(version().part(&headers(&[(RANGE, range)]), 0), Part::Unsatisfiable, "{range} of nothing");
        }
    }

    #[test]
    fn a_range_of_another_version_gets_the_whole() {
        for (condition, part) in [
            ("\"abc\"", Part::Range(0, 1)),
            ("Fri, 02 Jan 1970 00:00:00 GMT", Part::Range(0, 1)),
            ("W/\"abc\"", Part::Whole),
            ("\"x\"", Part::Whole),
            ("Sat, 03 Jan 1970 00:00:00 GMT", Part::Whole),
        ] {
            let asked = headers(&[(RANGE, "bytes=0-0"), (IF_RANGE, condition)]);
            assert_eq!(version().part(&asked, 10), part, "{condition}");
        }
    }
}
