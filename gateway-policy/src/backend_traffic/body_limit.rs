//! `requestBuffer`.

use super::RequestBuffer;
use crate::FieldError;
use crate::field_path::FieldPath;
use crate::parse::bytes;
use crate::request_body_limit::RequestBuffering;

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
