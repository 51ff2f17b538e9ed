//! ClientTrafficPolicy: how a listener treats its clients.
//!
//! ```text
//! spec (as written) --validate--> what the API server would refuse
//!      └─────────────convert────> Converted: settings of the plan, or a Refusal
//! ```
//!
//! A policy that asks for anything that the gateway does not do is refused as a whole, and says which
//! field it was: nothing is read and then ignored.

//TMP mod connection;
//TMP mod convert;
//TMP mod headers;
mod model;
//TMP mod tls;
mod tls_model;

//TMP pub use convert::{Context, Converted};
pub use model::{
    ClientIpDetection, ClientTrafficPolicySpec, Connection, ConnectionLimit, CustomHeader,
    DirectSourceIp, EnableWeb, EnvoyHeaders, HealthCheckPath, HostSettings, Http1, Http10, Http3,
    HttpTimeout, PathSettings, ProxyProtocol, RequestId, Scheme, TcpTimeout, Timeout,
    UnderscoresAction, SlashesAction, XfccDetail, XfccMode, XForwardedClientCert, XForwardedFor,
};
//TMP pub use tls::TlsParameters;
pub use tls_model::{
    ClientTls, ClientValidation, ClientValidationMode, Crl, Fingerprint, OtherName, Resumption,
    Session, SubjectAltNames, TlsVersion, Toggle,
};
