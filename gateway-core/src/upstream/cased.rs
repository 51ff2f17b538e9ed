//! A connection spoken by hyper: for requests whose names keep their case, which only hyper knows, and
//! for those that may switch the protocol.

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
use super::failure::classify;
use super::http1::Unanswered;
use super::stream::{Meter, Stream};
use crate::error::Error;

/// Bytes of a response's head; also bounds the interim responses before it.
const MAX_HEAD: usize = 60 * 1024;
/// Bytes buffered in each direction unless a policy says otherwise (hyper's own bound).
const BUFFER: usize = 8192 + 4096 * 100;

/// hyper's two halves of a connection, driven by the task that uses it.
pub(super) struct Cased {
    sender: http1::SendRequest<Upload>,
    driver: http1::Connection<TokioIo<Stream>, Upload>,
    /// The driver has nothing more to do, and must not be polled.
    ended: bool,
    meter: Meter,
    /// The body of the response under way.
    incoming: Option<Incoming>,
}

impl Cased {
    /// Prepares a fresh stream; nothing is sent yet.
    pub(super) async fn handshake(
        stream: Stream,
        buffer: Option<usize>,
    ) -> Result<Box<Self>, Error> {
        let meter = stream.meter();
        let (sender, driver) = http1::Builder::new()
            .max_header_size(MAX_HEAD)
            // A response's head must fit in.
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

    /// Whether the connection is open and ready for a request. Whatever the socket has is looked at, even
    /// if this task should give way to others by now: bytes that nobody asked for must not be taken for
    /// the next response.
    pub(super) fn is_ready(&mut self) -> bool {
        let idle = std::future::poll_fn(|cx| self.poll_driver(cx));
        let idle = pin!(tokio::task::unconstrained(idle));
        idle.poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
            && self.sender.is_ready()
    }

    /// Sends a request and reads the response's head; its body is [`Self::poll_frame`]'s.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Response<()>, (Unanswered, Option<Request<Upload>>)> {
        self.meter.reset();
        // Only the driver makes the answer ready, and it is polled first: so the answer needs no waker,
        // and must not give way to others, or it would be missed.
        let answer = self.sender.try_send_request(request);
        let mut answer = pin!(tokio::task::unconstrained(answer));
        let result = std::future::poll_fn(|cx| {
            let ended = self.poll_driver(cx).is_ready();
            let asleep = &mut Context::from_waker(Waker::noop());
            match answer.as_mut().poll(asleep) {
                Poll::Ready(result) => Poll::Ready(result.map_err(unanswered)),
                Poll::Pending if ended => Poll::Ready(Err(sent(Error::Terminated(None)))),
                Poll::Pending if self.meter.bytes() > 2 * MAX_HEAD => {
                    Poll::Ready(Err(sent(Error::Protocol(None))))
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
            // A part of a head is no HTTP.
            Err((Unanswered::Sent(Error::Terminated(error)), _)) if self.meter.bytes() > 0 => {
                Err(sent(Error::Protocol(error)))
            }
            Err(error) => Err(error),
        }
    }

    /// Sends a request that may switch the protocol, from a task of its own that hands over the
    /// connection.
    pub(super) async fn switch(
        self,
        request: Request<Upload>,
    ) -> (
        Result<Response<Incoming>, (Unanswered, Option<Request<Upload>>)>,
        JoinHandle<()>,
    ) {
        let Self {
            mut sender, driver, ..
        } = self;
        let task = tokio::spawn(async move {
            // Its end is seen by who waits for the response, or has the upgraded connection.
            let _ = driver.with_upgrades().await;
        });
        let response = sender.try_send_request(request).await;
        (response.map_err(unanswered), task)
    }

    /// Gives the connection a task of its own, in which the upload goes on while the response is read.
    pub(super) fn spawn(self) -> (Option<Incoming>, JoinHandle<()>) {
        let driver = self.driver;
        let task = tokio::spawn(async move {
            let _ = driver.await;
        });
        (self.incoming, task)
    }

    /// Drives the connection, until it has ended.
    fn poll_driver(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.ended {
            self.ended = Pin::new(&mut self.driver).poll(cx).is_ready();
        }
        match self.ended {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// The next part of the response's body. Driven here, only the driver makes a frame ready: the body
    /// needs no waker of its own.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = self.poll_incoming();
        if frame.is_ready() {
            return frame;
        }
        // Without its connection the body ends, well or in an error.
        let _ = self.poll_driver(cx);
        self.poll_incoming()
    }

    fn poll_incoming(&mut self) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        Pin::new(incoming).poll_frame(&mut Context::from_waker(Waker::noop()))
    }

    /// Whether the response is over.
    pub(super) fn is_received(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    /// How many bytes of the body are to come, if that is known.
    pub(super) fn left(&self) -> Option<u64> {
        let incoming = self.incoming.as_ref();
        incoming.map_or(Some(0), |incoming| incoming.size_hint().exact())
    }
}

fn sent(error: Error) -> (Unanswered, Option<Request<Upload>>) {
    (Unanswered::Sent(error), None)
}

/// What an error says of the request, and the request if not a byte of it was sent.
pub(super) fn unanswered(
    mut error: hyper::client::conn::TrySendError<Request<Upload>>,
) -> (Unanswered, Option<Request<Upload>>) {
    match error.take_message() {
        Some(request) => (Unanswered::Unsent, Some(request)),
        None => sent(classify(error.into_error())),
    }
}
