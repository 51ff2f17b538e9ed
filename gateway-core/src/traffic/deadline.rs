//! Timeouts of a request and its attempts.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;
use crate::reusable_timer::ReusableTimer;
use crate::upstream::UploadProgress;

/// Request timeout over all attempts. It starts when the whole client request has been read and ends with the
/// response head: a long download is not cut off.
#[derive(Debug)]
pub(super) struct Deadline {
    limit: Option<Duration>,
    /// Set when the timeout starts.
    deadline: Option<Instant>,
    /// End of the maximum stream duration.
    stream_deadline: Option<Instant>,
}

/// The timeout that expires first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Expiry {
    Request,
    Attempt,
    Stream,
}

impl Deadline {
    /// Creates the timeouts; only the maximum stream duration starts at once.
    pub(super) fn new(limit: Option<Duration>, stream: Option<Duration>) -> Self {
        Self {
            limit,
            deadline: None,
            stream_deadline: stream.map(|limit| Instant::now() + limit),
        }
    }

    /// Time at which the stream is reset.
    pub(super) fn stream_deadline(&self) -> Option<Instant> {
        self.stream_deadline
    }

    /// Time left of the request timeout.
    pub(super) fn left(&self) -> Option<Duration> {
        match self.deadline {
            Some(at) => Some(at.saturating_duration_since(Instant::now())),
            None => self.limit,
        }
    }

    /// Runs `work`, which starts at `now`, for at most `attempt` and what is left of the request timeout. Both
    /// start when `upload` is complete. `timer` is created if it is `None`, and can be reused afterwards.
    ///
    /// # Errors
    /// The timeout that expired, or the error of `work`.
    pub(super) async fn run<T, W: Future<Output = Result<T, Error>>>(
        &mut self,
        now: Instant,
        upload: Option<&UploadProgress>,
        attempt: Option<Duration>,
        timer: &mut Option<ReusableTimer>,
        mut work: Pin<&mut W>,
    ) -> Result<T, Error> {
        let mut running = false;
        let mut expiry = None;
        let mut now = Some(now);
        poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            if !running {
                running = upload.is_none_or(|upload| upload.poll_done(cx));
                expiry = self.next(now.take(), running, attempt);
            }
            let Some((at, expiry)) = expiry else {
                return Poll::Pending;
            };
            let timer = timer.get_or_insert_with(|| ReusableTimer::new(at));
            timer.poll(at, cx).map(|()| Err(expiry.error(running)))
        })
        .await
    }

    /// The timeout that expires next, and when. The clock is read if `now` is `None` and needed.
    fn next(
        &mut self,
        now: Option<Instant>,
        running: bool,
        attempt: Option<Duration>,
    ) -> Option<(Instant, Expiry)> {
        let stream = self.stream_deadline.map(|at| (at, Expiry::Stream));
        if !running || (self.limit.is_none() && attempt.is_none()) {
            return stream;
        }
        let now = now.unwrap_or_else(Instant::now);
        if self.deadline.is_none() {
            self.deadline = self.limit.map(|limit| now + limit);
        }
        let request = self.deadline.map(|at| (at, Expiry::Request));
        let attempt = attempt.map(|limit| (now + limit, Expiry::Attempt));
        min_deadline(min_deadline(request, attempt), stream)
    }
}

/// The earlier of two optional deadlines.
fn min_deadline<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Expiry {
    /// The error for this timeout; `complete`: the whole request has been read.
    fn error(self, complete: bool) -> Error {
        match self {
            Self::Request => Error::Timeout,
            Self::Attempt => Error::AttemptTimeout,
            Self::Stream => Error::StreamDuration(complete),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::pin;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    async fn run(deadline: &mut Deadline, attempt: Option<Duration>) -> (Error, u128) {
        let start = Instant::now();
        let error = deadline
            .run(
                start,
                None,
                attempt,
                &mut None,
                pin!(pending::<Result<(), Error>>()),
            )
            .await
            .unwrap_err();
        (error, start.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_share_the_request_timeout() {
        let mut deadline = Deadline::new(Some(300 * MS), None);

        let (first, took) = run(&mut deadline, Some(200 * MS)).await;
        assert!(matches!(first, Error::AttemptTimeout) && took.abs_diff(200) <= 1);
        let (second, took) = run(&mut deadline, Some(200 * MS)).await;

        assert!(
            matches!(second, Error::Timeout) && took.abs_diff(100) <= 1,
            "{took}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_request_timeout_starts_after_the_upload() {
        let progress = UploadProgress::default();
        let mut deadline = Deadline::new(Some(300 * MS), None);
        let start = Instant::now();

        let upload = async {
            tokio::time::sleep(1000 * MS).await;
            progress.finish();
            pending::<Result<(), Error>>().await
        };
        let result = deadline
            .run(
                Instant::now(),
                Some(&progress),
                None,
                &mut None,
                pin!(upload),
            )
            .await;

        assert!(matches!(result, Err(Error::Timeout)));
        assert!(start.elapsed().as_millis().abs_diff(1300) <= 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_maximum_stream_duration_includes_the_upload() {
        let progress = UploadProgress::default();
        let mut deadline = Deadline::new(None, Some(50 * MS));

        let result = deadline
            .run(
                Instant::now(),
                Some(&progress),
                None,
                &mut None,
                pin!(pending::<Result<(), Error>>()),
            )
            .await;

        assert!(matches!(result, Err(Error::StreamDuration(false))));
    }
}
