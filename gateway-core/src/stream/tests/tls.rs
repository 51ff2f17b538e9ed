//! Tests of TLS passthrough by server name, and of TLS termination, on one port together with HTTPS.

use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use towergate_tls::client::ClientTls;
use towergate_tls::{Certificate, ServerTls};

use super::*;
use crate::plan::{DynamicTargets, Route, Rule};
use crate::route::matches::PathMatch;
use crate::traffic::loop_guard::OwnConnection;

/// A server name, and a certificate for it.
struct Identity {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key: Vec<u8>,
    key_pem: String,
}

fn identity(names: &[&str]) -> Identity {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    Identity {
        certificate: cert.der().clone(),
        certificate_pem: cert.pem(),
        key: signing_key.serialize_der(),
        key_pem: signing_key.serialize_pem(),
    }
}

impl Identity {
    /// TLS settings of a backend with this name.
    fn backend(&self) -> TlsAcceptor {
        let key = PrivateKeyDer::Pkcs8(self.key.clone().into());
        let config = ServerConfig::builder_with_provider(towergate_tls::default_provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// TLS settings of a listener with this name, without ALPN.
    fn listener(&self) -> Arc<ServerTls> {
        let pem = (self.certificate_pem.clone(), self.key_pem.clone());
        let certificate = Certificate::from_pem(pem.0, pem.1).unwrap();
        Arc::new(ServerTls {
            certificates: vec![Arc::new(certificate)],
            alpn: Vec::new(),
            ..ServerTls::default()
        })
    }

    /// TLS settings for connections to a backend with this name.
    fn policy(&self, name: &str) -> Arc<ClientTls> {
        Arc::new(ClientTls {
            identity: None,
            accept_any_certificate: false,
            limits: towergate_tls::limits::TlsLimits::default(),
            server_name: name.to_owned(),
            subject_alt_names: Vec::new(),
            roots_pem: Some(self.certificate_pem.clone()),
            alpn: vec!["h2".to_owned()],
        })
    }
}

/// A backend that terminates TLS as `identity`, sends the server name, and then echoes every byte.
async fn tls_echo(identity: &Identity) -> SocketAddr {
    let acceptor = identity.backend();
    backend(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let tls = stream.get_ref().1;
            assert_eq!(tls.alpn_protocol(), None);
            let hello = format!("hello {}!", tls.server_name().unwrap_or("-"));
            stream.write_all(hello.as_bytes()).await.unwrap();
            let (mut read, mut write) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.shutdown().await;
        }
    })
    .await
}

