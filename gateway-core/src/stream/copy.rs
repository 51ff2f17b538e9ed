//! Bidirectional copy between two connections.
//!
//! Bytes are read into a per-thread buffer and immediately written to the other side, so an idle connection
//! needs no buffer. If the other side does not accept all bytes, the rest is stored, and reading pauses until
//! the rest is written.
//!
//! The end of one direction is forwarded while the other direction continues (half-close). The result states
//! whether a connection failed or was closed normally, so that the caller can forward a failure as a reset.

use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// Size of the read buffer, in bytes.
const CHUNK: usize = 32 * 1024;
/// Maximum number of reads of one direction before the task yields.
const READS_PER_POLL: usize = 16;
/// Time from now to the deadline of the timer if a copy has no time limit, because a timer requires a
/// deadline.
const FAR: Duration = Duration::from_secs(86400 * 365);

thread_local! {
    static CHUNKS: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into());
}

/// Result of a copy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CopyOutcome {
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// Reason why the copy ended.
    pub reason: CloseReason,
    /// The side whose connection failed. `None` if both connections were closed normally.
    pub reset_by: Option<Side>,
}

/// Reason why a copy ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CloseReason {
    /// The client closed first, or its connection failed.
    Client,
    /// The backend closed first, or its connection failed.
    Backend,
    /// No byte was transferred within the idle timeout.
    IdleTimeout,
    /// The deadline was reached.
    MaxDuration,
}

/// One of the two connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// Client connection.
    Client,
    /// Backend connection.
    Backend,
}

/// Time limits of a copy. `None`: no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CopyLimits {
    /// Idle timeout.
    pub(crate) idle: Option<Duration>,
    /// Deadline of the copy.
    pub(crate) deadline: Option<Instant>,
}

/// Numbers of bytes that a running copy has transferred. They remain available if the copy is cancelled.
#[derive(Debug, Default)]
pub(crate) struct CopyProgress {
    /// Bytes from the client.
    pub(crate) received: AtomicU64,
    /// Bytes to the client.
    pub(crate) sent: AtomicU64,
}

/// Copies in both directions until both are closed, a connection fails, or a limit is reached.
pub(crate) async fn copy<A, B>(
    client: &mut A,
    backend: &mut B,
    limits: CopyLimits,
    progress: &CopyProgress,
) -> CopyOutcome
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut up = Direction::new(Side::Client, Side::Backend);
    let mut down = Direction::new(Side::Backend, Side::Client);
    let (mut first_closed, mut last) = (None, Instant::now());
    let mut timer = std::pin::pin!(sleep_until(limits.next_deadline(last)));
    let limit = poll_fn(|cx| {
        let before = up.transferred + down.transferred;
        let up_done = up.poll(cx, client, backend, &down).is_ready();
        let down_done = down.poll(cx, backend, client, &up).is_ready();
        progress.received.store(up.read, Relaxed);
        progress.sent.store(down.read, Relaxed);
        first_closed = first_closed.or(up.closed_by()).or(down.closed_by());
        if up.read_failed() || down.read_failed() || (up_done && down_done) {
            return Poll::Ready(None);
        }
        if up.transferred + down.transferred != before {
            last = Instant::now();
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            let deadline = limits.next_deadline(last);
            if deadline <= Instant::now() {
                return Poll::Ready(Some(limits.reached(deadline)));
            }
            timer.as_mut().reset(deadline);
        }
    })
    .await;
    let reset_by = up.failed_side(&down).or(down.failed_side(&up));
    CopyOutcome {
        received: up.read,
        sent: down.read,
        reset_by: reset_by.filter(|_| limit.is_none()),
        reason: limit.unwrap_or(match first_closed {
            Some(Side::Backend) => CloseReason::Backend,
            Some(Side::Client) | None => CloseReason::Client,
        }),
    }
}

impl CopyLimits {
    /// The time at which the first limit expires if no byte is transferred after `last`.
    fn next_deadline(&self, last: Instant) -> Instant {
        let idle = self.idle.and_then(|idle| last.checked_add(idle));
        let limits = [idle, self.deadline];
        limits
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| last + FAR)
    }

    fn reached(&self, deadline: Instant) -> CloseReason {
        if self.deadline == Some(deadline) {
            CloseReason::MaxDuration
        } else {
            CloseReason::IdleTimeout
        }
    }
}

/// One direction of a copy.
struct Direction {
    from: Side,
    to: Side,
    state: State,
    /// Buffer. The bytes from `written` on have been read but not yet written.
    pending: Vec<u8>,
    written: usize,
    /// Bytes read.
    read: u64,
    /// Number of bytes read plus number of bytes written.
    transferred: u64,
    /// Whether bytes have been written since the last flush.
    unflushed: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Copying,
    /// The source has ended, and the destination must be shut down.
    ShuttingDown,
    Done(Result<(), Failure>),
}

/// Reason why a direction ended early.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Failure {
    Read,
    /// Writing failed. Contains the value of `transferred` of the other direction at that time. `None`: the
    /// other direction had ended.
    Write(Option<u64>),
}

