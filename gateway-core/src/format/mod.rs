//! Texts with command operators, such as `%REQ(x-user)%`, as Envoy defines them.
//!
//! A format string is parsed once, when its filter is built:
//!
//! ```text
//! "a-%REQ(x-user?x-name):8%" ──parse──> Format [Literal("a-"), Operator(Request(..), 8)]
//!                                         └─ write(&FormatContext) ──> "a-alice"
//! ```
//!
//! Header values, bodies, redirects and access logs have the same operators. Where a value is not known yet, such
//! as the duration of a request whose response has not been sent, the operator has no value.
//!
//! A header value without operators is parsed as a constant [`FieldText`], so its use costs no evaluation. If
//! an operator is unknown or incomplete, the error names the operator. Operators whose values depend on the
//! machine and not on the request, such as `%ENVIRONMENT(X)%`, are not supported.
//!
//! ```
//! use http::HeaderMap;
//! use towergate_core::format::{Format, FormatContext, FormatRequest};
//!
//! let format: Format = "user %REQ(x-user)%".parse()?;
//! let mut headers = HeaderMap::new();
//! headers.insert("x-user", "alice".parse()?);
//! let context = FormatContext {
//!     request: Some(FormatRequest { headers: Some(&headers), ..FormatRequest::default() }),
//!     ..FormatContext::default()
//! };
//!
//! assert_eq!(format.text(&context).as_deref(), Some(&b"user alice"[..]));
//! assert!("50% off".parse::<Format>().is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod context;
mod error;
mod grpc_status;
mod operator;
mod parse;
mod plain_value;
mod response_flags;
mod time;
mod value;

pub use context::{FormatConnection, FormatContext, FormatExchange, FormatRequest, FormatTls};
pub use error::FormatError;
pub use parse::FieldText;
#[cfg(feature = "gateway")]
pub(crate) use plain_value::escaped_pem;
pub use time::write_rfc3339;

use std::str::FromStr;

use http::HeaderValue;

#[cfg(feature = "gateway")]
use crate::access_log::LoggedFields;
use crate::text::Source;
use operator::Operator;

/// A parsed string with command operators.
#[derive(Clone, Debug)]
pub struct Format {
    source: Box<str>,
    parts: Box<[Part]>,
}

/// A part of a format.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    /// Text that is copied.
    Literal(Box<str>),
    /// An operator, and the maximum length of its value in bytes.
    Operator(Operator, Option<usize>),
}

impl Format {
    /// Parses a text of any length, such as a body. A `%` that starts no operator is literal.
    ///
    /// # Errors
    /// [`FormatError`] names the operator that is not supported.
    pub fn parse_body(text: &str) -> Result<Self, FormatError> {
        parse::escaped(text).parse()
    }

    /// The text of the format, if the format has no operators.
    pub fn literal(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The text, in which each operator that is not supported is replaced by `-` and each `%` that begins no
    /// operator is doubled. Also returns the errors of the operators.
    pub fn replace_unsupported(text: &str) -> (String, Vec<FormatError>) {
        parse::replace_unsupported(text)
    }

    /// Appends the value for one request. An operator without a value adds nothing.
    pub fn write(&self, context: &FormatContext<'_>, out: &mut Vec<u8>) {
        self.write_or(context, "", out);
    }

    /// Appends the value for one request. An operator without a value adds `missing`.
    pub fn write_or(&self, context: &FormatContext<'_>, missing: &str, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Operator(operator, limit) => {
                    let start = out.len();
                    if !operator.write(context, out) {
                        out.extend_from_slice(missing.as_bytes());
                    }
                    if let Some(limit) = limit {
                        out.truncate(out.len().min(start.saturating_add(*limit)));
                    }
                }
            }
        }
    }

    /// Whether the format is one operator that has no value.
    pub fn is_absent(&self, context: &FormatContext<'_>) -> bool {
        match &*self.parts {
            [Part::Operator(operator, _)] => !operator.write(context, &mut Vec::new()),
            _ => false,
        }
    }

    /// Whether the format is one operator whose values are numbers.
    #[cfg(feature = "gateway")]
    pub fn is_number(&self) -> bool {
        matches!(&*self.parts, [Part::Operator(operator, _)] if operator.is_number())
    }

    /// What an access log must record for the values of the format, except for members of
    /// [`Entry`](crate::access_log::Entry).
    #[cfg(feature = "gateway")]
    pub fn logged_fields(&self) -> LoggedFields {
        let mut fields = LoggedFields::default();
        for part in &self.parts {
            if let Part::Operator(operator, _) = part {
                operator.add_logged(&mut fields);
            }
        }
        fields
    }

    /// The value for one request. `None` if the value is empty.
    pub fn text(&self, context: &FormatContext<'_>) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        self.write(context, &mut out);
        (!out.is_empty()).then_some(out)
    }

    /// The value for one request as a header value. `None` if the value is empty, or not valid in a header.
    pub fn header_value(&self, context: &FormatContext<'_>) -> Option<HeaderValue> {
        HeaderValue::from_maybe_shared(bytes::Bytes::from(self.text(context)?)).ok()
    }

    /// Whether the value depends on the head of the request.
    pub fn reads_request(&self) -> bool {
        let mut parts = self.parts.iter();
        parts.any(|part| matches!(part, Part::Operator(operator, _) if operator.reads_request()))
    }
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        Ok(Self {
            parts: parse::parts(text)?.into(),
            source: text.into(),
        })
    }
}

impl Source for Format {
    fn source(&self) -> &str {
        &self.source
    }
}

#[cfg(test)]
mod tests;
