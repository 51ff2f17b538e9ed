//! TLS ports: selection of the listener.

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::TlsConnector;
use towergate_tls::server::UnknownName;
use towergate_tls::sni::CertificateResolver;
use towergate_tls::{Certificate, ClientAuth, ClientAuthMode, NameMap, ServerTls};

use super::*;

/// A TLS port with one listener per pattern. The second string of each pair is the name in the listener's
/// certificate.
async fn rig(listeners: &[(&str, &str)], edit: fn(&mut ListenerSettings)) -> (Rig, RootCertStore) {
    let mut map = NameMap::default();
    let mut roots = RootCertStore::empty();
    let mut last = None;
    for (pattern, name) in listeners {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([(*name).to_owned()]).unwrap();
        roots.add(cert.der().clone()).unwrap();
        let mut config = (*listener_config(edit)).clone();
        config.id.listener = (*pattern).to_owned();
        config.tls = Some(server(
            cert.der().clone(),
            PrivateKeyDer::Pkcs8(signing_key.serialize_der().into()),
        ));
        let config = Arc::new(config);
        last = Some(config.clone());
        map.insert(pattern.parse().unwrap(), config);
    }
    let tcp = TcpSettings {
        inspection_timeout: Duration::from_millis(500),
        ..TcpSettings::default()
    };
    let rig = Rig::with(tcp, last.unwrap(), PortProtocol::Tls(map)).await;
    (rig, roots)
}

fn server(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

/// The response to a request for `/tls` from a client with SNI `name`.
async fn ask(
    rig: &Rig,
    roots: &RootCertStore,
    name: &str,
    alpn: &[&[u8]],
) -> std::io::Result<String> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = rig.connect().await.0;
    let mut stream = soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await?;
    stream
        .write_all(b"GET /tls HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await?;
    Ok(answer)
}

#[tokio::test]
async fn the_listener_is_selected_by_server_name() {
    let listeners = [
        ("one.test", "one.test"),
        ("*.wild.test", "a.wild.test"),
        ("*", "other.test"),
    ];
    let (rig, roots) = rig(&listeners, |_| {}).await;

    for (name, pattern) in [
        ("one.test", "one.test"),
        ("ONE.test", "one.test"),
        ("a.wild.test", "*.wild.test"),
        ("other.test", "*"),
    ] {
        let answer = ask(&rig, &roots, name, &[b"http/1.1"]).await.unwrap();

        let lower = name.to_lowercase();
        assert!(
            answer.contains(&format!("server_name: Some({lower:?})")),
            "{answer}"
        );
        assert!(answer.contains("version: \"TLSv1.3\""), "{answer}");
        assert!(answer.contains("cipher: \"TLS_AES_"), "{answer}");
        rig.events.expect(&format!("listener: {pattern:?}")).await;
    }
}

#[tokio::test]
async fn without_alpn_the_first_bytes_identify_the_protocol() {
    let (rig, roots) = rig(&[("*", "a.test")], |_| {}).await;

    let answer = ask(&rig, &roots, "a.test", &[]).await.unwrap();

    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("alpn: None"), "{answer}");
}

#[tokio::test]
async fn a_server_name_without_a_listener_closes_without_an_alert() {
    let (rig, roots) = rig(&[("one.test", "one.test")], |_| {}).await;

    let unknown = ask(&rig, &roots, "two.test", &[]).await.unwrap_err();
    let address = ask(&rig, &roots, "127.0.0.1", &[]).await.unwrap_err();

    for error in [unknown, address] {
        assert!(
            matches!(
                error.kind(),
                std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset
            ),
            "{error:?}"
        );
    }
    rig.events.expect("no_listener").await;
}

#[tokio::test]
async fn a_server_name_without_a_certificate_gets_an_alert() {
    let provider = Arc::new(default_provider());
    let none = CertificateResolver::build(&[], UnknownName::Refuse, &provider).unwrap();
    let mut config = (*listener_config(|_| {})).clone();
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(none));
    config.tls = Some(Arc::new(tls));
    let config = Arc::new(config);
    let mut map = NameMap::default();
    map.insert("*".parse().unwrap(), config.clone());
    let rig = Rig::with(TcpSettings::default(), config, PortProtocol::Tls(map)).await;

    let error = ask(&rig, &RootCertStore::empty(), "a.test", &[])
        .await
        .unwrap_err();

    let alert = error.get_ref().and_then(|error| error.downcast_ref());
    assert_eq!(
        alert,
        Some(&rustls::Error::AlertReceived(
            rustls::AlertDescription::UnrecognisedName
        ))
    );
    rig.events.expect("unknown_server_name").await;
}

