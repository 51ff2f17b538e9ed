//! Copies bytes between two connections, both ways at a time, until both have ended.
//!
//! What is read goes into a buffer of the thread and from there to the other side at once, so that a
//! connection on which nothing moves holds no memory. Only what the other side does not take yet is
//! kept, and nothing more is read until it does.
//!
//! The end of one side's bytes is passed on as such, and the other way goes on (half-close). A side that
//! breaks is told apart from one that ends, for the caller to pass that on, too.

use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// Bytes read at a time.
const CHUNK: usize = 32 * 1024;
/// Reads of one direction in a row before others get their turn.
const TURN: usize = 16;
/// Stands for no deadline; tokio cannot wait for ever.
const FAR: Duration = Duration::from_secs(86400 * 365);

thread_local! {
    static CHUNKS: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into());
}

/// What was copied, and how it ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ended {
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// Why.
    pub end: End,
    /// The side that broke, without an end of its bytes.
    pub broken: Option<Side>,
}

/// Why copying ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// The client was the first to end, or its connection broke.
    Client,
    /// The backend was.
    Backend,
    /// Nothing moved for too long.
    Silence,
    /// Its time was over.
    Age,
}

/// One of the two connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The client's.
    Client,
    /// The backend's.
    Backend,
}

/// How long copying may go on; `None`: no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Without a byte.
    pub(crate) idle: Option<Duration>,
    /// At all.
    pub(crate) ends: Option<Instant>,
}

/// How far copying has come, for whoever is left when it is given up.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Bytes from the client.
    pub(crate) received: AtomicU64,
    /// Bytes to the client.
    pub(crate) sent: AtomicU64,
}

/// Copies both ways until both sides have ended, one breaks, or a limit is reached.
pub(crate) async fn copy<A, B>(
    client: &mut A,
    backend: &mut B,
    limits: Limits,
    progress: &Progress,
) -> Ended
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut up = Half::new(Side::Client, Side::Backend);
    let mut down = Half::new(Side::Backend, Side::Client);
    let (mut first, mut last) = (None, Instant::now());
    let mut timer = std::pin::pin!(sleep_until(limits.deadline(last)));
    let cut = poll_fn(|cx| {
        let before = up.moved + down.moved;
        let there = up.poll(cx, client, backend, &down);
        let back = down.poll(cx, backend, client, &up);
        progress.received.store(up.read, Relaxed);
        progress.sent.store(down.read, Relaxed);
        first = first.or(up.ender()).or(down.ender());
        if up.cannot_read() || down.cannot_read() || (there.is_ready() && back.is_ready()) {
            return Poll::Ready(None);
        }
        if up.moved + down.moved != before {
            last = Instant::now();
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            let deadline = limits.deadline(last);
            if deadline <= Instant::now() {
                return Poll::Ready(Some(limits.reached(deadline)));
            }
            timer.as_mut().reset(deadline);
        }
    })
    .await;
    let broken = up.breaker(&down).or(down.breaker(&up));
    Ended {
        received: up.read,
        sent: down.read,
        broken: broken.filter(|_| cut.is_none()),
        end: cut.unwrap_or(match first {
            Some(Side::Backend) => End::Backend,
            _ => End::Client,
        }),
    }
}

impl Limits {
    /// When the next limit is reached if nothing moves after `last`.
    fn deadline(&self, last: Instant) -> Instant {
        let idle = self.idle.and_then(|idle| last.checked_add(idle));
        let limits = [idle, self.ends];
        limits
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| last + FAR)
    }

    fn reached(&self, deadline: Instant) -> End {
        if self.ends == Some(deadline) {
            End::Age
        } else {
            End::Silence
        }
    }
}

/// One direction.
struct Half {
    from: Side,
    to: Side,
    state: State,
    /// Bytes that the other side did not take yet, from `taken` on.
    kept: Vec<u8>,
    taken: usize,
    /// Bytes read.
    read: u64,
    /// Bytes read and bytes written: grows whenever something moves.
    moved: u64,
    /// Something was written since the last flush.
    unflushed: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Copying,
    /// All was read; the other side has to be told.
    Ending,
    Over(Result<(), Fault>),
}

/// Why a direction is over before its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    Read,
    /// What the other direction had moved then; `None` if it was over.
    Write(Option<u64>),
}

