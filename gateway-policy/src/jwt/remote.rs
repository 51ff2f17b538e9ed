//! Remote key sets. They are cached, refreshed in the background, and kept if a refresh fails.
//!
//! ```text
//! no keys yet ──> one request fetches, the others wait for it ──> keys
//! keys older than the cache duration ──> used, while one task fetches new ones
//! fetch fails ──> the last good keys stay in use; the next try is after the retry duration
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use http::Request;
use http::header::ACCEPT;
use tokio::sync::Mutex;
use towergate_core::Body;
use towergate_core::conn::LogThrottle;
use towergate_core::policy::InternalClient;
use towergate_core::policy::{BuildContext, PolicyError};

use super::{KeySet, MAX_KEY_SET_LENGTH, RemoteKeys};
use crate::error_chain::with_causes;

/// A key set that is fetched from a server. Policies with equal settings share one key set.
#[derive(Debug)]
pub(super) struct RemoteKeySet {
    source: RemoteKeys,
    client: InternalClient,
    current: ArcSwapOption<KeySet>,
    /// The reason why the last fetch failed. Empty after a success.
    error: ArcSwapOption<String>,
    /// Locked while keys are fetched.
    fetching: Arc<Mutex<()>>,
    started: Instant,
    /// Milliseconds since `started` after which keys are fetched again.
    due: AtomicU64,
    /// Limits log lines, because without keys a fetch is attempted as often as `failedRefetchDuration`
    /// allows.
    failures: LogThrottle,
}

impl RemoteKeySet {
    /// The key set for `source`, which survives a change of the configuration.
    ///
    /// # Errors
    /// If the settings cannot be serialized. Their text identifies the key set.
    pub(super) fn shared(
        source: &RemoteKeys,
        context: &BuildContext<'_>,
    ) -> Result<Arc<Self>, PolicyError> {
        // The JSON of the settings is the key, because backends do not implement `Hash`.
        let key = serde_json::to_string(source);
        let key = (
            "jwks",
            key.map_err(|error| PolicyError::new(error.to_string()))?,
        );
        Ok(context.live.share(key, |_| {
            let client = context.http_client("jwks", &source.backends, source.traffic.clone());
            Arc::new(Self {
                source: source.clone(),
                client,
                current: ArcSwapOption::empty(),
                error: ArcSwapOption::empty(),
                fetching: Arc::default(),
                started: Instant::now(),
                due: AtomicU64::new(0),
                failures: LogThrottle::new(Duration::from_secs(60)),
            })
        }))
    }

    /// The keys. `None` if no fetch has succeeded yet.
    pub(super) async fn keys(self: &Arc<Self>) -> Option<Arc<KeySet>> {
        let known = self.current.load_full();
        if !self.is_due() {
            return known;
        }
        if known.is_some() {
            if let Ok(guard) = self.fetching.clone().try_lock_owned() {
                let this = self.clone();
                tokio::spawn(async move {
                    this.fetch_and_store().await;
                    drop(guard);
                });
            }
            return known;
        }
        self.refresh().await;
        self.current.load_full()
    }

    /// The reason why there are no keys. `None` before the first fetch, and if there are keys.
    pub(super) fn fault(&self) -> Option<String> {
        let error = self.error.load();
        let error = error.as_ref().filter(|_| self.current.load().is_none())?;
        let uri = &self.source.uri;
        Some(format!("the key set {uri} could not be fetched: {error}"))
    }

    fn is_due(&self) -> bool {
        self.elapsed() >= self.due.load(Ordering::Acquire)
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Fetches the keys. Does nothing if another task has fetched them while this task waited for the lock.
    async fn refresh(&self) {
        let _guard = self.fetching.lock().await;
        if self.is_due() {
            self.fetch_and_store().await;
        }
    }

    async fn fetch_and_store(&self) {
        let wait = match self.fetch().await {
            Ok(keys) => {
                self.current.store(Some(Arc::new(keys)));
                self.error.store(None);
                self.source.cache
            }
            Err(error) => {
                if self.failures.allows() {
                    let uri = &self.source.uri;
                    tracing::warn!(uri, error, "the key set could not be fetched");
                }
                self.error.store(Some(Arc::new(error)));
                self.source.retry
            }
        };
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.due
            .store(self.elapsed().saturating_add(wait), Ordering::Release);
    }

    async fn fetch(&self) -> Result<KeySet, String> {
        let request = Request::get(&self.source.uri).header(ACCEPT, "application/json");
        let request = request
            .body(Body::empty())
            .map_err(|error| error.to_string())?;
        let response = self
            .client
            .send_collected(request, MAX_KEY_SET_LENGTH)
            .await;
        let response = response.map_err(|error| with_causes(&error))?;
        if response.status() != http::StatusCode::OK {
            return Err(format!("the server returned {}", response.status()));
        }
        KeySet::parse(&response.body().data).map_err(|error| error.to_string())
    }
}
