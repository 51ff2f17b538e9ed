//! Checks a response's head: what a backend sends is input too.

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, StatusCode, Version, response};

use super::request::decode_length;
use crate::error::Error;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Refuses ambiguous framing, and a switch of protocols unless `upgrade` says that it was asked for.
/// Removes what concerns this connection only.
///
/// # Errors
/// [`Error::Protocol`]: the connection must not be used again.
pub(super) fn check(head: &mut response::Parts, upgrade: bool) -> Result<(), Error> {
    let switched = head.status == StatusCode::SWITCHING_PROTOCOLS;
    if (head.status.as_u16() < 200 && !(switched && upgrade)) || head.status.as_u16() > 599 {
        return Err(Error::Protocol(None));
    }
    check_framing(head)?;
    head.version = Version::HTTP_11;
    head.headers.remove(TRANSFER_ENCODING);
    head.headers.remove(KEEP_ALIVE);
    head.headers.remove(PROXY_CONNECTION);
    if !switched {
        head.headers.remove(CONNECTION);
        head.headers.remove(UPGRADE);
    }
    if head.status == StatusCode::NO_CONTENT || switched {
        head.headers.remove(CONTENT_LENGTH);
    }
    Ok(())
}

/// At most one of one Content-Length in digits and one `Transfer-Encoding: chunked`.
fn check_framing(head: &response::Parts) -> Result<(), Error> {
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    let (coding, length) = (codings.next(), lengths.next());
    let single = codings.next().is_none() && lengths.next().is_none();
    let valid = match (coding, length) {
        (None, None) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (None, Some(length)) => decode_length(length.as_bytes()).is_some(),
        (Some(_), Some(_)) => false,
    };
    if single && valid {
        Ok(())
    } else {
        Err(Error::Protocol(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;

    fn checked(status: u16, headers: &[(&str, &str)], upgrade: bool) -> Option<Vec<String>> {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let (mut head, ()) = response.body(()).unwrap().into_parts();
        check(&mut head, upgrade).ok()?;
        Some(head.headers.keys().map(|name| name.to_string()).collect())
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        let bad: [&[(&str, &str)]; 7] = [
            &[("content-length", "1"), ("transfer-encoding", "chunked")],
            &[("content-length", "2"), ("content-length", "2")],
            &[("content-length", "2, 2")],
            &[("content-length", "+2")],
            &[("transfer-encoding", "identity")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        ];
        for headers in bad {
            assert_eq!(checked(200, headers, false), None, "{headers:?}");
        }
    }

    #[test]
    fn only_a_switch_that_was_asked_for_passes() {
        let headers = [("connection", "upgrade"), ("upgrade", "websocket")];

        assert_eq!(checked(101, &headers, false), None);
        assert_eq!(checked(101, &headers, true).unwrap().len(), 2);
        assert_eq!(checked(200, &headers, true).unwrap().len(), 0);
    }

    #[test]
    fn a_status_outside_200_to_599_is_refused() {
        for status in [100, 103, 199, 600, 999] {
            assert_eq!(checked(status, &[], true), None, "{status}");
        }
        assert!(checked(599, &[], false).is_some());
    }
}
