//! Fixtures of this crate's tests: a CA, certificates, clients, and an in-memory handshake.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    PKCS_RSA_SHA256, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::acceptor::{AcceptError, Choice, Hello, Negotiated, accept};
use crate::{Certificate, ServerTls, default_provider};

/// Kinds of keys.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key {
    P256,
    P384,
    Ed25519,
    Rsa,
}

/// Generating an RSA key is slow, so all tests share one.
static RSA: LazyLock<String> = LazyLock::new(|| {
    KeyPair::generate_for(&PKCS_RSA_SHA256)
        .unwrap()
        .serialize_pem()
});

/// A CA that signs certificates.
pub(crate) struct TestCa {
    issuer: Issuer<'static, KeyPair>,
    /// CA certificate.
    pub(crate) pem: String,
}

impl TestCa {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // All these CAs have the same subject and serial number, like a CA that was renewed.
        params.serial_number = Some(SerialNumber::from(2024));
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Signs a certificate with a new key. Returns the certificate and the key as PEM.
    pub(crate) fn sign(&self, params: &CertificateParams, key: Key) -> (String, String) {
        let key = key_pair(key);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// Revocation lists of CAs.
impl TestCa {
    /// An intermediate CA, whose certificate this CA signs.
    pub(crate) fn below(&self, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.serial_number = Some(SerialNumber::from(2025));
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A revocation list as PEM, valid until the first day of a year.
    pub(crate) fn revoke(&self, serials: &[u64], until: i32) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2001, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2001, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// The CA of most tests.
pub(crate) static TEST_CA: LazyLock<TestCa> = LazyLock::new(|| TestCa::new("test"));

fn key_pair(key: Key) -> KeyPair {
    match key {
        Key::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
        Key::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
        Key::Ed25519 => KeyPair::generate_for(&PKCS_ED25519).unwrap(),
        Key::Rsa => KeyPair::from_pem(&RSA).unwrap(),
    }
}

/// The parameters of a certificate for `names`. A name with a colon is a URI; an IP address is an
/// `iPAddress`.
pub(crate) fn params(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.subject_alt_names = names
        .iter()
        .map(|name| match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) if name.contains(':') => SanType::URI((*name).try_into().unwrap()),
            Err(_) => SanType::DnsName((*name).try_into().unwrap()),
        })
        .collect();
    params
}

/// A certificate signed by [`TEST_CA`].
pub(crate) fn certificate(names: &[&str], key: Key) -> Arc<Certificate> {
    let (cert, key) = TEST_CA.sign(&params(names), key);
    Arc::new(Certificate::from_pem(cert, key).unwrap())
}

/// Settings with these certificates.
pub(crate) fn settings(certificates: &[&Arc<Certificate>]) -> ServerTls {
    ServerTls {
        certificates: certificates.iter().map(|c| Arc::clone(c)).collect(),
        ..ServerTls::default()
    }
}

/// A client that accepts any certificate whose key type it supports, and any signature. Tests of a server
/// therefore do not depend on the verifiers of this crate.
#[derive(Debug)]
struct Trusting(Vec<SignatureScheme>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

pub(crate) const ECDSA: [SignatureScheme; 2] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
];
pub(crate) const RSA_SCHEMES: [SignatureScheme; 2] = [
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PKCS1_SHA256,
];

/// A client that accepts any certificate.
pub(crate) fn client() -> ClientConfig {
    client_with(
        &[
            &ECDSA[..],
            &RSA_SCHEMES[..],
            &[SignatureScheme::ED25519][..],
        ]
        .concat(),
        &[&rustls::version::TLS13, &rustls::version::TLS12],
    )
}

/// A client that accepts any certificate with one of these key types, and supports these protocol versions.
pub(crate) fn client_with(
    schemes: &[SignatureScheme],
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    ClientConfig::builder_with_provider(default_provider())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(schemes.to_vec())))
        .with_no_client_auth()
}

/// A client that accepts any certificate and offers suites in the library's order: AES-256 first, as
/// clients of OpenSSL do.
pub(crate) fn client_of_long_keys(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(ECDSA.to_vec())))
        .with_no_client_auth()
}

