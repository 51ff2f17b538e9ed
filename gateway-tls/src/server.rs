//! TLS settings of a listener, and the rustls configuration built from them.
//!
//! A change of certificates builds a new configuration. The state for session resumption must survive this
//! change. The state must never be shared with another listener or other settings, because a client that one
//! listener has admitted may not meet the requirements of another listener. The state is therefore a separate
//! value, [`ResumptionState`]. The caller stores the state in a map whose key consists of the name of the
//! listener and the result of [`ServerTls::without_certificates`].
//!
//! ```
//! use std::sync::Arc;
//! use towergate_tls::server::ResumptionState;
//! use towergate_tls::{Certificate, ServerTls, default_provider};
//!
//! let made = rcgen::generate_simple_self_signed(["a.example.com".to_owned()])?;
//! let certificate = Certificate::from_pem(made.cert.pem(), made.signing_key.serialize_pem())?;
//! let settings = ServerTls {
//!     certificates: vec![Arc::new(certificate)],
//!     stateless_resumption: true,
//!     ..ServerTls::default()
//! };
//! let resumption = ResumptionState::new(&settings);
//!
//! let config = settings.build(default_provider(), Some(&resumption))?;
//!
//! assert_eq!(config.alpn_protocols, [&b"h2"[..], b"http/1.1"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, ServerSessionMemoryCache, StoresServerSessions,
};
use serde::{Deserialize, Serialize};

pub use rustls::ServerConfig;

use crate::Certificate;
use crate::client_auth::{ClientAuth, ClientVerifier};
use crate::error::{TlsError, check_alpn};
use crate::limits::TlsLimits;
use crate::signature_schemes;
use crate::sni::CertificateResolver;

/// TLS settings of a listener. The defaults are those of Envoy Gateway.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct ServerTls {
    /// Certificates in the order of the listener's `certificateRefs`. If several certificates have the same
    /// name and key type, the first of them is served.
    pub certificates: Vec<Arc<Certificate>>,
    /// Protocol versions, cipher suites, groups and signature schemes that handshakes may negotiate.
    #[serde(default, skip_serializing_if = "TlsLimits::is_default")]
    pub limits: TlsLimits,
    /// ALPN protocols, in order of preference; empty: no ALPN. A client that offers only other protocols is
    /// rejected (RFC 7301, section 3.2). Envoy instead continues without ALPN.
    pub alpn: Vec<String>,
    /// Enables session ids (TLS 1.2) and stateful tickets.
    pub stateful_resumption: bool,
    /// Enables stateless session tickets.
    pub stateless_resumption: bool,
    /// Treatment of clients whose server name no certificate covers. Default: they receive the first
    /// certificate.
    pub unknown_name: UnknownName,
    /// Requirements for client certificates. `None`: no client certificate is requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientAuth>,
}

/// Treatment of clients whose server name no certificate covers.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum UnknownName {
    /// Serve the first certificate, as Envoy does. The client decides whether to accept the certificate.
    #[default]
    FirstCertificate,
    /// Reject with an alert, including clients that send no name. The module `acceptor` sends the alert
    /// `unrecognized_name` (RFC 6066, section 3). If the configuration is used without this module, rustls
    /// sends its own alert for a missing certificate.
    Refuse,
}

impl Default for ServerTls {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            limits: TlsLimits::default(),
            alpn: vec!["h2".to_owned(), "http/1.1".to_owned()],
            stateful_resumption: false,
            stateless_resumption: false,
            unknown_name: UnknownName::default(),
            clients: None,
        }
    }
}

