//! HTTP/1.1 client codec: one request at a time, driven by the task that waits for the response.
//!
//! ```text
//! begin ──> poll_send   writes head and body as the client sends and the backend accepts
//!      └──> poll_head   skips interim responses
//!             └──> poll_frame ... until the body ends; then the connection may be reused
//! ```
//!
//! Bytes are read into one buffer per thread, so that an idle connection holds almost no memory; larger
//! bodies are read directly into their own memory. Ambiguous framing is rejected (RFC 9112, section 6.3).

mod chunked;
pub(super) mod fuzzing;
mod head;
mod sending;
mod write_buffer;

use std::cell::RefCell;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, response};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use self::chunked::{DecodedChunk, Decoder};
use self::head::{Framing, MAX_HEAD};
use self::sending::{Sending, UploadError};
use self::write_buffer::WriteBuffer;
use super::Upload;
use super::failure::SendFailure;
use super::io::UpstreamIo;
use crate::error::Error;

/// Error: the bytes from the backend are not valid HTTP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Malformed;

impl From<Malformed> for io::Error {
    fn from(_: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, "malformed HTTP/1 message")
    }
}

/// Default read size, in bytes.
const SMALL: usize = 8 * 1024;
/// Maximum read size for a larger body, in bytes.
const LARGE: usize = 128 * 1024;
/// Read size for a head, in bytes, in addition to the expected size of its body.
const HEAD: usize = 4 * 1024;
/// Number of bytes by which the read size exceeds the expected size. If a read fills its buffer, another read
/// is required, so these bytes are expected to remain unused.
const SPARE: usize = 64;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SMALL].into());
}

/// An HTTP/1 client connection.
pub(super) struct Codec {
    stream: UpstreamIo,
    out: WriteBuffer,
    /// Bytes that were read and not yet decoded.
    read: BytesMut,
    sending: Sending,
    receiving: Receiving,
    /// Whether a small frame has been added to `out` since the task last yielded.
    has_small_frame: bool,
    /// Whether a frame of the request body has been taken. If so, the request cannot be sent again.
    taken: bool,
    /// Number of bytes read since the request was started.
    received: usize,
    /// Current read size. It assumes that the next body is as large as the previous one.
    room: usize,
    /// Whether another request may be sent after this one.
    keep_alive: bool,
}

/// State of the response.
#[derive(Debug)]
enum Receiving {
    Head,
    Length(u64),
    Chunked(Decoder),
    Close,
    Ended,
}

impl Receiving {
    /// The state after a head with `framing`.
    fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(0) => Self::Ended,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Decoder::default()),
            Framing::Close => Self::Close,
        }
    }

    /// Decodes the next frame of the body from `read`. Returns `None` if more bytes are required or the body
    /// has ended.
    fn decode(&mut self, read: &mut BytesMut) -> Result<Option<Frame<Bytes>>, Malformed> {
        match self {
            Self::Head | Self::Ended => Ok(None),
            Self::Length(_) | Self::Close if read.is_empty() => Ok(None),
            Self::Close => Ok(Some(Frame::data(read.split().freeze()))),
            Self::Length(left) => {
                let available = read.len();
                let len = usize::try_from(*left).map_or(available, |left| left.min(available));
                *left -= len as u64;
                if *left == 0 {
                    *self = Self::Ended;
                }
                Ok(Some(Frame::data(read.split_to(len).freeze())))
            }
            Self::Chunked(decoder) => {
                let chunk = decoder.decode(read)?;
                if decoder.has_ended() {
                    *self = Self::Ended;
                }
                match chunk {
                    DecodedChunk::Frame(frame) => Ok(Some(frame)),
                    DecodedChunk::More | DecodedChunk::End => Ok(None),
                }
            }
        }
    }
}

impl Codec {
    pub(super) fn new(stream: UpstreamIo) -> Self {
        Self {
            stream,
            out: WriteBuffer::default(),
            read: BytesMut::new(),
            sending: Sending::Ended,
            receiving: Receiving::Ended,
            has_small_frame: false,
            taken: false,
            received: 0,
            room: SMALL,
            keep_alive: true,
        }
    }