impl Direction {
    fn new(from: Side, to: Side) -> Self {
        Self {
            from,
            to,
            state: State::Copying,
            pending: Vec::new(),
            written: 0,
            read: 0,
            transferred: 0,
            unflushed: false,
        }
    }

    /// Copies as many bytes as possible. Ready when this direction has ended.
    fn poll<A, B>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut A,
        to: &mut B,
        other: &Self,
    ) -> Poll<()>
    where
        A: AsyncRead + Unpin,
        B: AsyncWrite + Unpin,
    {
        if let Err(failure) = ready!(self.poll_copy(cx, from, to)) {
            let failure = match (failure, other.state) {
                (Failure::Write(_), State::Copying) => Failure::Write(Some(other.transferred)),
                (failure, State::Copying | State::ShuttingDown | State::Done(_)) => failure,
            };
            self.state = State::Done(Err(failure));
            self.pending = Vec::new();
        }
        Poll::Ready(())
    }

    fn poll_copy<A, B>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut A,
        to: &mut B,
    ) -> Poll<Result<(), Failure>>
    where
        A: AsyncRead + Unpin,
        B: AsyncWrite + Unpin,
    {
        const NOT_WRITTEN: Failure = Failure::Write(None);
        for _ in 0..READS_PER_POLL {
            match self.state {
                State::Done(_) => return Poll::Ready(Ok(())),
                State::Copying => {
                    ready!(self.poll_pending(cx, to)).map_err(|_| NOT_WRITTEN)?;
                    if ready!(self.poll_chunk(cx, from, to))? == 0 {
                        self.state = State::ShuttingDown;
                    }
                }
                State::ShuttingDown => {
                    ready!(self.poll_pending(cx, to)).map_err(|_| NOT_WRITTEN)?;
                    ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(|_| NOT_WRITTEN)?;
                    self.state = State::Done(Ok(()));
                }
            }
        }
        // The task yields, so that other tasks of the thread can run.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes the pending bytes.
    fn poll_pending<B: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut B,
    ) -> Poll<io::Result<()>> {
        while self.written < self.pending.len() {
            let pending = &self.pending[self.written..];
            let n = ready!(Pin::new(&mut *to).poll_write(cx, pending))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
            self.note_written(n);
        }
        self.pending.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Reads once, and writes as many of the bytes as possible. Returns the number of bytes read.
    fn poll_chunk<A, B>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut A,
        to: &mut B,
    ) -> Poll<Result<usize, Failure>>
    where
        A: AsyncRead + Unpin,
        B: AsyncWrite + Unpin,
    {
        CHUNKS.with_borrow_mut(|chunk| {
            let mut buffer = ReadBuf::new(chunk);
            match Pin::new(from).poll_read(cx, &mut buffer) {
                Poll::Pending => {
                    // No bytes are available: frees the buffer and flushes the destination.
                    self.pending = Vec::new();
                    if self.unflushed {
                        let flushed = ready!(Pin::new(to).poll_flush(cx));
                        flushed.map_err(|_| Failure::Write(None))?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
                // As in Envoy, the end of a TLS connection without close_notify is treated as a normal close.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Ok(0));
                }
                Poll::Ready(result) => result.map_err(|_| Failure::Read)?,
            }
            let filled = buffer.filled();
            self.read += filled.len() as u64;
            self.transferred += filled.len() as u64;
            let written = self.write_some(cx, filled, to);
            let written = written.map_err(|_| Failure::Write(None))?;
            self.pending.extend_from_slice(&filled[written..]);
            Poll::Ready(Ok(filled.len()))
        })
    }

    /// Writes as many of `bytes` as possible without waiting. Returns the number of bytes written.
    fn write_some<B: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        to: &mut B,
    ) -> io::Result<usize> {
        let mut written = 0;
        while written < bytes.len() {
            match Pin::new(&mut *to).poll_write(cx, &bytes[written..]) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(n) => {
                    let n = n?;
                    written += n;
                    self.note_written(n);
                }
            }
        }
        Ok(written)
    }

    fn note_written(&mut self, n: usize) {
        self.transferred += n as u64;
        self.unflushed = true;
    }

    /// The side that closed this direction.
    fn closed_by(&self) -> Option<Side> {
        match self.state {
            State::Copying => None,
            State::Done(Err(Failure::Write(_))) => Some(self.to),
            State::ShuttingDown | State::Done(_) => Some(self.from),
        }
    }

    /// Whether reading failed. If so, the connection is unusable in both directions.
    fn read_failed(&self) -> bool {
        self.state == State::Done(Err(Failure::Read))
    }

    /// The side whose connection failed. `None` also if this side rejected bytes but sent more bytes
    /// afterwards, because forwarding the failure as a reset could discard those bytes.
    fn failed_side(&self, other: &Self) -> Option<Side> {
        match self.state {
            State::Done(Err(Failure::Read)) => Some(self.from),
            State::Done(Err(Failure::Write(Some(before)))) if before == other.transferred => {
                Some(self.to)
            }
            State::Copying | State::ShuttingDown | State::Done(Ok(()) | Err(Failure::Write(_))) => {
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
