//! Values, references and sections that the specs of several policies share.
//!
//! ```
//! use std::time::Duration;
//!
//! use towergate_policy::common::DurationText;
//!
//! let text: DurationText = serde_json::from_str(r#""1m30s""#)?;
//! assert_eq!(text.parse(), Some(Duration::from_secs(90)));
//! # Ok::<(), serde_json::Error>(())
//! ```

mod duration;
mod http2;
mod matching;
mod quantity;
mod reference;
mod target;
mod target_kind;
mod tcp_keepalive;

pub(crate) use duration::DURATION;
pub use duration::DurationText;
pub use http2::{ConnectionKeepalive, Http2, InvalidMessageAction};
pub use matching::{
    Fraction, Header, HeaderChange, HeaderNameRef, Method, MethodMatch, PathMatch, PathMatchKind,
    StringMatch, StringMatchKind,
};
pub(crate) use quantity::QUANTITY;
pub use quantity::Quantity;
pub(crate) use reference::Backends;
pub use reference::{BackendRef, ConfigMapRef, ConfigRef, ObjectRef, SingleBackendRef};
pub(crate) use target::impl_targets;
pub use target::{
    LabelExpression, LabelOperator, LabelSelector, NamespaceFrom, SelectorNamespaces, TargetRef,
    TargetSelector, Targets,
};
pub use target_kind::TargetKind;
pub use tcp_keepalive::TcpKeepalive;

pub use crate::check::Deprecated;

/// A network in CIDR notation, as in the schema of the CRDs. The pattern has no anchors, so a string that
/// matches may still be invalid.
pub(crate) const CIDR: &str = r"((25[0-5]|(2[0-4]|1\d|[1-9]|)\d)\.?\b){4}/([0-9]|[1-2][0-9]|3[0-2])|([0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F.]*/[0-9]{1,3}";

/// A host name in lower case (RFC 1123).
pub(crate) const DNS_NAME: &str =
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
