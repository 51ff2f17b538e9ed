//! Certificate selection by server name (SNI).
//!
//! One of the listener's certificates is selected as in Envoy:
//!
//! | server name | certificate |
//! |---|---|
//! | equal to a name of a certificate | this certificate |
//! | a name that a wildcard covers, with one label for the asterisk | the certificate with the wildcard |
//! | another name | the first certificate that the client supports, or none, depending on [`UnknownName`] |
//! | none, or an IP address | the first ECDSA certificate that the client supports, else the first supported one |
//!
//! If a name has several certificates that the client supports, ECDSA precedes Ed25519, which precedes RSA;
//! among certificates of one type, the first loaded is used. If a client supports none of the certificates
//! for its name, the handshake fails: the client does not receive a certificate for another name.
//!
//! The *listener* is selected earlier, by [`NameMap`](crate::NameMap), in which a wildcard matches one or more
//! labels.
//!
//! ```
//! use std::sync::Arc;
//!
//! use towergate_tls::server::UnknownName;
//! use towergate_tls::sni::CertificateResolver;
//! use towergate_tls::{Certificate, default_provider};
//!
//! let made = rcgen::generate_simple_self_signed(["*.b.test".to_owned()])?;
//! let certificate = Certificate::from_pem(made.cert.pem(), made.signing_key.serialize_pem())?;
//! let resolver =
//!     CertificateResolver::build(&[Arc::new(certificate)], UnknownName::Refuse, &default_provider())?;
//!
//! assert!(resolver.covers("www.b.test"));
//! assert!(!resolver.covers("b.test"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::certificate::{Certificate, CertificateError, KeyAlgorithm};
use crate::name::{NamePattern, normalize_server_name};
use crate::server::UnknownName;
use crate::signature_schemes;

/// The certificates of a listener, by name. A lookup does not allocate.
pub struct CertificateResolver {
    /// The certificates, in the order in which they were passed to [`Self::build`].
    loaded: Vec<Loaded>,
    exact: HashMap<String, Choices>,
    /// Certificates with a wildcard name, keyed by the suffix after `*.`.
    wildcard: HashMap<String, Choices>,
    /// Certificates for clients that send no server name.
    nameless: Choices,
    /// All certificates, in loading order.
    all: Choices,
    unknown: UnknownName,
}

/// Indices of certificates, the preferred one first.
type Choices = Vec<usize>;

struct Loaded {
    key: Arc<CertifiedKey>,
    algorithm: KeyAlgorithm,
    /// Signature schemes of the key.
    schemes: Vec<SignatureScheme>,
}

impl CertificateResolver {
    /// Loads `certificates`. If several certificates have the same name and key type, the first of them is
    /// used.
    ///
    /// # Errors
    /// [`CertificateError`] if a certificate is unusable.
    pub fn build(
        certificates: &[Arc<Certificate>],
        unknown: UnknownName,
        provider: &CryptoProvider,
    ) -> Result<Self, CertificateError> {
        Self::restricted(certificates, unknown, provider, &[])
    }

