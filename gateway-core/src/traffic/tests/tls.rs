//! TLS backends.

use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use towergate_tls::client::ClientTls;

use super::*;

/// Accepts TLS as `backend.test`; `alpn` lists the protocols of ALPN. Also returns the certificate as PEM.
pub(super) fn acceptor(alpn: &[&[u8]]) -> (TlsAcceptor, String) {
    let key = rcgen::generate_simple_self_signed(vec!["backend.test".to_owned()]).unwrap();
    let pem = key.cert.pem();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(towergate_tls::default_provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    (TlsAcceptor::from(Arc::new(config)), pem)
}

/// Starts a TLS backend `backend.test` and returns its address and its certificate as PEM.
pub(super) async fn start(alpn: &[&[u8]]) -> (SocketAddr, String) {
    let (acceptor, pem) = acceptor(alpn);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        assert_eq!(request.uri().scheme_str(), Some("https"));
                        let mut body = respond.send_response(Response::new(()), false).unwrap();
                        body.send_data("h2".into(), true).unwrap();
                    }
                    return;
                }
                let mut buffer = [0; 1024];
                while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {
                    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nh1";
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (address, pem)
}

/// TLS settings that trust `roots` for the server `name`.
pub(super) fn settings(name: &str, roots: String) -> ClientTls {
    ClientTls {
        server_name: name.to_owned(),
        subject_alt_names: Vec::new(),
        roots_pem: Some(roots),
        alpn: Vec::new(),
        identity: None,
        accept_any_certificate: false,
        limits: towergate_tls::limits::TlsLimits::default(),
    }
}

fn rig(protocol: BackendProtocol, name: &str, roots: String, address: SocketAddr) -> Rig {
    let tls = settings(name, roots);
    let destination = Destination::Backend(Arc::new(PlanBackend {
        id: id("a"),
        protocol,
        tls: Some(Arc::new(tls)),
        hosts: Vec::new(),
        fallback: false,
        dynamic: None,
    }));
    let rig = Rig::with(Traffic::default(), &[backend(1, destination)]);
    rig.clusters
        .update(&Endpoints::from([(id("a"), endpoints(&[address]))]));
    rig
}

#[tokio::test]
async fn each_protocol_is_spoken_over_tls() {
    let (address, pem) = start(&[b"h2", b"http/1.1"]).await;

    for (protocol, body) in [
        (BackendProtocol::Http1, "h1"),
        (BackendProtocol::Http2, "h2"),
    ] {
        let rig = rig(protocol, "backend.test", pem.clone(), address);
        for _ in 0..3 {
            assert_eq!(rig.fetch().await, (200, body.to_owned()));
        }
        assert_eq!(rig.observer.count("UpstreamConnected"), 1);
    }
}

#[tokio::test]
async fn a_backend_with_an_invalid_certificate_receives_no_request() {
    let (address, pem) = start(&[]).await;
    let (_, other) = start(&[]).await;

    for (name, roots) in [
        ("other.test", pem.clone()),
        ("backend.test", other),
        ("backend.test", String::new()),
    ] {
        let rig = rig(BackendProtocol::Http1, name, roots, address);
        let failure = rig.forward(get("/")).await.unwrap_err();

        assert!(
            matches!(failure.error, crate::Error::BackendTls(..)),
            "{failure:?}"
        );
        assert!(
            failure
                .error
                .upstream_failure()
                .unwrap()
                .starts_with("TLS_error: ")
        );
        let answer = failure.error.reply();
        assert_eq!((answer.status.as_u16(), answer.flag), (503, "UF"));
    }
}

#[tokio::test]
async fn http2_over_tls_needs_alpn() {
    let (address, pem) = start(&[]).await;
    let rig = rig(BackendProtocol::Http2, "backend.test", pem, address);

    let failure = rig.forward(get("/")).await.unwrap_err();

    assert!(
        matches!(failure.error, crate::Error::BackendTls(..)),
        "{failure:?}"
    );
}
