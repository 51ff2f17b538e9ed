//! Tunnels: what becomes of a connection after `101 Switching Protocols` or `CONNECT`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::TryFutureExt as _;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Bytes buffered in each direction.
const BUFFER: usize = 16 * 1024;

/// What went through a tunnel, and how it ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ended {
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// Why.
    pub end: End,
}

/// Why a tunnel ended.
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

/// Joins the two sides of an upgrade, once both are upgraded, until the tunnel ends. To be spawned: the
/// response must go out meanwhile.
///
/// A tunnel without a byte for `idle` is closed. The client's connection counts as open, for
/// limits, metrics and [`Drain`](crate::conn::drain::Drain), until the tunnel ends.
pub async fn tunnel(client: OnUpgrade, backend: OnUpgrade, idle: Option<Duration>) -> Ended {
    tunnel_until(client, backend, idle, None).await
}

/// As [`tunnel`]; what is still open at `ends` is closed.
pub async fn tunnel_until(
    client: OnUpgrade,
    backend: OnUpgrade,
    idle: Option<Duration>,
    ends: Option<Instant>,
) -> Ended {
    let nothing = |end| Ended {
        received: 0,
        sent: 0,
        end,
    };
    let both = futures_util::future::try_join(
        client.map_err(|_| End::Client),
        backend.map_err(|_| End::Backend),
    );
    match both.await {
        Ok((client, backend)) => {
            join(TokioIo::new(client), TokioIo::new(backend), idle, ends).await
        }
        Err(end) => nothing(end),
    }
}

/// Copies both ways until both sides have ended, one fails, or nothing moves for `idle`.
async fn join<A, B>(client: A, backend: B, idle: Option<Duration>, ends: Option<Instant>) -> Ended
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let start = Instant::now();
    let notes = Arc::new(Notes::default());
    let mut client = Noted {
        io: client,
        start,
        notes: notes.clone(),
        is_client: true,
    };
    let mut backend = Noted {
        io: backend,
        start,
        notes: notes.clone(),
        is_client: false,
    };

    let copy = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut backend, BUFFER, BUFFER);
    let cut = tokio::select! {
        _ = copy => None,
        () = silence(start, &notes.last, idle) => Some(End::Silence),
        () = crate::conn::sleep_until(ends) => Some(End::Age),
    };
    let end = cut.unwrap_or(match notes.first_end.load(Relaxed) {
        BACKEND => End::Backend,
        _ => End::Client,
    });
    Ended {
        received: notes.received.load(Relaxed),
        sent: notes.sent.load(Relaxed),
        end,
    }
}

/// Waits until `last`, in microseconds since `start`, lies `idle` back; for ever without one. Sets its
/// timer once per `idle`, not once per byte.
async fn silence(start: Instant, last: &AtomicU64, idle: Option<Duration>) {
    let Some(idle) = idle else {
        return std::future::pending().await;
    };
    loop {
        let until = start + Duration::from_micros(last.load(Relaxed)) + idle;
        if until <= Instant::now() {
            return;
        }
        tokio::time::sleep_until(until).await;
    }
}

/// What is noted of a tunnel.
#[derive(Debug, Default)]
struct Notes {
    /// When a byte last moved.
    last: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    /// Which side ended first: 0 is none yet.
    first_end: AtomicU8,
}

const CLIENT: u8 = 1;
const BACKEND: u8 = 2;

/// One side of a tunnel.
struct Noted<Io> {
    io: Io,
    start: Instant,
    notes: Arc<Notes>,
    is_client: bool,
}

impl<Io> Noted<Io> {
    /// Something moved: `read` bytes from this side, if they came from it.
    fn note(&self, read: usize) {
        let now = self.start.elapsed().as_micros() as u64;
        self.notes.last.store(now, Relaxed);
        let count = if self.is_client {
            &self.notes.received
        } else {
            &self.notes.sent
        };
        count.fetch_add(read as u64, Relaxed);
    }

    /// This side has ended, or takes nothing any more.
    fn note_end(&self) {
        let side = if self.is_client { CLIENT } else { BACKEND };
        let first = &self.notes.first_end;
        // Only the first counts.
        let _ = first.compare_exchange(0, side, Relaxed, Relaxed);
    }

    fn note_failure<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.note_end();
        }
        result
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Noted<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut this.io).poll_read(cx, buf));
        this.note_failure(result)?;
        match buf.filled().len() - before {
            0 => this.note_end(),
            read => this.note(read),
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Noted<Io> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.io).poll_write(cx, buf));
        let n = this.note_failure(result)?;
        this.note(0);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const IDLE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn bytes_go_both_ways_until_both_sides_end() {
        let (mut client, a) = duplex(64);
        let (b, mut backend) = duplex(64);
        let tunnel = tokio::spawn(join(a, b, Some(IDLE), None));

        client.write_all(b"ping").await.unwrap();
        client.shutdown().await.unwrap();
        let mut seen = Vec::new();
        backend.read_to_end(&mut seen).await.unwrap();
        backend.write_all(b"pong!").await.unwrap();
        drop(backend);

        assert_eq!(seen, b"ping");
        let ended = tunnel.await.unwrap();
        assert_eq!((ended.received, ended.sent), (4, 5));
        assert_eq!(ended.end, End::Client);
    }

    #[tokio::test]
    async fn the_side_that_ends_first_is_told() {
        let (client, a) = duplex(64);
        let (b, mut backend) = duplex(64);
        let tunnel = tokio::spawn(join(a, b, None, None));

        backend.write_all(b"bye").await.unwrap();
        backend.shutdown().await.unwrap();
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        drop(client);
        let ended = tunnel.await.unwrap();

        assert_eq!(ended.end, End::Backend);
        assert_eq!(ended.sent, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_tunnel_ends_and_a_slow_one_does_not() {
        let (mut client, a) = duplex(64);
        let (b, _backend) = duplex(64);
        let start = Instant::now();
        let tunnel = tokio::spawn(join(a, b, Some(IDLE), None));

        for _ in 0..4 {
            tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
            client.write_all(b".").await.unwrap();
        }
        let ended = tunnel.await.unwrap();

        assert_eq!(ended.end, End::Silence);
        assert_eq!(ended.received, 4);
        assert_eq!(start.elapsed(), IDLE * 5 - Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_ends_at_its_time_although_it_moves() {
        let (mut client, a) = duplex(64);
        let (b, _backend) = duplex(64);
        let ends = Instant::now() + IDLE * 2;
        let tunnel = tokio::spawn(join(a, b, Some(IDLE), Some(ends)));

        for _ in 0..3 {
            tokio::time::sleep(IDLE / 2).await;
            client.write_all(b".").await.unwrap();
        }
        let ended = tunnel.await.unwrap();

        assert_eq!((ended.end, ended.received), (End::Age, 3));
        assert_eq!(Instant::now(), ends);
    }

    #[tokio::test(start_paused = true)]
    async fn a_side_that_reads_nothing_holds_the_other_back() {
        let (mut client, a) = duplex(64);
        let (b, _backend) = duplex(64);
        tokio::spawn(join(a, b, None, None));

        let flood = tokio::time::timeout(IDLE, client.write_all(&[0; 1 << 20])).await;

        assert!(flood.is_err(), "no more than the buffers is taken");
    }
}
