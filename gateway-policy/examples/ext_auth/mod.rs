//! The Layer that calls an authorization service at a fixed address. The examples of all frameworks share it.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName};
use towergate_core::plan::{BackendProtocol, Text};
use towergate_core::policy::InternalClient;
use towergate_core::policy::{BuiltPolicy, PolicyLayer};
use towergate_policy::ext_auth::{
    AnswerFields, AuthService, ExternalAuth, ExternalAuthPolicy, HttpAuthService,
};

/// The header field in which the service returns the name of the user.
const USER: HeaderName = HeaderName::from_static("x-user");

/// The Layer that calls the authorization service at the address `service`.
pub(crate) fn layer(service: SocketAddr) -> PolicyLayer {
    let protocol = AuthService::Http(HttpAuthService {
        headers_to_backend: AnswerFields::Listed(vec![Text::from(USER)]),
        ..HttpAuthService::default()
    });
    let provider = towergate_tls::default_provider();
    let client = InternalClient::of_addresses(&[service], BackendProtocol::Http1, &provider);
    let policy = ExternalAuthPolicy::new(ExternalAuth::new(protocol, Vec::new()), client);
    PolicyLayer::new(BuiltPolicy::waiting(policy))
}

/// The response of the service behind the Layer.
pub(crate) fn greeting(headers: &HeaderMap) -> String {
    let user = headers.get(USER).and_then(|user| user.to_str().ok());
    format!("hello {}", user.unwrap_or("stranger"))
}
