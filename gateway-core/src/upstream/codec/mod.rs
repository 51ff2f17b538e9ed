//! HTTP/1.1 as a client speaks it: one request at a time, driven by whoever waits for the response.
//!
//! ```text
//! begin ──> poll_send   head and body out, as the client sends and the backend takes
//!      └──> poll_head   interim responses are left out
//!             └──> poll_frame ... until the body is over; then the connection may be used again
//! ```
//!
//! What is read goes through one piece of memory per thread, so an idle connection has hardly any; the
//! bytes of larger bodies are read to where they stay. Framing that two readers could understand in two
//! ways is refused (RFC 9112, section 6.3).

mod chunked;
mod head;
mod out;

use std::cell::RefCell;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Method, Request, response};
use http_body::{Body as _, Frame};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use self::chunked::{Decoder, END_OF_CHUNK, LAST_CHUNK, Piece};
use self::head::{Framing, MAX_HEAD};
use self::out::Out;
use super::Upload;
use super::failure::ClientBody;
use super::stream::Stream;
use crate::error::Error;

/// What a backend sent is no HTTP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Malformed;

impl From<Malformed> for io::Error {
    fn from(_: Malformed) -> Self {
        Self::new(
            io::ErrorKind::InvalidData,
            "the backend's message is malformed",
        )
    }
}

/// Bytes that are read at once unless more are known to come.
const SMALL: usize = 8 * 1024;
/// Bytes of a larger body that are read at once.
const LARGE: usize = 128 * 1024;
/// Room for a head before a body.
const HEAD: usize = 4 * 1024;
/// Room that is not expected to be used: a read that fills all of it has to be tried again.
const SPARE: usize = 64;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SMALL].into());
}

/// One connection.
pub(super) struct Codec {
    stream: Stream,
    out: Out,
    /// Read and not used.
    read: BytesMut,
    sending: Sending,
    receiving: Receiving,
    /// A part of the request's body was taken, and is nowhere else.
    taken: bool,
    /// Bytes read since the request.
    received: usize,
    /// Bytes that are read at once: the next body may be as large as the last.
    room: usize,
    /// The backend, and what was sent and read, leave room for another request.
    keep_alive: bool,
}

/// How far the request is.
#[derive(Debug)]
enum Sending {
    /// So many bytes of the body are to come.
    Length(u64),
    /// Chunks are to come, and the trailers that were announced.
    Chunked(Vec<HeaderName>),
    /// All of it is in [`Codec::out`].
    Over,
    /// It was broken off.
    Broken,
}

/// How far the response is.
#[derive(Debug)]
enum Receiving {
    Head,
    Length(u64),
    Chunked(Decoder),
    Close,
    Over,
}

/// Why there is no response.
pub(super) enum Failed {
    /// The request may have reached the backend.
    Sent(Error),
    /// Not a byte was sent, and the request is whole.
    Unsent,
}