impl Half {
    fn new(from: Side, to: Side) -> Self {
        Self {
            from,
            to,
            state: State::Copying,
            kept: Vec::new(),
            taken: 0,
            read: 0,
            moved: 0,
            unflushed: false,
        }
    }

    /// Goes on as far as possible; ready when this direction is over.
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
        if let Err(fault) = ready!(self.poll_copy(cx, from, to)) {
            let fault = match (fault, other.state) {
                (Fault::Write(_), State::Copying) => Fault::Write(Some(other.moved)),
                (fault, _) => fault,
            };
            self.state = State::Over(Err(fault));
            self.kept = Vec::new();
        }
        Poll::Ready(())
    }

    fn poll_copy<A, B>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut A,
        to: &mut B,
    ) -> Poll<Result<(), Fault>>
    where
        A: AsyncRead + Unpin,
        B: AsyncWrite + Unpin,
    {
        const NOT_WRITTEN: Fault = Fault::Write(None);
        for _ in 0..TURN {
            match self.state {
                State::Over(_) => return Poll::Ready(Ok(())),
                State::Copying => {
                    ready!(self.poll_rest(cx, to)).map_err(|_| NOT_WRITTEN)?;
                    if ready!(self.poll_chunk(cx, from, to))? == 0 {
                        self.state = State::Ending;
                    }
                }
                State::Ending => {
                    ready!(self.poll_rest(cx, to)).map_err(|_| NOT_WRITTEN)?;
                    ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(|_| NOT_WRITTEN)?;
                    self.state = State::Over(Ok(()));
                }
            }
        }
        // Others on this thread want to go on, too.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what was kept.
    fn poll_rest<B: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut B,
    ) -> Poll<io::Result<()>> {
        while self.taken < self.kept.len() {
            let rest = &self.kept[self.taken..];
            let n = ready!(Pin::new(&mut *to).poll_write(cx, rest))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken += n;
            self.note_written(n);
        }
        self.kept.clear();
        self.taken = 0;
        Poll::Ready(Ok(()))
    }

    /// Reads once, and writes what the other side takes of it; gives how much was read.
    fn poll_chunk<A, B>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut A,
        to: &mut B,
    ) -> Poll<Result<usize, Fault>>
    where
        A: AsyncRead + Unpin,
        B: AsyncWrite + Unpin,
    {
        CHUNKS.with_borrow_mut(|chunk| {
            let mut buffer = ReadBuf::new(chunk);
            match Pin::new(from).poll_read(cx, &mut buffer) {
                Poll::Pending => {
                    // Nothing moves: whatever is held back goes out, and the room for it is given back.
                    self.kept = Vec::new();
                    if self.unflushed {
                        let flushed = ready!(Pin::new(to).poll_flush(cx));
                        flushed.map_err(|_| Fault::Write(None))?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
                // TLS without its own end: as in Envoy, the end of the connection will do.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Ok(0));
                }
                Poll::Ready(result) => result.map_err(|_| Fault::Read)?,
            }
            let filled = buffer.filled();
            self.read += filled.len() as u64;
            self.moved += filled.len() as u64;
            let written = self.write_some(cx, filled, to);
            let written = written.map_err(|_| Fault::Write(None))?;
            self.kept.extend_from_slice(&filled[written..]);
            Poll::Ready(Ok(filled.len()))
        })
    }

    /// Writes what can be written at once.
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
        self.moved += n as u64;
        self.unflushed = true;
    }

    /// Which side ended this direction.
    fn ender(&self) -> Option<Side> {
        match self.state {
            State::Copying => None,
            State::Over(Err(Fault::Write(_))) => Some(self.to),
            State::Ending | State::Over(_) => Some(self.from),
        }
    }

    /// Nothing can be read any more although there was no end: the connection is broken both ways.
    fn cannot_read(&self) -> bool {
        self.state == State::Over(Err(Fault::Read))
    }

    /// The side that broke. One that took nothing more, but went on to say something, has ended well
    /// enough: what it said must not be lost by a reset.
    fn breaker(&self, other: &Self) -> Option<Side> {
        match self.state {
            State::Over(Err(Fault::Read)) => Some(self.from),
            State::Over(Err(Fault::Write(Some(moved)))) if moved == other.moved => Some(self.to),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
