//! A TLS server for hyper, over HTTP/1.1, that selects the certificate by server name.
//!
//! ```text
//! cargo run -p towergate-tls --example sni_hyper
//! curl -k --connect-to ::127.0.0.1:3000 https://www.b.test/
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
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
    let mut listener = TlsListener::new(socket, tls.build(default_provider(), None)?);
    loop {
        let (peer, stream, negotiated) = match listener.accept().await {
            (peer, Ok((stream, negotiated))) => (peer, stream, negotiated),
            (peer, Err(error)) => {
                eprintln!("{peer}: {error}");
                continue;
            }
        };
        let name = negotiated.server_name.unwrap_or("you".to_owned());
        let service = service_fn(move |_: Request<Incoming>| {
            let text = format!("hello, {name}\n");
            async { Ok::<_, Infallible>(Response::new(text)) }
        });
        tokio::spawn(async move {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}
