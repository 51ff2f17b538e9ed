//! Detection of requests that return to this process, for backends whose endpoint is the host of each request.
//!
//! The host of a request may be a name of the gateway itself, possibly of a load balancer or address
//! translation in front of the gateway, which the gateway cannot recognise. Without detection, one such
//! request would be forwarded until no file descriptor is left. Therefore each forwarded request has an entry
//! for this process in its `CDN-Loop` field (RFC 8586), which intermediaries must keep. If several processes
//! share one address, the request is rejected when it reaches one of the processes for the second time.
//!
//! A passed-through TLS connection has no such field. The gateway recognises it by its address: the peer of the
//! returning connection is the local address of an open connection of this process.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{LazyLock, Mutex, PoisonError};

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

/// Local addresses of the open connections to hosts that clients choose.
static OWN_ADDRESSES: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());

/// Registration of a connection of this process. Dropping it ends the registration.
#[derive(Debug)]
pub(crate) struct OwnConnection(SocketAddr);

impl OwnConnection {
    /// Registers the connection with the local address `local`.
    pub(crate) fn register(local: SocketAddr) -> Self {
        let local = canonical(local);
        let mut addresses = OWN_ADDRESSES.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.insert(local);
        Self(local)
    }
}

impl Drop for OwnConnection {
    fn drop(&mut self) {
        let mut addresses = OWN_ADDRESSES.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.remove(&self.0);
    }
}

/// Checks the peer of an accepted connection.
///
/// # Errors
/// [`Error::ForwardingLoop`] if the peer is a registered connection of this process.
pub(crate) fn check_peer(peer: SocketAddr) -> Result<(), Error> {
    let addresses = OWN_ADDRESSES.lock().unwrap_or_else(PoisonError::into_inner);
    match addresses.contains(&canonical(peer)) {
        true => Err(Error::ForwardingLoop),
        false => Ok(()),
    }
}

/// `address` with an IPv4 address in place of an IPv4-mapped IPv6 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_recognised_while_its_connection_is_registered() {
        let local = "198.51.100.7:40001".parse().unwrap();
        let mapped = "[::ffff:198.51.100.7]:40001".parse().unwrap();

        let own = OwnConnection::register(local);

        assert!(matches!(check_peer(mapped), Err(Error::ForwardingLoop)));
        assert!(check_peer("198.51.100.7:40002".parse().unwrap()).is_ok());
        drop(own);
        assert!(check_peer(local).is_ok());
    }

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
