//! A TLS server for tonic that selects the certificate by server name.
//!
//! ```text
//! cargo run -p towergate-tls --example sni_tonic
//! openssl s_client -connect 127.0.0.1:3000 -servername www.b.test -alpn h2
//! ```

use std::error::Error;
use std::io;
use std::sync::Arc;

use futures_util::stream::unfold;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic_health::server::health_reporter;
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
        alpn: vec!["h2".to_owned()],
        unknown_name: UnknownName::Refuse,
        ..ServerTls::default()
    };
    let listener = TlsListener::new(socket, tls.build(default_provider(), None)?);
    let connections = unfold(listener, async |mut listener| {
        loop {
            match listener.accept().await {
                (_, Ok((stream, _))) => return Some((Ok::<_, io::Error>(stream), listener)),
                (peer, Err(error)) => eprintln!("{peer}: {error}"),
            }
        }
    });
    let (_reporter, health) = health_reporter();
    Server::builder()
        .add_service(health)
        .serve_with_incoming(connections)
        .await?;
    Ok(())
}
