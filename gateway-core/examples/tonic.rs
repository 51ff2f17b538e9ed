//! A tonic service with the parts of the gateway around it: its clients come by way of a load balancer
//! that sends PROXY headers, requests are clean, and only some clients may pass.
//!
//! ```text
//! cargo run -p towergate-core --example tonic
//! ```

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::unfold;
use http::Response;
use http::request::Parts;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic_health::ServingStatus;
use tonic_health::server::health_reporter;
use tower::util::MapResponseLayer;
use towergate_core::Body;
use towergate_core::conn::prefixed::Prefixed;
use towergate_core::conn::proxy::{Ends, ProxyAcceptor, ProxyListener};
use towergate_core::filter::{Redirect, RedirectLayer};
use towergate_core::http::SanitizeLayer;
use towergate_core::http::client_ip::{ClientIp, ClientIpLayer, ClientIpRule};
use towergate_core::policy::{Guard, GuardLayer, Rejection, ResponseEdits};

/// A rule of our own: which clients may pass.
#[derive(Debug)]
struct Allowed(Vec<IpNet>);

impl Guard for Allowed {
    fn check(&self, head: &mut Parts) -> Result<ResponseEdits, Rejection> {
        match head.extensions.get::<ClientIp>() {
            Some(client) if self.0.iter().any(|net| net.contains(&client.0)) => Ok(Vec::new()),
            _ => Err(Rejection::forbidden("ip_not_allowed")),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    serve_on(TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve_on(socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let (reporter, health) = health_reporter();
    reporter
        .set_service_status("", ServingStatus::Serving)
        .await;
    let balancers = vec!["127.0.0.0/8".parse()?];
    let listener = ProxyListener::new(socket, ProxyAcceptor::required(balancers));
    let connections = unfold(listener, async |mut listener| {
        let (stream, ends) = listener.accept().await;
        Some((Ok::<_, io::Error>(Proxied { stream, ends }), listener))
    });
    let moved = Redirect {
        scheme: Some("https".to_owned()),
        hostname: None,
        port: None,
        path: None,
        status: 302,
    };
    // The parts that answer by themselves need a body that can be made of bytes; tonic's cannot.
    let body = |response: Response<tonic::body::Body>| response.map(Body::new);
    Server::builder()
        .layer(SanitizeLayer::default())
        .layer(ClientIpLayer::new(ClientIpRule::Peer))
        .layer(RedirectLayer::new(moved).below("/docs"))
        .layer(GuardLayer::new(Allowed(vec!["203.0.113.0/24".parse()?])))
        .layer(MapResponseLayer::new(body))
        .add_service(health)
        .serve_with_incoming(connections)
        .await?;
    Ok(())
}

/// A connection whose ends tonic puts into the extensions of its requests.
struct Proxied {
    stream: Prefixed<TcpStream>,
    ends: Ends,
}

impl Connected for Proxied {
    type ConnectInfo = Ends;

    fn connect_info(&self) -> Ends {
        self.ends
    }
}

impl AsyncRead for Proxied {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Proxied {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
