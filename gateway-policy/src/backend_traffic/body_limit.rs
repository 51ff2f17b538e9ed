//! `requestBuffer`.

use crate::FieldError;
use crate::api_struct::api_struct;
use crate::common::Quantity;
use crate::field_path::FieldPath;
use crate::parse::bytes;
use crate::request_body_limit::RequestBuffering;

api_struct! {
    /// Buffering of request bodies.
    pub struct RequestBuffer {
        /// Maximum size of a body. Larger requests are rejected with 413.
        limit: Quantity = "limit",
    }
}

/// Converts `requestBuffer`.
pub(super) fn buffering(
    at: FieldPath<'_>,
    buffer: &RequestBuffer,
) -> Result<RequestBuffering, FieldError> {
    let limit = at.field("limit");
    let bytes = bytes(limit, buffer.limit.as_ref(), 0, u64::from(u32::MAX))?;
    let bytes = bytes.ok_or_else(|| FieldError::invalid(limit, "Required value"))?;
    Ok(RequestBuffering { bytes })
}
