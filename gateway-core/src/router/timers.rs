//! The listener's timers around a request that is being answered.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::bodies::Progress;
use crate::Error;
use crate::plan::Timeouts;

/// Runs `answer` under the timers of the client's side.
///
/// `progress` is that of the request's body; `None` means that the request is complete, so that the time
/// for receiving it cannot run out. `bounded` is how long `answer` takes at most by itself: a longer idle
/// timer need not be armed. `answer` is pinned by the caller, as it is large and would be moved here.
///
/// # Errors
/// [`Error::RequestTimeout`] if the request is not complete in time, [`Error::StreamIdle`] if neither side
/// makes progress in time.
pub(crate) async fn run<F: Future>(
    mut answer: Pin<&mut F>,
    timeouts: &Timeouts,
    progress: Option<&Arc<Progress>>,
    bounded: Option<Duration>,
) -> Result<F::Output, Error> {
    let idle = timeouts
        .stream_idle
        .filter(|idle| progress.is_some() || bounded.is_none_or(|by| by > *idle));
    let request = timeouts
        .request
        .filter(|_| progress.is_some_and(|progress| !progress.complete()));
    if idle.is_none() && request.is_none() {
        return Ok(answer.await);
    }
    // Boxed: most requests need no timer but that of their rule.
    let mut watch = Box::pin(watch(Instant::now(), idle, request, progress));
    tokio::select! {
        biased;
        result = &mut answer => Ok(result),
        error = &mut watch => Err(error),
    }
}

/// Resolves when a timer has run out.
async fn watch(
    started: Instant,
    idle: Option<Duration>,
    request: Option<Duration>,
    progress: Option<&Arc<Progress>>,
) -> Error {
    let complete = || progress.is_none_or(|progress| progress.complete());
    let mut frames = 0;
    let mut active = started;
    loop {
        let request_end = request.filter(|_| !complete()).map(|limit| started + limit);
        let idle_end = idle.map(|limit| active + limit);
        let Some(next) = request_end.into_iter().chain(idle_end).min() else {
            return std::future::pending().await;
        };
        sleep_until(next).await;
        if let Some(end) = request_end
            && end <= next
            && !complete()
        {
            return Error::RequestTimeout;
        }
        let seen = progress.map_or(0, |progress| progress.frames());
        if seen != frames {
            // Something moved since the last look: at the latest now.
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

    fn timeouts(stream_idle: u64, request: Option<u64>) -> Timeouts {
        Timeouts {
            stream_idle: Some(Duration::from_secs(stream_idle)),
            request: request.map(Duration::from_secs),
            ..Default::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_backend_is_given_up_after_the_idle_time() {
        let never = std::future::pending::<()>();

        let result = run(pin!(never), &timeouts(3, None), None, None).await;

        assert!(matches!(result, Err(Error::StreamIdle(true))));
    }

    #[tokio::test(start_paused = true)]
    async fn an_incomplete_request_is_given_up_after_its_time() {
        let never = std::future::pending::<()>();
        let progress = Arc::new(Progress::default());

        let result = run(pin!(never), &timeouts(300, Some(2)), Some(&progress), None).await;

        assert!(matches!(result, Err(Error::RequestTimeout)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_time_passes() {
        let answer = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            7
        };

        assert_eq!(
            run(pin!(answer), &timeouts(3, Some(1)), None, None)
                .await
                .ok(),
            Some(7)
        );
    }
}
