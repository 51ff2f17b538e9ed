//! Body framing of a message, as declared in its head (RFC 9112, section 6).
//!
//! hyper decodes the body. This module rejects heads that another parser could frame differently.

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};

/// Error: `Transfer-Encoding` is anything other than a single `chunked`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BadCoding;

/// Whether the message is chunked. Other transfer codings are an error, because hyper would pass on the body
/// without decoding it.
pub(crate) fn is_chunked(headers: &HeaderMap) -> Result<bool, BadCoding> {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Ok(false),
        (Some(line), None) if line.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(true),
        _ => Err(BadCoding),
    }
}

/// Error: `Content-Length` is not a decimal number, or is repeated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BadLength;

/// Parses `Content-Length` and removes leading zeros: `0003` becomes `3`.
pub(crate) fn canonical_length(headers: &mut HeaderMap) -> Result<Option<u64>, BadLength> {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    let line = match (lines.next(), lines.next()) {
        (None, _) => return Ok(None),
        (Some(line), None) => line.as_bytes(),
        _ => return Err(BadLength),
    };
    if line.is_empty() || !line.iter().all(u8::is_ascii_digit) {
        return Err(BadLength);
    }
    let length = line.iter().try_fold(0u64, |sum, digit| {
        sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    });
    let length = length.ok_or(BadLength)?;
    if line[0] == b'0' && line.len() > 1 {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    Ok(Some(length))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_one_chunked_is_chunked() {
        for (lines, expected) in [
            (vec![], Ok(false)),
            (vec!["chunked"], Ok(true)),
            (vec!["CHUNKED"], Ok(true)),
            (vec!["chunked", "chunked"], Err(BadCoding)),
            (vec!["chunked, chunked"], Err(BadCoding)),
            (vec!["gzip, chunked"], Err(BadCoding)),
            (vec![",chunked"], Err(BadCoding)),
            (vec!["identity"], Err(BadCoding)),
            (vec![""], Err(BadCoding)),
        ] {
            let line = |value| (TRANSFER_ENCODING, HeaderValue::from_static(value));
            let headers: HeaderMap = lines.iter().copied().map(line).collect();

            assert_eq!(is_chunked(&headers), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_length_is_one_number() {
        for (lines, expected) in [
            (vec![], Ok(None)),
            (vec!["0"], Ok(Some(0))),
            (vec!["0003"], Ok(Some(3))),
            (vec!["18446744073709551615"], Ok(Some(u64::MAX))),
            (vec!["18446744073709551616"], Err(BadLength)),
            (vec!["2", "2"], Err(BadLength)),
            (vec!["2, 2"], Err(BadLength)),
            (vec!["+2"], Err(BadLength)),
            (vec!["-2"], Err(BadLength)),
            (vec!["0x2"], Err(BadLength)),
            (vec!["2 "], Err(BadLength)),
            (vec![""], Err(BadLength)),
        ] {
            let line = |value| (CONTENT_LENGTH, HeaderValue::from_static(value));
            let mut headers: HeaderMap = lines.iter().copied().map(line).collect();

            let length = canonical_length(&mut headers);

            assert_eq!(length, expected, "{lines:?}");
            if let Ok(Some(length)) = length {
                assert_eq!(headers[CONTENT_LENGTH], length.to_string());
            }
        }
    }
}
