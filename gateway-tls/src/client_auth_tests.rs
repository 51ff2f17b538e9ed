//! Handshakes of clients with certificates: acceptance, identification, resumption.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{DistinguishedName, DnType, ExtendedKeyUsagePurpose, date_time_ymd};
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};

use crate::acceptor::{AcceptError, Choice};
use crate::client::ClientTls;
use crate::server::ResumptionState;
use crate::testing::{
    ECDSA, Key, Outcome, TEST_CA, TestCa, certificate, client, client_with, handshake_by, params,
    seen, settings, showing,
};
use crate::{Certificate, ClientAuth, ClientAuthMode, ServerTls, TlsError, default_provider};

const MODES: [ClientAuthMode; 4] = [
    ClientAuthMode::Required,
    ClientAuthMode::Optional,
    ClientAuthMode::Requested,
    ClientAuthMode::RequiredUnverified,
];

/// Settings of a listener that trusts `roots`.
fn asking(roots: &str, mode: ClientAuthMode) -> ServerTls {
    ServerTls {
        clients: Some(ClientAuth {
            roots_pem: roots.to_owned(),
            mode,
            ..ClientAuth::default()
        }),
        ..settings(&[&certificate(
            &["a.test", "spiffe://a.test/server"],
            Key::P256,
        )])
    }
}

fn choice(settings: &ServerTls, resumption: Option<&ResumptionState>) -> Choice {
    Choice {
        config: settings.build(default_provider(), resumption).unwrap(),
        handshake_timeout: Some(Duration::from_secs(60)),
        clients: settings.client_verifier(&default_provider()).unwrap(),
    }
}

/// A client certificate without alternative names.
fn identity(authority: &TestCa, key: Key, years: (i32, i32)) -> Arc<Certificate> {
    let mut params = params(&[]);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "client");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    let (cert, key) = authority.sign(&params, key);
    Arc::new(Certificate::from_pem(cert, key).unwrap())
}

fn good() -> Arc<Certificate> {
    identity(&TEST_CA, Key::P256, (2020, 2090))
}

async fn connect(settings: &ServerTls, client: &Arc<ClientConfig>) -> Outcome {
    handshake_by(choice(settings, None), client, "a.test").await
}

