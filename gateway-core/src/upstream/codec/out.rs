//! What is to be written: lines first, then a part of a body.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use crate::one_piece;

/// Room for lines that a connection keeps while it is idle.
const KEPT: usize = 1024;

/// Bytes on their way out, at most one part of a body among them.
#[derive(Debug, Default)]
pub(super) struct Out {
    lines: Vec<u8>,
    /// How much of `lines` is written.
    written: usize,
    body: Bytes,
    end: &'static [u8],
    /// Whether a byte of the message is with the system.
    begun: bool,
}

impl Out {
    /// A message begins: gives where its head is to be written.
    pub(super) fn begin(&mut self) -> &mut Vec<u8> {
        self.begun = false;
        &mut self.lines
    }

    /// Whether a byte of the message is with the system.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// To write lines to; only before the body's part is set, or after all is written.
    pub(super) fn lines(&mut self) -> &mut Vec<u8> {
        &mut self.lines
    }

    /// What follows the lines.
    pub(super) fn set_body(&mut self, body: Bytes, end: &'static [u8]) {
        self.body = body;
        self.end = end;
    }

    /// Whether a part of a body waits to be written.
    pub(super) fn has_body(&self) -> bool {
        !self.body.is_empty() || !self.end.is_empty()
    }

    /// Whether all is written.
    pub(super) fn is_empty(&self) -> bool {
        self.written == self.lines.len() && !self.has_body()
    }

    /// Forgets what is not written.
    pub(super) fn give_up(&mut self) {
        *self = Self {
            begun: self.begun,
            ..Self::default()
        };
    }

    /// Writes all there is.
    pub(super) fn poll_write<Io: AsyncWrite + Unpin>(
        &mut self,
        io: &mut Io,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let parts = [&self.lines[self.written..], &self.body, self.end];
            let written = if self.has_body() && io.is_write_vectored() {
                let parts = parts.map(IoSlice::new);
                ready!(one_piece::poll_write(Pin::new(&mut *io), cx, &parts))?
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
