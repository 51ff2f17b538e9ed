//! Timeouts of a request and its attempts; see [`time_limits`](crate::time_limits) for all limits.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;
use crate::reusable_timer::ReusableTimer;
use crate::time_limits::{Expired, ExpiresAt, earliest};
use crate::upstream::UploadProgress;

/// Request timeout over all attempts. It starts when the whole client request has been read and ends with the
/// response head, so a long download is not cut off.
#[derive(Debug)]
pub(super) struct Deadline {
    limit: Option<Duration>,
    /// Time at which the request timeout expires. `None` until the timeout starts.
    response_end: Option<Instant>,
    /// End of the maximum stream duration.
    stream_end: Option<Instant>,
}

impl Deadline {
    /// Creates the timeouts. The maximum stream duration starts at once, the request timeout later.
    pub(super) fn new(limit: Option<Duration>, stream: Option<Duration>) -> Self {
        Self {
            limit,
            response_end: None,
            stream_end: stream.map(|limit| Instant::now() + limit),
        }
    }

    /// Time at which the stream is reset.
    pub(super) fn stream_deadline(&self) -> Option<Instant> {
        self.stream_end
    }

    /// Time left of the request timeout.
    pub(super) fn left(&self) -> Option<Duration> {
        match self.response_end {
            Some(at) => Some(at.saturating_duration_since(Instant::now())),
            None => self.limit,
        }
    }

    /// Runs `work`, which starts at `now`, until the timeout `attempt` or the request timeout expires. Both
    /// timeouts start when `upload` is complete. `timer` is created if it is `None`, and can be reused
    /// afterwards.
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
        let mut next = None;
        let mut now = Some(now);
        poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            if !running {
                running = upload.is_none_or(|upload| upload.poll_done(cx));
                next = self.next(now.take(), running, attempt);
            }
            let Some((at, expired)) = next else {
                return Poll::Pending;
            };
            let timer = timer.get_or_insert_with(|| ReusableTimer::new(at));
            timer.poll(at, cx).map(|()| Err(expired.error(running)))
        })
        .await
    }

    /// The timeout that expires next, and the time at which it expires. Reads the clock only if `now` is
    /// `None` and a timeout starts.
    fn next(
        &mut self,
        now: Option<Instant>,
        running: bool,
        attempt: Option<Duration>,
    ) -> Option<ExpiresAt> {
        let stream = self.stream_end.map(|at| (at, Expired::BackendStream));
        if !running || (self.limit.is_none() && attempt.is_none()) {
            return stream;
        }
        let now = now.unwrap_or_else(Instant::now);
        if self.response_end.is_none() {
            self.response_end = self.limit.map(|limit| now + limit);
        }
        let response = self.response_end.map(|at| (at, Expired::Response));
        let attempt = attempt.map(|limit| (now + limit, Expired::Attempt));
        earliest([response, attempt, stream])
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
