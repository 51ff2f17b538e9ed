//! `csrf`: protection against cross-site request forgery.

use super::ORIGIN;
use crate::api_struct::api_struct;
use crate::common::Fraction;

api_struct! {
    /// Protection against cross-site request forgery: `Origin` must equal the request's host for POST,
    /// PUT, DELETE and PATCH. Other requests are answered 403.
    pub struct Csrf {
        /// Allowed origins besides the request's own host. Only host and port are compared.
        additional_origins: Vec<String> = "additionalOrigins" [Items(0, 16), Length(1, 253), Pattern(ORIGIN)],
        /// Share of the requests that are evaluated and not rejected. Default: 0.
        shadow_fraction: Fraction = "shadowFraction",
    }
}