/// A port that requests client certificates issued by its CA.
async fn asking(mode: ClientAuthMode) -> (Rig, RootCertStore) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let certificate = Certificate::from_pem(cert.pem(), signing_key.serialize_pem()).unwrap();
    let settings = ServerTls {
        certificates: vec![Arc::new(certificate)],
        clients: Some(ClientAuth {
            roots_pem: cert.pem(),
            mode,
            ..ClientAuth::default()
        }),
        ..ServerTls::default()
    };
    let provider = Arc::new(default_provider());
    let mut config = (*listener_config(|_| {})).clone();
    config.clients = settings.client_verifier(&provider).unwrap();
    config.tls = Some(settings.build(provider, None).unwrap());
    let config = Arc::new(config);
    let mut map = NameMap::default();
    map.insert("*".parse().unwrap(), config.clone());
    let rig = Rig::with(TcpSettings::default(), config, PortProtocol::Tls(map)).await;
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    (rig, roots)
}

#[tokio::test]
async fn a_client_without_a_required_certificate_gets_no_response() {
    let (rig, roots) = asking(ClientAuthMode::Required).await;

    let error = ask(&rig, &roots, "a.test", &[]).await.unwrap_err();

    let alert = error.get_ref().and_then(|error| error.downcast_ref());
    assert_eq!(
        alert,
        Some(&rustls::Error::AlertReceived(
            rustls::AlertDescription::CertificateRequired
        ))
    );
    rig.events.expect("client_certificate").await;
}

#[tokio::test]
async fn a_client_without_an_optional_certificate_is_served() {
    for mode in [ClientAuthMode::Optional, ClientAuthMode::Requested] {
        let (rig, roots) = asking(mode).await;

        let answer = ask(&rig, &roots, "a.test", &[]).await.unwrap();

        assert!(answer.contains("client: None"), "{answer}");
    }
}

#[tokio::test]
async fn an_ip_address_as_server_name_selects_the_listener_without_hostname() {
    let (rig, roots) = rig(&[("*", "127.0.0.1"), ("one.test", "one.test")], |_| {}).await;

    let answer = ask(&rig, &roots, "127.0.0.1", &[]).await.unwrap();

    assert!(answer.contains("server_name: None"), "{answer}");
}

#[tokio::test]
async fn connections_without_tls_are_closed_and_reported_by_kind() {
    let cases: [(&[u8], &str); 4] = [
        (GET.as_bytes(), "plain_http"),
        (b"\0\x01\x02 nonsense", "no_tls"),
        (
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "UnexpectedProxyHeader",
        ),
        (b"\x16\x03\x01", "client_hello_timeout"),
    ];
    for (bytes, word) in cases {
        let (rig, _) = rig(&[("*", "a.test")], |_| {}).await;

        let answer = rig.talk(bytes).await;

        assert_eq!(answer, "", "{bytes:?}");
        rig.events.expect(word).await;
        rig.events.expect("ConnectionClosed").await;
    }
}

#[tokio::test]
async fn a_connection_over_the_limit_is_closed_once_its_listener_is_known() {
    let (rig, roots) = rig(&[("*", "a.test")], |s| s.limits.connections = Some(0)).await;

    let error = ask(&rig, &roots, "a.test", &[]).await.unwrap_err();

    assert!(error.kind() != std::io::ErrorKind::TimedOut, "{error:?}");
    rig.events.expect("ConnectionRefused").await;
}

#[tokio::test]
async fn tls_connections_over_the_limit_are_closed_after_the_delay() {
    const DELAY: Duration = Duration::from_millis(300);
    let edit = |settings: &mut ListenerSettings| {
        settings.limits.connections = Some(0);
        settings.limits.close_delay = Some(DELAY);
    };
    let (rig, roots) = rig(&[("*", "a.test")], edit).await;

    let start = std::time::Instant::now();
    let refused = ask(&rig, &roots, "a.test", &[]).await;

    assert!(refused.is_err(), "{refused:?}");
    assert!(start.elapsed() >= DELAY);
    rig.events.expect("ConnectionRefused").await;
}