/// TLS settings and server name of a client that connects to `name`.
fn client(name: &str, trusted: &[&Identity]) -> (Arc<ClientConfig>, ServerName<'static>) {
    let mut roots = RootCertStore::empty();
    for identity in trusted {
        roots.add(identity.certificate.clone()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(towergate_tls::default_provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (
        Arc::new(config),
        ServerName::try_from(name.to_owned()).unwrap(),
    )
}

impl Rig {
    /// Connects with TLS to `name`. The server must present exactly the certificate of `identity`.
    async fn secure(&self, name: &str, identity: &Identity) -> TlsStream<TcpStream> {
        let (config, server) = client(name, &[identity]);
        let stream = self.connect().await;
        let connecting = TlsConnector::from(config).connect(server, stream);
        let stream = soon(connecting).await.unwrap();
        let shown = stream.get_ref().1.peer_certificates().unwrap();
        assert_eq!(shown, std::slice::from_ref(&identity.certificate), "{name}");
        stream
    }

    /// Sends a ClientHello for `name` and reads until the connection is closed.
    async fn answer_to_hello(&self, name: &str) -> String {
        let (config, server) = client(name, &[]);
        let mut hello = Vec::new();
        let mut connection = ClientConnection::new(config, server).unwrap();
        connection.write_tls(&mut hello).unwrap();
        let mut stream = self.connect().await;
        stream.write_all(&hello).await.unwrap();
        rest(&mut stream).await
    }
}

fn passing(pattern: &str, streams: Vec<StreamRoute>) -> Listener {
    listener(pattern, Protocol::Tls(None), streams)
}

#[tokio::test]
async fn tls_passthrough_routes_by_server_name() {
    let (one, two) = (identity(&["one.test"]), identity(&["a.two.test"]));
    let all = [tls_echo(&one).await, tls_echo(&two).await];
    let routes = vec![
        route(
            "wild",
            &["*.two.test", "*.test"],
            vec![weighted(1, to("two"))],
        ),
        route("exact", &["one.test"], vec![weighted(1, to("one"))]),
    ];
    let plan = plan(vec![passing("*", routes)]);
    let rig = Rig::new(&plan, &endpoints(&[("one", &all[..1]), ("two", &all[1..])]));

    for (name, identity) in [("one.test", &one), ("a.two.test", &two), ("ONE.test", &one)] {
        let mut stream = rig.secure(name, identity).await;
        let hello = format!("hello {}!", name.to_lowercase());
        assert_eq!(read(&mut stream, hello.len()).await, hello);
        stream.write_all(b"more").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(rest(&mut stream).await, "more");
        let entry = rig
            .log
            .entry_of(stream.get_ref().0.local_addr().unwrap().port())
            .await;
        assert_eq!(entry.server_name, Some(name.to_lowercase()));
        assert!(
            entry.bytes_received > 100 && entry.bytes_sent > 100,
            "the backend receives the bytes unchanged"
        );
    }
    assert_eq!(
        rig.log.count("TlsHandshake"),
        0,
        "the gateway does no handshake"
    );
}

#[tokio::test]
async fn a_client_hello_in_many_segments_is_forwarded_completely() {
    let one = identity(&["one.test"]);
    let backend = tls_echo(&one).await;
    let mut plan = plan(vec![passing(
        "one.test",
        vec![route("r", &["one.test"], vec![weighted(1, to("one"))])],
    )]);
    plan.ports[0].tcp.proxy_protocol = Some(crate::plan::ProxyProtocol::default());
    let rig = Rig::new(&plan, &endpoints(&[("one", &[backend])]));
    let (config, server) = client("one.test", &[&one]);
    let (near, mut far) = tokio::io::duplex(7);
    let stream = rig.connect().await;

    let pieces = async move {
        let (mut read, mut write) = stream.into_split();
        write
            .write_all(b"PROXY TCP4 192.0.2.7 192.0.2.8 1234 80\r\n")
            .await
            .unwrap();
        let (mut from, mut to) = tokio::io::split(&mut far);
        let there = tokio::io::copy(&mut from, &mut write);
        let back = tokio::io::copy(&mut read, &mut to);
        let _ = tokio::join!(there, back);
    };
    let pieces = tokio::spawn(pieces);
    let mut stream = soon(TlsConnector::from(config).connect(server, near))
        .await
        .unwrap();

    assert_eq!(read(&mut stream, 15).await, "hello one.test!");
    pieces.abort();
}

#[tokio::test]
async fn tls_is_terminated_and_plain_bytes_are_forwarded() {
    let own = identity(&["a.test"]);
    let backend = echo("plain").await;
    let listener = listener("*", Protocol::Tls(Some(own.listener())), vec![simple("a")]);
    let rig = Rig::new(&plan(vec![listener]), &endpoints(&[("a", &[backend])]));

    let mut stream = rig.secure("a.test", &own).await;

    assert_eq!(read(&mut stream, 5).await, "plain");
    stream.write_all(b"and back").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, "and back");
    let entry = rig.log.entry().await;
    assert_eq!((entry.bytes_received, entry.bytes_sent), (8, 13));
    assert_eq!(entry.server_name.as_deref(), Some("a.test"));
    assert_eq!(rig.log.count("TlsHandshake"), 1);
}

#[tokio::test]
async fn a_client_without_sni_gets_the_listener_and_route_without_hostname() {
    let own = identity(&["127.0.0.1"]);
    let backend = tls_echo(&own).await;
    let all = endpoints(&[("a", &[backend])]);
    let other = || {
        route(
            "other",
            &["b.test"],
            vec![weighted(1, Destination::Invalid)],
        )
    };

    let open = Rig::new(&plan(vec![passing("*", vec![other(), simple("a")])]), &all);
    let mut stream = open.secure("127.0.0.1", &own).await;
    assert_eq!(read(&mut stream, 8).await, "hello -!");

    let named = Rig::new(&plan(vec![passing("*.test", vec![simple("a")])]), &all);
    assert_eq!(named.answer_to_hello("127.0.0.1").await, "");
    let unrouted = Rig::new(&plan(vec![passing("*", vec![other()])]), &all);
    assert_eq!(unrouted.answer_to_hello("127.0.0.1").await, "");
    assert_eq!(unrouted.log.entry().await.flags, "NR");
}

#[tokio::test]
async fn https_passthrough_and_terminated_tls_share_a_port() {
    let names = ["web.test", "ends.test", "passes.test"];
    let [web, ends, passes] = names.map(|name| identity(&[name]));
    let backends = [echo("plain").await, tls_echo(&passes).await];
    let mut https = listener("web.test", Protocol::Https(web.listener()), Vec::new());
    let rule = Rule::new(PathMatch::Prefix("/".to_owned()));
    https.routes = vec![Arc::new(Route::new("n", "web", vec![rule]))];
    let plan = plan(vec![
        passing("passes.test", vec![simple("passes")]),
        listener(
            "ends.test",
            Protocol::Tls(Some(ends.listener())),
            vec![simple("ends")],
        ),
        https,
    ]);
    let all = endpoints(&[("ends", &backends[..1]), ("passes", &backends[1..])]);
    let rig = Rig::new(&plan, &all);

    let mut stream = rig.secure("ends.test", &ends).await;
    assert_eq!(read(&mut stream, 5).await, "plain");
    let mut stream = rig.secure("passes.test", &passes).await;
    assert_eq!(read(&mut stream, 18).await, "hello passes.test!");
    let mut stream = rig.secure("web.test", &web).await;
    let request = b"GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    assert!(
        rest(&mut stream).await.starts_with("HTTP/1.1 500 "),
        "a rule without backends"
    );
    let mut stream = rig.secure("web.test", &web).await;
    let request = b"GET / HTTP/1.1\r\nHost: ends.test\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    assert!(
        rest(&mut stream).await.starts_with("HTTP/1.1 421 "),
        "another listener's name"
    );
    assert_eq!(rig.answer_to_hello("nobody.test").await, "");
}