    /// Starts a prepared request. No byte of the request is sent yet.
    pub(super) fn begin(&mut self, request: &Request<Upload>) {
        self.taken = false;
        self.received = 0;
        self.receiving = Receiving::Head;
        self.sending = Sending::new(request);
        let out = self.out.begin();
        head::encode(request.method(), request.uri(), request.headers(), out);
    }

    /// Sends the request of [`Self::begin`] and reads the response head.
    pub(super) fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut Request<Upload>,
    ) -> Poll<Result<response::Parts, SendFailure>> {
        match self.poll_send(cx, request.body_mut()) {
            Poll::Ready(Err(UploadError::Client(error))) => {
                return Poll::Ready(Err(SendFailure::Sent(Error::RequestBody(error.into()))));
            }
            Poll::Ready(Err(UploadError::Backend)) if !self.taken && !self.out.has_begun() => {
                return Poll::Ready(Err(SendFailure::Unsent));
            }
            // A failed upload is not an error: a backend may respond and close before it has read the whole
            // request, and its response is valid.
            Poll::Ready(Err(UploadError::Backend) | Ok(())) | Poll::Pending => {}
        }
        self.poll_head(cx, request).map_err(SendFailure::Sent)
    }

    /// Returns whether the whole request has been written to the socket.
    pub(super) fn is_sent(&self) -> bool {
        matches!(self.sending, Sending::Ended) && self.out.is_empty()
    }

    /// Polls the response head, from which hop-by-hop fields are removed. Takes the fields of the request,
    /// whose memory is reused.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut Request<Upload>,
    ) -> Poll<Result<response::Parts, Error>> {
        loop {
            if !self.read.is_empty()
                && let Some(head) = self.take_head(request).map_err(|_| Error::Protocol(None))?
            {
                return Poll::Ready(Ok(head));
            }
            // The limit applies to the sum of all interim response heads and the final response head.
            if self.received > 2 * MAX_HEAD {
                return Poll::Ready(Err(Error::Protocol(None)));
            }
            match ready!(self.poll_fill(cx)) {
                Ok(read) if read > 0 => {}
                // The connection ended. An incomplete head is a protocol error; an end after complete interim
                // responses is not.
                Ok(_) | Err(_) if !self.read.is_empty() => {
                    return Poll::Ready(Err(Error::Protocol(None)));
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Poll::Ready(Err(Error::Protocol(None)));
                }
                Ok(_) | Err(_) => return Poll::Ready(Err(Error::Terminated(None))),
            }
        }
    }

    /// Decodes the response head if it has been read completely.
    fn take_head(
        &mut self,
        request: &mut Request<Upload>,
    ) -> Result<Option<response::Parts>, Malformed> {
        let to_head = *request.method() == Method::HEAD;
        while let Some(mut head) = head::decode(&mut self.read, to_head, request.headers_mut())? {
            if head.is_interim() {
                continue;
            }
            self.keep_alive &= head.keep_alive;
            self.receive(head.framing);
            head.clean()?;
            return Ok(Some(head.parts));
        }
        Ok(None)
    }

    fn receive(&mut self, framing: Framing) {
        if let Framing::Length(length) = framing {
            let length = usize::try_from(length).unwrap_or(LARGE);
            self.room = (length.saturating_add(HEAD)).clamp(SMALL, LARGE);
        }
        self.keep_alive &= framing != Framing::Close;
        self.receiving = Receiving::new(framing);
    }

    /// Returns whether a byte has been received since the request was started.
    pub(super) fn has_received(&self) -> bool {
        self.received > 0
    }

    /// Polls the next frame of the response body; an error ends the body.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            match self.receiving.decode(&mut self.read) {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if self.is_received() => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(self.fail(error.into())))),
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) if matches!(self.receiving, Receiving::Close) => {
                    self.receiving = Receiving::Ended;
                    return Poll::Ready(None);
                }
                Ok(0) => {
                    let error = io::ErrorKind::UnexpectedEof.into();
                    return Poll::Ready(Some(Err(self.fail(error))));
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(self.fail(error)))),
            }
        }
    }

    fn fail(&mut self, error: io::Error) -> io::Error {
        self.keep_alive = false;
        self.receiving = Receiving::Ended;
        error
    }

    /// Returns the complete body if it was read together with the head.
    pub(super) fn take_complete(&mut self) -> Option<Bytes> {
        match self.receiving {
            Receiving::Ended => Some(Bytes::new()),
            Receiving::Length(length) if length <= self.read.len() as u64 => {
                self.receiving = Receiving::Ended;
                Some(self.read.split_to(length as usize).freeze())
            }
            _ => None,
        }
    }

    /// Returns whether the response has been received completely.
    pub(super) fn is_received(&self) -> bool {
        matches!(self.receiving, Receiving::Ended)
    }

    /// Remaining length of the body in bytes, if known.
    pub(super) fn left(&self) -> Option<u64> {
        match self.receiving {
            Receiving::Length(left) => Some(left),
            Receiving::Ended => Some(0),
            Receiving::Head | Receiving::Chunked(_) | Receiving::Close => None,
        }
    }

    /// Releases memory that an idle connection does not need.
    pub(super) fn release_buffers(&mut self) {
        self.room = SMALL;
        if self.read.is_empty() {
            self.read = BytesMut::new();
        }
    }

    /// Returns whether another request can be sent, without checking the socket.
    pub(super) fn is_reusable(&self) -> bool {
        self.keep_alive && self.is_sent() && self.is_received() && self.read.is_empty()
    }

    /// Checks that the backend has neither closed the connection nor sent bytes. The socket is read even if
    /// the task has used up its cooperative budget, because unsolicited bytes must not be interpreted as the
    /// next response.
    pub(super) fn is_quiet(&mut self) -> bool {
        if let Some(socket) = self.stream.plain_socket() {
            let nothing = socket.try_read(&mut [0]);
            return nothing.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        }
        let fill = std::future::poll_fn(|cx| self.poll_fill(cx));
        let fill = pin!(tokio::task::unconstrained(fill));
        fill.poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    }

    /// Releases the memory of a large response. While this memory is still in the processor cache, the
    /// allocator can reuse it for the next response of any connection.
    pub(super) fn release_large_buffer(&mut self) {
        if self.room > SMALL && self.read.is_empty() {
            self.read = BytesMut::new();
        }
    }

    /// Reads more bytes. Returns 0 if the backend has closed the connection.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let more = match self.receiving {
            Receiving::Length(left) => usize::try_from(left).map_or(LARGE, with_spare),
            Receiving::Ended => SMALL,
            Receiving::Head | Receiving::Chunked(_) | Receiving::Close => self.room,
        };
        let read = if more > SMALL {
            let more = more.min(LARGE);
            // The first read of a response reserves the full read size. Later reads use the rest of this
            // memory. They reserve less, because a frame occupies its memory until the client has read it.
            let least = match self.receiving {
                Receiving::Head => more,
                _ => SMALL,
            };
            if self.read.capacity() - self.read.len() < least {
                self.read.reserve(more);
            }
            ready!(pin!(self.stream.read_buf(&mut self.read)).poll(cx))?
        } else {
            ready!(self.poll_fill_by_scratch(cx))?
        };
        self.received += read;
        Poll::Ready(Ok(read))
    }

    fn poll_fill_by_scratch(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            let read = buffer.filled();
            self.read.extend_from_slice(read);
            if read.len() == SMALL && !matches!(self.receiving, Receiving::Length(_)) {
                self.room = LARGE;
            }
            Poll::Ready(Ok(read.len()))
        })
    }
}

fn with_spare(length: usize) -> usize {
    length.saturating_add(SPARE)
}
