//! A tokio-rustls server, without HTTP, that selects the certificate by server name.
//!
//! ```text
//! cargo run -p towergate-tls --example sni_tokio_rustls
//! openssl s_client -connect 127.0.0.1:3000 -servername www.b.test
//! ```

use std::error::Error;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use towergate_tls::rustls::ServerConfig;
use towergate_tls::server::UnknownName;
use towergate_tls::sni::CertificateResolver;
use towergate_tls::{Certificate, default_provider};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let certificates = vec![self_signed("a.test")?, self_signed("*.b.test")?];
    serve_on(TcpListener::bind("127.0.0.1:3000").await?, certificates).await
}

pub(crate) async fn serve_on(
    socket: TcpListener,
    certificates: Vec<Arc<Certificate>>,
) -> Result<(), Box<dyn Error>> {
    let provider = default_provider();
    let resolver = CertificateResolver::build(&certificates, UnknownName::Refuse, &provider)?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    loop {
        let (stream, peer) = socket.accept().await?;
        let handshake = acceptor.accept(stream);
        tokio::spawn(async move {
            match handshake.await {
                Ok(mut stream) => {
                    let name = stream.get_ref().1.server_name().unwrap_or("you").to_owned();
                    let _ = stream
                        .write_all(format!("hello, {name}\n").as_bytes())
                        .await;
                    let _ = stream.shutdown().await;
                }
                Err(error) => eprintln!("{peer}: {error}"),
            }
        });
    }
}

/// Creates a self-signed certificate for `name`.
fn self_signed(name: &str) -> Result<Arc<Certificate>, Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()])?;
    let certificate = Certificate::from_pem(made.cert.pem(), made.signing_key.serialize_pem())?;
    Ok(Arc::new(certificate))
}
