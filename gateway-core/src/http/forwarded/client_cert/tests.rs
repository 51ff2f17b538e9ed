//! `X-Forwarded-Client-Cert` in each mode, with client certificates from real handshakes.

use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType,
};
use tokio::io::{AsyncWriteExt, duplex};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use towergate_tls::acceptor::{Choice, accept};
use towergate_tls::client::ClientTls;
use towergate_tls::{Certificate, ClientAuth, ClientAuthMode, ServerTls, default_provider};

use super::*;

const OTHER: &str = "By=spiffe://other;Hash=00";

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    fn sign(&self, subject: &[(DnType, &str)], names: Vec<SanType>) -> (String, String) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.subject_alt_names = names;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

/// The verified client certificate after a handshake, if any, and the certificate that the client presented,
/// in PEM.
async fn known(names: Vec<SanType>, trusted: bool) -> (Option<Arc<ClientCertificate>>, String) {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (cert, key) = ours.sign(&[], vec![dns("a.test"), uri("spiffe://gateway")]);
    let settings = ServerTls {
        certificates: vec![Arc::new(Certificate::from_pem(cert, key).unwrap())],
        clients: Some(ClientAuth {
            roots_pem: if trusted { &theirs.pem } else { &ours.pem }.clone(),
            mode: ClientAuthMode::Requested,
            ..ClientAuth::default()
        }),
        ..ServerTls::default()
    };
    let subject = [
        (DnType::OrganizationName, "Example, Inc."),
        (DnType::CommonName, "the \"client\""),
    ];
    let (pem, key) = theirs.sign(&subject, names);
    let client = ClientTls {
        server_name: "a.test".to_owned(),
        subject_alt_names: Vec::new(),
        roots_pem: Some(ours.pem.clone()),
        alpn: vec!["h2".to_owned()],
        identity: Some(Arc::new(Certificate::from_pem(&pem, key).unwrap())),
        accept_any_certificate: false,
        limits: towergate_tls::limits::TlsLimits::default(),
    };
    let choice = Choice {
        config: settings.build(default_provider(), None).unwrap(),
        handshake_timeout: None,
        clients: settings.client_verifier(&default_provider()).unwrap(),
    };
    let (left, right) = duplex(64 * 1024);
    let deadline = Instant::now() + Duration::from_secs(60);
    let config = client.build(default_provider()).unwrap();
    let connector = TlsConnector::from(config);
    let (accepted, connected) = tokio::join!(
        accept(right, deadline, |_| Some(choice)),
        connector.connect(client.server_name().unwrap(), left)
    );
    connected.unwrap().flush().await.unwrap();
    (accepted.unwrap().1.client, pem)
}

fn applied(
    client: Option<&ClientCertificate>,
    (xfcc, xfcc_details): (XfccMode, XfccDetails),
    sent: &[&'static str],
) -> Vec<String> {
    let settings = HeaderSettings {
        xfcc,
        xfcc_details,
        ..HeaderSettings::default()
    };
    let lines = sent.iter();
    let mut headers: HeaderMap = lines
        .map(|line| (NAME, HeaderValue::from_static(line)))
        .collect();
    apply(&mut headers, client, &settings);
    let lines = headers.get_all(NAME).iter();
    lines
        .map(|line| line.to_str().unwrap().to_owned())
        .collect()
}

const ALL: XfccDetails = XfccDetails {
    cert: true,
    chain: true,
    subject: true,
    uri: true,
    dns: true,
};

#[tokio::test]
async fn each_mode_treats_known_clients_and_others_as_it_says() {
    let (client, _) = known(Vec::new(), true).await;
    let client = client.unwrap();
    let own = format!("By=spiffe://gateway;Hash={}", client.sha256());
    let appended = format!("{OTHER},{OTHER},{own}");
    let kept = vec![OTHER.to_owned(), OTHER.to_owned()];
    for (mode, of_known, of_others) in [
        (XfccMode::Sanitize, vec![], vec![]),
        (XfccMode::ForwardOnly, kept.clone(), vec![]),
        (XfccMode::AppendForward, vec![appended], vec![]),
        (XfccMode::SanitizeSet, vec![own.clone()], vec![]),
        (XfccMode::AlwaysForwardOnly, kept.clone(), kept),
    ] {
        let how = (mode, XfccDetails::default());
        assert_eq!(applied(Some(&client), how, &[OTHER, OTHER]), of_known);
        assert_eq!(applied(None, how, &[OTHER, OTHER]), of_others, "{mode:?}");
    }
    let how = (XfccMode::AppendForward, XfccDetails::default());
    assert_eq!(applied(Some(&client), how, &[]), [own]);
}

#[tokio::test]
async fn a_client_that_nobody_trusted_vouches_for_is_not_known() {
    let (client, _) = known(Vec::new(), false).await;

    assert!(client.is_none());
}

#[tokio::test]
async fn all_parts_come_in_envoy_s_order() {
    let names = vec![uri("spiffe://a/b"), uri("spiffe://c"), dns("d.test")];
    let (client, pem) = known(names, true).await;
    let client = client.unwrap();

    let line = applied(Some(&client), (XfccMode::SanitizeSet, ALL), &[]).remove(0);

    let parts: Vec<_> = line.split(';').collect();
    let keys: Vec<_> = parts.iter().map(|part| &part[..4]).collect();
    assert_eq!(keys[..4], ["By=s", "Hash", "Cert", "Chai"]);
    assert_eq!(
        parts[4..].join(";"),
        r#"Subject="CN=the \"client\",O=Example\, Inc.";URI=spiffe://a/b;URI=spiffe://c;DNS=d.test"#
    );
    for (at, key) in [(2, "Cert"), (3, "Chain")] {
        let text = parts[at].strip_prefix(key).unwrap().strip_prefix("=\"");
        let text = text.unwrap().strip_suffix('"').unwrap();
        let decoded = percent_decode_str(text).decode_utf8().unwrap();
        assert!(!text.contains([' ', '+', '/', '=', '\n']), "{text}");
        assert_eq!(decoded.replace('\n', ""), pem.replace(['\r', '\n'], ""));
    }
}

#[tokio::test]
async fn without_names_the_uri_is_empty_and_dns_is_left_out() {
    let (client, _) = known(Vec::new(), true).await;
    let details = XfccDetails {
        uri: true,
        dns: true,
        ..XfccDetails::default()
    };
    let line = applied(client.as_deref(), (XfccMode::SanitizeSet, details), &[]);

    assert!(line[0].ends_with(";URI="), "{line:?}");
}

#[tokio::test]
async fn a_name_cannot_pose_as_another_part() {
    let names = vec![
        uri("spiffe://a;Subject=\"CN=admin\",By=b"),
        uri("urn:a\\b\u{1}"),
    ];
    let (client, _) = known(names, true).await;
    let details = XfccDetails {
        uri: true,
        ..XfccDetails::default()
    };

    let line = applied(client.as_deref(), (XfccMode::SanitizeSet, details), &[]);

    let (_, written) = line[0].split_once("URI=").unwrap();
    assert_eq!(
        written,
        r#""spiffe://a;Subject=\"CN=admin\",By=b";URI="urn:a\\b%01""#
    );
}
