//! Watches the objects of the API server: one watch per kind, until the process exits.
//!
//! ```text
//! discovery ──version of each kind──┐
//!                                         ▼
//! API server ──list, then changes──> a task for each kind ──Event──> ObjectCache
//! ```
//!
//! A kind that the server does not serve is watched as soon as its CRD is installed. Errors are retried with
//! exponential backoff of at most [`pause::LONGEST`]. Listed objects are kept until a new list is complete.

mod discovery;
mod pause;
#[cfg(test)]
mod tests;

pub(crate) use pause::Pause;

use std::sync::Arc;

use futures_util::StreamExt;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::watcher;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use self::discovery::Served;
use crate::kinds::{KINDS, Kind};
use crate::metrics::Metrics;

/// A change of the objects of a kind.
#[derive(Debug)]
pub(crate) struct Event {
    /// Kind of the objects.
    pub(crate) kind: &'static Kind,
    /// Change of the objects.
    pub(crate) news: News,
}

/// A change.
#[derive(Debug)]
pub(crate) enum News {
    /// A list starts. The value is the API version.
    Listing(&'static str),
    /// An object was listed, created or changed. It has `apiVersion` and `kind`.
    Applied(Value),
    /// An object was deleted.
    Deleted(Value),
    /// The list is complete. Objects that it does not contain are deleted.
    Listed,
    /// The objects are unknown: the API server has not been discovered yet, or serves the kind only in
    /// unsupported versions.
    Unknown,
    /// The API server does not serve the kind.
    Absent,
}

/// Minimum duration of a watch in seconds. A dead connection is detected when the watch ends, at the latest.
const WATCH_SECONDS: u32 = 40;

/// Objects per page of a list.
const PAGE: u32 = 500;

/// Watches all kinds until the receiver is dropped. If `ingresses` is `false`, kinds for which
/// [`Kind::is_of_ingresses`] holds are reported as absent.
pub(crate) fn start(
    client: &kube::Client,
    metrics: &Arc<Metrics>,
    ingresses: bool,
) -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(1024);
    let (served, known) = watch::channel(Served::default());
    tokio::spawn(discovery::run(client.clone(), served));
    for (at, kind) in (0..).zip(&KINDS) {
        let source = Source {
            kind,
            // A different duration for each kind spreads the lists over time.
            seconds: WATCH_SECONDS + at,
            client: client.clone(),
            events: sender.clone(),
            metrics: Arc::clone(metrics),
        };
        match kind.is_of_ingresses() && !ingresses {
            true => drop(tokio::spawn(async move { source.tell(News::Absent).await })),
            false => drop(tokio::spawn(source.run(known.clone()))),
        }
    }
    receiver
}

/// The watch of one kind.
struct Source {
    kind: &'static Kind,
    seconds: u32,
    client: kube::Client,
    events: mpsc::Sender<Event>,
    metrics: Arc<Metrics>,
}

/// The error of a dropped receiver.
struct Closed;

impl Source {
    async fn run(self, mut served: watch::Receiver<Served>) {
        loop {
            let version = if self.kind.optional() {
                let is_known = |served: &Served| served.version(self.kind).is_some();
                let known = is_known(&served.borrow());
                if !known && self.tell(News::Unknown).await.is_err() {
                    return;
                }
                let Ok(served) = served.wait_for(is_known).await else {
                    return;
                };
                served.version(self.kind).flatten()
            } else {
                self.kind.versions.first().copied()
            };
            let over = match version {
                Some(version) => tokio::select! {
                    Closed = self.follow(version) => return,
                    gone = another(&mut served, self.kind, Some(version)) => gone,
                },
                None if self.tell(News::Absent).await.is_err() => return,
                None => another(&mut served, self.kind, None).await,
            };
            if over.is_err() {
                return;
            }
        }
    }

    /// Watches one version of the kind.
    async fn follow(&self, version: &'static str) -> Closed {
        let api_version = match self.kind.group {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        };
        let api: Api<DynamicObject> =
            Api::all_with(self.client.clone(), &resource(self.kind, version));
        let config = watcher::Config::default()
            .timeout(self.seconds)
            .page_size(PAGE);
        let mut events = std::pin::pin!(watcher(api, config));
        let mut pause = Pause::default();
        let mut failing = false;
        while let Some(event) = events.next().await {
            let news = match event {
                Ok(watcher::Event::Init) => News::Listing(version),
                Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                    News::Applied(value(object, self.kind.name, &api_version))
                }
                Ok(watcher::Event::Delete(object)) => {
                    News::Deleted(value(object, self.kind.name, &api_version))
                }
                Ok(watcher::Event::InitDone) => News::Listed,
                Err(error) => {
                    self.metrics.watch_failed(self.kind.name);
                    let wait = pause.next();
                    // An outage may last long, so only its first error is logged as a warning.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(kind = self.kind.name, %error, "watch failed; retrying");
                    }
                    tracing::debug!(kind = self.kind.name, %error, again_in = ?wait, "watch failed");
                    tokio::time::sleep(wait).await;
                    continue;
                }
            };
            // The start of a list is not a response of the server.
            if !matches!(news, News::Listing(_)) {
                pause = Pause::default();
                if std::mem::take(&mut failing) {
                    tracing::info!(kind = self.kind.name, "watch restored");
                }
            }
            if let Err(closed) = self.tell(news).await {
                return closed;
            }
        }
        Closed
    }

    async fn tell(&self, news: News) -> Result<(), Closed> {
        let kind = self.kind;
        let sent = self.events.send(Event { kind, news }).await;
        sent.map_err(|_| Closed)
    }
}

/// Waits until the version to watch changes.
async fn another(
    served: &mut watch::Receiver<Served>,
    kind: &'static Kind,
    now: Option<&'static str>,
) -> Result<(), Closed> {
    if !kind.optional() {
        return std::future::pending().await;
    }
    let other = |served: &Served| served.version(kind) != Some(now);
    served.wait_for(other).await.map(drop).map_err(|_| Closed)
}

/// The API resource of a kind in `version`.
pub(crate) fn resource(kind: &Kind, version: &str) -> ApiResource {
    ApiResource {
        group: kind.group.to_owned(),
        version: version.to_owned(),
        api_version: match kind.group {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        },
        kind: kind.name.to_owned(),
        plural: kind.plural.to_owned(),
    }
}

/// The object as JSON with `apiVersion` and `kind`, which the items of a list lack.
fn value(mut object: DynamicObject, kind: &str, api_version: &str) -> Value {
    object.metadata.managed_fields = None;
    let mut value = std::mem::take(&mut object.data);
    if !value.is_object() {
        value = Value::Object(serde_json::Map::new());
    }
    value["apiVersion"] = api_version.into();
    value["kind"] = kind.into();
    value["metadata"] = serde_json::to_value(&object.metadata).unwrap_or_default();
    value
}
