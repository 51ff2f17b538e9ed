//! Opens listening sockets and sets options of accepted sockets.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::keepalive::tcp_keepalive;
use crate::plan::TcpSettings;

/// Length of the accept queue.
const BACKLOG: i32 = 4096;

/// Opens a listening socket with `SO_REUSEPORT`. Sockets on the same address share the connections to this
/// address.
pub(crate) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Whether accepted connections inherit `TCP_NODELAY` from the listening socket (tcp(7) of Linux).
const INHERITS_NODELAY: bool = cfg!(target_os = "linux");

/// Sets the options that connections inherit from the listening socket. This saves one system call per
/// connection.
///
/// # Errors
///
/// The errors of setsockopt(2).
pub(crate) fn set_up_listener(listener: &TcpListener) -> io::Result<()> {
    SockRef::from(listener).set_tcp_nodelay(true)
}

/// Applies the settings of a port to an accepted connection, in addition to [`set_up_listener`]. If the
/// system rejects an option, the option keeps its default.
///
/// # Errors
///
/// The first error of setsockopt(2).
pub(crate) fn set_up(stream: &TcpStream, settings: &TcpSettings) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let nodelay = if INHERITS_NODELAY {
        Ok(())
    } else {
        stream.set_nodelay(true)
    };
    let keepalive = match &settings.keepalive {
        Some(keepalive) => socket.set_tcp_keepalive(&tcp_keepalive(keepalive)),
        None => Ok(()),
    };
    if let Some(bytes) = settings.socket_buffer {
        socket.set_recv_buffer_size(bytes)?;
        socket.set_send_buffer_size(bytes)?;
    }
    nodelay.and(keepalive)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::Keepalive;

    #[tokio::test]
    async fn accepted_connections_have_the_socket_options_of_their_port() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        set_up_listener(&listener).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let settings = TcpSettings {
            keepalive: Some(Keepalive {
                idle: Some(Duration::from_secs(77)),
                interval: Some(Duration::from_secs(11)),
                probes: Some(3),
            }),
            socket_buffer: Some(16 * 1024),
            ..TcpSettings::default()
        };

        set_up(&stream, &settings).unwrap();

        let socket = SockRef::from(&stream);
        assert!(stream.nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(
            socket.tcp_keepalive_time().unwrap(),
            Duration::from_secs(77)
        );
        assert_eq!(
            socket.tcp_keepalive_interval().unwrap(),
            Duration::from_secs(11)
        );
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        assert_eq!(
            socket.recv_buffer_size().unwrap(),
            32 * 1024,
            "Linux doubles it"
        );
    }
}
