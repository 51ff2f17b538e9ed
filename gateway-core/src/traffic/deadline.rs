//! The times that a request and its attempts may take.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::error::Error;
use crate::upstream::Progress;

/// The time of one request, over all its attempts. It starts when the client's whole request was read,
/// and ends with the response's head: a long download is not cut off.
#[derive(Debug)]
pub(super) struct Deadline {
    limit: Option<Duration>,
    ends: Option<Instant>,
    /// The end of the stream's life, whatever it does.
    expires: Option<Instant>,
}

/// Which of the times is over first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Over {
    Request,
    Attempt,
    Stream,
}

impl Deadline {
    /// Nothing runs yet but the life of the stream, if it is limited.
    pub(super) fn new(limit: Option<Duration>, life: Option<Duration>) -> Self {
        Self {
            limit,
            ends: None,
            expires: life.map(|life| Instant::now() + life),
        }
    }

    /// When the stream is to be reset.
    pub(super) fn expires(&self) -> Option<Instant> {
        self.expires
    }

    /// What is left of the request's time.
    pub(super) fn left(&self) -> Option<Duration> {
        match self.ends {
            Some(at) => Some(at.saturating_duration_since(Instant::now())),
            None => self.limit,
        }
    }

    /// Runs `work` from `now` on, at most for `attempt` and what is left of the request's time. Neither runs
    /// while `upload` goes on. `alarm` is made where there is none, and may serve others afterwards.
    ///
    /// # Errors
    /// Which time was over, or that of `work`.
    pub(super) async fn run<T, W: Future<Output = Result<T, Error>>>(
        &mut self,
        now: Instant,
        upload: Option<&Progress>,
        attempt: Option<Duration>,
        alarm: &mut Option<Alarm>,
        mut work: Pin<&mut W>,
    ) -> Result<T, Error> {
        let mut running = false;
        let mut over = None;
        let mut now = Some(now);
        poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            if !running {
                running = upload.is_none_or(|upload| upload.poll_done(cx));
                over = self.next(now.take(), running, attempt);
            }
            let Some((at, over)) = over else {
                return Poll::Pending;
            };
            let alarm = alarm.get_or_insert_with(|| Alarm::new(at));
            alarm.poll(at, cx).map(|()| Err(over.error(running)))
        })
        .await
    }

    /// What is over next, and when. `now` is looked up if it is not known, and needed.
    fn next(
        &mut self,
        now: Option<Instant>,
        running: bool,
        attempt: Option<Duration>,
    ) -> Option<(Instant, Over)> {
        let stream = self.expires.map(|at| (at, Over::Stream));
        if !running || (self.limit.is_none() && attempt.is_none()) {
            return stream;
        }
        let now = now.unwrap_or_else(Instant::now);
        if self.ends.is_none() {
            self.ends = self.limit.map(|limit| now + limit);
        }
        let request = self.ends.map(|at| (at, Over::Request));
        let attempt = attempt.map(|limit| (now + limit, Over::Attempt));
        sooner(sooner(request, attempt), stream)
    }
}

/// Of two times that may be limited, the one that is over first.
fn sooner<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Over {
    /// What this is called, once the request is `complete` or before.
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
    async fn attempts_share_the_time_of_the_request() {
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
    async fn no_time_runs_while_the_client_still_sends() {
        let progress = Progress::default();
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
    async fn the_life_of_a_stream_ends_even_during_the_upload() {
        let progress = Progress::default();
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
