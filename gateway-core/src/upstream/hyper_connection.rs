//! An HTTP/1 connection that hyper drives. It is used if header names must keep their case, and for upgrades.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use super::Upload;
use super::failure::{SendFailure, classify};
use super::io::{Meter, UpstreamIo};
use crate::error::Error;

/// Maximum size in bytes of a response head; also limits the interim responses before it.
const MAX_HEAD: usize = 60 * 1024;
/// Default size of each buffer in bytes. It is the default of hyper.
const BUFFER: usize = 8192 + 4096 * 100;

/// Sender and driver of a connection. The task that uses the connection polls both.
pub(super) struct HyperConnection {
    sender: http1::SendRequest<Upload>,
    driver: http1::Connection<TokioIo<UpstreamIo>, Upload>,
    /// Whether the driver has completed. If so, it must not be polled.
    ended: bool,
    meter: Meter,
    /// Body of the current response.
    incoming: Option<Incoming>,
}

impl HyperConnection {
    /// Wraps a connected stream. Sends nothing.
    pub(super) async fn handshake(
        stream: UpstreamIo,
        buffer: Option<usize>,
    ) -> Result<Box<Self>, Error> {
        let meter = stream.meter();
        let (sender, driver) = http1::Builder::new()
            .max_header_size(MAX_HEAD)
            // The buffer must be large enough for a response head.
            .max_buf_size(buffer.unwrap_or(BUFFER).max(MAX_HEAD))
            .preserve_header_case(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(classify)?;
        Ok(Box::new(Self {
            sender,
            driver,
            ended: false,
            meter,
            incoming: None,
        }))
    }

    /// Returns whether the connection is open and ready for a request. The socket is read even if the task
    /// has used up its cooperative budget, because unsolicited bytes must not be interpreted as the next
    /// response.
    pub(super) fn is_ready(&mut self) -> bool {
        let idle = std::future::poll_fn(|cx| self.poll_driver(cx));
        let idle = pin!(tokio::task::unconstrained(idle));
        idle.poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
            && self.sender.is_ready()
    }

    /// Sends a request and reads the response head. [`Self::poll_frame`] reads the body.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Response<()>, (SendFailure, Option<Request<Upload>>)> {
        self.meter.reset();
        // The driver is polled before the future of the response, and completes it. Therefore this future
        // needs no waker. The driver must run even if the task has used up its cooperative budget: otherwise
        // the completion of the response would be missed.
        let response = self.sender.try_send_request(request);
        let mut response = pin!(tokio::task::unconstrained(response));
        let result = std::future::poll_fn(|cx| {
            let ended = self.poll_driver(cx).is_ready();
            let no_waker = &mut Context::from_waker(Waker::noop());
            match response.as_mut().poll(no_waker) {
                Poll::Ready(result) => Poll::Ready(result.map_err(classify_send_error)),
                Poll::Pending if ended => Poll::Ready(Err(not_answered(Error::Terminated(None)))),
                Poll::Pending if self.meter.bytes() > 2 * MAX_HEAD => {
                    Poll::Ready(Err(not_answered(Error::Protocol(None))))
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        match result {
            Ok(response) => {
                let (head, incoming) = response.into_parts();
                self.incoming = Some(incoming);
                Ok(Response::from_parts(head, ()))
            }
            // The connection ended within a head, which is a protocol error.
            Err((SendFailure::Sent(Error::Terminated(error)), _)) if self.meter.bytes() > 0 => {
                Err(not_answered(Error::Protocol(error)))
            }
            Err(error) => Err(error),
        }
    }

    /// Sends a request that may switch the protocol. A separate task drives the connection, and hands it over
    /// if the protocol is switched.
    pub(super) async fn switch(
        self,
        request: Request<Upload>,
    ) -> (
        Result<Response<Incoming>, (SendFailure, Option<Request<Upload>>)>,
        JoinHandle<()>,
    ) {
        let Self {
            mut sender, driver, ..
        } = self;
        let task = tokio::spawn(async move {
            // Errors are ignored here: the receiver of the response or the upgraded connection returns them.
            let _ = driver.with_upgrades().await;
        });
        let response = sender.try_send_request(request).await;
        (response.map_err(classify_send_error), task)
    }

    /// Moves the connection to a separate task, in which the upload continues while the response is read.
    pub(super) fn spawn(self) -> (Option<Incoming>, JoinHandle<()>) {
        let driver = self.driver;
        let task = tokio::spawn(async move {
            let _ = driver.await;
        });
        (self.incoming, task)
    }

    /// Drives the connection until it has ended.
    fn poll_driver(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.ended {
            self.ended = Pin::new(&mut self.driver).poll(cx).is_ready();
        }
        match self.ended {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Polls the next frame of the response body. The driver is polled here first, so the body needs no waker
    /// of its own.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = self.poll_incoming();
        if frame.is_ready() {
            return frame;
        }
        // The result is ignored, because the body ends or fails if the driver has ended.
        let _ = self.poll_driver(cx);
        self.poll_incoming()
    }

    fn poll_incoming(&mut self) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        Pin::new(incoming).poll_frame(&mut Context::from_waker(Waker::noop()))
    }

    /// Returns whether the response has ended.
    pub(super) fn is_received(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    /// Remaining length of the body in bytes, if known.
    pub(super) fn left(&self) -> Option<u64> {
        let incoming = self.incoming.as_ref();
        incoming.map_or(Some(0), |incoming| incoming.size_hint().exact())
    }
}

fn not_answered(error: Error) -> (SendFailure, Option<Request<Upload>>) {
    (SendFailure::Sent(error), None)
}

/// Classifies an error. Also returns the request if no byte of it was sent.
pub(super) fn classify_send_error(
    mut error: hyper::client::conn::TrySendError<Request<Upload>>,
) -> (SendFailure, Option<Request<Upload>>) {
    match error.take_message() {
        Some(request) => (SendFailure::Unsent, Some(request)),
        None => not_answered(classify(error.into_error())),
    }
}
