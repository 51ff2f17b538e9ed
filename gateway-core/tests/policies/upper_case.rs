//! A body policy that changes ASCII letters to upper case, in requests and in responses.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use towergate_core::body::BoxError;
use towergate_core::policy::{BodyPolicy, PolicyRequest};
use towergate_core::{Body, LocalReply};

/// Changes the bodies of requests and responses to upper case.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct UpperCase;

impl BodyPolicy for UpperCase {
    fn wrap(&self, request: &mut PolicyRequest<'_>) -> Result<(), LocalReply> {
        *request.body = upper(std::mem::take(request.body));
        request.on_response(|response| {
            let body = response.response.body_mut();
            *body = upper(std::mem::take(body));
        });
        Ok(())
    }
}

fn upper(body: Body) -> Body {
    Body::new(Upper(body))
}

struct Upper(Body);

impl http_body::Body for Upper {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.0).poll_frame(cx);
        frame.map_ok(|frame| frame.map_data(|data| data.to_ascii_uppercase().into()))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
