//! An axum service behind a load balancer that sends PROXY headers and a proxy that writes
//! `X-Forwarded-For`: it answers with the address of the client.
//!
//! ```text
//! cargo run -p towergate-core --example client_ip_axum
//! curl --haproxy-protocol -H 'X-Forwarded-For: 203.0.113.7' http://127.0.0.1:3000/
//! ```

use std::error::Error;
use std::io;

use axum::extract::Extension;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::routing::get;
use axum::serve::{IncomingStream, Listener};
use axum::{Router, serve};
use tokio::net::{TcpListener, TcpStream};
use towergate_core::conn::prefixed::Prefixed;
use towergate_core::conn::proxy::{Ends, ProxyAcceptor, ProxyListener};
use towergate_core::http::client_ip::{ClientIp, ClientIpLayer, ClientIpRule};

/// Lets axum accept from a [`ProxyListener`].
struct Proxied(ProxyListener);

impl Listener for Proxied {
    type Io = Prefixed<TcpStream>;
    type Addr = Ends;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        self.0.accept().await
    }

    fn local_addr(&self) -> io::Result<Ends> {
        let local = self.0.local_addr()?;
        Ok(Ends::of_tcp(local, local))
    }
}

/// Both ends of the connection, for axum's `ConnectInfo`.
#[derive(Clone, Copy)]
struct Client(Ends);

impl Connected<IncomingStream<'_, Proxied>> for Client {
    fn connect_info(stream: IncomingStream<'_, Proxied>) -> Self {
        Self(*stream.remote_addr())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    serve_on(TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve_on(socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let senders = vec!["127.0.0.0/8".parse()?];
    let listener = Proxied(ProxyListener::new(socket, ProxyAcceptor::required(senders)));
    let rule = ClientIpRule::TrustedHops {
        hops: 1,
        append: true,
    };
    let client_ip = ClientIpLayer::with_peer(rule, |extensions: &http::Extensions| {
        let ConnectInfo(Client(ends)) = extensions.get()?;
        Some(ends.peer.ip())
    });
    let app = Router::new().route("/", get(answer)).layer(client_ip);
    serve(
        listener,
        app.into_make_service_with_connect_info::<Client>(),
    )
    .await?;
    Ok(())
}

async fn answer(Extension(ClientIp(client)): Extension<ClientIp>) -> String {
    format!("you are {client}\n")
}
