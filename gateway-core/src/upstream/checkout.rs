//! A connection that is ready for one request, and what comes of it.

use std::net::SocketAddr;

use http::{Request, Version, response};

use super::body::Received;
use super::http1::{Http1, Unanswered};
use super::http2::Stream;
use super::upload::StopUpload;
use super::{Progress, Upload};
use crate::alarm::Alarm;
use crate::error::Error;
use crate::http::hop_by_hop;
use crate::http::upgrade::Upgrade;

/// A connection that is ready for one request.
pub(crate) enum Checkout {
    Http1(Box<Http1>),
    Http2(Stream),
}

/// What came of a request: the response's head is checked, its body not yet read.
pub(crate) struct Sent {
    pub(crate) head: response::Parts,
    pub(crate) received: Received,
    /// This side of the connection.
    pub(crate) local: Option<SocketAddr>,
}

impl Checkout {
    /// This side's address.
    fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Http1(connection) => connection.local,
            Self::Http2(stream) => stream.local(),
        }
    }

    /// The alarm that served the request before, if there was one.
    pub(crate) fn take_alarm(&mut self) -> Option<Alarm> {
        match self {
            Self::Http1(connection) => connection.alarm.take(),
            Self::Http2(_) => None,
        }
    }

    /// Sends a request and checks the response's head. `upgrade` is what it asks for. The request is still
    /// there after [`Unanswered::Unsent`].
    pub(crate) async fn send(
        self,
        request: &mut Request<Upload>,
        upgrade: Option<&Upgrade>,
    ) -> Result<Sent, Unanswered> {
        let local = self.local();
        let progress = request.body().progress().cloned();
        let blame = |error| blame(error, progress.as_deref());
        let clean = |head: &mut response::Parts| {
            let cleaned = hop_by_hop::response(head, upgrade);
            cleaned.map_err(|_| Unanswered::Sent(Error::Protocol(None)))
        };
        let (mut head, received) = match self {
            Self::Http1(connection) if upgrade.is_some() => {
                let switching = Box::pin(connection.switch(request));
                let (mut head, incoming, driven) = switching.await.map_err(blame)?;
                clean(&mut head)?;
                (head, Received::Driven(incoming, driven))
            }
            Self::Http1(mut connection) => {
                let head = connection.exchange(request).await.map_err(blame)?;
                let sent = progress.as_ref().is_none_or(|progress| progress.is_done());
                (head, connection.receive(request, sent))
            }
            Self::Http2(stream) => {
                let mut stop = StopUpload(progress.clone());
                let response = Box::pin(stream.exchange(request)).await;
                if let Err(Unanswered::Unsent) = &response {
                    // It goes on over another connection.
                    stop.0 = None;
                }
                let (mut head, incoming) = response.map_err(blame)?.into_parts();
                clean(&mut head)?;
                (head, Received::Http2(incoming, stream, stop))
            }
        };
        head.version = Version::HTTP_11;
        Ok(Sent {
            head,
            received,
            local,
        })
    }
}

/// A failure is the client's if its body failed, whatever the connection says of it.
fn blame(error: Unanswered, upload: Option<&Progress>) -> Unanswered {
    match error {
        Unanswered::Sent(error) if upload.is_some_and(Progress::has_failed) => {
            Unanswered::Sent(match error {
                Error::RequestBody(_) => error,
                other => Error::RequestBody(Box::new(other)),
            })
        }
        error => error,
    }
}
