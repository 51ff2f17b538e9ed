//! A connection that is ready for one request, and what comes of it.

use std::net::SocketAddr;

use http::{Request, Version, response};
use hyper::body::Incoming;

use super::body::Held;
use super::http1::{Http1, Unanswered};
use super::http2::Stream;
use super::upload::StopUpload;
use super::{Progress, Upload};
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
    pub(crate) incoming: Incoming,
    pub(crate) held: Held,
}

impl Checkout {
    /// This side's address.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Http1(connection) => connection.local,
            Self::Http2(stream) => stream.local(),
        }
    }

    /// Sends a request and checks the response's head. `upgrade` is what it asks for.
    pub(crate) async fn send(
        self,
        request: Request<Upload>,
        upgrade: Option<&Upgrade>,
    ) -> Result<Sent, Unanswered> {
        let progress = request.body().progress().cloned();
        let (response, held) = match self {
            Self::Http1(connection) if upgrade.is_some() => {
                let (mut sender, driven) = connection.spawn(true);
                let response = sender.try_send_request(request).await;
                (response.map_err(Unanswered::from), Held::Driven(driven))
            }
            Self::Http1(connection) => match connection.exchange(request).await {
                // The upload must go on while the client is slow to read the response.
                Ok((response, connection)) if progress.as_ref().is_some_and(|p| !p.is_done()) => {
                    (Ok(response), Held::Driven(connection.spawn(false).1))
                }
                Ok((response, connection)) => (Ok(response), Held::Http1(connection)),
                Err(error) => return Err(blame(error, progress.as_deref())),
            },
            Self::Http2(stream) => {
                let mut stop = StopUpload(progress.clone());
                let response = stream.exchange(request).await;
                if let Err(Unanswered::Unsent(_)) = &response {
                    // It goes on over another connection.
                    stop.0 = None;
                }
                (response, Held::Http2(stream, stop))
            }
        };
        let response = response.map_err(|error| blame(error, progress.as_deref()))?;
        let (mut head, incoming) = response.into_parts();
        hop_by_hop::response(&mut head, upgrade)
            .map_err(|_| Unanswered::Sent(Error::Protocol(None)))?;
        head.version = Version::HTTP_11;
        Ok(Sent {
            head,
            incoming,
            held,
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
