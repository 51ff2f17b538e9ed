//! Listening sockets. Connections and datagrams are accepted and dispatched by protocol.
//!
//! ```text
//! Listeners ──sockets──> Workers: one thread each ──accept──> accept::serve ─┬─> serve::serve_connection  (HTTP)
//!  reconcile              own runtime                PROXY header, TLS, limits └─> stream::proxy            (TCP, TLS)
//! DatagramSockets ──────> Workers ─────────────────────────────────────────────> datagram::serve          (UDP)
//! ```
//!
//! This is the top layer of the connection path. It depends on [`conn`](crate::conn),
//! [`serve`](crate::serve), [`stream`](crate::stream) and `datagram`. None of these modules depends on this
//! layer, and none depends on the protocol that another of them serves.
//!
//! Each worker has its own socket for each address (`SO_REUSEPORT`), so a connection stays on one worker from
//! accept to close. [`serve_listener`] needs no workers and serves connections on any tokio runtime. The
//! configuration of a port is read once per accepted connection, so changing it requires no new socket.

mod accept;
mod bound_addresses;
mod config;
mod datagram_sockets;
mod inherited_sockets;
mod listener;
mod listeners;
mod server;
mod socket_table;
#[cfg(test)]
mod tests;
mod tls;
mod workers;

pub use config::{ListenerConfig, PortConfig, PortProtocol};
pub(crate) use datagram_sockets::{DatagramSockets, WantedSockets};
pub(crate) use inherited_sockets::classify;
pub use listener::serve_listener;
pub use listeners::{Listeners, WantedPort};
pub use server::Server;
pub use socket_table::BindError;
pub use workers::Workers;
