//! The listener's timers around a request.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::bodies::Progress;
use crate::Error;
use crate::http::settings::{ListenerSettings, Timeouts};

/// Time limits of one request and its response.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StreamTimeouts {
    /// Longest time without progress. A rule may override the value of its listener.
    pub(crate) idle: Option<Duration>,
    /// Latest end of the client's stream.
    pub(crate) deadline: Option<Instant>,
}

impl StreamTimeouts {
    /// The limits of a listener, starting now.
    pub(crate) fn new(settings: &ListenerSettings) -> Self {
        let life = settings.limits.max_stream_duration;
        Self {
            idle: settings.timeouts.stream_idle,
            deadline: life.map(|life| Instant::now() + life),
        }
    }
}

/// Runs `answer` under the timers of the client's side.
///
/// `progress` is that of the request body; `None`: the request is complete, so its timeout does not apply.
/// `bounded` is the longest duration of `answer` itself: a longer idle timer is not armed. The caller pins
/// `answer`, because it is large and would be moved here.
///
/// # Errors
/// [`Error::RequestTimeout`] if the request is not complete in time, [`Error::StreamIdle`] if neither side
/// makes progress in time, [`Error::RequestDuration`] at the deadline of the stream.
pub(crate) async fn run<F: Future>(
    mut answer: Pin<&mut F>,
    timeouts: &Timeouts,
    limits: StreamTimeouts,
    progress: Option<&Arc<Progress>>,
    bounded: Option<Duration>,
) -> Result<F::Output, Error> {
    let StreamTimeouts { idle, deadline } = limits;
    let idle = idle.filter(|idle| progress.is_some() || bounded.is_none_or(|by| by > *idle));
    let request = timeouts
        .request
        .filter(|_| progress.is_some_and(|progress| !progress.complete()));
    if idle.is_none() && request.is_none() && deadline.is_none() {
        return Ok(answer.await);
    }
    // Boxed: most requests need only the timer of their rule.
    let limits = StreamTimeouts { idle, deadline };
    let mut watch = Box::pin(watch(Instant::now(), limits, request, progress));
    tokio::select! {
        biased;
        result = &mut answer => Ok(result),
        error = &mut watch => Err(error),
    }
}

/// Resolves when a timer fires.
async fn watch(
    started: Instant,
    StreamTimeouts { idle, deadline }: StreamTimeouts,
    request: Option<Duration>,
    progress: Option<&Arc<Progress>>,
) -> Error {
    let complete = || progress.is_none_or(|progress| progress.complete());
    let mut frames = 0;
    let mut active = started;
    loop {
        let request_end = request.filter(|_| !complete()).map(|limit| started + limit);
        let idle_end = idle.map(|limit| active + limit);
        let all = [request_end, idle_end, deadline];
        let Some(next) = all.into_iter().flatten().min() else {
            return std::future::pending().await;
        };
        sleep_until(next).await;
        if let Some(end) = request_end
            && end <= next
            && !complete()
        {
            return Error::RequestTimeout;
        }
        if deadline.is_some_and(|end| end <= next) {
            return Error::RequestDuration(complete());
        }
        let seen = progress.map_or(0, |progress| progress.frames());
        if seen != frames {
            // A frame was read since the last check, at the latest now.
            frames = seen;
            active = Instant::now();
        } else if idle_end.is_some_and(|end| end <= next) {
            return Error::StreamIdle(complete());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn idle(seconds: u64) -> StreamTimeouts {
        StreamTimeouts {
            idle: Some(Duration::from_secs(seconds)),
            deadline: None,
        }
    }

    fn timeouts(request: Option<u64>) -> Timeouts {
        Timeouts {
            request: request.map(Duration::from_secs),
            ..Default::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_backend_is_given_up_after_the_idle_time() {
        let never = std::future::pending::<()>();

        let result = run(pin!(never), &timeouts(None), idle(3), None, None).await;

        assert!(matches!(result, Err(Error::StreamIdle(true))));
    }

    #[tokio::test(start_paused = true)]
    async fn an_incomplete_request_is_given_up_after_its_time() {
        let never = std::future::pending::<()>();
        let progress = Arc::new(Progress::default());

        let result = run(
            pin!(never),
            &timeouts(Some(2)),
            idle(300),
            Some(&progress),
            None,
        )
        .await;

        assert!(matches!(result, Err(Error::RequestTimeout)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_at_its_time_although_it_moves() {
        let deadline = Some(Instant::now() + Duration::from_secs(5));
        for (progress, whole) in [(None, true), (Some(Arc::new(Progress::default())), false)] {
            let never = pin!(std::future::pending::<()>());
            let (timeouts, limits) = (
                timeouts(None),
                StreamTimeouts {
                    idle: None,
                    deadline,
                },
            );

            let result = run(never, &timeouts, limits, progress.as_ref(), None).await;

            let Err(Error::RequestDuration(complete)) = result else {
                panic!("it deadline");
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
            run(pin!(answer), &timeouts(Some(1)), idle(3), None, None)
                .await
                .ok(),
            Some(7)
        );
    }
}
