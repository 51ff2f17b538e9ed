//! UDP socket that sends replies from the address to which the client sent.
//!
//! If a socket is bound to the wildcard address, the system selects the source address of replies. A client
//! that sent to another address ignores these replies. Therefore the socket requests the destination address
//! of each datagram, and sets it as the source address of replies (`IP_PKTINFO`; RFC 3542, section 4).

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrLike,
    SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Maximum size of a datagram, in bytes.
const MAX_DATAGRAM: usize = 64 * 1024;

thread_local! {
    static BUFFERS: RefCell<ReceiveBuffers> = RefCell::new(ReceiveBuffers {
        bytes: vec![0; MAX_DATAGRAM].into(),
        control: nix::cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo),
    });
}

/// Per-thread receive buffers.
struct ReceiveBuffers {
    bytes: Box<[u8]>,
    control: Vec<u8>,
}

/// Source address of a datagram, and the local address to which it was sent.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Peer {
    pub(super) client: SocketAddr,
    /// Local address to which the datagram was sent. `None` if the socket is bound to a single address.
    local: Option<IpAddr>,
}

/// A UDP socket shared by the sessions of its clients.
pub(super) struct DatagramSocket {
    socket: UdpSocket,
    bound: SocketAddr,
}

/// Opens a socket with `SO_REUSEPORT`. Sockets on the same address share the clients of this address.
pub(crate) fn bind(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let domain = Domain::for_address(address);
    let socket = RawSocket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        IpAddr::V6(ip) if ip.is_unspecified() => {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
        _ => {}
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

impl DatagramSocket {
    /// Registers a socket, which [`bind`] has opened, with the current tokio runtime.
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let socket = UdpSocket::from_std(socket)?;
        let bound = socket.local_addr()?;
        Ok(Self { socket, bound })
    }

    /// Waits until a datagram may be available.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Receives the next datagram, if one is available, and calls `take` with it.
    pub(super) fn try_recv<T>(&self, take: impl FnOnce(Peer, &[u8]) -> T) -> io::Result<T> {
        BUFFERS.with_borrow_mut(|buffers| {
            let (peer, length) = if self.bound.ip().is_unspecified() {
                let receive = || receive(self.socket.as_raw_fd(), buffers);
                self.socket.try_io(Interest::READABLE, receive)?
            } else {
                let (length, client) = self.socket.try_recv_from(&mut buffers.bytes)?;
                let local = None;
                (Peer { client, local }, length)
            };
            Ok(take(peer, &buffers.bytes[..length]))
        })
    }

    /// Sends a datagram to a client from the address to which the client sent. Does not wait: if the datagram
    /// cannot be sent at once, it is lost.
    pub(super) fn send(&self, bytes: &[u8], to: &Peer) -> io::Result<()> {
        match to.local {
            None => SockRef::from(&self.socket)
                .send_to(bytes, &to.client.into())
                .map(drop),
            Some(local) => send(self.socket.as_raw_fd(), bytes, to.client, local),
        }
    }

    /// The bound address.
    #[cfg(test)]
    pub(super) fn address(&self) -> SocketAddr {
        self.bound
    }

    /// The local address to which `peer` sent.
    pub(super) fn local(&self, peer: &Peer) -> SocketAddr {
        let ip = peer.local.unwrap_or(self.bound.ip());
        SocketAddr::new(ip, self.bound.port())
    }
}

/// Receives the next datagram of a connected socket, if one is available, and calls `take` with it.
pub(super) fn try_recv<T>(socket: &UdpSocket, take: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
    BUFFERS.with_borrow_mut(|buffers| {
        let length = socket.try_recv(&mut buffers.bytes)?;
        Ok(take(&buffers.bytes[..length]))
    })
}

fn receive(socket: RawFd, buffers: &mut ReceiveBuffers) -> io::Result<(Peer, usize)> {
    let mut parts = [IoSliceMut::new(&mut buffers.bytes)];
    let control = Some(&mut buffers.control[..]);
    let message = recvmsg::<SockaddrStorage>(socket, &mut parts, control, MsgFlags::MSG_DONTWAIT)?;
    let client = message.address.as_ref().and_then(address_of);
    let client = client.ok_or(io::ErrorKind::InvalidData)?;
    let local = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            // The value is already in network byte order.
            Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into())
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into())
        }
        _ => None,
    });
    Ok((Peer { client, local }, message.bytes))
}

fn address_of(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::from((v4.ip(), v4.port())));
    }
    let v6 = address.as_sockaddr_in6()?;
    Some(std::net::SocketAddrV6::from(*v6).into())
}

fn send(socket: RawFd, bytes: &[u8], to: SocketAddr, from: IpAddr) -> io::Result<()> {
    let parts = [IoSlice::new(bytes)];
    match (to, from) {
        (SocketAddr::V4(to), IpAddr::V4(from)) => {
            let from = libc::in_addr {
                s_addr: u32::from_ne_bytes(from.octets()),
            };
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: from,
                ipi_addr: from,
            };
            let from = ControlMessage::Ipv4PacketInfo(&info);
            send_message(socket, &parts, from, &SockaddrIn::from(to))
        }
        (SocketAddr::V6(to), IpAddr::V6(from)) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: from.octets(),
                },
                ipi6_ifindex: 0,
            };
            let from = ControlMessage::Ipv6PacketInfo(&info);
            send_message(socket, &parts, from, &SockaddrIn6::from(to))
        }
        // This case does not occur, because all addresses of a socket have the same family.
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn send_message<S: SockaddrLike>(
    socket: RawFd,
    parts: &[IoSlice<'_>],
    from: ControlMessage<'_>,
    to: &S,
) -> io::Result<()> {
    sendmsg(socket, parts, &[from], MsgFlags::MSG_DONTWAIT, Some(to))?;
    Ok(())
}
