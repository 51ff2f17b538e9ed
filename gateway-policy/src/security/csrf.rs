//! `csrf`: protection against cross-site request forgery.

use super::ORIGIN;
use crate::FieldError;
use crate::api_struct::api_struct;
use crate::common::Fraction;
use crate::csrf::{CsrfProtection, SourceOrigin};
use crate::field_path::FieldPath;
use crate::parse::number;

api_struct! {
    /// Protection against cross-site request forgery: `Origin` must equal the request's host for POST,
    /// PUT, DELETE and PATCH. Other requests receive 403.
    pub struct Csrf {
        /// Allowed origins besides the request's own host. Only host and port are compared.
        additional_origins: Vec<String> = "additionalOrigins" [Items(0, 16), Length(1, 253), Pattern(ORIGIN)],
        /// Share of the requests that are evaluated and not rejected. Default: 0.
        shadow_fraction: Fraction = "shadowFraction",
    }
}

impl Csrf {
    /// Converts this section of the spec, at `path`.
    pub(super) fn policy(&self, path: FieldPath<'_>) -> Result<CsrfProtection, FieldError> {
        let origins = self.additional_origins.iter().flatten();
        let shadow = self.shadow_fraction.as_ref();
        let path = path.field("shadowFraction");
        let shadow = shadow.map(|fraction| {
            let numerator = number(path.field("numerator"), fraction.numerator)?;
            let denominator = number(path.field("denominator"), fraction.denominator)?;
            Ok::<_, FieldError>((numerator.unwrap_or(0), denominator.unwrap_or(100)))
        });
        Ok(CsrfProtection {
            additional: origins.map(|text| SourceOrigin::parse(text)).collect(),
            shadow: shadow.transpose()?,
        })
    }
}
