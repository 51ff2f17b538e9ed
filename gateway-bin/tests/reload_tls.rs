//! The whole configuration changes ten times per second under mixed load: HTTP/1.1 and HTTP/2, plain and over
//! TLS, on persistent and on new connections. No request fails or is served by another route, no connection
//! is closed, and no handshake fails.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::backend::Backend;
use common::manifests::service;
use common::{Folder, Towergate, tls_secret};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Number of configuration changes.
const CHANGES: usize = 60;
/// Interval between two changes.
const PERIOD: Duration = Duration::from_millis(100);
/// Number of certificates per host, used in rotation.
const CERTIFICATES: usize = 4;
/// Hosts of the requests. Each has its own route and certificate.
const HOSTS: [&str; 2] = ["a.test", "b.test"];

/// Manifests of all objects except certificates. Each revision changes the response headers, the number
/// of additional routes, one policy of each kind, and the endpoints.
fn manifests(revision: usize, backends: &[Backend; 2]) -> String {
    let mut all = format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: shared, namespace: team}}
spec:
  gatewayClassName: eg
  listeners:
    - {{name: http, port: 80, protocol: HTTP}}
    - name: https
      port: 443
      protocol: HTTPS
      tls: {{certificateRefs: [{{name: a}}, {{name: b}}]}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {{name: clients, namespace: team}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: shared}}]
  timeout: {{http: {{idleTimeout: {seconds}s}}}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {{name: backends, namespace: team}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: shared}}]
  timeout: {{http: {{requestTimeout: {seconds}s}}}}
---
{service}",
        seconds = 60 + revision,
        service = service(&[backends[revision % 2].address]),
    );
    for host in HOSTS {
        all += &route(host, host, revision);
    }
    for number in 0..revision % 10 {
        all += &route(&format!("other-{number}"), "*.test", revision);
    }
    all
}

/// Manifest of a route for `host`. Response headers carry its name and revision.
fn route(name: &str, host: &str, revision: usize) -> String {
    let mut text = String::new();
    write!(
        text,
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: team}}
spec:
  parentRefs: [{{name: shared}}]
  hostnames: [\"{host}\"]
  rules:
    - filters:
        - type: ResponseHeaderModifier
          responseHeaderModifier:
            set: [{{name: x-route, value: {name}}}, {{name: x-revision, value: \"{revision}\"}}]
      backendRefs: [{{name: app, port: 80}}]
"
    )
    .unwrap();
    text
}

/// The Secrets used in rotation, and a root store that trusts all of their certificates.
struct Certificates {
    secrets: Vec<String>,
    roots: RootCertStore,
}

impl Certificates {
    fn make() -> Self {
        let mut roots = RootCertStore::empty();
        let secrets = (0..CERTIFICATES).map(|_| {
            let both = HOSTS.map(|host| tls_secret("team", &host[..1], host));
            for secret in &both {
                let pem: String = secret
                    .lines()
                    .map(|line| line.trim().to_owned() + "\n")
                    .collect();
                roots
                    .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
                    .unwrap();
            }
            both.join("---\n")
        });
        let secrets = secrets.collect();
        Self { secrets, roots }
    }

    /// Returns a TLS connector for `protocol`. Session resumption is off, so that every handshake presents a
    /// certificate.
    fn connector(&self, protocol: Protocol) -> TlsConnector {
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        config.alpn_protocols = match protocol {
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
            Protocol::Http2 => vec![b"h2".to_vec()],
        };
        TlsConnector::from(Arc::new(config))
    }
}

#[derive(Clone, Copy)]
enum Protocol {
    Http1,
    Http2,
}

/// An HTTP client connection.
enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Sender {
    async fn open<T>(io: T, protocol: Protocol) -> Self
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(io);
        match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(io).await.unwrap();
                tokio::spawn(connection);
                Self::Http1(sender)
            }
            Protocol::Http2 => {
                let executor = TokioExecutor::new();
                let (sender, connection) = http2::handshake(executor, io).await.unwrap();
                tokio::spawn(connection);
                Self::Http2(sender)
            }
        }
    }

    /// Sends a request for `/` on `host` and reads the whole response.
    async fn ask(&mut self, host: &str) -> Result<(StatusCode, HeaderMap), hyper::Error> {
        let request = |uri: String| Request::get(uri).body(Empty::new()).unwrap();
        let response = match self {
            Self::Http1(sender) => {
                let mut request = request("/".to_owned());
                request.headers_mut().insert("host", host.parse().unwrap());
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender
                    .send_request(request(format!("https://{host}/")))
                    .await?
            }
        };
        let (head, body) = response.into_parts();
        body.collect().await?;
        Ok((head.status, head.headers))
    }
}

