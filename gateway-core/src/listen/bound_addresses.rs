//! The addresses that this process has bound, and the check that no other process listens on a new address.
//!
//! Every worker has its own socket for each address (`SO_REUSEPORT`). The kernel would also allow another
//! process of the same user to open sockets on this address, and would distribute connections to both
//! processes. Therefore [`BoundAddresses::claim`] first binds a new address without `SO_REUSEPORT`, which
//! fails if another process listens on the address.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// The addresses that this process has bound since its start.
#[derive(Debug, Default)]
pub(crate) struct BoundAddresses {
    /// Whether other processes may listen on the same addresses.
    reuse_port: bool,
    bound: BTreeSet<SocketAddr>,
}

impl BoundAddresses {
    /// Creates an instance without addresses. If `reuse_port` is set, addresses may be shared with other
    /// processes.
    pub(crate) fn new(reuse_port: bool) -> Self {
        Self {
            reuse_port,
            bound: BTreeSet::new(),
        }
    }

    /// Checks that no other process has bound `address`. An `address` that overlaps an address of this
    /// process is not checked, because sockets of this process may still be open. An example is a listener
    /// that changes from one address to all addresses.
    ///
    /// # Errors
    ///
    /// The errors of bind(2): the address is in use, the port is privileged, or no interface has the address.
    pub(crate) fn claim(&self, address: SocketAddr, kind: Type) -> io::Result<()> {
        let is_own = self.bound.iter().any(|own| overlap(*own, address));
        // For port 0, the kernel selects an unused port.
        if self.reuse_port || is_own || address.port() == 0 {
            return Ok(());
        }
        let socket = Socket::new(Domain::for_address(address), kind, None)?;
        if kind == Type::STREAM {
            // This option prevents connections in TIME_WAIT from making the bind fail. It then fails only if
            // a socket listens on the address.
            socket.set_reuse_address(true)?;
        }
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())
    }

    /// Records that this process has bound `address`.
    pub(crate) fn insert(&mut self, address: SocketAddr) {
        self.bound.insert(address);
    }
}

/// Whether sockets on `a` and `b` receive the same traffic.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && (any || a.ip() == b.ip())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::conn::socket::bind;

    fn in_use(claimed: io::Result<()>) -> bool {
        claimed.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    }

    #[test]
    fn an_address_of_another_process_is_rejected_although_it_has_reuse_port() {
        let theirs = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = theirs.local_addr().unwrap();
        let everywhere = SocketAddr::from(([0, 0, 0, 0], address.port()));

        let ours = BoundAddresses::default();

        assert!(in_use(ours.claim(address, Type::STREAM)));
        assert!(in_use(ours.claim(everywhere, Type::STREAM)));
        assert!(ours.claim(address, Type::DGRAM).is_ok());
        let sharing = BoundAddresses::new(true);
        assert!(sharing.claim(address, Type::STREAM).is_ok());
        drop(theirs);
        assert!(ours.claim(address, Type::STREAM).is_ok());
    }

    #[test]
    fn a_datagram_address_of_another_process_is_rejected() {
        let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = theirs.local_addr().unwrap();

        let ours = BoundAddresses::default();

        assert!(in_use(ours.claim(address, Type::DGRAM)));
    }

    #[test]
    fn an_address_that_overlaps_an_own_one_is_not_checked() {
        let own = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = own.local_addr().unwrap();
        let mut ours = BoundAddresses::default();
        ours.insert(address);

        let everywhere = SocketAddr::from(([0, 0, 0, 0], address.port()));
        assert!(ours.claim(address, Type::STREAM).is_ok());
        assert!(ours.claim(everywhere, Type::STREAM).is_ok());
    }

    #[test]
    fn addresses_overlap_by_port_family_and_address() {
        for (a, b, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("0.0.0.0:80", "[::]:80", false),
        ] {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());

            assert_eq!(overlap(a, b), expected, "{a} {b}");
        }
    }
}
