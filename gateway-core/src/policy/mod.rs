//! Policies of routes: the pipeline between routing and filters.
//!
//! A policy has one of three forms:
//!
//! | form | input | possible actions |
//! |---|---|---|
//! | [`HeadPolicy`] | the request head | edit the head, reply |
//! | [`BodyPolicy`] | head and body | those of a head policy; wrap the request body and the response body |
//! | [`WaitingPolicy`] | head and body | those of a body policy; wait, for example for a service or the body |
//!
//! The request half of a policy is the method of the trait. The response half is a closure that the request
//! half registers, so it can contain state of the request:
//!
//! ```text
//!            ResponseOverride  Cors   Jwt   LocalRateLimit
//! request ──────────>───────────>──────>──────────>────────> filters ──> backend
//!                                      └─ Err(LocalReply)                  │
//! response <─────────<───────────<──────<──────────<───────────────────────┘
//!             effects in reverse order, of the policies that have run
//! ```
//!
//! [`Stage`] defines the order of all policies. A plan contains policies as plain data (`RoutePolicy`). A
//! snapshot builds them and sorts them by stage, and each request runs them in one loop. A future is created
//! only for a policy that waits. A rule without policies costs one comparison.
//!
//! Outside a gateway, each policy can be used as a tower Layer: [`HeadPolicyLayer`] for head policies,
//! [`PolicyLayer`] for all forms.
//!
//! ```
//! use http::{Request, Response, StatusCode};
//! use tower::{Layer, ServiceExt, service_fn};
//! use towergate_core::LocalReply;
//! use towergate_core::policy::{HeadPolicy, HeadPolicyLayer, RequestHead};
//!
//! /// Allows safe methods only.
//! struct ReadOnly;
//!
//! impl HeadPolicy for ReadOnly {
//!     fn check(&self, request: &mut RequestHead<'_>) -> Result<(), LocalReply> {
//!         if request.head.method.is_safe() {
//!             Ok(())
//!         } else {
//!             Err(LocalReply::new(StatusCode::METHOD_NOT_ALLOWED, "read_only"))
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let service = HeadPolicyLayer::new(ReadOnly).layer(service_fn(|_: Request<()>| async {
//!     Ok::<_, std::io::Error>(Response::new(bytes::Bytes::from("hello")))
//! }));
//!
//! let read = Request::get("/").body(())?;
//! assert_eq!(service.clone().oneshot(read).await?.status(), 200);
//! let write = Request::delete("/").body(())?;
//! assert_eq!(service.oneshot(write).await?.status(), 405);
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "gateway")]
mod build;
pub(crate) mod chain;
mod effects;
mod filled_fields;
mod head_layer;
mod layer;
#[cfg(feature = "gateway")]
mod plan_layer;
mod rejected_body;
mod request;
mod stage;

#[cfg(feature = "gateway")]
pub use build::{BuildContext, NoPolicy, PolicyError, RoutePolicy};
#[cfg(feature = "gateway")]
pub(crate) use effects::Formatter;
pub use effects::{PolicyResponse, ResponseEffects, ResponseLog};
pub use filled_fields::FilledFields;
pub use head_layer::{HeadPolicyLayer, HeadPolicyService};
pub use layer::{PolicyLayer, PolicyService};
pub use rejected_body::RejectedBody;
pub use request::{PolicyRequest, RequestFacts, RequestHead};
pub use stage::Stage;

#[cfg(feature = "gateway")]
pub use crate::balance::{PreferredEndpoint, RespondingEndpoint, find_cookie};
#[cfg(feature = "gateway")]
pub use crate::live::Live;
#[cfg(feature = "gateway")]
pub use crate::traffic::{CallError, CollectedBody, InternalClient};

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use crate::LocalReply;

/// Decides on the head of a request. It neither waits nor processes the body.
pub trait HeadPolicy: Send + Sync + 'static {
    /// Request half. May edit the head of a request that it allows, and register a response half.
    ///
    /// # Errors
    /// The local reply with which the request is rejected.
    fn check(&self, request: &mut RequestHead<'_>) -> Result<(), LocalReply>;

    /// The reason why the policy currently answers every request with an error. `None` if the policy works.
    /// The reason is a clause without a full stop and without a secret. Metrics and the admin endpoints call
    /// this method; requests do not.
    fn fault(&self) -> Option<String> {
        None
    }
}

/// Wraps the body of a request or of its response.
pub trait BodyPolicy: Send + Sync + 'static {
    /// Request half. May replace [`PolicyRequest::body`], and register a response half that wraps the body of
    /// the response. If the length of a body changes, `content-length` must be removed.
    ///
    /// # Errors
    /// The local reply with which the request is rejected.
    fn wrap(&self, request: &mut PolicyRequest<'_>) -> Result<(), LocalReply>;
}

/// Result of a policy that waits.
pub type PolicyFuture<'a> = Pin<Box<dyn Future<Output = Result<(), LocalReply>> + Send + 'a>>;

/// Decides on a request after waiting for a service or for the body. This form is the most general: a waiting
/// policy can also do what the other forms can do.
pub trait WaitingPolicy: Send + Sync + 'static {
    /// Request half, usually `Box::pin(async move { … })`. While the policy waits for the client, the time
    /// limits of the listener apply. The policy itself must limit the time of its calls.
    ///
    /// # Errors
    /// The future returns the local reply with which the request is rejected.
    fn run<'a>(&'a self, request: &'a mut PolicyRequest<'_>) -> PolicyFuture<'a>;

    /// As [`HeadPolicy::fault`].
    fn fault(&self) -> Option<String> {
        None
    }
}

/// A policy that can run.
#[derive(Clone)]
pub enum BuiltPolicy {
    /// A policy that needs only the head.
    Head(Arc<dyn HeadPolicy>),
    /// Wraps bodies.
    Body(Arc<dyn BodyPolicy>),
    /// Waits.
    Waiting(Arc<dyn WaitingPolicy>),
}

impl BuiltPolicy {
    /// Wraps a head policy.
    pub fn head(policy: impl HeadPolicy) -> Self {
        Self::Head(Arc::new(policy))
    }

    /// Wraps a body policy.
    pub fn body(policy: impl BodyPolicy) -> Self {
        Self::Body(Arc::new(policy))
    }

    /// Wraps a waiting policy.
    pub fn waiting(policy: impl WaitingPolicy) -> Self {
        Self::Waiting(Arc::new(policy))
    }
}

impl BuiltPolicy {
    /// The reason why the policy cannot be enforced at the moment. Always `None` for a body policy, which has
    /// no dependency that could be missing.
    #[cfg(feature = "gateway")]
    pub(crate) fn fault(&self) -> Option<String> {
        match self {
            Self::Head(policy) => policy.fault(),
            Self::Waiting(policy) => policy.fault(),
            Self::Body(_) => None,
        }
    }
}

impl fmt::Debug for BuiltPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Head(_) => "Head(..)",
            Self::Body(_) => "Body(..)",
            Self::Waiting(_) => "Waiting(..)",
        })
    }
}

impl<P: HeadPolicy + ?Sized> HeadPolicy for Arc<P> {
    fn check(&self, request: &mut RequestHead<'_>) -> Result<(), LocalReply> {
        (**self).check(request)
    }

    fn fault(&self) -> Option<String> {
        (**self).fault()
    }
}