impl Codec {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            out: Out::default(),
            read: BytesMut::new(),
            sending: Sending::Over,
            receiving: Receiving::Over,
            taken: false,
            received: 0,
            room: SMALL,
            keep_alive: true,
        }
    }

    /// Begins a request, which is fit for the wire. Nothing is sent yet.
    pub(super) fn begin(&mut self, request: &Request<Upload>) {
        self.taken = false;
        self.received = 0;
        self.receiving = Receiving::Head;
        let (headers, body) = (request.headers(), request.body());
        // The head decides: it is made once, and a body that was found to be empty has ended when the request
        // is sent for the second time.
        self.sending = if headers.contains_key(TRANSFER_ENCODING) {
            Sending::Chunked(announced(headers))
        } else if body.is_end_stream() {
            Sending::Over
        } else {
            let length = headers
                .get(CONTENT_LENGTH)
                .and_then(|length| length.to_str().ok());
            Sending::Length(length.and_then(|length| length.parse().ok()).unwrap_or(0))
        };
        head::encode(request.method(), request.uri(), headers, self.out.begin());
    }

    /// Sends the request of [`Self::begin`] and reads the response's head.
    pub(super) fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut Request<Upload>,
    ) -> Poll<Result<response::Parts, Failed>> {
        match self.poll_send(cx, request.body_mut()) {
            Poll::Ready(Err(SendError::Client(error))) => {
                return Poll::Ready(Err(Failed::Sent(Error::RequestBody(error.into()))));
            }
            Poll::Ready(Err(SendError::Backend)) if !self.taken && !self.out.has_begun() => {
                return Poll::Ready(Err(Failed::Unsent));
            }
            // A backend may answer and close before it has read everything: that answer counts.
            Poll::Ready(Err(SendError::Backend) | Ok(())) | Poll::Pending => {}
        }
        self.poll_head(cx, request).map_err(Failed::Sent)
    }

    /// Whether the whole request is with the system.
    pub(super) fn is_sent(&self) -> bool {
        matches!(self.sending, Sending::Over) && self.out.is_empty()
    }

    /// Sends on. Ready when all is sent.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
    ) -> Poll<Result<(), SendError>> {
        loop {
            let over = matches!(self.sending, Sending::Over | Sending::Broken);
            if over && self.out.is_empty() {
                return Poll::Ready(Ok(()));
            }
            // One part of the body goes with the head, or follows the part before it.
            let waits = !over && !self.out.has_body() && self.poll_upload(cx, upload)?.is_pending();
            match self.out.poll_write(&mut self.stream, cx) {
                Poll::Ready(Ok(())) if waits => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    self.break_off();
                    return Poll::Ready(Err(SendError::Backend));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Takes the next part of the client's body.
    fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
    ) -> Result<Poll<()>, SendError> {
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
            self.break_off();
            return Err(SendError::Client(error));
        }
        Ok(Poll::Ready(()))
    }

    fn add(&mut self, frame: Frame<Bytes>) -> Result<(), ClientBody> {
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
                self.out.set_body(data, END_OF_CHUNK);
            }
            Sending::Length(left) => {
                let Some(rest) = left.checked_sub(data.len() as u64) else {
                    return Err(ClientBody("the body is longer than announced".into()));
                };
                *left = rest;
                self.out.set_body(data, b"");
                if rest == 0 {
                    self.sending = Sending::Over;
                }
            }
            Sending::Over | Sending::Broken => {}
        }
        Ok(())
    }

    /// Ends the chunks with the trailers that were announced.
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
        self.sending = Sending::Over;
    }

    /// The client's body has ended.
    fn finish(&mut self) -> Result<(), ClientBody> {
        match self.sending {
            Sending::Length(0) => self.sending = Sending::Over,
            Sending::Length(_) => {
                return Err(ClientBody("the body is shorter than announced".into()));
            }
            Sending::Chunked(_) => self.add_trailers(&HeaderMap::new()),
            Sending::Over | Sending::Broken => {}
        }
        Ok(())
    }

    /// Nothing more of the request is sent, and no other after it.
    fn break_off(&mut self) {
        self.keep_alive = false;
        self.sending = Sending::Broken;
        self.out.give_up();
    }

    /// The response's head, which is fit for the client. The request has none from then on.
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
            // Interim responses must have an end, too.
            if self.received > 2 * MAX_HEAD {
                return Poll::Ready(Err(Error::Protocol(None)));
            }
            match ready!(self.poll_fill(cx)) {
                Ok(read) if read > 0 => {}
                // A part of a head is no HTTP.
                Ok(_) | Err(_) if self.received > 0 => {
                    return Poll::Ready(Err(Error::Protocol(None)));
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Poll::Ready(Err(Error::Protocol(None)));
                }
                Ok(_) | Err(_) => return Poll::Ready(Err(Error::Terminated(None))),
            }
        }
    }

    /// The response's head, if all of it was read.
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
        self.receiving = match framing {
            Framing::Length(0) => Receiving::Over,
            Framing::Length(length) => Receiving::Length(length),
            Framing::Chunked => Receiving::Chunked(Decoder::default()),
            Framing::Close => {
                self.keep_alive = false;
                Receiving::Close
            }
        };
    }

    /// The next part of the response's body; an error ends it early.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            match self.take_frame() {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if self.is_received() => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(self.fail(error.into())))),
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) if matches!(self.receiving, Receiving::Close) => {
                    self.receiving = Receiving::Over;
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

    /// The next part of the body in what was read.
    fn take_frame(&mut self) -> Result<Option<Frame<Bytes>>, Malformed> {
        match &mut self.receiving {
            Receiving::Head | Receiving::Over => Ok(None),
            Receiving::Length(_) | Receiving::Close if self.read.is_empty() => Ok(None),
            Receiving::Close => Ok(Some(Frame::data(self.read.split().freeze()))),
            Receiving::Length(left) => {
                let there = self.read.len();
                let len = usize::try_from(*left).map_or(there, |left| left.min(there));
                *left -= len as u64;
                if *left == 0 {
                    self.receiving = Receiving::Over;
                }
                Ok(Some(Frame::data(self.read.split_to(len).freeze())))
            }
            Receiving::Chunked(decoder) => {
                let piece = decoder.decode(&mut self.read)?;
                if decoder.has_ended() {
                    self.receiving = Receiving::Over;
                }
                match piece {
                    Piece::Frame(frame) => Ok(Some(frame)),
                    Piece::More | Piece::End => Ok(None),
                }
            }
        }
    }

    fn fail(&mut self, error: io::Error) -> io::Error {
        self.keep_alive = false;
        self.receiving = Receiving::Over;
        error
    }

    /// The whole body, if all of it was read with the head.
    pub(super) fn take_whole(&mut self) -> Option<Bytes> {
        match self.receiving {
            Receiving::Over => Some(Bytes::new()),
            Receiving::Length(length) if length <= self.read.len() as u64 => {
                self.receiving = Receiving::Over;
                Some(self.read.split_to(length as usize).freeze())
            }
            _ => None,
        }
    }

    /// Whether the response is over.
    pub(super) fn is_received(&self) -> bool {
        matches!(self.receiving, Receiving::Over)
    }

    /// How many bytes of the body are to come, if that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match self.receiving {
            Receiving::Length(left) => Some(left),
            Receiving::Over => Some(0),
            Receiving::Head | Receiving::Chunked(_) | Receiving::Close => None,
        }
    }

    /// Gives back memory that an idle connection has no use for.
    pub(super) fn rest(&mut self) {
        self.room = SMALL;
        if self.read.is_empty() {
            self.read = BytesMut::new();
        }
    }

    /// Whether another request can be sent, unless the socket says otherwise.
    pub(super) fn is_reusable(&self) -> bool {
        self.keep_alive && self.is_sent() && self.is_received() && self.read.is_empty()
    }

    /// Whether the backend has neither closed nor said anything, as far as the system has told. What it has
    /// told is looked at even if this task should give way to others by now: bytes that nobody asked for must
    /// not be taken for the next response.
    pub(super) fn is_silent(&mut self) -> bool {
        if let Some(tcp) = self.stream.plain_tcp() {
            let nothing = tcp.try_read(&mut [0]);
            return nothing.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        }
        let fill = std::future::poll_fn(|cx| self.poll_fill(cx));
        let fill = pin!(tokio::task::unconstrained(fill));
        fill.poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    }

    /// Gives back the memory of a large response: the allocator gives it to the next one, of whichever
    /// connection, while it is still in the processor's cache; that of many connections would not be.
    pub(super) fn give_back(&mut self) {
        if self.room > SMALL && self.read.is_empty() {
            self.read = BytesMut::new();
        }
    }

    /// Reads more; 0: the backend has closed.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let more = match self.receiving {
            Receiving::Length(left) => usize::try_from(left).map_or(LARGE, with_spare),
            Receiving::Over => SMALL,
            Receiving::Head | Receiving::Chunked(_) | Receiving::Close => self.room,
        };
        let read = if more > SMALL {
            let more = more.min(LARGE);
            // A response that begins gets all its room at once. Later parts share what is left of it: each
            // keeps its memory until the client has taken it.
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

/// Why a request is not sent to its end.
pub(super) enum SendError {
    /// The client's body failed.
    Client(ClientBody),
    /// The connection failed.
    Backend,
}

/// The trailers that the request announces (RFC 9110, section 6.6.2).
fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(TRAILER).iter();
    let names = lines.flat_map(|line| line.as_bytes().split(|b| *b == b','));
    names
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect()
}
