//! Values and references that the specs of several policies share.
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
mod http;
mod quantity;
mod reference;
mod target;

pub(crate) use duration::DURATION;
pub use duration::DurationText;
pub use http::{
    Fraction, Header, HeaderChange, HeaderNameRef, Method, MethodMatch, PathMatch, PathMatchKind,
    StringMatch, StringMatchKind,
};
pub(crate) use quantity::QUANTITY;
pub use quantity::Quantity;
pub(crate) use reference::Backends;
pub use reference::{BackendRef, ConfigMapRef, ConfigRef, ObjectRef, SingleBackendRef};
pub use target::{
    LabelExpression, LabelOperator, LabelSelector, NamespaceFrom, SelectorNamespaces, TargetRef,
    TargetSelector, Targets,
};

/// A deprecated field that is given; `Warning=True`, reason `DeprecatedField`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Deprecated {
    /// The path of the field, from `spec` on.
    pub field: &'static str,
    /// The field that took its place.
    pub instead: &'static str,
}

/// A network in CIDR notation as the schema of the CRDs knows it: the pattern has no anchors, so only
/// parsing tells whether a text is one.
pub(crate) const CIDR: &str = r"((25[0-5]|(2[0-4]|1\d|[1-9]|)\d)\.?\b){4}/([0-9]|[1-2][0-9]|3[0-2])|([0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F.]*/[0-9]{1,3}";

/// A host name in lower case (RFC 1123).
pub(crate) const DNS_NAME: &str =
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
