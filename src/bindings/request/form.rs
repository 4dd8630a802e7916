//! The fields of a query string and of an urlencoded form.

use crate::bindings::ba::encoding::url_decoded;
use crate::http::{PageRequest, is_form};

/// A name and a value, decoded.
pub type Field = (Vec<u8>, Vec<u8>);

/// All fields in the order in which they came, the query's before the body's.
pub fn fields(request: &PageRequest) -> Vec<Field> {
    let query = request.head.uri.query().unwrap_or_default().as_bytes();
    let body: &[u8] = if is_form(&request.head) { &request.body } else { b"" };
    [query, body].into_iter().flat_map(decode).collect()
}

fn decode(text: &[u8]) -> impl Iterator<Item = Field> {
    text.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let equals = pair.iter().position(|&byte| byte == b'=');
        let (name, value) = equals.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]));
        (url_decoded(name), url_decoded(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_without_equals_has_an_empty_value() {
        assert_eq!(
            decode(b"a&b=1=2&&c=x+y%21").collect::<Vec<_>>(),
            [(b"a".to_vec(), b"".to_vec()), (b"b".to_vec(), b"1=2".to_vec()), (b"c".to_vec(), b"x y!".to_vec()),]
        );
    }
}