    /// As [`Self::build`], but handshakes are signed only with the schemes in `allowed`. Empty: no
    /// restriction.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub(crate) fn restricted(
        certificates: &[Arc<Certificate>],
        unknown: UnknownName,
        provider: &CryptoProvider,
        allowed: &[SignatureScheme],
    ) -> Result<Self, CertificateError> {
        let loaded = certificates
            .iter()
            .map(|certificate| Loaded::new(certificate, provider, allowed))
            .collect::<Result<Vec<_>, _>>()?;
        let all: Choices = (0..loaded.len()).collect();
        let mut nameless = all.clone();
        nameless.sort_by_key(|at| loaded[*at].algorithm != KeyAlgorithm::Ecdsa);
        let mut resolver = Self {
            loaded,
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            nameless,
            all,
            unknown,
        };
        for (at, certificate) in certificates.iter().enumerate() {
            for name in &certificate.names {
                resolver.add(name, at);
            }
        }
        let Self {
            loaded,
            exact,
            wildcard,
            ..
        } = &mut resolver;
        for choices in exact.values_mut().chain(wildcard.values_mut()) {
            // The sort is stable: among certificates of one key type, the first loaded stays first.
            choices.sort_by_key(|at| preference(loaded[*at].algorithm));
            choices.dedup();
        }
        Ok(resolver)
    }

    /// Whether a certificate covers `name`.
    pub fn covers(&self, name: &str) -> bool {
        normalize_server_name(name).is_some_and(|name| self.covering(&name).next().is_some())
    }

    fn add(&mut self, name: &NamePattern, at: usize) {
        match name {
            NamePattern::Exact(name) => self.exact.entry(name.clone()).or_default().push(at),
            NamePattern::Wildcard(suffix) => {
                self.wildcard.entry(suffix.clone()).or_default().push(at);
            }
            NamePattern::Any => {}
        }
    }

    /// The certificates for a name: first the certificates with exactly this name, then the certificates
    /// whose wildcard covers it.
    fn covering(&self, name: &str) -> impl Iterator<Item = usize> {
        let exact = self.exact.get(name);
        let wildcard = name
            .split_once('.')
            .filter(|(label, _)| !label.is_empty())
            .and_then(|(_, suffix)| self.wildcard.get(suffix));
        exact.into_iter().chain(wildcard).flatten().copied()
    }

    /// The first of `choices` that the client supports. If it supports none, the first of `choices`.
    fn pick(
        &self,
        mut choices: impl Iterator<Item = usize>,
        client: &[SignatureScheme],
    ) -> Option<&Arc<CertifiedKey>> {
        let first = choices.next()?;
        let best = std::iter::once(first)
            .chain(choices)
            .find(|at| self.loaded[*at].is_usable(client))
            .unwrap_or(first);
        Some(&self.loaded[best].key)
    }

    fn find(&self, name: Option<&str>, client: &[SignatureScheme]) -> Option<&Arc<CertifiedKey>> {
        let Some(name) = name.and_then(normalize_server_name) else {
            return match self.unknown {
                UnknownName::FirstCertificate => self.pick(self.nameless.iter().copied(), client),
                UnknownName::Refuse => None,
            };
        };
        let found = self.pick(self.covering(&name), client);
        found.or_else(|| match self.unknown {
            UnknownName::FirstCertificate => self.pick(self.all.iter().copied(), client),
            UnknownName::Refuse => None,
        })
    }
}

/// The rank of a key type among the certificates for one name; the lowest is preferred.
fn preference(algorithm: KeyAlgorithm) -> u8 {
    match algorithm {
        KeyAlgorithm::Ecdsa => 0,
        KeyAlgorithm::Ed25519 => 1,
        KeyAlgorithm::Rsa => 2,
    }
}

impl ResolvesServerCert for CertificateResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name(), hello.signature_schemes())
            .cloned()
    }
}

/// The output contains only names, because the certificates include private keys.
impl fmt::Debug for CertificateResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<&String> = self.exact.keys().chain(self.wildcard.keys()).collect();
        names.sort();
        f.debug_struct("CertificateResolver")
            .field("certificates", &self.loaded.len())
            .field("names", &names)
            .field("unknown", &self.unknown)
            .finish_non_exhaustive()
    }
}

impl Loaded {
    fn new(
        certificate: &Certificate,
        provider: &CryptoProvider,
        allowed: &[SignatureScheme],
    ) -> Result<Self, CertificateError> {
        const SCHEMES: [SignatureScheme; 10] = [
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ECDSA_NISTP521_SHA512,
            SignatureScheme::ED25519,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
        ];
        let key = signature_schemes::restrict(certificate.load(provider)?, allowed);
        let signs = |scheme: &SignatureScheme| key.key.choose_scheme(&[*scheme]).is_some();
        Ok(Self {
            schemes: SCHEMES.into_iter().filter(signs).collect(),
            algorithm: certificate.algorithm,
            key: Arc::new(key),
        })
    }

    fn is_usable(&self, client: &[SignatureScheme]) -> bool {
        self.schemes.iter().any(|scheme| client.contains(scheme))
    }
}
