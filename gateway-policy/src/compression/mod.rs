//! Compression of response bodies.
//!
//! ```text
//! request:  Accept-Encoding ──choose──> coding; the field is removed, so that the backend does not compress
//! response: is it compressible? ──> Vary; body through the encoder, without Content-Length and
//!           Accept-Ranges
//! ```
//!
//! | response | result |
//! |---|---|
//! | a media type that is not compressible, a body shorter than the minimum, `Content-Encoding`, `no-transform`, a digest of the body | unchanged |
//! | no body (HEAD, 204, 304), part of a representation (206), or the client accepts no coding | `Vary` is added |
//! | any other | compressed |
//!
//! Responses of gRPC and of switched protocols are not changed. Streams are not delayed: whenever the backend
//! pauses, all data received so far has been sent.

mod accept;
mod encoded_body;
mod encoder;

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body::Body as _;
use serde::{Deserialize, Serialize};
use towergate_core::policy::{BodyPolicy, PolicyRequest};
use towergate_core::{Body, LocalReply};

use encoded_body::EncodedBody;
use encoder::Encoder;

/// Default of [`Compressor::min_length`] in bytes, as in Envoy.
pub const MIN_LENGTH: u64 = 30;

/// Media types that are compressed, as in Envoy.
const TYPES: [&str; 18] = [
    "application/ecmascript",
    "application/javascript",
    "application/json",
    "application/x-javascript",
    "application/x-json",
    "application/xhtml+xml",
    "application/xml",
    "image/svg+xml",
    "text/css",
    "text/ecmascript",
    "text/html",
    "text/javascript",
    "text/js",
    "text/jscript",
    "text/plain",
    "text/x-javascript",
    "text/x-js",
    "text/xml",
];

/// Fields with a digest of the body, which compression would invalidate (RFC 9530; RFC 1864).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// A content coding (RFC 9110, section 8.4.1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum ContentCoding {
    /// gzip (RFC 1952).
    Gzip,
    /// Brotli (RFC 7932).
    Brotli,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl ContentCoding {
    /// The name in `Accept-Encoding` and `Content-Encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

/// A content coding that is offered to clients.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Compressor {
    /// Content coding.
    pub coding: ContentCoding,
    /// Size in bytes below which a response is not compressed. Responses of unknown length are compressed.
    pub min_length: u64,
}

/// Compresses responses with a content coding that the client accepts.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct ResponseCompression {
    /// The codings, in order of preference; each at most once.
    pub compressors: Vec<Compressor>,
}

impl BodyPolicy for ResponseCompression {
    fn wrap(&self, request: &mut PolicyRequest<'_>) -> Result<(), LocalReply> {
        if request.is_grpc() {
            return Ok(());
        }
        let accepted = request.head.headers.get_all(ACCEPT_ENCODING);
        let chosen = accept::choose(accepted, &self.compressors);
        request.head.headers.remove(ACCEPT_ENCODING);
        let head = request.head.method == Method::HEAD;
        // A response that is not compressed for this client may be compressed for another client. `Vary`
        // therefore depends on the smallest minimum length of all codings.
        let lengths = self.compressors.iter().map(|offered| offered.min_length);
        let Some(min_length) = lengths.min() else {
            return Ok(());
        };
        let chosen = chosen.filter(|_| !head);
        request.on_response(move |response| compress(response.response, chosen, min_length));
        Ok(())
    }
}

/// Compresses a response if it is compressible, has a body, and is long enough for the chosen compressor.
/// `min_length` is the smallest minimum length of all compressors: responses of at least this length depend
/// on `Accept-Encoding` and receive `Vary`.
fn compress(response: &mut Response<Body>, chosen: Option<Compressor>, min_length: u64) {
    if !is_compressible(response, min_length) {
        return;
    }
    let long = |chosen: &Compressor| {
        length(response.headers()).is_none_or(|length| length >= chosen.min_length)
    };
    let coding = chosen.filter(long).map(|chosen| chosen.coding);
    let whole = response.status() != StatusCode::PARTIAL_CONTENT
        && !response.headers().contains_key(CONTENT_RANGE)
        && !response.body().is_end_stream();
    let encoder = coding.filter(|_| whole).and_then(|coding| {
        let encoder = Encoder::new(coding).ok()?;
        Some((coding, encoder))
    });
    let headers = response.headers_mut();
    vary_by_encoding(headers);
    if let Some((coding, encoder)) = encoder {
        headers.remove(CONTENT_LENGTH);
        // The ranges that the backend supports refer to the uncompressed body.
        headers.remove(ACCEPT_RANGES);
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        // A strong validator guarantees equal bytes (RFC 9110, section 8.8.1). The compressed response has
        // other bytes, so its `ETag` becomes weak.
        if headers
            .get(ETAG)
            .is_some_and(|tag| !tag.as_bytes().starts_with(b"W/"))
        {
            headers.remove(ETAG);
        }
        let body = std::mem::take(response.body_mut());
        *response.body_mut() = Body::new(EncodedBody::new(body, encoder));
    }
}

/// Whether a response may be compressed, regardless of the codings that the client accepts.
fn is_compressible(response: &Response<Body>, min_length: u64) -> bool {
    let headers = response.headers();
    response.status() != StatusCode::SWITCHING_PROTOCOLS
        && !headers.contains_key(CONTENT_ENCODING)
        && is_compressible_type(headers)
        && length(headers).is_none_or(|length| length >= min_length)
        && !forbids_transformation(headers)
        && !DIGESTS.iter().any(|name| headers.contains_key(name))
}

/// Whether the media type of a response is compressible. A response without a media type is also
/// compressible.
fn is_compressible_type(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return true;
    };
    let value = value.to_str().unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default().trim();
    TYPES
        .iter()
        .any(|known| known.eq_ignore_ascii_case(media_type))
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether `Cache-Control` contains `no-transform` (RFC 9111, section 5.2.2.6).
fn forbids_transformation(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(CACHE_CONTROL).into_iter();
    fields
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| field.split(','))
        .any(|directive| directive.trim().eq_ignore_ascii_case("no-transform"))
}

/// Adds `Accept-Encoding` to `Vary`. Several lines of `Vary` are joined into one.
fn vary_by_encoding(headers: &mut HeaderMap) {
    const NAME: &str = "Accept-Encoding";
    let fields = headers.get_all(VARY).into_iter();
    let known: Vec<_> = fields.filter_map(|field| field.to_str().ok()).collect();
    let known = known.join(", ");
    if known.split(',').any(|name| name.trim() == NAME) {
        return;
    }
    let joined = match known.as_str() {
        "" => Ok(HeaderValue::from_static(NAME)),
        known => HeaderValue::try_from(format!("{known}, {NAME}")),
    };
    if let Ok(value) = joined {
        headers.insert(VARY, value);
    }
}

#[cfg(test)]
mod tests;