#[tokio::test]
async fn nothing_is_written_to_a_connection_without_a_route() {
    let own = identity(&["*.test"]);
    let streams = || {
        let one =
            |name, hostname, destination| route(name, &[hostname], vec![weighted(1, destination)]);
        vec![
            one("invalid", "invalid.test", Destination::Invalid),
            one("empty", "empty.test", to("empty")),
            route("none", &["none.test"], Vec::new()),
        ]
    };
    for protocol in [Protocol::Tls(None), Protocol::Tls(Some(own.listener()))] {
        let rig = Rig::new(
            &plan(vec![listener("*.test", protocol.clone(), streams())]),
            &endpoints(&[]),
        );
        for name in [
            "invalid.test",
            "empty.test",
            "none.test",
            "unrouted.test",
            "elsewhere.other",
        ] {
            assert_eq!(rig.answer_to_hello(name).await, "", "{name} {protocol:?}");
        }
        let seen = || (rig.log.count("no_listener"), rig.log.count("Stream("));
        eventually(|| seen() == (1, 4)).await;
    }
}

#[tokio::test]
async fn nothing_is_written_to_a_connection_without_a_client_hello() {
    let rig = Rig::new(
        &plan(vec![passing("*", vec![simple("a")])]),
        &endpoints(&[]),
    );
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\0\0",
    ] {
        let mut stream = rig.connect().await;
        stream.write_all(bytes).await.unwrap();

        assert_eq!(rest(&mut stream).await, "", "{bytes:?}");
    }
    for word in ["plain_http", "malformed_client_hello", "no_tls"] {
        // The event occurs after the end of the connection, so the test waits for the event.
        eventually(|| rig.log.count(word) == 1).await;
    }
}

/// A route to a backend that is reached over TLS.
fn over_tls(name: &str, tls: Arc<ClientTls>) -> StreamRoute {
    let backend = Backend {
        id: id(name),
        protocol: BackendProtocol::Http2,
        tls: Some(tls),
        hosts: Vec::new(),
        fallback: false,
        dynamic: None,
    };
    let destination = Destination::Backend(Arc::new(backend));
    route(name, &["*"], vec![weighted(1, destination)])
}

#[tokio::test]
async fn a_backend_with_a_tls_policy_is_connected_over_tls() {
    let (own, theirs) = (identity(&["a.test"]), identity(&["inside.test"]));
    let all = endpoints(&[("a", &[tls_echo(&theirs).await])]);
    let streams = || vec![over_tls("a", theirs.policy("inside.test"))];

    let rig = Rig::new(&tcp(streams()), &all);
    let mut plain = rig.connect().await;
    assert_eq!(read(&mut plain, 18).await, "hello inside.test!");
    plain.write_all(b"x").await.unwrap();
    plain.shutdown().await.unwrap();
    assert_eq!(rest(&mut plain).await, "x");

    let ends = listener("*", Protocol::Tls(Some(own.listener())), streams());
    let rig = Rig::new(&plan(vec![ends]), &all);
    let mut stream = rig.secure("a.test", &own).await;
    assert_eq!(read(&mut stream, 18).await, "hello inside.test!");
}

