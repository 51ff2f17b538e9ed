//! Handshakes: certificate selection, negotiation, resumption.

use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig};

use crate::acceptor::AcceptError;
use crate::client::ClientTls;
use crate::limits::{TlsLimits, TlsVersion};
use crate::server::{ResumptionState, UnknownName};
use crate::testing::{
    ECDSA, Key, Outcome, RSA_SCHEMES, TEST_CA, certificate, client, client_of_long_keys,
    client_with, handshake, leaf, params, settings,
};
use crate::{Certificate, ServerTls, TlsError, default_provider};

fn build(settings: &ServerTls) -> Arc<ServerConfig> {
    settings.build(default_provider(), None).unwrap()
}

async fn connect(settings: &ServerTls, client: ClientConfig, name: &str) -> Outcome {
    handshake(&build(settings), &Arc::new(client), name).await
}

/// The index of the certificate that a client receives.
async fn served(certificates: &[&Arc<Certificate>], client: ClientConfig, name: &str) -> usize {
    let outcome = connect(&settings(certificates), client, name).await;
    let got = outcome.client.unwrap();
    certificates.iter().position(|c| leaf(c) == got).unwrap()
}

#[tokio::test]
async fn a_client_receives_the_certificate_for_its_name() {
    let exact = certificate(&["a.example.test"], Key::P256);
    let wild = certificate(&["*.example.test"], Key::P256);
    let deep = certificate(&["*.b.example.test"], Key::P256);
    let other = certificate(&["other.test", "third.test"], Key::P256);
    let first = certificate(&["first.test"], Key::P256);
    let all = [&first, &exact, &wild, &deep, &other];
    let cases = [
        ("a.example.test", 1),
        ("A.Example.TEST", 1),
        ("b.example.test", 2),
        ("x.b.example.test", 3),
        ("other.test", 4),
        ("third.test", 4),
        // A wildcard covers exactly one label, and never the apex.
        ("x.a.example.test", 0),
        ("example.test", 0),
        ("unknown.test", 0),
    ];

    for (name, expected) in cases {
        assert_eq!(served(&all, client(), name).await, expected, "{name}");
    }
}

#[tokio::test]
async fn of_two_certificates_for_one_name_and_key_type_the_first_is_served() {
    let first = certificate(&["a.test"], Key::P256);
    let second = certificate(&["a.test", "b.test"], Key::P384);

    assert_eq!(served(&[&first, &second], client(), "a.test").await, 0);
    assert_eq!(served(&[&second, &first], client(), "a.test").await, 0);
    assert_eq!(served(&[&first, &second], client(), "b.test").await, 1);
    // A client that supports only the key of the second certificate receives the second certificate.
    let p384 = || client_with(&ECDSA[1..], &[&TLS13, &TLS12]);
    assert_eq!(served(&[&first, &second], p384(), "a.test").await, 1);
}

#[tokio::test]
async fn ecdsa_precedes_rsa_if_the_client_supports_it() {
    let rsa = certificate(&["a.test"], Key::Rsa);
    let ecdsa = certificate(&["a.test"], Key::P256);
    let both = [&rsa, &ecdsa];
    let versions = [&TLS13, &TLS12];

    assert_eq!(served(&both, client(), "a.test").await, 1);
    assert_eq!(
        served(&both, client_with(&RSA_SCHEMES, &versions), "a.test").await,
        0
    );
    assert_eq!(
        served(&both, client_with(&RSA_SCHEMES, &[&TLS12]), "a.test").await,
        0
    );
    assert_eq!(
        served(&both, client_with(&ECDSA, &versions), "a.test").await,
        1
    );
}

#[tokio::test]
async fn every_key_type_is_served() {
    for key in [Key::P256, Key::P384, Key::Ed25519, Key::Rsa] {
        let only = certificate(&["a.test"], key);

        assert_eq!(served(&[&only], client(), "a.test").await, 0, "{key:?}");
    }
}

