//! Detection of requests that return to this process, for backends whose endpoint is the host of each request.
//!
//! The host of a request may be a name of the gateway itself, possibly of a load balancer or address
//! translation in front of the gateway, which the gateway cannot recognise. Without detection, one such
//! request would be forwarded until no file descriptor is left. Therefore each forwarded request has an entry
//! for this process in its `CDN-Loop` field (RFC 8586), which intermediaries must keep. If several processes
//! share one address, the request is rejected when it reaches one of the processes for the second time.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::Error;

const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// The `CDN-Loop` entry of this process. Its identifier is random, so that it discloses nothing about the
/// process.
static ENTRY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let entry = format!("towergate; id={:016x}", fastrand::u64(..));
    HeaderValue::try_from(entry).expect("the entry is visible ASCII")
});

/// Adds the entry of this process to the `CDN-Loop` field of a request.
///
/// # Errors
/// [`Error::ForwardingLoop`] if the field already contains this entry.
pub(super) fn mark(headers: &mut HeaderMap) -> Result<(), Error> {
    let entry = &*ENTRY;
    let mut lines = headers.get_all(CDN_LOOP).iter();
    let is_own = |item: &[u8]| item.trim_ascii() == entry.as_bytes();
    if lines.any(|line| line.as_bytes().split(|byte| *byte == b',').any(is_own)) {
        return Err(Error::ForwardingLoop);
    }
    headers.append(CDN_LOOP, entry.clone());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_request_is_recognised_in_lists_and_lines() {
        let mut headers = HeaderMap::new();
        headers.append(CDN_LOOP, HeaderValue::from_static("towergate; id=0, other"));

        assert!(mark(&mut headers).is_ok());
        let lines: Vec<_> = headers.get_all(CDN_LOOP).iter().cloned().collect();
        assert_eq!(lines.len(), 2, "the entries of others are kept");
        assert!(matches!(mark(&mut headers), Err(Error::ForwardingLoop)));

        let own = lines[1].to_str().unwrap();
        let joined = HeaderValue::try_from(format!("a,{own} , b")).unwrap();
        let mut headers = HeaderMap::from_iter([(CDN_LOOP, joined)]);
        assert!(matches!(mark(&mut headers), Err(Error::ForwardingLoop)));
    }
}
