//! ClientTrafficPolicy: how a listener treats its clients.
//!
//! ```text
//! spec (as written) --validate--> what the API server would refuse
//!      └─────────────convert────> Converted: settings of the plan, or a Refusal
//! ```
//!
//! A policy that asks for anything that the gateway does not do is refused as a whole, and says which
//! field it was: nothing is read and then ignored.

mod connection;
mod convert;
mod headers;
mod model;
mod tls;
mod tls_model;

pub use convert::{Context, Converted};
pub use model::{
    ClientIpDetection, ClientTrafficPolicySpec, Connection, ConnectionLimit, CustomHeader,
    DirectSourceIp, EnableWeb, EnvoyHeaders, HealthCheckPath, HostSettings, Http1, Http3, Http10,
    HttpTimeout, PathSettings, ProxyProtocol, RequestId, Scheme, SlashesAction, TcpTimeout,
    Timeout, UnderscoresAction, XForwardedClientCert, XForwardedFor, XfccDetail, XfccMode,
};
pub use tls::TlsParameters;
pub use tls_model::{
    ClientTls, ClientValidation, ClientValidationMode, Crl, Fingerprint, OtherName, Resumption,
    Session, SubjectAltNames, TlsVersion, Toggle,
};
