//! Runs the examples and connects to them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![cfg(feature = "aws-lc-rs")]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use towergate_tls::{Certificate, default_provider, rustls};

#[allow(dead_code)]
#[path = "../examples/sni_axum.rs"]
mod axum_service;
#[allow(dead_code)]
#[path = "../examples/sni_hyper.rs"]
mod hyper_service;
#[allow(dead_code)]
#[path = "../examples/sni_tokio_rustls.rs"]
mod sni;
#[allow(dead_code)]
#[path = "../examples/sni_tonic.rs"]
mod tonic_service;

/// Connects a client that requests `name` and trusts only the certificate `pem`.
async fn connect(
    at: SocketAddr,
    name: &'static str,
    pem: &str,
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(default_provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name).unwrap();
    let stream = TcpStream::connect(at).await?;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// Returns the response of the server to `request`.
async fn ask(at: SocketAddr, name: &'static str, pem: &str, request: &str) -> io::Result<String> {
    let mut stream = connect(at, name, pem).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await?;
    Ok(heard)
}

/// Certificates for `a.test` and `*.b.test`; the first value contains them as PEM.
fn made() -> ([String; 2], Vec<Arc<Certificate>>) {
    let names = ["a.test", "*.b.test"];
    let made = names.map(|name| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap());
    let certificates = made
        .iter()
        .map(|made| Certificate::from_pem(made.cert.pem(), made.signing_key.serialize_pem()))
        .map(|certificate| Arc::new(certificate.unwrap()))
        .collect();
    (made.each_ref().map(|made| made.cert.pem()), certificates)
}

/// Serves an example in the background; returns its address, and the certificates as PEM.
macro_rules! serving {
    ($example:ident) => {{
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        let (pems, certificates) = made();
        tokio::task::spawn_local(async move {
            $example::serve_on(socket, certificates).await.unwrap();
        });
        (at, pems)
    }};
}

/// Runs a test whose futures are not `Send`.
async fn local(test: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().run_until(test).await;
}

/// Checks a server whose greeting contains the server name that the client sent.
async fn assert_greets(at: SocketAddr, pems: &[String; 2], request: &str) {
    let exact = ask(at, "a.test", &pems[0], request).await.unwrap();
    let wildcard = ask(at, "www.b.test", &pems[1], request).await.unwrap();
    let unknown = ask(at, "c.test", &pems[0], request).await.unwrap_err();

    assert!(exact.ends_with("hello, a.test\n"), "{exact}");
    assert!(wildcard.ends_with("hello, www.b.test\n"), "{wildcard}");
    assert!(unknown.to_string().contains("alert"), "{unknown}");
}

#[tokio::test]
async fn a_tokio_rustls_server_selects_certificates_by_server_name() {
    local(async {
        let (at, pems) = serving!(sni);

        assert_greets(at, &pems, "").await;
    })
    .await;
}

#[tokio::test]
async fn axum_and_hyper_services_select_certificates_by_server_name() {
    local(async {
        let request = "GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n";
        for (at, pems) in [serving!(axum_service), serving!(hyper_service)] {
            assert_greets(at, &pems, request).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_tonic_service_selects_certificates_by_server_name() {
    local(async {
        let (at, pems) = serving!(tonic_service);
        for (name, pem, served) in [
            ("a.test", &pems[0], true),
            ("www.b.test", &pems[1], true),
            ("c.test", &pems[0], false),
        ] {
            let pem = pem.clone();
            let connector = tower::service_fn(move |_| {
                let pem = pem.clone();
                async move { connect(at, name, &pem).await.map(TokioIo::new) }
            });
            let channel =
                Endpoint::from_static("http://a.test").connect_with_connector_lazy(connector);
            let request = HealthCheckRequest::default();
            let answer = HealthClient::new(channel).check(request).await;

            let status = answer.map(|answer| answer.into_inner().status).ok();
            assert_eq!(status, served.then_some(1), "{name}");
        }
    })
    .await;
}
