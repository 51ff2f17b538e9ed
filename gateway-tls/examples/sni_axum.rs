//! A TLS server for axum that selects the certificate by server name. Handlers receive the result of the
//! handshake.
//!
//! ```text
//! cargo run -p towergate-tls --example sni_axum
//! curl -k --connect-to ::127.0.0.1:3000 https://www.b.test/
//! ```

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::routing::get;
use axum::serve::{IncomingStream, Listener};
use tokio::net::{TcpListener, TcpStream};
use towergate_tls::acceptor::{Negotiated, TlsStream};
use towergate_tls::listener::TlsListener;
use towergate_tls::server::UnknownName;
use towergate_tls::{Certificate, ServerTls, default_provider};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned(), "*.b.test".to_owned()])?;
    let certificate = Certificate::from_pem(made.cert.pem(), made.signing_key.serialize_pem())?;
    let socket = TcpListener::bind("127.0.0.1:3000").await?;
    serve_on(socket, vec![Arc::new(certificate)]).await
}

pub(crate) async fn serve_on(
    socket: TcpListener,
    certificates: Vec<Arc<Certificate>>,
) -> Result<(), Box<dyn Error>> {
    let tls = ServerTls {
        certificates,
        alpn: vec!["http/1.1".to_owned()],
        unknown_name: UnknownName::Refuse,
        ..ServerTls::default()
    };
    let config = tls.build(default_provider(), None)?;
    let service = Router::new()
        .route("/", get(hello))
        .into_make_service_with_connect_info::<Client>();
    Ok(axum::serve(Secure(TlsListener::new(socket, config)), service).await?)
}

async fn hello(ConnectInfo(Client(tls)): ConnectInfo<Client>) -> String {
    format!("hello, {}\n", tls.server_name.as_deref().unwrap_or("you"))
}

/// A [`TlsListener`] as a listener of axum.
struct Secure(TlsListener);

impl Listener for Secure {
    type Io = TlsStream<TcpStream>;
    type Addr = (SocketAddr, Negotiated);

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.0.accept().await {
                (peer, Ok((stream, negotiated))) => return (stream, (peer, negotiated)),
                (peer, Err(error)) => eprintln!("{peer}: {error}"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok((self.0.local_addr()?, Negotiated::default()))
    }
}

/// The result of the handshake, for axum's `ConnectInfo`.
#[derive(Clone)]
struct Client(Negotiated);

impl Connected<IncomingStream<'_, Secure>> for Client {
    fn connect_info(stream: IncomingStream<'_, Secure>) -> Self {
        Self(stream.remote_addr().1.clone())
    }
}
