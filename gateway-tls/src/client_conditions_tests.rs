//! Handshakes of clients whose certificates are revoked, expired or excluded by a condition.

use std::sync::Arc;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SerialNumber, date_time_ymd};
use rustls::version::{TLS12, TLS13};

use crate::client_conditions::{AltNameCondition, AltNameKind, AltNameMatch};
use crate::testing::{
    Accepted, ECDSA, Key, TEST_CA, TestCa, accepted, certificate, client_with, params, settings,
    showing,
};
use crate::{
    Certificate, ClientAuth, ClientAuthMode, ClientConditions, Revocation, ServerTls, TlsError,
    default_provider,
};

/// A client certificate with a serial number and the years in which it is valid.
fn numbered(authority: &TestCa, serial: u64, years: (i32, i32), below: &[&TestCa]) -> Certificate {
    let (chain, key) = authority.sign(&client(serial, years), Key::P256);
    let intermediates: String = below.iter().map(|ca| ca.pem.as_str()).collect();
    Certificate::from_pem(chain + &intermediates, key).unwrap()
}

fn client(serial: u64, years: (i32, i32)) -> CertificateParams {
    let mut params = params(&["client.test"]);
    params.serial_number = Some(SerialNumber::from(serial));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    params
}

fn server(clients: ClientAuth) -> ServerTls {
    ServerTls {
        clients: Some(clients),
        ..settings(&[&certificate(&["a.test"], Key::P256)])
    }
}

fn trusting(authority: &TestCa) -> ClientAuth {
    ClientAuth {
        roots_pem: authority.pem.clone(),
        ..ClientAuth::default()
    }
}

/// The result of a handshake, which must be the same with TLS 1.2 and TLS 1.3.
async fn outcome(clients: &ClientAuth, identity: Option<&Certificate>) -> Accepted {
    let server = server(clients.clone());
    let mut outcomes = Vec::new();
    for versions in [&[&TLS13], &[&TLS12]] {
        let client = showing(client_with(&ECDSA, versions), identity);
        outcomes.push(accepted(&server, &Arc::clone(&client)).await);
    }
    assert_eq!(outcomes[0], outcomes[1]);
    outcomes[0]
}

const IDENTIFIED: Accepted = (true, true);
const ANONYMOUS: Accepted = (true, false);
const REJECTED: Accepted = (false, false);
const NOW: (i32, i32) = (2020, 2090);
const PAST: (i32, i32) = (2002, 2003);

#[tokio::test]
async fn a_revoked_certificate_or_one_of_unknown_status_is_rejected() {
    let root = TestCa::new("root");
    let middle = root.below("middle");
    let [good, bad] = [7, 8].map(|serial| numbered(&root, serial, NOW, &[]));
    let deep = numbered(&middle, 9, NOW, &[&middle]);
    let revoked_deep = numbered(&middle, 8, NOW, &[&middle]);
    let of_root = root.revoke(&[8], 2090);
    let of_middle = middle.revoke(&[8], 2090);
    let without_middle = root.revoke(&[8, 2025], 2090);
    let both = format!("{of_root}{of_middle}");
    let both_without_middle = format!("{without_middle}{of_middle}");
    for (lists, only_leaf, identity, expected) in [
        (&of_root, false, &good, IDENTIFIED),
        (&of_root, false, &bad, REJECTED),
        (&of_root, true, &bad, REJECTED),
        // There is no revocation list of the CA that issued the certificate.
        (&of_root, false, &deep, REJECTED),
        (&of_root, true, &deep, REJECTED),
        (&of_middle, true, &deep, IDENTIFIED),
        (&of_middle, false, &deep, REJECTED),
        (&both, false, &deep, IDENTIFIED),
        (&both, false, &revoked_deep, REJECTED),
        // The root has revoked the certificate of the issuing CA.
        (&both_without_middle, false, &deep, REJECTED),
        (&both_without_middle, true, &deep, IDENTIFIED),
        // A revocation list that has expired, and a revocation list of another CA with the same name.
        (&root.revoke(&[], 2010), false, &good, REJECTED),
        (
            &TestCa::new("root").revoke(&[], 2090),
            false,
            &good,
            REJECTED,
        ),
    ] {
        let clients = ClientAuth {
            revocation: Some(Revocation {
                lists_pem: lists.clone(),
                only_leaf,
            }),
            ..trusting(&root)
        };

        assert_eq!(outcome(&clients, Some(identity)).await, expected, "{lists}");
    }
}

