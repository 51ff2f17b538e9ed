//! External authorization (SecurityPolicy `extAuth`, HTTPRoute filter `ExternalAuth`): a service decides on
//! each request.
//!
//! ```text
//! head, body ──question──> InternalClient ──> service
//!                                               │
//! RequestChanges / LocalReply <──read_answer────┘
//! ```
//!
//! The same policy supports two protocols. Over HTTP the service receives a separate request with selected
//! header fields; status 200 allows the client's request. Over gRPC it receives a `CheckRequest` of
//! `envoy.service.auth.v3`. Pure functions build the check request and interpret the response;
//! [`ExternalAuthPolicy`] waits between them.
//!
//! Invariants:
//!
//! - A request reaches the backend only after a response that allows it, or after a failed call with
//!   [`ServiceFailure::Allow`]. A denial never counts as a failed call.
//! - Header fields in [`HttpAuthService::headers_to_backend`] come from the service or are absent.
//! - A service cannot set fields that frame a message, and the body reaches the backend unchanged.
//!
//! ```
//! use http::{HeaderMap, StatusCode};
//! use towergate_policy::ext_auth::{HttpAuthService, Verdict};
//!
//! let service = HttpAuthService::default();
//!
//! let verdict = service.read_answer(StatusCode::UNAUTHORIZED, HeaderMap::new(), "log in".into())?;
//!
//! let Verdict::Deny(reply) = verdict else { panic!("only 200 allows") };
//! assert_eq!((reply.status.as_u16(), &reply.body[..]), (401, &b"log in"[..]));
//! # Ok::<(), towergate_policy::ext_auth::ServiceError>(())
//! ```

mod body;
mod changes;
mod error;
mod grpc_answer;
mod grpc_service;
mod http_service;
mod message;
mod policy;
mod query;
mod subrequest;

pub use changes::{EditAction, HeaderEdit, RequestChanges, Verdict, is_editable};
pub use error::ServiceError;
pub use grpc_service::GrpcAuthService;
pub use http_service::{AnswerFields, HttpAuthService, InvalidServicePath, ServicePath};
pub use policy::ExternalAuthPolicy;
pub use query::QueryEdits;
pub use subrequest::{AddressTemplate, SubrequestService, SubrequestSettings};

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use towergate_core::plan::{Text, Traffic, WeightedBackend};

/// Maximum length of a response from the service, in bytes.
pub const MAX_ANSWER_LENGTH: usize = 1024 * 1024;

/// The service that decides on requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExternalAuth {
    /// Protocol and settings of the service.
    pub service: AuthService,
    /// Backends of the service.
    pub backends: Vec<WeightedBackend>,
    /// Retries, limits and connection settings of calls.
    pub traffic: Arc<Traffic>,
    /// Fields of the request that the service receives. `None`: all fields over gRPC; only `Host`,
    /// `Content-Length` and `Authorization` over HTTP. Over HTTP the service always receives these three
    /// fields.
    pub sent_headers: Option<Vec<Text<HeaderName>>>,
    /// Body that the service receives; `None`: none.
    pub body: Option<SentBody>,
    /// Whether a request for which the service returned no decision is rejected or allowed.
    pub on_failure: ServiceFailure,
    /// Time limit of a call, including retries.
    pub timeout: Duration,
    /// Whether the request is routed again after the service has changed it.
    pub recompute_route: bool,
}

/// Protocol of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AuthService {
    /// HTTP.
    Http(HttpAuthService),
    /// `envoy.service.auth.v3.Authorization` over gRPC.
    Grpc(GrpcAuthService),
    /// HTTP, in the form of nginx's `auth_request`.
    Subrequest(SubrequestService),
}

/// The body that a service receives.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct SentBody {
    /// Maximum length in bytes.
    pub max_bytes: usize,
    /// Treatment of longer bodies.
    pub longer: LongerBody,
}

/// Treatment of a body that is longer than the service may receive.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum LongerBody {
    /// The request receives 413.
    Reject,
    /// The service receives the beginning; the backend receives the whole body.
    Truncate,
}

/// Whether a request for which the service returned no decision is rejected or allowed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum ServiceFailure {
    /// The request receives this status.
    Deny(u16),
    /// The request is allowed.
    Allow,
}

impl Default for ServiceFailure {
    /// Denies requests with 403.
    fn default() -> Self {
        Self::Deny(StatusCode::FORBIDDEN.as_u16())
    }
}

/// Default time limit of a call, as in Envoy Gateway.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

impl ExternalAuth {
    /// External authorization by `service`, which `backends` serve. Calls over gRPC use HTTP/2. All other
    /// settings have their defaults.
    pub fn new(mut service: AuthService, mut backends: Vec<WeightedBackend>) -> Self {
        if let AuthService::Grpc(grpc) = &mut service {
            grpc.prepare(&mut backends);
        }
        Self {
            service,
            backends,
            traffic: Arc::new(Traffic {
                // `timeout` limits the whole call, so the request timeout is not set.
                request_timeout: None,
                ..Traffic::default()
            }),
            sent_headers: None,
            body: None,
            on_failure: ServiceFailure::default(),
            timeout: DEFAULT_TIMEOUT,
            recompute_route: false,
        }
    }
}

#[cfg(test)]
mod tests;
