//! `cors`: cross-origin requests (Fetch standard, CORS protocol).

use crate::api_struct::api_struct;
use crate::common::DurationText;

/// `*`, an origin, or an origin whose host has a wildcard.
pub(crate) const ORIGIN: &str = r"^(\*|https?:\/\/(\*|(\*\.)?(([\w-]+\.?)+)?[\w-]+)(:\d{1,5})?)$";

api_struct! {
    /// Cross-origin requests. The CORS filter of an HTTPRoute's rule takes precedence.
    pub struct Cors {
        /// Allowed origins: `*`, `scheme://host[:port]` or `scheme://*.domain[:port]`.
        allow_origins: Vec<String> = "allowOrigins" [Length(1, 253), Pattern(ORIGIN)],
        /// Allowed methods.
        allow_methods: Vec<String> = "allowMethods",
        /// Allowed request headers.
        allow_headers: Vec<String> = "allowHeaders",
        /// Response headers that scripts may read.
        expose_headers: Vec<String> = "exposeHeaders",
        /// Time for which a browser may cache the result of a preflight request.
        max_age: DurationText = "maxAge",
        /// Whether requests may carry credentials. Default: `false`.
        allow_credentials: bool = "allowCredentials",
    }
}