#[tokio::test]
async fn a_certificate_of_version_1_is_rejected_beside_revocation_lists() {
    let pem = include_str!("../testdata/version1.pem");
    let key = include_str!("../testdata/version1.key");
    let identity = Certificate::from_pem(pem, key).unwrap();
    let mut clients = ClientAuth {
        roots_pem: include_str!("../testdata/version1-ca.pem").to_owned(),
        ..ClientAuth::default()
    };
    assert_eq!(outcome(&clients, Some(&identity)).await, IDENTIFIED);
    clients.revocation = Some(Revocation {
        lists_pem: TEST_CA.revoke(&[], 2090),
        only_leaf: true,
    });

    assert_eq!(outcome(&clients, Some(&identity)).await, REJECTED);
}

#[tokio::test]
async fn an_expired_certificate_is_accepted_only_where_that_is_allowed() {
    let stranger = TestCa::new("stranger");
    let middle = TEST_CA.below("middle");
    let future = numbered(&TEST_CA, 1, (2080, 2090), &[]);
    for (identity, strict, lenient) in [
        (numbered(&TEST_CA, 1, NOW, &[]), IDENTIFIED, IDENTIFIED),
        (numbered(&TEST_CA, 1, PAST, &[]), REJECTED, IDENTIFIED),
        (numbered(&middle, 1, PAST, &[&middle]), REJECTED, IDENTIFIED),
        (numbered(&stranger, 1, PAST, &[]), REJECTED, REJECTED),
        (future, REJECTED, REJECTED),
    ] {
        for (allow_expired, expected) in [(false, strict), (true, lenient)] {
            let clients = ClientAuth {
                allow_expired,
                ..trusting(&TEST_CA)
            };
            assert_eq!(outcome(&clients, Some(&identity)).await, expected);
        }
    }
}

#[tokio::test]
async fn an_allowed_expired_certificate_is_still_checked_against_valid_revocation_lists() {
    for (serial, until, expected) in [
        (7, 2090, IDENTIFIED),
        (8, 2090, REJECTED),
        // The revocation list was valid when the certificate expired, but the list has expired too.
        (7, 2010, REJECTED),
    ] {
        let clients = ClientAuth {
            allow_expired: true,
            revocation: Some(Revocation {
                lists_pem: TEST_CA.revoke(&[8], until),
                only_leaf: false,
            }),
            ..trusting(&TEST_CA)
        };
        let identity = numbered(&TEST_CA, serial, PAST, &[]);

        assert_eq!(outcome(&clients, Some(&identity)).await, expected);
    }
}

#[tokio::test]
async fn a_certificate_that_fails_a_condition_is_rejected_in_every_mode() {
    let identity = numbered(&TEST_CA, 1, NOW, &[]);
    for (mode, roots_pem, matching) in [
        (ClientAuthMode::Required, &TEST_CA.pem, IDENTIFIED),
        (ClientAuthMode::Optional, &TEST_CA.pem, IDENTIFIED),
        (ClientAuthMode::Requested, &TEST_CA.pem, IDENTIFIED),
        (ClientAuthMode::Requested, &String::new(), ANONYMOUS),
        (ClientAuthMode::RequiredUnverified, &TEST_CA.pem, IDENTIFIED),
        (
            ClientAuthMode::RequiredUnverified,
            &String::new(),
            ANONYMOUS,
        ),
    ] {
        for (name, expected) in [("client.test", matching), ("other.test", REJECTED)] {
            let condition = AltNameCondition {
                kind: AltNameKind::Dns,
                matching: AltNameMatch::Exact(name.to_owned()),
            };
            let clients = ClientAuth {
                roots_pem: roots_pem.clone(),
                mode,
                conditions: ClientConditions {
                    alt_names: vec![condition],
                    ..ClientConditions::default()
                },
                ..ClientAuth::default()
            };
            let found = outcome(&clients, Some(&identity)).await;
            assert_eq!(found, expected, "{mode:?} {name}");
        }
    }
}

#[tokio::test]
async fn without_a_ca_a_certificate_may_still_be_required() {
    let identity = numbered(&TestCa::new("stranger"), 1, NOW, &[]);
    for (mode, absent) in [
        (ClientAuthMode::Requested, ANONYMOUS),
        (ClientAuthMode::RequiredUnverified, REJECTED),
    ] {
        let clients = ClientAuth {
            mode,
            ..ClientAuth::default()
        };
        assert_eq!(outcome(&clients, None).await, absent);
        assert_eq!(outcome(&clients, Some(&identity)).await, ANONYMOUS);
    }
}

#[test]
fn settings_that_cannot_be_enforced_are_an_error() {
    let broken = ClientAuth {
        revocation: Some(Revocation {
            lists_pem: String::new(),
            only_leaf: false,
        }),
        ..trusting(&TEST_CA)
    };

    let error = broken.build(&default_provider()).unwrap_err();

    assert!(matches!(error, TlsError::Revocation(_)));
    assert!(broken.check_by(None).is_err());
    assert!(trusting(&TEST_CA).check_by(None).is_ok());
}
