//! The one body type of the gateway.
//!
//! ```
//! use http_body_util::{BodyExt, Full};
//! use towergate_core::Body;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let own = Body::from("text");
//! let any = Body::new(Full::<bytes::Bytes>::from("text"));
//!
//! assert_eq!(own.collect().await?.to_bytes(), any.collect().await?.to_bytes());
//! # Ok(())
//! # }
//! ```

use std::any::Any;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;

use crate::upstream::ResponseBody;

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's or a response's body: nothing, bytes at hand, a stream of hyper's, or any other.
///
/// Bodies that pass through are not boxed, but for those of endpoints that do not come at once with their
/// head: few are so large, and all others would be moved with room for one.
#[derive(Debug, Default)]
pub enum Body {
    /// No bytes.
    #[default]
    Empty,
    /// These bytes; `None` when they are read.
    Full(Option<Bytes>),
    /// As it comes from the wire.
    Incoming(Incoming),
    /// A response as it comes from an endpoint.
    Upstream(Box<ResponseBody>),
    /// Anything else.
    Boxed(UnsyncBoxBody<Bytes, BoxError>),
}

impl Body {
    /// Wraps any body. One of these, or of hyper's, is taken as it is.
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut body = Some(body);
        let any: &mut dyn Any = &mut body;
        if let Some(body) = any.downcast_mut::<Option<Self>>().and_then(Option::take) {
            return body;
        }
        let any: &mut dyn Any = &mut body;
        if let Some(body) = any
            .downcast_mut::<Option<Incoming>>()
            .and_then(Option::take)
        {
            return Self::Incoming(body);
        }
        match body {
            Some(body) => Self::Boxed(body.map_err(Into::into).boxed_unsync()),
            None => Self::Empty,
        }
    }

    /// Boxes a body whose error needs no conversion.
    pub(crate) fn boxed<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes, Error = BoxError> + Send + 'static,
    {
        Self::Boxed(UnsyncBoxBody::new(body))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            Self::Empty
        } else {
            Self::Full(Some(bytes))
        }
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<Incoming> for Body {
    fn from(body: Incoming) -> Self {
        Self::Incoming(body)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::Incoming(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Upstream(body) => Pin::new(body).poll_frame(cx),
            Self::Boxed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Full(None) => true,
            Self::Full(Some(_)) => false,
            Self::Incoming(body) => body.is_end_stream(),
            Self::Upstream(body) => body.is_end_stream(),
            Self::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Full(None) => SizeHint::with_exact(0),
            Self::Full(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Self::Incoming(body) => body.size_hint(),
            Self::Upstream(body) => body.size_hint(),
            Self::Boxed(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    #[test]
    fn only_a_foreign_body_is_boxed() {
        let own = Body::new(Body::from("text"));
        let foreign = Body::new(Full::new(Bytes::from_static(b"text")));

        assert!(matches!(own, Body::Full(Some(text)) if text == "text"));
        assert!(matches!(foreign, Body::Boxed(_)));
    }
}