#[tokio::test]
async fn a_backend_with_the_wrong_certificate_receives_nothing() {
    let (expected, other) = (identity(&["inside.test"]), identity(&["inside.test"]));
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let acceptor = other.backend();
    let impostor = backend(move |stream| {
        let (tell, acceptor) = (tell.clone(), acceptor.clone());
        async move {
            let handshake = acceptor.accept(stream).await;
            tell.send(handshake.map(drop).map_err(|error| error.to_string()))
                .unwrap();
        }
    })
    .await;
    let streams = vec![over_tls("a", expected.policy("inside.test"))];
    let rig = Rig::new(&tcp(streams), &endpoints(&[("a", &[impostor])]));

    let mut client = rig.connect().await;
    client.write_all(b"secret").await.unwrap();

    assert_eq!(rest(&mut client).await, "");
    assert!(soon(told.recv()).await.unwrap().is_err());
    let entry = rig.log.entry().await;
    assert_eq!(entry.flags, "UF,URX");
    assert!(entry.upstream_failure.unwrap().starts_with("TLS_error"));
}

#[tokio::test]
async fn a_backend_tls_policy_does_not_apply_to_passthrough() {
    let theirs = identity(&["inside.test"]);
    let all = endpoints(&[("a", &[tls_echo(&theirs).await])]);
    let streams = vec![over_tls("a", theirs.policy("inside.test"))];
    let rig = Rig::new(&plan(vec![passing("*", streams)]), &all);

    let mut stream = rig.secure("inside.test", &theirs).await;

    assert_eq!(read(&mut stream, 18).await, "hello inside.test!");
}

/// A passthrough listener whose connections are forwarded to their server name, unless its addresses are in
/// `denied`.
fn to_server_names(denied: &[&str]) -> Rig {
    let networks = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
    let targets = DynamicTargets {
        allowed: networks(&["127.0.0.0/8", "::1/128"]),
        denied: networks(denied),
    };
    let Destination::Backend(any) = to("any") else {
        unreachable!("a service is a backend");
    };
    let any = Destination::Backend(Arc::new(Backend {
        dynamic: Some(Arc::new(targets)),
        ..(*any).clone()
    }));
    let routes = vec![route("any", &["*"], vec![weighted(1, any)])];
    Rig::new(&plan(vec![passing("*", routes)]), &endpoints(&[]))
}

#[tokio::test]
async fn a_connection_goes_to_port_443_of_its_server_name() {
    let rig = to_server_names(&[]);
    let (config, server) = client("localhost", &[]);
    let stream = rig.connect().await;
    let port = stream.local_addr().unwrap().port();

    // Another process may listen on this port, and may or may not respond. The client therefore stops waiting
    // after a second; the entry is written when the client disconnects.
    let connecting = TlsConnector::from(config).connect(server, stream);
    let _ = timeout(Duration::from_secs(1), connecting).await;

    let host = rig.log.entry_of(port).await.upstream_host.unwrap();
    assert!(
        ["127.0.0.1:443", "[::1]:443"].contains(&host.to_string().as_str()),
        "{host}"
    );
}

#[tokio::test]
async fn a_connection_to_a_server_name_with_a_denied_address_is_closed() {
    let rig = to_server_names(&["127.0.0.0/8", "::1/128"]);

    assert_eq!(rig.answer_to_hello("localhost").await, "");

    let entry = rig.log.entry().await;
    assert_eq!(entry.upstream_host, None);
    assert_eq!(entry.details, "host_denied");
}

#[tokio::test]
async fn a_connection_that_returns_to_the_gateway_is_closed() {
    let rig = to_server_names(&[]);
    let (config, server) = client("localhost", &[]);
    let stream = rig.connect().await;
    let local = stream.local_addr().unwrap();
    let _own = OwnConnection::register(local);

    let connecting = TlsConnector::from(config).connect(server, stream);

    assert!(soon(connecting).await.is_err());
    let entry = rig.log.entry_of(local.port()).await;
    assert_eq!(entry.details, "forwarding_loop");
}
