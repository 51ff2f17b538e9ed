//! A cache of the provisioned objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt, pin_mut};
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::watch;

use super::kind::Kind;
use super::metadata::MANAGED_BY;

/// Kind, namespace and name.
pub(super) type ProvisionedId = (Kind, String, String);

/// Objects with the label of this program, kept up to date by [`follow`](Self::follow).
#[derive(Debug, Default)]
pub(super) struct Cache {
    objects: Mutex<BTreeMap<ProvisionedId, Arc<Value>>>,
    /// Kinds that have been listed once.
    listed: watch::Sender<BTreeSet<Kind>>,
    /// Number of changes.
    changes: watch::Sender<u64>,
}

impl Cache {
    /// The cached object of this name.
    pub(super) fn find(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let id = (kind, namespace.to_owned(), name.to_owned());
        self.lock().get(&id).cloned()
    }

    /// The first object of a kind in a namespace for which `is` returns `true`.
    pub(super) fn find_by(
        &self,
        kind: Kind,
        namespace: &str,
        is: impl Fn(&Value) -> bool,
    ) -> Option<Arc<Value>> {
        let first = (kind, namespace.to_owned(), String::new());
        let objects = self.lock();
        let of_namespace = objects
            .range(first..)
            .take_while(|((of, within, _), _)| *of == kind && within == namespace);
        of_namespace
            .map(|(_, object)| object)
            .find(|object| is(object))
            .cloned()
    }

    /// All cached objects.
    pub(super) fn all(&self) -> Vec<(ProvisionedId, Arc<Value>)> {
        let objects = self.lock();
        objects
            .iter()
            .map(|(id, object)| (id.clone(), object.clone()))
            .collect()
    }

    /// Stores an object from a response of the API server. Does nothing if the watch has already delivered a
    /// newer version.
    pub(super) fn put(&self, kind: Kind, object: Value) {
        let Some(id) = id(kind, &object) else { return };
        let mut objects = self.lock();
        let held = objects.get(&id);
        if held.is_none_or(|held| is_newer(&object, held)) {
            objects.insert(id, Arc::new(trim(object)));
        }
    }

    /// Removes an object.
    pub(super) fn forget(&self, id: &ProvisionedId) {
        self.lock().remove(id);
    }

    /// A receiver that is notified of every change.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Waits until each of `kinds` has been listed once.
    pub(super) async fn listed(&self, kinds: &[Kind]) {
        let mut listed = self.listed.subscribe();
        let all = |listed: &BTreeSet<Kind>| kinds.iter().all(|kind| listed.contains(kind));
        // The channel stays open: `self` owns its sender.
        let _ = listed.wait_for(all).await;
    }

    /// Watches the objects of a kind until the process exits.
    pub(super) async fn follow(&self, client: Client, kind: Kind) {
        let api = Api::<DynamicObject>::all_with(client, &kind.resource());
        let label = format!("{}={}", MANAGED_BY.0, MANAGED_BY.1);
        let events = watcher(api, watcher::Config::default().labels(&label)).default_backoff();
        pin_mut!(events);
        let mut listing = BTreeMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(kind, &mut listing, event),
                Err(error) => {
                    tracing::warn!(kind = kind.name(), %error, "watch of provisioned objects failed; retrying")
                }
            }
        }
    }

    /// Applies an event. `listing` contains the objects of a list that is not complete yet.
    fn take(
        &self,
        kind: Kind,
        listing: &mut BTreeMap<ProvisionedId, Arc<Value>>,
        event: Event<DynamicObject>,
    ) {
        let read = |object: DynamicObject| {
            let value = serde_json::to_value(&object).ok()?;
            Some((id(kind, &value)?, Arc::new(trim(value))))
        };
        match event {
            Event::Init => return listing.clear(),
            Event::InitApply(object) => return listing.extend(read(object)),
            Event::InitDone => {
                let mut objects = self.lock();
                objects.retain(|(of, _, _), _| *of != kind);
                objects.append(listing);
                drop(objects);
                self.listed.send_modify(|listed| {
                    listed.insert(kind);
                });
            }
            Event::Apply(object) => self.lock().extend(read(object)),
            Event::Delete(object) => {
                if let Some((id, _)) = read(object) {
                    self.lock().remove(&id);
                }
            }
        }
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ProvisionedId, Arc<Value>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The identity of an object. `None`: its metadata is incomplete.
fn id(kind: Kind, object: &Value) -> Option<ProvisionedId> {
    let text = |key: &str| Some(object["metadata"][key].as_str()?.to_owned());
    Some((kind, text("namespace")?, text("name")?))
}

/// Whether an object is newer than another version of it. Resource versions are increasing numbers; an object
/// without a resource version does not count as newer.
fn is_newer(object: &Value, than: &Value) -> bool {
    let version = |object: &Value| {
        let text = object["metadata"]["resourceVersion"].as_str()?;
        text.parse::<u128>().ok()
    };
    version(object).is_some_and(|own| version(than).is_none_or(|other| own > other))
}

/// Removes large fields that are not used.
fn trim(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(version: &str, address: &str) -> Value {
        json!({
            "metadata": { "namespace": "n", "name": "s", "resourceVersion": version },
            "status": address,
        })
    }

    fn held(cache: &Cache) -> Value {
        let found = cache.find(Kind::Service, "n", "s").expect("it is there");
        found["status"].clone()
    }

    #[test]
    fn an_answer_that_is_older_than_what_the_watch_told_changes_nothing() {
        let cache = Cache::default();
        let told = serde_json::from_value(service("10", "192.0.2.1")).unwrap();
        cache.take(Kind::Service, &mut BTreeMap::new(), Event::Apply(told));

        cache.put(Kind::Service, service("9", ""));
        let after_older = held(&cache);
        cache.put(Kind::Service, service("11", "192.0.2.2"));

        assert_eq!(
            (after_older, held(&cache)),
            ("192.0.2.1".into(), "192.0.2.2".into())
        );
    }

    #[test]
    fn a_list_replaces_what_was_there_when_it_is_complete() {
        let (cache, mut listing) = (Cache::default(), BTreeMap::new());
        cache.put(Kind::Service, service("1", "old"));
        let other =
            json!({ "metadata": { "namespace": "n", "name": "t", "resourceVersion": "2" } });
        let other: DynamicObject = serde_json::from_value(other).unwrap();

        cache.take(Kind::Service, &mut listing, Event::Init);
        cache.take(Kind::Service, &mut listing, Event::InitApply(other));
        let before = cache.all().len();
        cache.take(Kind::Service, &mut listing, Event::InitDone);

        let names: Vec<_> = cache
            .all()
            .into_iter()
            .map(|((_, _, name), _)| name)
            .collect();
        assert_eq!((before, names), (1, vec!["t".to_owned()]));
    }
}
