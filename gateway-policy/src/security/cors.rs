//! `cors`: cross-origin requests (Fetch standard, CORS protocol).

use towergate_core::filter::{self, Allowed, OriginPattern};

use crate::FieldError;
use crate::api_struct::api_struct;
use crate::common::DurationText;
use crate::field_path::FieldPath;
use crate::parse::duration;

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

impl Cors {
    /// Converts this section of the spec, at `path`.
    pub(super) fn policy(&self, path: FieldPath<'_>) -> Result<filter::Cors, FieldError> {
        let at = path.field("allowOrigins");
        let origins = self.allow_origins.iter().flatten().enumerate();
        let origins = origins.map(|(index, text)| {
            let origin = text.parse::<OriginPattern>();
            origin.map_err(|error| FieldError::invalid(at.item(index).to_string(), error))
        });
        let names = |field, names: &Option<Vec<String>>| {
            let names = names.iter().flatten().map(String::as_str);
            Allowed::of(names).map_err(|e| FieldError::invalid(path.field(field).to_string(), e))
        };
        let age = duration(path.field("maxAge"), self.max_age.as_ref())?;
        let seconds = age.map(|age| u32::try_from(age.as_secs()).unwrap_or(u32::MAX));
        Ok(filter::Cors {
            origins: origins.collect::<Result<_, _>>()?,
            credentials: self.allow_credentials.unwrap_or(false),
            methods: names("allowMethods", &self.allow_methods)?,
            headers: names("allowHeaders", &self.allow_headers)?,
            expose: names("exposeHeaders", &self.expose_headers)?,
            max_age: seconds,
            as_envoy: false,
            every_response: false,
            origin_texts: Vec::new(),
        })
    }
}
