//! Requests that hyper mends before anybody sees them, so that only who saw their bytes can tell.

use http::StatusCode;
use http::request;

use crate::LocalReply;

/// What was wrong with a request as it was sent: an extension of its head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mended {
    /// The target has a fragment, which no request has (RFC 9112, section 3.2).
    Fragment,
    /// Both a length and a transfer coding (RFC 9112, section 6.1).
    BothFramings,
    /// More than one length; all say the same (RFC 9110, section 8.6).
    SameLengths,
}

/// Refuses a request that was not sent as it looks.
pub(crate) fn check(head: &request::Parts) -> Result<(), LocalReply> {
    Err(match head.extensions.get() {
        None => return Ok(()),
        Some(Mended::Fragment) if head.uri.scheme().is_none() => {
            LocalReply::new(StatusCode::BAD_REQUEST, "path_normalization_failed").closing()
        }
        Some(Mended::Fragment | Mended::SameLengths) => LocalReply::malformed("http1.codec_error"),
        Some(Mended::BothFramings) => {
            LocalReply::malformed("http1.content_length_and_chunked_not_allowed")
        }
    })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn checked(target: &str, mended: Option<Mended>) -> Option<String> {
        let (mut head, ()) = Request::get(target).body(()).unwrap().into_parts();
        if let Some(mended) = mended {
            head.extensions.insert(mended);
        }
        check(&head).err().map(|reply| reply.details.into_owned())
    }

    #[test]
    fn what_was_mended_is_refused() {
        let both = "http1.content_length_and_chunked_not_allowed";

        assert_eq!(checked("/a", None), None);
        assert_eq!(
            checked("/a", Some(Mended::Fragment)),
            Some("path_normalization_failed".to_owned())
        );
        assert_eq!(
            checked("http://a/", Some(Mended::Fragment)),
            Some("http1.codec_error".to_owned())
        );
        assert_eq!(
            checked("/a", Some(Mended::SameLengths)),
            Some("http1.codec_error".to_owned())
        );
        assert_eq!(
            checked("/a", Some(Mended::BothFramings)),
            Some(both.to_owned())
        );
    }
}
