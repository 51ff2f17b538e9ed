//! The socket of a connection to an endpoint: TCP, or a Unix domain socket.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use crate::keepalive::tcp_keepalive;
use crate::plan::{BackendConnection, EndpointAddress};

/// Idle time before the first keep-alive probe. Envoy sends no keep-alive probes by default.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
/// Interval between keep-alive probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// A connected socket.
#[derive(Debug)]
pub(super) enum UpstreamSocket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl UpstreamSocket {
    /// Connects to `address`. No time limit applies here. TCP settings have no effect on a Unix domain
    /// socket.
    pub(super) async fn connect(
        address: &EndpointAddress,
        settings: &BackendConnection,
    ) -> io::Result<Self> {
        match address {
            EndpointAddress::Ip(address) => connect_tcp(*address, settings).await.map(Self::Tcp),
            EndpointAddress::Unix(path) => {
                let unix = UnixStream::connect(&**path).await?;
                set_buffers(SockRef::from(&unix), settings)?;
                Ok(Self::Unix(unix))
            }
        }
    }

    /// Local IP address and port; `None` for a Unix domain socket.
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(tcp) => tcp.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Reads without waiting, even if the task has used up its cooperative budget.
    pub(super) fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.try_read(buf),
            Self::Unix(unix) => unix.try_read(buf),
        }
    }

    /// Makes closing the TCP connection send a reset. If setting the option fails, the connection is closed
    /// in the normal way.
    pub(super) fn reset_on_close(&self) {
        if let Self::Tcp(tcp) = self {
            let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
        }
    }
}

/// Sets the sizes of the socket buffers. Sizes that are not configured keep the default of the system.
fn set_buffers(socket: SockRef<'_>, settings: &BackendConnection) -> io::Result<()> {
    let Some(bytes) = settings.socket_buffer else {
        return Ok(());
    };
    socket.set_recv_buffer_size(bytes)?;
    socket.set_send_buffer_size(bytes)
}

async fn connect_tcp(address: SocketAddr, settings: &BackendConnection) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // The sizes must be set before the TCP handshake, which negotiates the window scale.
    set_buffers(SockRef::from(&socket), settings)?;
    let tcp = socket.connect(address).await?;
    // Messages are written completely, so Nagle's algorithm would only delay them.
    tcp.set_nodelay(true)?;
    // Keep-alive probes detect peers that have vanished, even while a connection is idle.
    let keepalive = match &settings.keepalive {
        Some(keepalive) => tcp_keepalive(keepalive),
        None => TcpKeepalive::new()
            .with_time(KEEPALIVE_TIME)
            .with_interval(KEEPALIVE_INTERVAL),
    };
    SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;
    Ok(tcp)
}

impl AsyncRead for UpstreamSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Unix(unix) => Pin::new(unix).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for UpstreamSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Unix(unix) => Pin::new(unix).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Self::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Unix(unix) => Pin::new(unix).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::plan::Keepalive;

    #[tokio::test]
    async fn a_socket_has_the_configured_options() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let how = BackendConnection {
            keepalive: Some(Keepalive {
                idle: Some(Duration::from_secs(77)),
                interval: Some(Duration::from_secs(11)),
                probes: Some(4),
            }),
            socket_buffer: Some(32 * 1024),
            ..Default::default()
        };

        let set = connect_tcp(address, &how).await.unwrap();
        let plain = connect_tcp(address, &BackendConnection::default())
            .await
            .unwrap();

        let (set, plain) = (SockRef::from(&set), SockRef::from(&plain));
        assert!(set.keepalive().unwrap() && plain.keepalive().unwrap());
        assert_eq!(set.tcp_keepalive_time().unwrap(), Duration::from_secs(77));
        assert_eq!(
            set.tcp_keepalive_interval().unwrap(),
            Duration::from_secs(11)
        );
        assert_eq!(set.tcp_keepalive_retries().unwrap(), 4);
        assert_eq!(plain.tcp_keepalive_time().unwrap(), KEEPALIVE_TIME);
        // Linux doubles the requested size, to account for its own data structures.
        let sizes = [set.send_buffer_size(), set.recv_buffer_size()].map(Result::unwrap);
        assert!(
            sizes.iter().all(|size| (32768..=65536).contains(size)),
            "{sizes:?}"
        );
    }
}
