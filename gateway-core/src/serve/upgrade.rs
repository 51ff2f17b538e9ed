//! Tunnels: what becomes of a connection after `101 Switching Protocols` or `CONNECT`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Bytes buffered in each direction.
const BUFFER: usize = 16 * 1024;

/// Joins the two sides of an upgrade, once both are upgraded, until the tunnel ends. Gives the bytes
/// sent to the backend and to the client. To be spawned: the response must go out meanwhile.
///
/// A tunnel without a byte for `idle` is closed. The client's connection counts as open, for
/// limits, metrics and [`Drain`](crate::conn::drain::Drain), until the tunnel ends.
///
/// # Errors
/// If a side is not upgraded, fails, or the tunnel was idle for too long.
pub async fn tunnel(
    client: OnUpgrade,
    backend: OnUpgrade,
    idle: Option<Duration>,
) -> io::Result<(u64, u64)> {
    let (client, backend) = futures_util::future::try_join(client, backend)
        .await
        .map_err(io::Error::other)?;
    join(TokioIo::new(client), TokioIo::new(backend), idle).await
}

/// Copies both ways until both sides have ended, one fails, or nothing moves for `idle`.
async fn join<A, B>(a: A, b: B, idle: Option<Duration>) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let start = Instant::now();
    let last = Arc::new(AtomicU64::new(0));
    let mut a = Noted {
        io: a,
        start,
        last: last.clone(),
    };
    let mut b = Noted {
        io: b,
        start,
        last: last.clone(),
    };

    let copy = tokio::io::copy_bidirectional_with_sizes(&mut a, &mut b, BUFFER, BUFFER);
    match idle {
        None => copy.await,
        Some(idle) => tokio::select! {
            result = copy => result,
            () = silence(start, &last, idle) => Err(io::ErrorKind::TimedOut.into()),
        },
    }
}

/// Waits until `last`, in microseconds since `start`, lies `idle` back. Sets its timer once per
/// `idle`, not once per byte.
async fn silence(start: Instant, last: &AtomicU64, idle: Duration) {
    loop {
        let until = start + Duration::from_micros(last.load(Relaxed)) + idle;
        if until <= Instant::now() {
            return;
        }
        tokio::time::sleep_until(until).await;
    }
}

/// One side of a tunnel, with the time of its last byte.
struct Noted<Io> {
    io: Io,
    start: Instant,
    last: Arc<AtomicU64>,
}

impl<Io> Noted<Io> {
    fn note(&self) {
        let now = self.start.elapsed().as_micros() as u64;
        self.last.store(now, Relaxed);
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Noted<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        this.note();
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
        let n = ready!(Pin::new(&mut this.io).poll_write(cx, buf))?;
        this.note();
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
        let tunnel = tokio::spawn(join(a, b, Some(IDLE)));

        client.write_all(b"ping").await.unwrap();
        client.shutdown().await.unwrap();
        let mut seen = Vec::new();
        backend.read_to_end(&mut seen).await.unwrap();
        backend.write_all(b"pong!").await.unwrap();
        drop(backend);

        assert_eq!(seen, b"ping");
        assert_eq!(tunnel.await.unwrap().unwrap(), (4, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_tunnel_ends_and_a_slow_one_does_not() {
        let (mut client, a) = duplex(64);
        let (b, _backend) = duplex(64);
        let start = Instant::now();
        let tunnel = tokio::spawn(join(a, b, Some(IDLE)));

        for _ in 0..4 {
            tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
            client.write_all(b".").await.unwrap();
        }
        let end = tunnel.await.unwrap();

        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed(), IDLE * 5 - Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_side_that_reads_nothing_holds_the_other_back() {
        let (mut client, a) = duplex(64);
        let (b, _backend) = duplex(64);
        tokio::spawn(join(a, b, None));

        let flood = tokio::time::timeout(IDLE, client.write_all(&[0; 1 << 20])).await;

        assert!(flood.is_err(), "no more than the buffers is taken");
    }
}
