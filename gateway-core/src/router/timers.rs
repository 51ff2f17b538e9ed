//! Time limits of a request on the client's side. The limits of its attempts are in `traffic`.
//! [`time_limits`](crate::time_limits) describes the limits of both sides.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::request_body::Progress;
use crate::Error;
use crate::http::settings::ListenerSettings;
use crate::plan::Traffic;
use crate::reusable_timer::ReusableTimer;
use crate::time_limits::{Expired, ExpiresAt, earliest};

/// Time limits of one request and its response.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StreamTimeouts {
    /// Maximum time without progress. The value of a rule replaces that of the listener.
    pub(crate) idle: Option<Duration>,
    /// Maximum time from the head of the request to the end of the request.
    pub(crate) request: Option<Duration>,
    /// Time at which the client's stream must have ended.
    pub(crate) deadline: Option<Instant>,
}

impl StreamTimeouts {
    /// The limits of a listener, which start now.
    pub(crate) fn new(settings: &ListenerSettings) -> Self {
        let life = settings.limits.max_stream_duration;
        Self {
            idle: settings.timeouts.stream_idle,
            request: settings.timeouts.request,
            deadline: life.map(|life| Instant::now() + life),
        }
    }

    /// Replaces the idle timeout of the listener by the idle timeout of a rule.
    pub(crate) fn set_rule(&mut self, traffic: &Traffic) {
        self.idle = traffic
            .stream_idle
            .limit(self.idle, traffic.request_timeout);
    }

    /// Runs `answer` under the limits.
    ///
    /// `progress` is the progress of the request body. `None`: the request is complete, so the request
    /// timeout does not apply. `bounded` is the maximum duration of `answer` itself: if the idle timeout is
    /// longer, no timer is started for it. The caller pins `answer`, because it is large and would otherwise
    /// be moved.
    ///
    /// # Errors
    /// [`Error::RequestTimeout`] if the request is not complete in time, [`Error::StreamIdle`] if neither side
    /// makes progress in time, [`Error::RequestDuration`] at the deadline of the stream.
    pub(crate) async fn run<F: Future>(
        self,
        mut answer: Pin<&mut F>,
        progress: Option<&Arc<Progress>>,
        bounded: Option<Duration>,
    ) -> Result<F::Output, Error> {
        let idle = self.idle;
        let idle = idle.filter(|idle| progress.is_some() || bounded.is_none_or(|by| by > *idle));
        let request = self
            .request
            .filter(|_| progress.is_some_and(|progress| !progress.complete()));
        if idle.is_none() && request.is_none() && self.deadline.is_none() {
            return Ok(answer.await);
        }
        // The future is boxed, because most requests need only the timer of their rule.
        let limits = Self {
            idle,
            request,
            deadline: self.deadline,
        };
        let mut watch = Box::pin(watch(Instant::now(), limits, progress));
        tokio::select! {
            biased;
            result = &mut answer => Ok(result),
            error = &mut watch => Err(error),
        }
    }

    /// The time at which a tunnel must end, and the limit that expires at this time. `backend` is the
    /// deadline of the backend's stream.
    pub(crate) fn tunnel_end(self, backend: Option<Instant>) -> Option<ExpiresAt> {
        earliest([
            self.deadline.map(|at| (at, Expired::ClientStream)),
            backend.map(|at| (at, Expired::BackendStream)),
        ])
    }
}

/// Waits until a limit expires and returns its error.
async fn watch(
    started: Instant,
    StreamTimeouts {
        idle,
        request,
        deadline,
    }: StreamTimeouts,
    progress: Option<&Arc<Progress>>,
) -> Error {
    let complete = || progress.is_none_or(|progress| progress.complete());
    loop {
        let active = progress.map_or(started, |progress| progress.last_frame().max(started));
        let request_end = request.filter(|_| !complete()).map(|limit| started + limit);
        let next = earliest([
            request_end.map(|at| (at, Expired::Request)),
            deadline.map(|at| (at, Expired::ClientStream)),
            idle.map(|limit| (active + limit, Expired::Idle)),
        ]);
        let Some((at, expired)) = next else {
            return std::future::pending().await;
        };
        sleep_until(at).await;
        let applies = match expired {
            // The rest of the request may have arrived in the meantime.
            Expired::Request => !complete(),
            Expired::Idle => progress.is_none_or(|progress| progress.last_frame() <= active),
            _ => true,
        };
        if applies {
            return expired.error(complete());
        }
    }
}

/// Time limits of a response after its head, with a single timer. The timer runs only while there is no data
/// to send.
pub(super) struct ResponseTimer {
    idle: Option<Duration>,
    /// Start of the idle time. `None` if the last poll returned a frame.
    since: Option<Instant>,
    /// Time at which the client's stream must have ended.
    stream_end: Option<Instant>,
    timer: Option<ReusableTimer>,
}

