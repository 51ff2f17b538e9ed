//! Sending one request over a connection.

use std::net::SocketAddr;

use http::{Request, StatusCode, Version, response};

use super::body::ResponseSource;
use super::failure::SendFailure;
use super::http1::Http1;
use super::http2::Http2Stream;
use super::upload::StopUpload;
use super::{Upload, UploadProgress};
use crate::error::Error;
use crate::http::hop_by_hop;
use crate::http::upgrade::Upgrade;
use crate::policy::RejectedBody;
use crate::reusable_timer::ReusableTimer;

/// A connection that is ready for one request.
pub(crate) enum Checkout {
    Http1(Box<Http1>),
    Http2(Http2Stream),
}

/// Response of a backend: the head has been checked, the body has not been read.
pub(crate) struct UpstreamResponse {
    pub(crate) head: response::Parts,
    pub(crate) source: ResponseSource,
    /// Local address of the connection.
    pub(crate) local: Option<SocketAddr>,
}

impl Checkout {
    /// Local address of the connection.
    fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Http1(connection) => connection.local,
            Self::Http2(stream) => stream.local(),
        }
    }

    /// Returns the timer of the previous request, if there was one.
    pub(crate) fn take_timer(&mut self) -> Option<ReusableTimer> {
        match self {
            Self::Http1(connection) => connection.timer.take(),
            Self::Http2(_) => None,
        }
    }

    /// Sends a request and checks the response head. `upgrade` is the upgrade that the request contains. If
    /// the result is [`SendFailure::Unsent`] or [`SendFailure::Stale`], `request` is unchanged.
    pub(crate) async fn send(
        self,
        request: &mut Request<Upload>,
        upgrade: Option<&Upgrade>,
    ) -> Result<UpstreamResponse, SendFailure> {
        let local = self.local();
        let progress = request.body().progress().cloned();
        let attribute_error = |error| attribute_error(error, progress.as_deref());
        let clean = |head: &mut response::Parts| {
            let cleaned = hop_by_hop::response(head, upgrade);
            cleaned.map_err(|_| SendFailure::Sent(Error::Protocol(None)))
        };
        let (mut head, source) = match self {
            Self::Http1(connection) if upgrade.is_some() => {
                let switching = Box::pin(connection.switch(request));
                let (mut head, incoming, task) = switching.await.map_err(attribute_error)?;
                clean(&mut head)?;
                (head, ResponseSource::ConnectionTask(incoming, task))
            }
            Self::Http1(mut connection) => {
                let head = connection
                    .exchange(request)
                    .await
                    .map_err(attribute_error)?;
                let sent = progress.as_ref().is_none_or(|progress| progress.is_done());
                (head, ResponseSource::new(connection, request, sent))
            }
            Self::Http2(stream) => {
                let mut stop = StopUpload(progress.clone());
                let response = Box::pin(stream.exchange(request)).await;
                if let Err(SendFailure::Unsent) = &response {
                    // The upload is not stopped, because it continues over another connection.
                    stop.0 = None;
                }
                let (mut head, incoming) = response.map_err(attribute_error)?.into_parts();
                clean(&mut head)?;
                if upgrade.is_some() && head.status.is_success() && head.status != StatusCode::OK {
                    // hyper supports a tunnel only if the status is 200.
                    return Err(SendFailure::Sent(Error::Protocol(None)));
                }
                (head, ResponseSource::Http2(incoming, stream, stop))
            }
        };
        head.version = Version::HTTP_11;
        Ok(UpstreamResponse {
            head,
            source,
            local,
        })
    }
}

/// Converts a failure into an error of the client if the client's body failed.
fn attribute_error(error: SendFailure, upload: Option<&UploadProgress>) -> SendFailure {
    match error {
        SendFailure::Sent(error) if upload.is_some_and(UploadProgress::has_failed) => {
            let rejected = upload.and_then(UploadProgress::rejected);
            SendFailure::Sent(match (rejected, error) {
                (Some(reply), _) => Error::RequestBody(RejectedBody(reply.clone()).into()),
                (None, error @ Error::RequestBody(_)) => error,
                (None, other) => Error::RequestBody(Box::new(other)),
            })
        }
        error => error,
    }
}