#[tokio::test]
async fn each_mode_accepts_and_identifies_clients_as_documented() {
    let stranger = identity(&TestCa::new("stranger"), Key::P256, (2020, 2090));
    // The issuer has the same subject and serial number as the trusted CA, but another key.
    let forged = identity(&TestCa::new("test"), Key::P256, (2020, 2090));
    let expired = identity(&TEST_CA, Key::P256, (2001, 2002));
    let server = certificate(&["a.test"], Key::P256);
    let mut for_servers = params(&["a.test"]);
    for_servers.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let (cert, key) = TEST_CA.sign(&for_servers, Key::P256);
    let for_servers = Certificate::from_pem(cert, key).unwrap();
    let cases = [
        ("good", Some(&*good()), [(true, true); 4]),
        (
            "none",
            None,
            [(false, false), (true, false), (true, false), (false, false)],
        ),
        (
            "stranger",
            Some(&*stranger),
            [(false, false), (false, false), (true, false), (true, false)],
        ),
        (
            "forged",
            Some(&*forged),
            [(false, false), (false, false), (true, false), (true, false)],
        ),
        (
            "expired",
            Some(&*expired),
            [(false, false), (false, false), (true, false), (true, false)],
        ),
        (
            "for servers",
            Some(&for_servers),
            [(false, false), (false, false), (true, false), (true, false)],
        ),
        ("for any use", Some(&*server), [(true, true); 4]),
    ];
    for (name, identity, expected) in cases {
        for (mode, expected) in MODES.into_iter().zip(expected) {
            for versions in [&[&TLS13], &[&TLS12]] {
                let client = showing(client_with(&ECDSA, versions), identity);

                let outcome = connect(&asking(&TEST_CA.pem, mode), &client).await;

                assert_eq!(seen(&outcome), expected, "{name} {mode:?} {versions:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_certificate_of_version_1_is_accepted_directly_below_a_ca() {
    let pem = include_str!("../testdata/version1.pem");
    let key = include_str!("../testdata/version1.key");
    let ca = include_str!("../testdata/version1-ca.pem");
    let identity = Certificate::from_pem(pem, key).unwrap();
    // This CA has the same name as the trusted CA, but another key.
    let forged = TestCa::new("Version 1 Test CA").pem;
    for (roots, known) in [(ca, true), (&TEST_CA.pem, false), (&forged, false)] {
        for (mode, accepted) in MODES.into_iter().zip([known, known, true, true]) {
            for versions in [&[&TLS13], &[&TLS12]] {
                let client = showing(client_with(&ECDSA, versions), Some(&identity));

                let outcome = connect(&asking(roots, mode), &client).await;

                assert_eq!(seen(&outcome), (accepted, known), "{mode:?} {versions:?}");
                if let Ok(Some(client)) = outcome.server.map(|server| server.client) {
                    assert_eq!(client.subject(), "CN=version1.test");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_signing_ca_is_found_among_cas_with_one_subject() {
    let authorities = [(); 3].map(|()| TestCa::new("test"));
    let roots: String = authorities.iter().map(|one| one.pem.as_str()).collect();
    let outsider = identity(&TestCa::new("test"), Key::P256, (2020, 2090));

    for authority in &authorities {
        for key in [Key::P256, Key::P384, Key::Ed25519, Key::Rsa] {
            let identity = identity(authority, key, (2020, 2090));
            let client = showing(client(), Some(&identity));
            let outcome = connect(&asking(&roots, ClientAuthMode::Required), &client).await;
            assert_eq!(seen(&outcome), (true, true), "{key:?}");
        }
    }
    let client = showing(client(), Some(&outsider));
    let outcome = connect(&asking(&roots, ClientAuthMode::Required), &client).await;
    assert_eq!(seen(&outcome), (false, false));
}

#[tokio::test]
async fn a_client_is_identified_by_its_own_certificate() {
    let identity = good();
    let client = showing(client(), Some(&identity));

    let outcome = connect(&asking(&TEST_CA.pem, ClientAuthMode::Required), &client).await;

    let known = outcome.server.unwrap().client.unwrap();
    assert_eq!(known.subject(), "CN=client");
    assert_eq!(
        known.chain_pem().replace('\n', ""),
        identity.chain_pem.replace(['\r', '\n'], "")
    );
    assert_eq!(known.server_uris(), ["spiffe://a.test/server"]);
    assert!(known.uris().is_empty() && known.dns_names().is_empty());
}

#[tokio::test]
async fn without_the_verifier_clients_are_rejected_but_not_identified() {
    let server = asking(&TEST_CA.pem, ClientAuthMode::Required);
    let stranger = identity(&TestCa::new("stranger"), Key::P256, (2020, 2090));
    let unverified = || Choice {
        clients: None,
        ..choice(&server, None)
    };
    for (identity, expected) in [(good(), (true, false)), (stranger, (false, false))] {
        let client = showing(client(), Some(&identity));
        let outcome = handshake_by(unverified(), &client, "a.test").await;
        assert_eq!(seen(&outcome), expected);
    }
}

#[tokio::test]
async fn a_resumed_session_identifies_its_client_and_stays_with_its_listener() {
    for (stateful, stateless) in [(true, false), (false, true)] {
        for versions in [&[&TLS13], &[&TLS12]] {
            let settings = ServerTls {
                stateful_resumption: stateful,
                stateless_resumption: stateless,
                ..asking(&TEST_CA.pem, ClientAuthMode::Required)
            };
            let state = ResumptionState::new(&settings);
            let client = showing(client_with(&ECDSA, versions), Some(&good()));
            let again = || handshake_by(choice(&settings, Some(&state)), &client, "a.test");

            let first = again().await.server.unwrap();
            let second = again().await.server.unwrap();

            assert!(!first.resumed && second.resumed, "{versions:?}");
            assert!(first.client.is_some());
            assert_eq!(first.client, second.client);

            // Settings with other CA certificates have their own resumption state.
            let changed = ServerTls {
                clients: Some(ClientAuth {
                    roots_pem: TestCa::new("test").pem,
                    mode: ClientAuthMode::Required,
                    ..ClientAuth::default()
                }),
                ..settings.clone()
            };
            assert_ne!(
                settings.without_certificates(),
                changed.without_certificates()
            );
            let fresh = ResumptionState::new(&changed);
            let outcome = handshake_by(choice(&changed, Some(&fresh)), &client, "a.test").await;
            assert_eq!(seen(&outcome), (false, false));

            // Even if the resumption state is shared, a certificate of an untrusted CA is rejected.
            let outcome = handshake_by(choice(&changed, Some(&state)), &client, "a.test").await;
            assert!(matches!(outcome.server, Err(AcceptError::Client(_))));
        }
    }
}

#[tokio::test]
async fn a_session_without_certificate_is_not_resumed_once_one_is_required() {
    let open = ServerTls {
        clients: None,
        stateless_resumption: true,
        ..asking(&TEST_CA.pem, ClientAuthMode::Required)
    };
    let asking = ServerTls {
        stateless_resumption: true,
        ..asking(&TEST_CA.pem, ClientAuthMode::Required)
    };
    let state = ResumptionState::new(&open);
    let client = showing(client(), None);

    let before = handshake_by(choice(&open, Some(&state)), &client, "a.test").await;
    let after = handshake_by(choice(&asking, Some(&state)), &client, "a.test").await;

    assert!(before.tickets > 0 && before.client.is_ok());
    assert!(matches!(after.server, Err(AcceptError::Client(_))));
}

#[tokio::test]
async fn a_backend_that_requests_a_certificate_receives_it() {
    let tls = |identity: Option<Arc<Certificate>>| ClientTls {
        server_name: "a.test".to_owned(),
        subject_alt_names: Vec::new(),
        roots_pem: Some(TEST_CA.pem.clone()),
        alpn: Vec::new(),
        identity,
        accept_any_certificate: false,
        limits: crate::limits::TlsLimits::default(),
    };
    let own = good();
    let server = asking(&TEST_CA.pem, ClientAuthMode::Required);

    let shown = tls(Some(own.clone())).build(default_provider()).unwrap();
    let known = connect(&server, &shown).await.server.unwrap().client;
    let nothing = tls(None).build(default_provider()).unwrap();
    let refused = connect(&server, &nothing).await;

    assert_eq!(
        known.unwrap().chain_pem().replace('\n', ""),
        own.chain_pem.replace(['\r', '\n'], "")
    );
    assert_eq!(seen(&refused), (false, false));
}

#[test]
fn malformed_ca_certificates_are_an_error() {
    for roots in [
        "",
        "hello",
        "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n",
    ] {
        let error = asking(roots, ClientAuthMode::Required)
            .build(default_provider(), None)
            .unwrap_err();

        assert!(matches!(error, TlsError::Roots(_)), "{roots}");
    }
}