#[tokio::test]
async fn without_a_server_name_ecdsa_precedes_the_first_supported_certificate() {
    let rsa = certificate(&["rsa.test"], Key::Rsa);
    let ecdsa = certificate(&["ecdsa.test"], Key::P256);
    let rsa_only = || client_with(&RSA_SCHEMES, &[&TLS13, &TLS12]);

    // rustls sends no server name for an IP address.
    assert_eq!(served(&[&rsa, &ecdsa], client(), "192.0.2.1").await, 1);
    assert_eq!(served(&[&rsa, &ecdsa], rsa_only(), "192.0.2.1").await, 0);
    assert_eq!(served(&[&ecdsa, &rsa], rsa_only(), "192.0.2.1").await, 1);
    assert_eq!(served(&[&rsa], client(), "192.0.2.1").await, 0);
}

#[tokio::test]
async fn a_client_never_receives_a_certificate_for_another_name() {
    let ecdsa = certificate(&["a.test"], Key::P256);
    let rsa = certificate(&["b.test"], Key::Rsa);
    let client = client_with(&RSA_SCHEMES, &[&TLS13]);

    let outcome = connect(&settings(&[&ecdsa, &rsa]), client, "a.test").await;

    assert!(matches!(outcome.server, Err(AcceptError::Handshake(_))));
    assert!(outcome.client.is_err());
}

#[tokio::test]
async fn an_unknown_name_is_refused_with_an_alert_if_so_configured() {
    let refuse = ServerTls {
        unknown_name: UnknownName::Refuse,
        ..settings(&[&certificate(&["a.test", "*.b.test"], Key::P256)])
    };

    let unknown = connect(&refuse, client(), "x.test").await;
    let known = connect(&refuse, client(), "a.b.test").await;
    let nameless = connect(&refuse, client(), "192.0.2.1").await;

    match unknown.server {
        Err(AcceptError::Refused(Some(name))) => assert_eq!(name, "x.test"),
        other => panic!("{other:?}"),
    }
    let error = unknown.client.unwrap_err();
    assert!(error.contains("UnrecognisedName"), "{error}");
    assert!(known.client.is_ok());
    assert!(nameless.client.is_err(), "a client without a name, too");
}

#[tokio::test]
async fn by_default_the_newest_version_and_a_post_quantum_group_are_negotiated() {
    let settings = settings(&[&certificate(&["a.test"], Key::P256)]);
    let mut client = client();
    client.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];

    let negotiated = connect(&settings, client, "a.test").await.server.unwrap();

    assert_eq!(negotiated.version, "TLSv1.3");
    assert_eq!(negotiated.group, "X25519MLKEM768");
    assert!(negotiated.cipher.starts_with("TLS_"));
    assert_eq!(negotiated.alpn.as_deref(), Some(&b"h2"[..]));
    assert_eq!(negotiated.server_name.as_deref(), Some("a.test"));
    assert!(!negotiated.resumed);
}

#[tokio::test]
async fn a_handshake_fails_without_a_common_alpn_protocol_but_not_without_alpn() {
    let settings = settings(&[&certificate(&["a.test"], Key::P256)]);
    let mut other = client();
    other.alpn_protocols = vec![b"acme-tls/1".to_vec()];

    let refused = connect(&settings, other, "a.test").await;
    let none = connect(&settings, client(), "a.test").await;

    assert!(matches!(refused.server, Err(AcceptError::Handshake(_))));
    assert_eq!(none.server.unwrap().alpn, None);
}

#[tokio::test]
async fn versions_are_limited() {
    let certificate = certificate(&["a.test"], Key::P256);
    let with = |min_version, max_version| ServerTls {
        limits: TlsLimits {
            min_version,
            max_version,
            ..TlsLimits::default()
        },
        ..settings(&[&certificate])
    };
    let old = with(TlsVersion::Tls12, TlsVersion::Tls12);
    let new = with(TlsVersion::Tls13, TlsVersion::Tls13);

    let at_most = connect(&old, client(), "a.test").await;
    let too_old = connect(&new, client_with(&ECDSA, &[&TLS12]), "a.test").await;
    let reversed = with(TlsVersion::Tls13, TlsVersion::Tls12).build(default_provider(), None);

    assert_eq!(at_most.server.unwrap().version, "TLSv1.2");
    assert!(matches!(too_old.server, Err(AcceptError::Handshake(_))));
    assert!(matches!(reversed, Err(TlsError::Versions)));
}

