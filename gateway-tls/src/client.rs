//! TLS to backends (BackendTLSPolicy): trusted CA certificates, expected names, and the client
//! certificate.
//!
//! rustls-webpki verifies chains and DNS names. It does not read URIs, so this module compares them byte for
//! byte after the chain has been verified.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::{CertificateDer, DnsName, ServerName};
use serde::{Deserialize, Serialize};

pub use rustls::ClientConfig;

use crate::error::{TlsError, check_alpn};
use crate::limits::TlsLimits;
use crate::server_verifier::{AltNames, AnyCertificate, ChainOrTrustedLeaf, HandshakeVerifier};
use crate::trusted_leaf::TrustedLeaves;
use crate::{Certificate, pem, signature_schemes};

/// TLS settings of connections to a backend (Gateway API `BackendTLSPolicy`).
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct ClientTls {
    /// Server name for SNI, and the expected name of the certificate if `subject_alt_names` is empty. An IP
    /// address is not sent as SNI.
    pub server_name: String,
    /// Expected names, at least one of which the certificate must contain. Empty: `server_name` is expected.
    pub subject_alt_names: Vec<SubjectAltName>,
    /// CA certificates as PEM; `None`: those of the system.
    pub roots_pem: Option<String>,
    /// ALPN protocols, in order of preference.
    pub alpn: Vec<String>,
    /// Client certificate for backends that request one. `None`: no certificate is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Arc<Certificate>>,
    /// Whether any certificate is accepted. If so, the connection is encrypted, but the identity of the
    /// backend is not verified.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept_any_certificate: bool,
    /// Versions, cipher suites, key-exchange groups and signature schemes.
    #[serde(default, skip_serializing_if = "TlsLimits::is_default")]
    pub limits: TlsLimits,
}

/// A name in the SAN extension of a certificate.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SubjectAltName {
    /// A DNS name.
    Hostname(String),
    /// A URI, compared byte for byte.
    Uri(String),
}

impl ClientTls {
    /// Builds the rustls configuration, for connections to [`ClientTls::server_name`].
    ///
    /// # Errors
    /// [`TlsError`] names the unusable setting.
    pub fn build(&self, provider: Arc<CryptoProvider>) -> Result<Arc<ClientConfig>, TlsError> {
        self.server_name()?;
        let schemes = signature_schemes::parse(&self.limits.signature_schemes)?;
        let verifier = signature_schemes::restrict_verifier(self.verifier(&provider)?, &schemes);
        let builder = ClientConfig::builder_with_provider(self.limits.restrict(provider.clone())?)
            .with_protocol_versions(self.limits.versions()?)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            // The certificate is sent regardless of the CAs that the backend lists, because only one client
            // certificate is configured.
            Some(identity) => {
                let identity = signature_schemes::restrict(identity.load(&provider)?, &schemes);
                let identity = SingleCertAndKey::from(identity);
                builder.with_client_cert_resolver(Arc::new(identity))
            }
        };
        config.alpn_protocols = check_alpn(&self.alpn)?;
        Ok(Arc::new(config))
    }

    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
        let algorithms = provider.signature_verification_algorithms;
        if self.accept_any_certificate {
            let check = AnyCertificate;
            return Ok(Arc::new(HandshakeVerifier { algorithms, check }));
        }
        let roots = match &self.roots_pem {
            Some(pem) => Arc::new(read_roots(pem)?),
            None => system_roots()?,
        };
        let trusted = self.roots_pem.as_deref().map(TrustedLeaves::new);
        let trusted = trusted.unwrap_or_default();
        if !self.subject_alt_names.is_empty() {
            let check = self.alt_names(roots, algorithms, trusted)?;
            return Ok(Arc::new(HandshakeVerifier { algorithms, check }));
        }
        let chains = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
        let chains = chains.map_err(|error| TlsError::Roots(error.to_string()))?;
        if trusted.is_empty() {
            return Ok(chains);
        }
        let check = ChainOrTrustedLeaf { chains, trusted };
        Ok(Arc::new(HandshakeVerifier { algorithms, check }))
    }

    fn alt_names(
        &self,
        roots: Arc<RootCertStore>,
        algorithms: WebPkiSupportedAlgorithms,
        trusted: TrustedLeaves,
    ) -> Result<AltNames, TlsError> {
        let mut names = AltNames {
            roots,
            trusted,
            algorithms,
            hostnames: Vec::new(),
            uris: Vec::new(),
        };
        for name in &self.subject_alt_names {
            match name {
                SubjectAltName::Hostname(name) => names.hostnames.push(dns_name(name)?),
                SubjectAltName::Uri(uri) => names.uris.push(uri.clone()),
            }
        }
        Ok(names)
    }

    /// Parses the field `server_name`, the name of the backend to connect to.
    ///
    /// # Errors
    /// [`TlsError::ServerName`] if it is neither a DNS name nor an IP address.
    pub fn server_name(&self) -> Result<ServerName<'static>, TlsError> {
        match self.server_name.parse::<IpAddr>() {
            Ok(address) => Ok(ServerName::IpAddress(address.into())),
            Err(_) => dns_name(&self.server_name),
        }
    }
}

