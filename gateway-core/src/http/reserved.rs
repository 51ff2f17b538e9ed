//! Header fields that neither the configuration nor external services may set.

use http::HeaderName;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};

/// Fields that frame a message, are hop-by-hop, or select the route. `TE` and `Trailer` are separate, because
/// filters of a route may edit them.
const MESSAGE: [HeaderName; 8] = [
    CONNECTION,
    CONTENT_LENGTH,
    HOST,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Whether header edits leave the field unchanged. This applies to fields that frame the message, are
/// hop-by-hop (RFC 9110, section 7.6.1), or select the route.
///
/// ```
/// use http::header::{CONNECTION, SERVER};
/// use towergate_core::http::reserved::is_fixed;
///
/// assert!(is_fixed(&CONNECTION));
/// assert!(!is_fixed(&SERVER));
/// ```
pub fn is_fixed(name: &HeaderName) -> bool {
    MESSAGE.contains(name)
}

/// Whether only the gateway may set the field: the fields of [`is_fixed`], `TE` and `Trailer`.
pub fn is_reserved(name: &HeaderName) -> bool {
    is_fixed(name) || [TE, TRAILER].contains(name)
}