#[tokio::test]
async fn suites_and_groups_follow_the_order_of_the_settings() {
    let settings = ServerTls {
        limits: TlsLimits {
            max_version: TlsVersion::Tls12,
            ciphers: vec![
                "ECDHE-ECDSA-CHACHA20-POLY1305".to_owned(),
                "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384".to_owned(),
            ],
            groups: vec!["secp384r1".to_owned(), "X25519".to_owned()],
            ..TlsLimits::default()
        },
        ..settings(&[&certificate(&["a.test"], Key::P256)])
    };

    let negotiated = connect(&settings, client(), "a.test").await.server.unwrap();

    assert_eq!(
        negotiated.cipher,
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"
    );
    assert!(["P-384", "X25519"].contains(&negotiated.group));
    let config = build(&settings);
    let groups: Vec<_> = config.crypto_provider().kx_groups.iter().collect();
    assert_eq!(groups.len(), 2);
}

#[tokio::test]
async fn aes_128_is_preferred_to_aes_256_unless_configured_otherwise() {
    let open = settings(&[&certificate(&["a.test"], Key::P256)]);
    let long_only = ServerTls {
        limits: TlsLimits {
            ciphers: vec!["ECDHE-ECDSA-AES256-GCM-SHA384".to_owned()],
            ..TlsLimits::default()
        },
        ..open.clone()
    };
    let cases: [(&ServerTls, &[_], _); 3] = [
        (&open, &[&TLS13, &TLS12], "TLS_AES_128_GCM_SHA256"),
        (&open, &[&TLS12], "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
        (
            &long_only,
            &[&TLS12],
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        ),
    ];

    for (settings, versions, suite) in cases {
        let outcome = connect(settings, client_of_long_keys(versions), "a.test").await;
        assert_eq!(outcome.server.unwrap().cipher, suite);
    }
}

#[test]
fn unusable_settings_are_named() {
    let good = settings(&[&certificate(&["a.test"], Key::P256)]);
    let error = |settings: ServerTls| {
        let error = settings.build(default_provider(), None).unwrap_err();
        error.to_string()
    };
    let one = |text: &str| vec![text.to_owned()];

    let cipher = error(ServerTls {
        limits: TlsLimits {
            ciphers: one("ECDHE-RSA-AES128-SHA"),
            ..TlsLimits::default()
        },
        ..good.clone()
    });
    let group = error(ServerTls {
        limits: TlsLimits {
            groups: one("P-521"),
            ..TlsLimits::default()
        },
        ..good.clone()
    });
    let alpn = error(ServerTls {
        alpn: one(""),
        ..good
    });

    assert!(cipher.contains("ECDHE-RSA-AES128-SHA"), "{cipher}");
    assert!(group.contains("P-521"), "{group}");
    assert!(alpn.contains("ALPN"), "{alpn}");
    assert_eq!(error(ServerTls::default()), "no certificate");
}

/// Connects twice with one client; returns whether the second connection resumes the session of the first.
async fn resumes(
    first: &Arc<ServerConfig>,
    second: &Arc<ServerConfig>,
    client: ClientConfig,
) -> bool {
    let client = Arc::new(client);
    let outcome = handshake(first, &client, "a.test").await;
    assert!(!outcome.server.unwrap().resumed);
    assert!(outcome.client.is_ok());
    handshake(second, &client, "a.test")
        .await
        .server
        .unwrap()
        .resumed
}

fn resuming(stateful: bool, stateless: bool) -> ServerTls {
    ServerTls {
        stateful_resumption: stateful,
        stateless_resumption: stateless,
        ..settings(&[&certificate(&["a.test"], Key::P256)])
    }
}

#[tokio::test]
async fn by_default_sessions_are_not_resumed() {
    let settings = resuming(false, false);
    let config = build(&settings);

    assert!(!resumes(&config, &config, client()).await);
    assert!(!resumes(&config, &config, client_with(&ECDSA, &[&TLS12])).await);
    assert_eq!(connect(&settings, client(), "a.test").await.tickets, 0);
    assert_eq!(config.max_early_data_size, 0);
}

#[tokio::test]
async fn sessions_are_resumed_if_enabled() {
    for (stateful, stateless) in [(true, false), (false, true), (true, true)] {
        let config = build(&resuming(stateful, stateless));

        assert!(resumes(&config, &config, client()).await);
        assert!(resumes(&config, &config, client_with(&ECDSA, &[&TLS12])).await);
        assert_eq!(config.max_early_data_size, 0);
    }
}

#[tokio::test]
async fn sessions_survive_a_change_of_certificates_and_stay_with_their_listener() {
    for (stateful, stateless) in [(true, false), (false, true)] {
        for versions in [&[&TLS13], &[&TLS12]] {
            let before = resuming(stateful, stateless);
            let after = ServerTls {
                certificates: vec![certificate(&["a.test"], Key::P256)],
                ..before.clone()
            };
            assert_eq!(before.without_certificates(), after.without_certificates());
            let state = ResumptionState::new(&before);
            let other_state = ResumptionState::new(&before);
            let with = |tls: &ServerTls, state| tls.build(default_provider(), Some(state)).unwrap();
            let before = with(&before, &state);
            let other = with(&after, &other_state);
            let after = with(&after, &state);
            let client = || client_with(&ECDSA, versions);

            assert!(resumes(&before, &after, client()).await);
            assert!(!resumes(&before, &other, client()).await);
        }
    }
}

#[tokio::test]
async fn state_is_ignored_if_resumption_is_disabled() {
    let state = ResumptionState::new(&resuming(true, true));
    let config = resuming(false, false)
        .build(default_provider(), Some(&state))
        .unwrap();

    assert!(!resumes(&config, &config, client()).await);
    assert!(!resumes(&config, &config, client_with(&ECDSA, &[&TLS12])).await);
}

#[test]
fn debug_output_contains_no_key() {
    let certificate = certificate(&["a.test"], Key::P256);
    let secret: Vec<&str> = certificate
        .key_pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let settings = ServerTls {
        stateless_resumption: true,
        ..settings(&[&certificate])
    };
    let config = build(&settings);
    let state = ResumptionState::new(&settings);

    let shown = format!("{certificate:?} {settings:?} {config:?} {state:?}");

    assert!(shown.contains("a.test"));
    assert!(!shown.contains("PRIVATE KEY"));
    assert!(secret.iter().all(|line| !shown.contains(line)));
}

#[tokio::test]
async fn an_expired_certificate_is_served() {
    let mut expired = params(&["a.test"]);
    expired.not_before = rcgen::date_time_ymd(2001, 1, 1);
    expired.not_after = rcgen::date_time_ymd(2002, 1, 1);
    let (cert, key) = TEST_CA.sign(&expired, Key::P256);
    let expired = Arc::new(Certificate::from_pem(cert, key).unwrap());

    assert_eq!(served(&[&expired], client(), "a.test").await, 0);
}

#[tokio::test]
async fn a_client_accepts_only_signatures_of_the_configured_schemes() {
    let rsa = certificate(&["a.test"], Key::Rsa);
    let server = build(&settings(&[&rsa]));
    let client = |schemes: &[&str], max_version: TlsVersion| {
        let tls = ClientTls {
            server_name: "a.test".to_owned(),
            subject_alt_names: Vec::new(),
            roots_pem: Some(TEST_CA.pem.clone()),
            alpn: Vec::new(),
            identity: None,
            accept_any_certificate: false,
            limits: TlsLimits {
                max_version,
                signature_schemes: schemes.iter().map(|name| (*name).to_owned()).collect(),
                ..TlsLimits::default()
            },
        };
        tls.build(default_provider()).unwrap()
    };

    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        for (schemes, accepted) in [
            (&[][..], true),
            (&["rsa_pss_rsae_sha384"], true),
            (&["ecdsa_secp256r1_sha256"], false),
        ] {
            let outcome = handshake(&server, &client(schemes, version), "a.test").await;
            assert_eq!(outcome.client.is_ok(), accepted, "{version:?} {schemes:?}");
        }
    }
}