fn dns_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    DnsName::try_from(name.to_owned())
        .map(ServerName::DnsName)
        .map_err(|_| TlsError::ServerName(name.to_owned()))
}

/// Reads CA certificates from PEM.
///
/// # Errors
/// [`TlsError::Roots`] if `pem` contains no certificate, or if a certificate is malformed.
pub fn read_roots(pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in pem::sections::<CertificateDer<'_>>(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| TlsError::Roots(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| TlsError::Roots(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(TlsError::Roots("there is no certificate".to_owned()));
    }
    Ok(roots)
}

/// The CA certificates of the system, which are read once. Malformed certificates are omitted.
fn system_roots() -> Result<Arc<RootCertStore>, TlsError> {
    static ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    if ROOTS.is_empty() {
        return Err(TlsError::Roots("the system has none".to_owned()));
    }
    Ok(ROOTS.clone())
}

#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
mod tests {
    use rcgen::date_time_ymd;

    use super::*;
    use crate::default_provider;
    use crate::limits::TlsVersion;
    use crate::testing::{Key, TEST_CA, TestCa, certificate, handshake, params, settings};

    fn expecting(names: &[SubjectAltName]) -> ClientTls {
        ClientTls {
            server_name: "backend.test".to_owned(),
            subject_alt_names: names.to_vec(),
            roots_pem: Some(TEST_CA.pem.clone()),
            alpn: vec!["h2".to_owned()],
            identity: None,
            accept_any_certificate: false,
            limits: TlsLimits::default(),
        }
    }

    fn hostname(name: &str) -> SubjectAltName {
        SubjectAltName::Hostname(name.to_owned())
    }

    fn uri(uri: &str) -> SubjectAltName {
        SubjectAltName::Uri(uri.to_owned())
    }

    /// Returns `Ok` if a client with these settings accepts the backend's certificate, else the client's
    /// error.
    async fn connect(tls: &ClientTls, backend: &Arc<Certificate>) -> Result<(), String> {
        let server = settings(&[backend])
            .build(default_provider(), None)
            .unwrap();
        let client = tls.build(default_provider()).unwrap();
        let outcome = handshake(&server, &client, &tls.server_name).await;
        if let Ok(negotiated) = &outcome.server {
            assert_eq!(negotiated.server_name, Some(tls.server_name.clone()));
            assert_eq!(negotiated.alpn.as_deref(), Some(&b"h2"[..]));
        }
        outcome.client.map(drop)
    }

    #[tokio::test]
    async fn without_alternative_names_the_server_name_is_expected() {
        let exact = expecting(&[]);
        let below = ClientTls {
            server_name: "a.backend.test".to_owned(),
            ..exact.clone()
        };
        let backend = certificate(&["backend.test"], Key::Rsa);
        let wild = certificate(&["*.backend.test"], Key::P256);

        assert_eq!(connect(&exact, &backend).await, Ok(()));
        assert_eq!(connect(&below, &wild).await, Ok(()));
        for (tls, backend) in [(&exact, &wild), (&below, &backend)] {
            let error = connect(tls, backend).await.unwrap_err();
            assert!(error.contains("not valid for name"), "{error}");
        }
    }

    #[tokio::test]
    async fn one_alternative_name_suffices_and_replaces_the_server_name() {
        let backend = certificate(&["a.test", "spiffe://b.test/c"], Key::P256);
        let server_name_only = certificate(&["backend.test"], Key::P256);
        let cases = [
            (vec![hostname("a.test")], true),
            (vec![hostname("x.test"), hostname("a.test")], true),
            (vec![uri("spiffe://b.test/c")], true),
            (vec![hostname("x.test"), uri("spiffe://b.test/c")], true),
            (vec![hostname("x.test")], false),
            (vec![uri("spiffe://b.test/")], false),
            (vec![uri("spiffe://b.test/C")], false),
            (vec![uri("a.test")], false),
            (vec![hostname("b.test")], false),
        ];

        for (names, is_good) in cases {
            let result = connect(&expecting(&names), &backend).await;
            assert_eq!(result.is_ok(), is_good, "{names:?}: {result:?}");
            assert!(
                connect(&expecting(&names), &server_name_only)
                    .await
                    .is_err()
            );
        }
    }

    #[tokio::test]
    async fn the_chain_is_verified_whatever_names_are_expected() {
        let names = ["backend.test", "spiffe://b.test/c"];
        let stranger = TestCa::new("stranger");
        let (cert, key) = stranger.sign(&params(&names), Key::P256);
        let untrusted = Arc::new(Certificate::from_pem(cert, key).unwrap());
        let mut expired = params(&names);
        expired.not_before = date_time_ymd(2001, 1, 1);
        expired.not_after = date_time_ymd(2002, 1, 1);
        let (cert, key) = TEST_CA.sign(&expired, Key::P256);
        let expired = Arc::new(Certificate::from_pem(cert, key).unwrap());

        for expected in [
            vec![],
            vec![hostname("backend.test")],
            vec![uri("spiffe://b.test/c")],
        ] {
            let tls = expecting(&expected);

            let error = connect(&tls, &untrusted).await.unwrap_err();
            assert!(error.contains("UnknownIssuer"), "{error}");
            let error = connect(&tls, &expired).await.unwrap_err();
            assert!(error.contains("expired"), "{error}");
            let good = certificate(&names, Key::P256);
            assert_eq!(connect(&tls, &good).await, Ok(()));
        }
    }

