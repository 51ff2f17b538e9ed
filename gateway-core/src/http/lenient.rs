//! Rejection of invalid requests that hyper accepts.

use http::StatusCode;
use http::request;

use crate::LocalReply;

/// Defect of a request that hyper has accepted. The scan of the received bytes adds the defect as an
/// extension of the request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LenientParse {
    /// The target has a fragment (RFC 9112, section 3.2).
    Fragment,
    /// `Content-Length` and `Transfer-Encoding` are both present (RFC 9112, section 6.1).
    BothFramings,
    /// `Content-Length` is repeated with the same value (RFC 9110, section 8.6).
    SameLengths,
    /// `Content-Length` or `Transfer-Encoding` is longer than any valid value.
    LongFraming,
}

/// Rejects a request that had a defect as received, although hyper has accepted it.
pub(crate) fn check(head: &request::Parts) -> Result<(), LocalReply> {
    Err(match head.extensions.get() {
        None => return Ok(()),
        Some(LenientParse::Fragment) if head.uri.scheme().is_none() => {
            LocalReply::new(StatusCode::BAD_REQUEST, "path_normalization_failed").closing()
        }
        Some(LenientParse::Fragment | LenientParse::SameLengths | LenientParse::LongFraming) => {
            LocalReply::malformed("http1.codec_error")
        }
        Some(LenientParse::BothFramings) => {
            LocalReply::malformed("http1.content_length_and_chunked_not_allowed")
        }
    })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn checked(target: &str, lenient: Option<LenientParse>) -> Option<String> {
        let (mut head, ()) = Request::get(target).body(()).unwrap().into_parts();
        if let Some(lenient) = lenient {
            head.extensions.insert(lenient);
        }
        check(&head).err().map(|reply| reply.details.into_owned())
    }

    #[test]
    fn leniently_parsed_requests_are_rejected() {
        let both = "http1.content_length_and_chunked_not_allowed";

        assert_eq!(checked("/a", None), None);
        assert_eq!(
            checked("/a", Some(LenientParse::Fragment)),
            Some("path_normalization_failed".to_owned())
        );
        assert_eq!(
            checked("http://a/", Some(LenientParse::Fragment)),
            Some("http1.codec_error".to_owned())
        );
        assert_eq!(
            checked("/a", Some(LenientParse::SameLengths)),
            Some("http1.codec_error".to_owned())
        );
        assert_eq!(
            checked("/a", Some(LenientParse::LongFraming)),
            Some("http1.codec_error".to_owned())
        );
        assert_eq!(
            checked("/a", Some(LenientParse::BothFramings)),
            Some(both.to_owned())
        );
    }
}
