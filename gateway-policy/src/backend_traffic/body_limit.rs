//! `requestBuffer`, and the annotation that limits request bodies without buffering them.

use std::collections::BTreeMap;

use super::RequestBuffer;
use crate::FieldError;
use crate::common::Quantity;
use crate::field_path::FieldPath;
use crate::parse::bytes;
use crate::request_body_limit::{RequestBodyLimit, RequestBuffering};

/// Prefix of the annotations of policies. An unknown annotation with this prefix makes its policy
/// invalid.
pub const ANNOTATION_PREFIX: &str = "towergate.dev/";

/// Annotation of a BackendTrafficPolicy: the maximum size of request bodies, such as `8Mi`. Larger requests are
/// answered 413, without buffering. `0`: no limit, even if the policy's parent sets one.
pub const MAX_REQUEST_BODY: &str = "towergate.dev/max-request-body";

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

/// The limit of the annotation [`MAX_REQUEST_BODY`].
pub(super) fn body_limit(
    annotations: &BTreeMap<String, String>,
) -> Result<Option<RequestBodyLimit>, FieldError> {
    let mut limit = None;
    for (name, value) in annotations {
        if name == MAX_REQUEST_BODY {
            let quantity = Quantity::Text(value.clone());
            let bytes = quantity.bytes().ok_or_else(|| {
                let message =
                    format_args!("{name}: {value:?} is not a number of bytes").to_string();
                FieldError::invalid("metadata.annotations", message)
            })?;
            limit = (bytes > 0).then_some(RequestBodyLimit { bytes });
        } else if name.starts_with(ANNOTATION_PREFIX) {
            return Err(FieldError::invalid(
                "metadata.annotations",
                format_args!(
                    "{name} is not an annotation of policies; did you mean {MAX_REQUEST_BODY}?"
                ),
            ));
        }
    }
    Ok(limit)
}