    /// A certificate and its key. The certificate is self-signed with `CA:TRUE`, like the certificates that
    /// `openssl req -x509` issues.
    fn self_signed(not_after: i32) -> (String, String) {
        let mut params = params(&["backend.test"]);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "backend");
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(not_after, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[tokio::test]
    async fn a_self_signed_certificate_is_accepted_as_its_own_ca() {
        for expected in [vec![], vec![hostname("backend.test")]] {
            let trusting = |pem: &str| ClientTls {
                roots_pem: Some(pem.to_owned()),
                ..expecting(&expected)
            };
            let (pem, key) = self_signed(2100);
            let backend = Arc::new(Certificate::from_pem(pem.clone(), key).unwrap());

            assert_eq!(connect(&trusting(&pem), &backend).await, Ok(()));
            let other = trusting(&self_signed(2100).0);
            assert!(connect(&other, &backend).await.is_err());
            let mut misnamed = trusting(&pem);
            misnamed.server_name = "other.test".to_owned();
            misnamed.subject_alt_names.clear();
            let error = connect(&misnamed, &backend).await.unwrap_err();
            assert!(error.contains("not valid for name"), "{error}");

            let (pem, key) = self_signed(2002);
            let expired = Arc::new(Certificate::from_pem(pem.clone(), key).unwrap());
            let error = connect(&trusting(&pem), &expired).await.unwrap_err();
            assert!(error.to_lowercase().contains("expired"), "{error}");
        }
    }

    #[tokio::test]
    async fn any_certificate_is_accepted_only_if_the_settings_say_so() {
        let other = certificate(&["other.test"], Key::P256);
        let any = ClientTls {
            accept_any_certificate: true,
            roots_pem: None,
            ..expecting(&[])
        };

        assert_eq!(connect(&any, &other).await, Ok(()));
        assert!(connect(&expecting(&[]), &other).await.is_err());
    }

    #[tokio::test]
    async fn only_versions_suites_and_groups_within_the_limits_are_negotiated() {
        let backend = certificate(&["backend.test"], Key::P256);
        let within = |min_version, max_version, ciphers: &[&str], groups: &[&str]| ClientTls {
            limits: TlsLimits {
                min_version,
                max_version,
                ciphers: ciphers.iter().map(|name| (*name).to_owned()).collect(),
                groups: groups.iter().map(|name| (*name).to_owned()).collect(),
                ..TlsLimits::default()
            },
            ..expecting(&[])
        };
        let (old, new) = (TlsVersion::Tls12, TlsVersion::Tls13);
        let suite = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
        let server = |version| {
            let mut server = settings(&[&backend]);
            (server.limits.min_version, server.limits.max_version) = (version, version);
            server.build(default_provider(), None).unwrap()
        };
        for (tls, version, is_good) in [
            (within(new, new, &[], &[]), old, false),
            (within(new, new, &[], &[]), new, true),
            (within(old, old, &[], &[]), new, false),
            (within(old, old, &[suite], &["P-384"]), old, true),
            (within(old, new, &[], &["P-256"]), new, true),
        ] {
            let client = tls.build(default_provider()).unwrap();
            let outcome = handshake(&server(version), &client, "backend.test").await;

            assert_eq!(outcome.client.is_ok(), is_good, "{tls:?} {version:?}");
            if let (Ok(negotiated), [wanted]) = (&outcome.server, tls.limits.ciphers.as_slice()) {
                assert_eq!(&negotiated.cipher, wanted);
            }
        }
        let empty = within(new, old, &[], &[]).build(default_provider());
        assert!(matches!(empty, Err(TlsError::Versions)));
    }

    #[test]
    fn unusable_settings_are_named() {
        let error = |tls: ClientTls| tls.build(default_provider()).unwrap_err();
        let good = expecting(&[]);

        let address = error(ClientTls {
            server_name: "192.0.2.1:80".to_owned(),
            ..good.clone()
        });
        let wildcard = error(expecting(&[hostname("*.a.test")]));
        let no_roots = error(ClientTls {
            roots_pem: Some("hello".to_owned()),
            ..good.clone()
        });
        let alpn = error(ClientTls {
            alpn: vec![String::new()],
            ..good
        });

        assert!(matches!(address, TlsError::ServerName(name) if name == "192.0.2.1:80"));
        assert!(matches!(wildcard, TlsError::ServerName(name) if name == "*.a.test"));
        assert!(matches!(no_roots, TlsError::Roots(_)));
        assert!(matches!(alpn, TlsError::Alpn(_)));
    }
}