impl ResponseTimer {
    /// Creates the timer of a response. If the time limit of the stream has already expired, it does not
    /// apply, so that the local reply that reports the expiry is sent completely.
    pub(super) fn new(timeouts: StreamTimeouts) -> Self {
        let stream_end = timeouts.deadline.filter(|end| *end > Instant::now());
        Self {
            idle: timeouts.idle,
            since: None,
            stream_end,
            timer: None,
        }
    }

    /// Restarts the idle time, because there is data to send.
    pub(super) fn restart(&mut self) {
        self.since = None;
    }

    /// Whether the deadline of the client's stream has passed.
    pub(super) fn is_past_stream_end(&self) -> bool {
        self.stream_end.is_some_and(|end| end <= Instant::now())
    }

    /// Must be called when there is no data to send. Ready when a limit expires. `progress`: progress of the
    /// request body. A client that still sends is not idle.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        progress: Option<&Arc<Progress>>,
    ) -> Poll<Expired> {
        let idle = self.idle.map(|limit| {
            let since = *self.since.get_or_insert_with(Instant::now);
            let since = progress.map_or(since, |progress| progress.last_frame().max(since));
            (since + limit, Expired::Idle)
        });
        let stream_end = self.stream_end.map(|at| (at, Expired::ClientStream));
        let Some((at, expired)) = earliest([idle, stream_end]) else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| ReusableTimer::new(at));
        timer.poll(at, cx).map(|()| expired)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use bytes::Bytes;
    use futures_util::{StreamExt, stream};
    use http_body::Frame;
    use http_body_util::{BodyExt, StreamBody};

    use super::super::request_body::{RequestBody, Trailers};
    use super::*;
    use crate::Body;
    use crate::body::BoxError;

    fn idle(seconds: u64) -> StreamTimeouts {
        StreamTimeouts {
            idle: Some(Duration::from_secs(seconds)),
            ..StreamTimeouts::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_backend_is_given_up_after_the_idle_time() {
        let never = std::future::pending::<()>();

        let result = idle(3).run(pin!(never), None, None).await;

        assert!(matches!(result, Err(Error::StreamIdle(true))));
    }

    #[tokio::test(start_paused = true)]
    async fn an_incomplete_request_is_given_up_after_its_time() {
        let never = std::future::pending::<()>();
        let progress = Arc::new(Progress::default());

        let limits = StreamTimeouts {
            request: Some(Duration::from_secs(2)),
            ..idle(300)
        };
        let result = limits.run(pin!(never), Some(&progress), None).await;

        assert!(matches!(result, Err(Error::RequestTimeout)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_idle_time_of_an_upload_begins_with_its_last_frame() {
        for seconds in [1, 2, 5] {
            let started = Instant::now();
            let progress = Arc::new(Progress::default());
            let frames = stream::iter(0..seconds).then(|_| async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"x")))
            });
            let body = Body::new(StreamBody::new(frames.chain(stream::pending())));
            let body = RequestBody::new(body, progress.clone(), Trailers::Drop);

            let result = idle(3)
                .run(pin!(body.collect()), Some(&progress), None)
                .await;

            assert!(matches!(result, Err(Error::StreamIdle(false))));
            assert_eq!(started.elapsed().as_secs(), seconds + 3);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_idle_time_of_a_response_begins_with_the_last_frame_of_the_upload() {
        let started = Instant::now();
        let progress = Arc::new(Progress::default());
        let mut timer = ResponseTimer::new(idle(3));
        let expires = std::future::poll_fn(|cx| timer.poll(cx, Some(&progress)));
        let upload = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let body = RequestBody::new("x".into(), progress.clone(), Trailers::Drop);
            assert!(body.collect().await.is_ok());
        };

        tokio::join!(expires, upload);

        assert_eq!(started.elapsed().as_secs(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_at_its_time_although_it_moves() {
        let deadline = Some(Instant::now() + Duration::from_secs(5));
        for (progress, whole) in [(None, true), (Some(Arc::new(Progress::default())), false)] {
            let never = pin!(std::future::pending::<()>());
            let limits = StreamTimeouts {
                deadline,
                ..StreamTimeouts::default()
            };

            let result = limits.run(never, progress.as_ref(), None).await;

            let Err(Error::RequestDuration(complete)) = result else {
                panic!("the stream ends at its deadline");
            };
            assert_eq!(complete, whole);
            assert!(Some(Instant::now()) >= deadline);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_time_passes() {
        let answer = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            7
        };

        assert_eq!(
            StreamTimeouts {
                request: Some(Duration::from_secs(1)),
                ..idle(3)
            }
            .run(pin!(answer), None, None)
            .await
            .ok(),
            Some(7)
        );
    }
}