impl ServerTls {
    /// Builds the configuration of a listener.
    ///
    /// If `resumption` is `None`, a session can be resumed only with the configuration that created it.
    /// `resumption` is ignored if the settings disable resumption, which is the default.
    ///
    /// # Errors
    /// [`TlsError`] names the unusable setting.
    pub fn build(
        &self,
        provider: Arc<CryptoProvider>,
        resumption: Option<&ResumptionState>,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        if self.certificates.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let schemes = signature_schemes::parse(&self.limits.signature_schemes)?;
        let certificates = CertificateResolver::restricted(
            &self.certificates,
            self.unknown_name,
            &provider,
            &schemes,
        )?;
        let limits = &self.limits;
        let builder = ServerConfig::builder_with_provider(limits.restrict(provider.clone())?)
            .with_protocol_versions(limits.versions()?)?;
        let builder = match self.client_verifier(&provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(certificates));
        config.alpn_protocols = check_alpn(&self.alpn)?;
        // A configured list of suites is in order of preference. Otherwise the client's order applies,
        // because it reflects the client's hardware. `acceptor::apply_server_order` makes one exception, for
        // clients that prefer AES-256.
        config.ignore_client_order = !limits.ciphers.is_empty();
        // 0-RTT is disabled, because its data can be replayed.
        config.max_early_data_size = 0;
        match resumption {
            Some(state) => self.allow_resumption(&mut config, state),
            None => self.allow_resumption(&mut config, &ResumptionState::new(self)),
        }
        Ok(Arc::new(config))
    }

    /// Builds the verifier of client certificates, for [`Choice`](crate::acceptor::Choice); `None` if client
    /// certificates are not requested.
    ///
    /// # Errors
    /// As [`ClientAuth::build`].
    pub fn client_verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<ClientVerifier>>, TlsError> {
        let clients = self.clients.as_ref();
        let schemes = signature_schemes::parse(&self.limits.signature_schemes)?;
        let verifier = clients.map(|clients| clients.verifier(provider, schemes));
        Ok(verifier.transpose()?.map(Arc::new))
    }

    /// All settings except the certificates. A session can be resumed only if these settings are equal.
    pub fn without_certificates(&self) -> Self {
        Self {
            certificates: Vec::new(),
            ..self.clone()
        }
    }

    fn allow_resumption(&self, config: &mut ServerConfig, state: &ResumptionState) {
        config.session_storage = match self.stateful_resumption {
            true => state.sessions.clone(),
            false => Arc::new(NoServerSessionStorage {}),
        };
        if let (true, Some(ticketer)) = (self.stateless_resumption, &state.ticketer) {
            config.ticketer = ticketer.clone();
        }
        if !self.stateful_resumption && !self.stateless_resumption {
            config.send_tls13_tickets = 0;
        }
    }
}

/// State for session resumption: stored sessions, and the keys of session tickets, which rotate every six
/// hours.
///
/// The state is kept while certificates change, and is never shared with another listener.
#[derive(Clone)]
pub struct ResumptionState {
    sessions: Arc<dyn StoresServerSessions>,
    ticketer: Option<Arc<dyn ProducesTickets>>,
}

impl ResumptionState {
    /// Maximum number of stored sessions. A session takes about 300 bytes.
    const SESSIONS: usize = 4096;

    /// Creates the state that `settings` need. The state has no tickets if the feature `aws-lc-rs` is
    /// disabled, or if aws-lc-rs cannot generate random numbers.
    pub fn new(settings: &ServerTls) -> Self {
        let sessions: Arc<dyn StoresServerSessions> = match settings.stateful_resumption {
            true => ServerSessionMemoryCache::new(Self::SESSIONS),
            false => Arc::new(NoServerSessionStorage {}),
        };
        let ticketer = settings.stateless_resumption.then(ticketer).flatten();
        Self { sessions, ticketer }
    }

    /// Returns this state, but with session tickets that `ticketer` creates.
    #[must_use]
    pub fn with_ticketer(self, ticketer: Arc<dyn ProducesTickets>) -> Self {
        Self {
            ticketer: Some(ticketer),
            ..self
        }
    }
}

/// Omits the contents: sessions and ticket keys are secret.
impl fmt::Debug for ResumptionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResumptionState").finish_non_exhaustive()
    }
}

#[cfg(feature = "aws-lc-rs")]
fn ticketer() -> Option<Arc<dyn ProducesTickets>> {
    rustls::crypto::aws_lc_rs::Ticketer::new().ok()
}

#[cfg(not(feature = "aws-lc-rs"))]
fn ticketer() -> Option<Arc<dyn ProducesTickets>> {
    None
}
