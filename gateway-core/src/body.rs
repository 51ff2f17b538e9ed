//! The body type of requests and responses in the gateway.
//!
//! ```
//! use http_body_util::{BodyExt, Full};
//! use towergate_core::Body;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let native = Body::from("text");
//! let boxed = Body::new(Full::<bytes::Bytes>::from("text"));
//!
//! assert_eq!(native.collect().await?.to_bytes(), boxed.collect().await?.to_bytes());
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
#[cfg(feature = "gateway")]
use hyper::body::Incoming;

/// Error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request or of a response.
///
/// The body is empty, or consists of bytes in memory, of a body that hyper receives, or of any other body in
/// a box.
#[derive(Debug, Default)]
pub struct Body(Kind);

/// Bodies of clients are not boxed. Bodies of backends are boxed unless they arrive together with their head.
/// Without the box, the type of these bodies would make every `Body` larger.
#[derive(Debug, Default)]
enum Kind {
    #[default]
    Empty,
    /// `None` once the bytes have been read.
    Full(Option<Bytes>),
    #[cfg(feature = "gateway")]
    Incoming(Incoming),
    Boxed(UnsyncBoxBody<Bytes, BoxError>),
}

impl Body {
    /// Creates an empty body.
    pub const fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// Wraps a body. A [`Body`] or a body that hyper receives is not boxed.
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut body = Some(body);
        if let Some(body) = take::<_, Self>(&mut body) {
            return body;
        }
        #[cfg(feature = "gateway")]
        if let Some(body) = take::<_, Incoming>(&mut body) {
            return Self::incoming(body);
        }
        match body {
            Some(body) => Self(Kind::Boxed(body.map_err(Into::into).boxed_unsync())),
            None => Self::empty(),
        }
    }

    /// Boxes a body whose error needs no conversion.
    #[cfg(feature = "gateway")]
    pub(crate) fn boxed<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes, Error = BoxError> + Send + 'static,
    {
        Self(Kind::Boxed(UnsyncBoxBody::new(body)))
    }

    /// Wraps a body that hyper receives.
    #[cfg(feature = "gateway")]
    pub(crate) const fn incoming(body: Incoming) -> Self {
        Self(Kind::Incoming(body))
    }
}

/// Takes the value out of `body`, if its type is `T`.
fn take<B: 'static, T: 'static>(body: &mut Option<B>) -> Option<T> {
    let any: &mut dyn Any = body;
    any.downcast_mut::<Option<T>>().and_then(Option::take)
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            Self::empty()
        } else {
            Self(Kind::Full(Some(bytes)))
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

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.get_mut().0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            #[cfg(feature = "gateway")]
            Kind::Incoming(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Kind::Boxed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty | Kind::Full(None) => true,
            Kind::Full(Some(_)) => false,
            #[cfg(feature = "gateway")]
            Kind::Incoming(body) => body.is_end_stream(),
            Kind::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty | Kind::Full(None) => SizeHint::with_exact(0),
            Kind::Full(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            #[cfg(feature = "gateway")]
            Kind::Incoming(body) => body.size_hint(),
            Kind::Boxed(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    #[test]
    fn only_a_body_of_another_type_is_boxed() {
        let own = Body::new(Body::from("text"));
        let foreign = Body::new(Full::new(Bytes::from_static(b"text")));

        assert!(matches!(own.0, Kind::Full(Some(text)) if text == "text"));
        assert!(matches!(foreign.0, Kind::Boxed(_)));
    }
}
