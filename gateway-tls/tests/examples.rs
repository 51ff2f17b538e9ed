//! The examples do what they say.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![cfg(feature = "aws-lc-rs")]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use towergate_tls::{Certificate, default_provider, rustls};

#[allow(dead_code)]
#[path = "../examples/sni_tokio_rustls.rs"]
mod sni;

/// What a client hears that asks for `name` and trusts only the certificate `pem`.
async fn ask(at: SocketAddr, name: &'static str, pem: &str) -> io::Result<String> {
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
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await?;
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await?;
    Ok(heard)
}

#[tokio::test]
async fn a_client_gets_the_certificate_of_the_name_that_it_asks_for() {
    let names = ["a.test", "*.b.test"];
    let made = names.map(|name| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap());
    let pems = made.each_ref().map(|made| made.cert.pem());
    let certificates = made
        .iter()
        .map(|made| Certificate::from_pem(made.cert.pem(), made.signing_key.serialize_pem()))
        .map(|certificate| Arc::new(certificate.unwrap()))
        .collect();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    let tasks = tokio::task::LocalSet::new();
    tasks.spawn_local(async { sni::serve_on(socket, certificates).await.unwrap() });

    tasks
        .run_until(async {
            let exact = ask(at, "a.test", &pems[0]).await.unwrap();
            let wildcard = ask(at, "www.b.test", &pems[1]).await.unwrap();
            let unknown = ask(at, "c.test", &pems[0]).await.unwrap_err();

            assert_eq!(exact, "hello, a.test\n");
            assert_eq!(wildcard, "hello, www.b.test\n");
            assert!(unknown.to_string().contains("alert"), "{unknown}");
        })
        .await;
}