/// State shared by all clients.
struct Load {
    http: SocketAddr,
    https: SocketAddr,
    certificates: Certificates,
    stop: AtomicBool,
    served: AtomicU64,
    handshakes: AtomicU64,
}

impl Load {
    async fn tls(&self, connector: &TlsConnector, host: &'static str) -> TlsStream<TcpStream> {
        let tcp = TcpStream::connect(self.https).await.unwrap();
        let name = ServerName::try_from(host).unwrap();
        let stream = connector.connect(name, tcp).await.expect("a handshake");
        self.handshakes.fetch_add(1, Ordering::Relaxed);
        stream
    }

    /// Sends a request. Panics if the request fails or the route of another host serves it.
    async fn ask(&self, sender: &mut Sender, host: &str) {
        let (status, headers) = sender.ask(host).await.expect("no connection is closed");
        assert_eq!(status, 200, "{headers:?}");
        assert_eq!(headers["x-route"], host);
        self.served.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }

    /// Sends requests over one connection until `stop` is set.
    async fn stay(self: Arc<Self>, protocol: Protocol, secure: bool, host: &'static str) {
        let mut sender = if secure {
            let stream = self.tls(&self.certificates.connector(protocol), host).await;
            Sender::open(stream, protocol).await
        } else {
            let stream = TcpStream::connect(self.http).await.unwrap();
            Sender::open(stream, protocol).await
        };
        while !self.stop.load(Ordering::Relaxed) {
            self.ask(&mut sender, host).await;
        }
    }

    /// Opens connections, with one request on each, until `stop` is set.
    async fn come_and_go(self: Arc<Self>, protocol: Protocol, host: &'static str) {
        let connector = self.certificates.connector(protocol);
        while !self.stop.load(Ordering::Relaxed) {
            let stream = self.tls(&connector, host).await;
            let mut sender = Sender::open(stream, protocol).await;
            self.ask(&mut sender, host).await;
        }
    }

    /// Opens a connection. Returns its server certificate and the revision of the response.
    async fn newest(&self, host: &'static str) -> (Vec<u8>, usize) {
        let connector = self.certificates.connector(Protocol::Http1);
        let stream = self.tls(&connector, host).await;
        let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        let mut sender = Sender::open(stream, Protocol::Http1).await;
        let (_, headers) = sender.ask(host).await.unwrap();
        let revision = headers["x-revision"].to_str().unwrap().parse().unwrap();
        (certificate, revision)
    }

    fn start(self: &Arc<Self>) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for host in HOSTS {
            for protocol in [Protocol::Http1, Protocol::Http2] {
                clients.spawn(self.clone().stay(protocol, false, host));
                clients.spawn(self.clone().stay(protocol, true, host));
                clients.spawn(self.clone().come_and_go(protocol, host));
            }
        }
        clients
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_routes_policies_and_endpoints_change_under_load_and_nothing_fails() {
    let backends = [Backend::start(), Backend::start()];
    let certificates = Certificates::make();
    let folder = Folder::new();
    let write = |revision: usize, secrets: &[String]| {
        folder.write("tls.yaml", &secrets[revision % CERTIFICATES]);
        folder.write("app.yaml", &manifests(revision, &backends));
    };
    write(0, &certificates.secrets);
    let gateway = Towergate::start(&folder, &["--access-log", "off"]);
    let load = Arc::new(Load {
        http: gateway.http,
        https: gateway.https,
        certificates,
        stop: AtomicBool::default(),
        served: AtomicU64::default(),
        handshakes: AtomicU64::default(),
    });
    let mut clients = load.start();

    let mut seen = std::collections::BTreeSet::new();
    for revision in 1..=CHANGES {
        write(revision, &load.certificates.secrets);
        tokio::time::sleep(PERIOD).await;
        seen.insert(load.newest(HOSTS[revision % 2]).await);
    }
    tokio::time::timeout(Duration::from_secs(15), async {
        while load.newest(HOSTS[0]).await.1 != CHANGES {
            tokio::time::sleep(PERIOD).await;
        }
    })
    .await
    .expect("the last change is in force");
    load.stop.store(true, Ordering::Relaxed);

    while let Some(client) = clients.join_next().await {
        client.expect("no request fails, no connection is closed, no handshake is refused");
    }
    let versions: std::collections::BTreeSet<_> = seen.iter().map(|(cert, _)| cert).collect();
    assert!(
        versions.len() > CERTIFICATES / 2,
        "certificates did change: {}",
        versions.len()
    );
    assert!(
        seen.len() > CHANGES / 10,
        "configurations did change: {}",
        seen.len()
    );
    assert!(load.served.load(Ordering::Relaxed) > 100, "there was load");
    assert!(
        load.handshakes.load(Ordering::Relaxed) > 50,
        "there were handshakes"
    );
}
