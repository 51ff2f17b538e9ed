//! Response heads for gRPC-Web clients.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http_body::Body as _;

use super::WebEncoding;
use super::response_body::WebEncoder;
use super::transcoded_body::TranscodedBody;
use crate::Body;
use crate::http::grpc::{self, GRPC_MESSAGE, GRPC_STATUS};
use crate::policy::PolicyResponse;

/// Maximum length in bytes of a response text that is copied to `grpc-message`. Envoy's limit is 16 KiB,
/// which exceeds the limit that clients have for header fields.
const LONGEST_MESSAGE: usize = 4 * 1024;

/// Translates a response for a client that accepts `encoding`.
pub(super) fn translate(response: &mut PolicyResponse<'_>, encoding: WebEncoding) {
    let response = &mut *response.response;
    if grpc::is_grpc(response.headers()) {
        let body = std::mem::take(response.body_mut());
        *response.body_mut() = match body.is_end_stream() {
            true => body,
            false => Body::new(TranscodedBody::new(body, WebEncoder::new(encoding))),
        };
        response.headers_mut().remove(CONTENT_LENGTH);
    } else {
        let status = grpc::status_of(response.status());
        let text = available_text(std::mem::take(response.body_mut()));
        let headers = response.headers_mut();
        headers.remove(TRANSFER_ENCODING);
        headers.insert(CONTENT_LENGTH, 0.into());
        headers.insert(GRPC_STATUS, status.into());
        if !text.is_empty() {
            let text = &text[..text.len().min(LONGEST_MESSAGE)];
            headers.insert(GRPC_MESSAGE, grpc::grpc_message(text));
        }
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, encoding.media_type());
}

/// The part of a body that arrived together with its head, such as the body of a local reply. This function
/// does not wait for the rest of the body.
fn available_text(mut body: Body) -> Bytes {
    let mut context = Context::from_waker(Waker::noop());
    match Pin::new(&mut body).poll_frame(&mut context) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        Poll::Ready(Some(Err(_)) | None) | Poll::Pending => Bytes::new(),
    }
}