/// The results of a handshake on both sides.
pub(crate) struct Outcome {
    pub(crate) server: Result<Negotiated, AcceptError>,
    /// The leaf certificate that the client received, or the client's error.
    pub(crate) client: Result<Vec<u8>, String>,
    /// TLS 1.3 tickets that the client received.
    pub(crate) tickets: u32,
}

/// The leaf of a certificate.
pub(crate) fn leaf(certificate: &Certificate) -> Vec<u8> {
    CertificateDer::from_pem_slice(certificate.chain_pem.as_bytes())
        .unwrap()
        .to_vec()
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A `choose` function that always returns the same configuration.
pub(crate) fn always(
    config: &Arc<ServerConfig>,
) -> impl FnOnce(&Hello<DuplexStream>) -> Option<Choice> {
    let choice = choice(config);
    move |_| Some(choice)
}

/// A [`Choice`] that requests no client certificate.
fn choice(config: &Arc<ServerConfig>) -> Choice {
    Choice {
        config: config.clone(),
        handshake_timeout: Some(Duration::from_secs(60)),
        clients: None,
    }
}

/// Performs a handshake between a client and a server. The client then reads a byte, so that it also receives
/// the tickets.
pub(crate) async fn handshake(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    name: &str,
) -> Outcome {
    handshake_by(choice(server), client, name).await
}

/// Performs a handshake in which the server uses `choice`.
pub(crate) async fn handshake_by(
    choice: Choice,
    client: &Arc<ClientConfig>,
    name: &str,
) -> Outcome {
    let (ours, theirs) = duplex(64 * 1024);
    let server = async {
        let (mut stream, negotiated) = accept(theirs, soon(), |_| Some(choice)).await?;
        // If the client closes early, its error is in the client's result.
        let _ = stream.write_all(b"!").await;
        let _ = stream.flush().await;
        Ok(negotiated)
    };
    let client = async {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut stream = TlsConnector::from(client.clone())
            .connect(name, ours)
            .await
            .map_err(|error| error.to_string())?;
        stream.read_u8().await.map_err(|error| error.to_string())?;
        let (_, connection) = stream.get_ref();
        let leaf = connection.peer_certificates().unwrap()[0].to_vec();
        Ok((leaf, connection.tls13_tickets_received()))
    };
    let (server, client): (_, Result<(Vec<u8>, u32), String>) = tokio::join!(server, client);
    let tickets = client.as_ref().map_or(0, |(_, tickets)| *tickets);
    Outcome {
        server,
        client: client.map(|(leaf, _)| leaf),
        tickets,
    }
}

/// Writes `bytes` in pieces; returns the server's end of the stream.
pub(crate) fn sender(pieces: Vec<Vec<u8>>) -> (DuplexStream, impl Future<Output = DuplexStream>) {
    let (mut ours, theirs) = duplex(64);
    let send = async move {
        for piece in pieces {
            if ours.write_all(&piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        ours
    };
    (theirs, send)
}

/// Adds the client certificate `identity` to `client`, if there is one.
pub(crate) fn showing(
    mut client: ClientConfig,
    identity: Option<&Certificate>,
) -> Arc<ClientConfig> {
    if let Some(identity) = identity {
        let key = identity.load(&default_provider()).unwrap();
        client.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(key));
    }
    Arc::new(client)
}

/// Two values: whether a client is accepted, and whether it is identified.
pub(crate) type Accepted = (bool, bool);

/// Returns whether the client is accepted, and whether it is identified.
pub(crate) fn seen(outcome: &Outcome) -> Accepted {
    match (&outcome.server, &outcome.client) {
        (Ok(negotiated), Ok(_)) => (true, negotiated.client.is_some()),
        (Err(AcceptError::Client(_)), Err(_)) => (false, false),
        other => panic!("both sides differ: {other:?}"),
    }
}

/// Connects `client` to a listener with `settings`.
pub(crate) async fn accepted(settings: &ServerTls, client: &Arc<ClientConfig>) -> Accepted {
    let choice = Choice {
        clients: settings.client_verifier(&default_provider()).unwrap(),
        ..choice(&settings.build(default_provider(), None).unwrap())
    };
    seen(&handshake_by(choice, client, "a.test").await)
}
