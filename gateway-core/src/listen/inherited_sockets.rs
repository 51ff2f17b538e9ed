//! Listening sockets that one process passes to the next.
//!
//! Every worker has its own accept queue (`SO_REUSEPORT`). When the last descriptor of a socket is closed,
//! the connections in its queue are reset, and so are connections whose handshake completes at that moment.
//! If a process serves the sockets of the process that it replaces, and opens no sockets of its own, no queue
//! is closed and no connection is reset.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{SockRef, Type};

/// Sockets of another process, by address. They are stored until the first plan is in service.
#[derive(Debug, Default)]
pub(crate) struct InheritedSockets(BTreeMap<SocketAddr, Vec<OwnedFd>>);

impl InheritedSockets {
    /// Adds a socket that is bound to `address`.
    pub(crate) fn insert(&mut self, address: SocketAddr, socket: OwnedFd) {
        self.0.entry(address).or_default().push(socket);
    }

    /// Duplicates of the sockets on `address`. Empty if there are no sockets.
    ///
    /// # Errors
    ///
    /// The errors of dup(2), for example if the limit of file descriptors is reached.
    pub(crate) fn duplicates(&self, address: SocketAddr) -> io::Result<Vec<OwnedFd>> {
        let sockets = self.0.get(&address).into_iter().flatten();
        sockets.map(OwnedFd::try_clone).collect()
    }
}

/// Classifies a socket that was received from another process.
///
/// # Errors
///
/// `InvalidInput` if the socket is neither a listening TCP socket nor a UDP socket, or has no IP address.
pub(crate) fn classify(socket: &OwnedFd) -> io::Result<(Type, SocketAddr)> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    let socket = SockRef::from(socket);
    let kind = socket.r#type()?;
    match kind {
        Type::STREAM if socket.is_listener()? => {}
        Type::DGRAM => {}
        _ => return Err(invalid("not a listening TCP socket or a UDP socket")),
    }
    let address = socket.local_addr()?.as_socket();
    let address = address.ok_or_else(|| invalid("a socket without IP address"))?;
    // The other process shares this flag of the socket. That process has set the flag too, so it is not
    // affected.
    socket.set_nonblocking(true)?;
    Ok((kind, address))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn only_listening_and_datagram_sockets_are_inherited() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let udp_address = udp.local_addr().unwrap();
        let unix = UnixDatagram::unbound().unwrap();

        assert_eq!(classify(&tcp.into()).unwrap(), (Type::STREAM, address));
        assert_eq!(classify(&udp.into()).unwrap(), (Type::DGRAM, udp_address));
        assert!(classify(&client.into()).is_err());
        assert!(classify(&unix.into()).is_err());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(classify(&file.into()).is_err());
    }

    #[test]
    fn a_connection_in_the_queue_outlives_the_socket_of_the_first_process() {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = first.local_addr().unwrap();
        let mut inherited = InheritedSockets::default();
        inherited.insert(address, first.try_clone().unwrap().into());
        let client = TcpStream::connect(address).unwrap();

        drop(first);
        let second = inherited.duplicates(address).unwrap().remove(0);
        let (accepted, peer) = TcpListener::from(second).accept().unwrap();

        assert_eq!(peer, client.local_addr().unwrap());
        drop(accepted);
    }
}
