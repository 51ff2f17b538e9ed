//! Renewal of expired sessions.
//!
//! A provider may accept a refresh token only once, but a browser sends many requests concurrently. The first
//! request with a refresh token therefore renews the session, and other requests with this token receive the
//! same result. The call continues if the client of the first request disconnects.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use tokio::sync::watch;

use super::OidcError;
use super::session::UserSession;

/// Time for which the result of a refresh is kept for requests that still have the old cookies.
const KEPT: Duration = Duration::from_secs(10);
/// Maximum number of results that are kept.
const MOST: usize = 10_000;

/// Result of a refresh.
pub(super) type RefreshResult = Result<Arc<UserSession>, OidcError>;

/// The refreshes of the last seconds, keyed by the digest of the refresh token.
#[derive(Debug, Default)]
pub(super) struct RefreshFlights(Mutex<HashMap<[u8; 32], Flight>>);

#[derive(Clone, Debug)]
struct Flight {
    started: Instant,
    result: watch::Receiver<Option<RefreshResult>>,
}

impl RefreshFlights {
    /// The result of the refresh of `token`. If another request has refreshed `token` within the last
    /// seconds, its result is returned. Otherwise `refresh` is spawned.
    pub(super) async fn join<F>(&self, token: &str, refresh: impl FnOnce() -> F) -> RefreshResult
    where
        F: Future<Output = RefreshResult> + Send + 'static,
    {
        let mut result = self.flight(token, refresh).result;
        let done = result.wait_for(Option::is_some).await;
        let done = done.ok().and_then(|value| value.clone());
        // The sender is dropped without a value only if the runtime shuts down and cancels the task.
        done.unwrap_or(Err(OidcError::Unavailable(
            "the gateway shuts down".to_owned(),
        )))
    }

    fn flight<F>(&self, token: &str, refresh: impl FnOnce() -> F) -> Flight
    where
        F: Future<Output = RefreshResult> + Send + 'static,
    {
        let digest = digest(&SHA256, token.as_bytes());
        let mut key = [0; 32];
        key.copy_from_slice(digest.as_ref());
        let now = Instant::now();
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|_, flight| now.duration_since(flight.started) < KEPT);
        if let Some(flight) = flights.get(&key) {
            return flight.clone();
        }
        let (sender, result) = watch::channel(None);
        let flight = Flight {
            started: now,
            result,
        };
        if flights.len() < MOST {
            flights.insert(key, flight.clone());
        }
        let refresh = refresh();
        tokio::spawn(async move {
            let _ = sender.send(Some(refresh.await));
        });
        flight
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::secret::SecretText;

    #[tokio::test]
    async fn requests_with_one_token_share_one_refresh() {
        let (flights, calls) = (RefreshFlights::default(), Arc::new(AtomicUsize::new(0)));
        let refresh = || {
            let calls = calls.clone();
            async move {
                calls.fetch_add(1, Ordering::Relaxed);
                Ok(Arc::new(UserSession {
                    access_token: SecretText::new("new"),
                    id_token: None,
                    lifetime: Duration::from_secs(1),
                    refresh_token: None,
                }))
            }
        };

        let (one, two, other) = tokio::join!(
            flights.join("token", refresh),
            flights.join("token", refresh),
            flights.join("other", refresh),
        );

        assert_eq!(one, two);
        assert!(other.is_ok());
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }
}
