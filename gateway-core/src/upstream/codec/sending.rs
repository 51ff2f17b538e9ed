//! The request half of the codec. Writes the request body at the rate at which the client sends and the
//! backend accepts it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Request};
use http_body::{Body as _, Frame};

use super::chunked::{self, END_OF_CHUNK, LAST_CHUNK};
use super::{Codec, Upload, head};
use crate::upstream::failure::ClientBodyError;

/// Size in bytes below which a frame of a request is written together with the following frames.
const SMALL_FRAME: usize = 512;
/// State of the request.
#[derive(Debug)]
pub(super) enum Sending {
    /// Remaining bytes of the body.
    Length(u64),
    /// Chunks follow, then the trailers with the announced names.
    Chunked(Vec<HeaderName>),
    /// The rest of the request is in [`Codec::out`].
    Ended,
    /// The request was aborted.
    Aborted,
}

impl Sending {
    /// The state before the first byte of a prepared request is sent. The head determines the framing. A body
    /// without chunked coding that has already ended was empty. This case occurs when a request is sent
    /// again.
    pub(super) fn new(request: &Request<Upload>) -> Self {
        let (headers, body) = (request.headers(), request.body());
        if headers.contains_key(TRANSFER_ENCODING) {
            Self::Chunked(announced(headers))
        } else if body.is_end_stream() {
            Self::Ended
        } else {
            let length = headers.get(CONTENT_LENGTH);
            let length = length.and_then(|length| length.to_str().ok());
            Self::Length(length.and_then(|length| length.parse().ok()).unwrap_or(0))
        }
    }
}

/// Trailers that the request announces (RFC 9110, section 6.6.2).
fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(TRAILER).iter();
    let names = lines.flat_map(|line| line.as_bytes().split(|b| *b == b','));
    names
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect()
}

/// Reason why a request was not sent completely.
pub(in crate::upstream) enum UploadError {
    /// The client's body failed.
    Client(ClientBodyError),
    /// The connection failed.
    Backend,
}

impl Codec {
    /// Continues to send the request. Ready when the request has been sent completely.
    pub(in crate::upstream) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
    ) -> Poll<Result<(), UploadError>> {
        loop {
            if self.has_ended() && self.out.is_empty() {
                return Poll::Ready(Ok(()));
            }
            // Body frames are collected first, so that one write contains the head and a frame, or several
            // frames.
            let mut waits = false;
            while !waits && !self.has_ended() && !self.out.has_body() && !self.out.is_full() {
                waits = self.poll_upload(cx, upload)?.is_pending();
            }
            if waits && std::mem::take(&mut self.has_small_frame) {
                // The client's codec decodes one chunk per poll, so more small frames may be available at
                // once.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.out.poll_write(&mut self.stream, cx) {
                Poll::Ready(Ok(())) if waits => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    self.abort_request();
                    return Poll::Ready(Err(UploadError::Backend));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Whether the rest of the request is in [`Self::out`].
    fn has_ended(&self) -> bool {
        matches!(self.sending, Sending::Ended | Sending::Aborted)
    }

    /// Reads the next frame of the client's body.
    fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
    ) -> Result<Poll<()>, UploadError> {
        let frame = match Pin::new(upload).poll_frame(cx) {
            Poll::Ready(frame) => frame.transpose(),
            Poll::Pending => return Ok(Poll::Pending),
        };
        let added = match frame {
            Ok(Some(frame)) => {
                self.taken = true;
                self.add(frame)
            }
            Ok(None) => self.finish(),
            Err(error) => Err(error),
        };
        if let Err(error) = added {
            self.abort_request();
            return Err(UploadError::Client(error));
        }
        Ok(Poll::Ready(()))
    }

    fn add(&mut self, frame: Frame<Bytes>) -> Result<(), ClientBodyError> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    self.add_trailers(&trailers);
                }
                return Ok(());
            }
        };
        match &mut self.sending {
            _ if data.is_empty() => {}
            Sending::Chunked(_) => {
                chunked::encode_size(data.len(), self.out.lines());
                if data.len() < SMALL_FRAME {
                    // Small frames that arrive together are written together.
                    self.out.lines().extend_from_slice(&data);
                    self.out.lines().extend_from_slice(END_OF_CHUNK);
                    self.has_small_frame = true;
                } else {
                    self.out.set_body(data, END_OF_CHUNK);
                }
            }
            Sending::Length(left) => {
                let Some(rest) = left.checked_sub(data.len() as u64) else {
                    return Err(ClientBodyError(
                        "body is longer than its Content-Length".into(),
                    ));
                };
                *left = rest;
                self.out.set_body(data, b"");
                if rest == 0 {
                    self.sending = Sending::Ended;
                }
            }
            Sending::Ended | Sending::Aborted => {}
        }
        Ok(())
    }

    /// Ends the chunked body with the announced trailers.
    fn add_trailers(&mut self, trailers: &HeaderMap) {
        let Sending::Chunked(announced) = &self.sending else {
            return;
        };
        let out = self.out.lines();
        out.extend_from_slice(LAST_CHUNK);
        for (name, value) in trailers {
            if announced.contains(name) {
                head::encode_field(name, value, out);
            }
        }
        out.extend_from_slice(b"\r\n");
        self.sending = Sending::Ended;
    }

    /// Ends the request once the client's body has ended.
    fn finish(&mut self) -> Result<(), ClientBodyError> {
        match self.sending {
            Sending::Length(0) => self.sending = Sending::Ended,
            Sending::Length(_) => {
                return Err(ClientBodyError(
                    "body is shorter than its Content-Length".into(),
                ));
            }
            Sending::Chunked(_) => self.add_trailers(&HeaderMap::new()),
            Sending::Ended | Sending::Aborted => {}
        }
        Ok(())
    }

    /// Aborts the request and prevents the reuse of the connection.
    fn abort_request(&mut self) {
        self.keep_alive = false;
        self.sending = Sending::Aborted;
        self.out.discard();
    }
}
