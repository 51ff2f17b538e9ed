//! Write buffer of a connection: text lines, then a body frame.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use crate::coalesced_write;

/// Capacity in bytes for lines that an idle connection retains.
const KEPT: usize = 1024;

/// Size in bytes from which the lines are written before more lines are added.
const FULL: usize = 16 * 1024;

/// Bytes to be written, with at most one body frame.
#[derive(Debug, Default)]
pub(super) struct WriteBuffer {
    lines: Vec<u8>,
    /// Number of bytes of `lines` that have been written.
    written: usize,
    body: Bytes,
    end: &'static [u8],
    /// Whether a byte of the current message has been written.
    begun: bool,
}

impl WriteBuffer {
    /// Starts a message. Returns the buffer to which its head must be written.
    pub(super) fn begin(&mut self) -> &mut Vec<u8> {
        self.begun = false;
        &mut self.lines
    }

    /// Returns whether a byte of the current message has been written.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// The buffer for lines, and for small frames. Must not be used while a body frame is pending.
    pub(super) fn lines(&mut self) -> &mut Vec<u8> {
        &mut self.lines
    }

    /// Sets the body frame that follows the lines.
    pub(super) fn set_body(&mut self, body: Bytes, end: &'static [u8]) {
        self.body = body;
        self.end = end;
    }

    /// Returns whether a body frame is pending.
    pub(super) fn has_body(&self) -> bool {
        !self.body.is_empty() || !self.end.is_empty()
    }

    /// Returns whether the lines should be written before more lines are added.
    pub(super) fn is_full(&self) -> bool {
        self.lines.len() >= FULL
    }

    /// Returns whether everything has been written.
    pub(super) fn is_empty(&self) -> bool {
        self.written == self.lines.len() && !self.has_body()
    }

    /// Drops the bytes that have not been written.
    pub(super) fn discard(&mut self) {
        *self = Self {
            begun: self.begun,
            ..Self::default()
        };
    }

    /// Writes everything.
    pub(super) fn poll_write<Io: AsyncWrite + Unpin>(
        &mut self,
        io: &mut Io,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let parts = [&self.lines[self.written..], &self.body, self.end];
            let written = if self.has_body() && io.is_write_vectored() {
                let parts = parts.map(IoSlice::new);
                ready!(coalesced_write::poll_write(Pin::new(&mut *io), cx, &parts))?
            } else {
                let part = parts.into_iter().find(|part| !part.is_empty());
                ready!(Pin::new(&mut *io).poll_write(cx, part.unwrap_or_default()))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        Pin::new(io).poll_flush(cx)
    }

    fn advance(&mut self, written: usize) {
        self.begun = true;
        let of_lines = written.min(self.lines.len() - self.written);
        self.written += of_lines;
        if self.written == self.lines.len() {
            self.written = 0;
            self.lines.clear();
            self.lines.shrink_to(KEPT);
        }
        let rest = written - of_lines;
        let of_body = rest.min(self.body.len());
        self.body.advance(of_body);
        self.end = &self.end[rest - of_body..];
    }
}
