//! A socket that clients send to, and that answers from the address they sent to.
//!
//! A socket that is bound to every address of the host would answer from the one that the system likes
//! best. A client that has sent to another takes no notice of that. So the destination of each datagram is
//! asked for, and given as the source of the answers (`IP_PKTINFO`, RFC 3542 section 4).

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

/// Room for the largest datagram.
const LARGEST: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        bytes: vec![0; LARGEST].into(),
        control: nix::cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo),
    });
}

/// Room that a thread reads datagrams into.
struct Scratch {
    bytes: Box<[u8]>,
    control: Vec<u8>,
}

/// Who sent a datagram, and to which address of ours.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Peer {
    pub(super) client: SocketAddr,
    /// `None`: the socket has only one.
    local: Option<IpAddr>,
}

/// See the page.
pub(super) struct Socket {
    socket: UdpSocket,
    bound: SocketAddr,
}

/// Opens a socket that others on the same address share the clients with.
pub(super) fn bind(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
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

impl Socket {
    /// Takes over a socket of [`bind`].
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let socket = UdpSocket::from_std(socket)?;
        let bound = socket.local_addr()?;
        Ok(Self { socket, bound })
    }

    /// Waits until there may be a datagram.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Shows the next datagram, if there is one, to `take`.
    pub(super) fn try_recv<T>(&self, take: impl FnOnce(Peer, &[u8]) -> T) -> io::Result<T> {
        SCRATCH.with_borrow_mut(|scratch| {
            let (peer, length) = if self.bound.ip().is_unspecified() {
                let receive = || receive(self.socket.as_raw_fd(), scratch);
                self.socket.try_io(Interest::READABLE, receive)?
            } else {
                let (length, client) = self.socket.try_recv_from(&mut scratch.bytes)?;
                let local = None;
                (Peer { client, local }, length)
            };
            Ok(take(peer, &scratch.bytes[..length]))
        })
    }

    /// Sends to a client, from where it has sent to; or drops what cannot be sent at once.
    pub(super) fn send(&self, bytes: &[u8], to: &Peer) -> io::Result<()> {
        match to.local {
            None => SockRef::from(&self.socket)
                .send_to(bytes, &to.client.into())
                .map(drop),
            Some(local) => send(self.socket.as_raw_fd(), bytes, to.client, local),
        }
    }

    /// The address that it is bound to.
    #[cfg(test)]
    pub(super) fn address(&self) -> SocketAddr {
        self.bound
    }

    /// This side, as `peer` sees it.
    pub(super) fn local(&self, peer: &Peer) -> SocketAddr {
        let ip = peer.local.unwrap_or(self.bound.ip());
        SocketAddr::new(ip, self.bound.port())
    }
}

/// Shows the next datagram of a connected socket, if there is one, to `take`.
pub(super) fn try_recv<T>(socket: &UdpSocket, take: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
    SCRATCH.with_borrow_mut(|scratch| {
        let length = socket.try_recv(&mut scratch.bytes)?;
        Ok(take(&scratch.bytes[..length]))
    })
}

fn receive(socket: RawFd, scratch: &mut Scratch) -> io::Result<(Peer, usize)> {
    let mut parts = [IoSliceMut::new(&mut scratch.bytes)];
    let control = Some(&mut scratch.control[..]);
    let message = recvmsg::<SockaddrStorage>(socket, &mut parts, control, MsgFlags::MSG_DONTWAIT)?;
    let client = message.address.as_ref().and_then(address_of);
    let client = client.ok_or(io::ErrorKind::InvalidData)?;
    let local = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            // In the order of the network already.
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
        // A socket has one family.
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
