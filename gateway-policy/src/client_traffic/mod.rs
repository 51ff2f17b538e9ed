//! ClientTrafficPolicy: how a listener treats its clients.
//!
//! ```text
//! spec (as written) --validate--> what the API server would refuse
//!      └─────────────convert────> ListenerConfig: settings of the plan, or a FieldError
//! ```
//!
//! A policy that asks for anything that the gateway does not do is refused as a whole, and says which
//! field it was: nothing is read and then ignored.
//!
//! ```
//! use towergate_policy::ClientTrafficPolicySpec;
//! use towergate_policy::client_traffic::ListenerContext;
//!
//! let spec: ClientTrafficPolicySpec = serde_json::from_str(
//!     r#"{"proxyProtocol": {}, "timeout": {"http": {"idleTimeout": "30s"}}}"#,
//! )?;
//! let converted = spec.listener_settings(ListenerContext::default())?;
//! assert!(converted.tcp.proxy_protocol.is_some());
//!
//! let spec: ClientTrafficPolicySpec = serde_json::from_str(r#"{"http3": {}}"#)?;
//! let refusal = spec.listener_settings(ListenerContext::default()).unwrap_err();
//! assert_eq!(refusal.to_string(), "spec.http3 is not supported");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod connection;
mod convert;
mod headers;
mod model;
mod tls;
mod tls_model;

pub use convert::{ListenerConfig, ListenerContext};
pub use model::{
    ClientIpDetection, ClientTrafficPolicySpec, Connection, ConnectionLimit, CustomHeader,
    DirectSourceIp, EnableWeb, EnvoyHeaders, HealthCheckPath, HostSettings, Http1, Http3, Http10,
    HttpTimeout, PathSettings, ProxyProtocol, RequestId, Scheme, SlashesAction, TcpTimeout,
    Timeout, UnderscoresAction, XForwardedClientCert, XForwardedFor, XfccDetail, XfccMode,
};
pub use tls::{TlsParameters, ValidationRefs};
pub use tls_model::{
    ClientTls, ClientValidation, ClientValidationMode, Crl, Fingerprint, OtherName, Resumption,
    Session, SubjectAltNames, TlsVersion, Toggle,
};
