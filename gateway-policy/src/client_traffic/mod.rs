//! ClientTrafficPolicy: settings of a listener and of its connections with clients.
//!
//! ```text
//! spec (as written) --validate---------> Vec<SchemaViolation>: what the API server would reject
//!      └────────────listener_settings──> ListenerConfig: settings of the plan, or a FieldError
//! ```
//!
//! Each section of the spec has one file with its declaration and its conversion. If an unsupported field is
//! set, and ignoring it would weaken protection, the whole policy is rejected with a message that names the
//! field. Other unsupported fields are ignored with a warning: see [`FieldClass`](crate::check::FieldClass).
//!
//! ```
//! use towergate_policy::ClientTrafficPolicySpec;
//! use towergate_policy::client_traffic::ListenerContext;
//!
//! let spec: ClientTrafficPolicySpec = serde_json::from_str(
//!     r#"{"proxyProtocol": {}, "timeout": {"http": {"idleTimeout": "30s"}}}"#,
//! )?;
//! let config = spec.listener_settings(ListenerContext::default())?;
//! assert!(config.tcp.proxy_protocol.is_some());
//!
//! let spec: ClientTrafficPolicySpec = serde_json::from_str(r#"{"tls": {"signatureAlgorithms": ["rsa_pkcs1_sha1"]}}"#)?;
//! let error = spec.listener_settings(ListenerContext::default()).unwrap_err();
//! assert_eq!(error.to_string(), "spec.tls.signatureAlgorithms[0]: rsa_pkcs1_sha1 is not supported");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod client_ip;
mod client_validation;
mod connection;
mod extensions;
mod header_edits;
mod headers;
mod http1;
mod listener_context;
mod path;
mod spec;
mod timeout;
mod tls;

pub(crate) use header_edits::{editable, literal, text_match};

pub use client_ip::{ClientIpDetection, CustomHeader, DirectSourceIp, XForwardedFor};
pub use client_validation::{
    ClientValidation, ClientValidationMode, Crl, OtherName, RevocationRefs, SubjectAltNames,
    ValidationRefs,
};
pub use connection::{Connection, ConnectionLimit};
pub use extensions::{ROUTE_MATCHING, TRUSTED_PROXIES, apply_annotations};
pub use headers::{
    EnvoyHeaders, HostSettings, RequestId, UnderscoresAction, XForwardedClientCert, XfccDetail,
    XfccMode,
};
pub use http1::{Http1, Http10};
pub use listener_context::ListenerContext;
pub use path::{PathSettings, SlashesAction};
pub use spec::{
    BackendScheme, ClientTrafficPolicySpec, EnableWeb, HealthCheckPath, Http3, ListenerConfig,
    ProxyProtocol,
};
pub use timeout::{HttpTimeout, TcpTimeout, Timeout};
pub(crate) use tls::TlsBounds;
pub use tls::{
    ClientTls, Fingerprint, Resumption, Session, TlsParameters, TlsVersionBound, Toggle,
};
