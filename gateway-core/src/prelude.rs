//! The Layers of this crate and the values that configure them.
//!
//! ```
//! use towergate_core::prelude::*;
//!
//! let layer = ClientIpLayer::new(ClientIpRule::TrustedHops { hops: 1, append: false });
//! # let _: ClientIpService<(), _> = layer.layer(());
//! ```

pub use tower_layer::Layer;

pub use crate::body::Body;
pub use crate::conn::proxy::{ProxyAcceptor, ProxyListener};
pub use crate::conn::{ConnectionAddrs, ConnectionAddrsLayer};
pub use crate::filter::{
    Allowed, Cors, CorsLayer, PathEdit, Redirect, RedirectLayer, RedirectStatus, WebScheme,
};
#[cfg(feature = "gateway")]
pub use crate::gateway::{Gateway, Options};
pub use crate::http::client_ip::{ClientIp, ClientIpLayer, ClientIpRule, ClientIpService};
pub use crate::http::host::Authority;
pub use crate::http::sanitize::Sanitized;
pub use crate::http::settings::ListenerSettings;
pub use crate::http::{SanitizeLayer, SanitizeService};
pub use crate::local_reply::LocalReply;
#[cfg(feature = "gateway")]
pub use crate::plan::{BackendId, Endpoints, Plan, Route, Rule};
pub use crate::policy::{
    BodyPolicy, BuiltPolicy, HeadPolicy, HeadPolicyLayer, PolicyLayer, PolicyRequest, RequestHead,
    WaitingPolicy,
};
pub use crate::route::matches::{Match, PathMatch};
pub use crate::route::{Query, RouteTable};
pub use crate::text::{Text, TextMatch};
