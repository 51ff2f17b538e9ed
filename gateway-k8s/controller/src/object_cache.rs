//! A cache of the watched objects and their statuses.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;
use towergate_k8s::decode::ObjectStore;
use towergate_k8s::{Diagnostic, ObjectKey, Objects};

use crate::ingresses::{IngressOptions, Ingresses};
use crate::kinds::{KINDS, Kind, StatusShape};
use crate::watch::{Event, News};

/// The objects and the state of each kind.
#[derive(Debug, Default)]
pub(crate) struct ObjectCache {
    stores: Stores,
    kinds: BTreeMap<&'static str, Known>,
}

/// The contents of the objects, for resolution and for the translation of Ingresses.
#[derive(Debug, Default)]
struct Stores {
    /// The objects that are resolved.
    mirror: ObjectStore,
    /// The objects that the translation of Ingresses reads. `None`: no Ingresses are served.
    ingresses: Option<Ingresses>,
}

impl Stores {
    /// Stores an object. Returns whether the result of `resolve` may change.
    fn apply(&mut self, kind: &Kind, key: &ObjectKey, object: Value) -> bool {
        let ingresses = self.ingresses.as_mut();
        let noted = ingresses.is_some_and(|all| all.note(kind.name, key, Some(&object)));
        match kind.is_of_ingresses() {
            true => noted,
            false => self.mirror.apply(object) | noted,
        }
    }

    fn remove(&mut self, kind: &Kind, key: &ObjectKey) -> bool {
        let ingresses = self.ingresses.as_mut();
        let noted = ingresses.is_some_and(|all| all.note(kind.name, key, None));
        self.mirror.remove(kind.name, key) | noted
    }
}

/// The effect of an event on the cache.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Change {
    /// No effect.
    Nothing,
    /// A status changed.
    Status,
    /// The result of `resolve` may change.
    Objects,
}

/// The state of a kind.
#[derive(Debug, Default)]
struct Known {
    /// Whether all objects were listed once, or the kind does not exist.
    complete: bool,
    /// Watched API version.
    version: Option<&'static str>,
    objects: HashMap<ObjectKey, ObservedObject>,
    /// Objects of the current list. `None`: no list is in progress.
    listing: Option<HashSet<ObjectKey>>,
}

/// Metadata and status of an object in its last received version.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ObservedObject {
    /// `metadata.uid`, which distinguishes an object from a deleted one of the same name.
    pub(crate) uid: String,
    /// `metadata.resourceVersion` of the object.
    pub(crate) version: String,
    /// `metadata.generation` of the object.
    pub(crate) generation: i64,
    /// Status as JSON text. `None`: the object has no status, or this controller does not write statuses of
    /// its kind.
    pub(crate) status: Option<Arc<str>>,
}

impl ObjectCache {
    /// A cache that also serves Ingresses.
    pub(crate) fn with_ingresses(options: Option<IngressOptions>) -> Self {
        Self {
            stores: Stores {
                ingresses: options.map(Ingresses::new),
                ..Stores::default()
            },
            ..Self::default()
        }
    }

    /// The Ingresses, if they are served.
    pub(crate) fn ingresses(&self) -> Option<&Ingresses> {
        self.stores.ingresses.as_ref()
    }

    /// Updates the objects in memory from the Ingresses.
    pub(crate) fn translate_ingresses(&mut self) {
        let Stores { mirror, ingresses } = &mut self.stores;
        let Some(ingresses) = ingresses else {
            return;
        };
        let exists = |kind: &str, key: &ObjectKey| {
            let known = self.kinds.get(kind);
            known.is_some_and(|known| known.objects.contains_key(key))
        };
        let Some(new) = ingresses.translate(exists) else {
            return;
        };
        for (kind, key) in &new.gone {
            mirror.remove(kind, key);
        }
        for (_, _, object) in new.objects {
            mirror.apply(object);
        }
    }

    /// Applies an event.
    pub(crate) fn take(&mut self, event: Event) -> Change {
        let kind = event.kind;
        let known = self.kinds.entry(kind.name).or_default();
        match event.news {
            News::Listing(version) => {
                known.version = Some(version);
                known.listing = Some(HashSet::new());
                Change::Nothing
            }
            News::Applied(object) => known.apply(kind, object, &mut self.stores),
            News::Deleted(object) => {
                let key = key(kind, &object);
                known.objects.remove(&key);
                match self.stores.remove(kind, &key) {
                    true => Change::Objects,
                    false => Change::Nothing,
                }
            }
            News::Listed => known.listed(kind, &mut self.stores),
            News::Unknown => {
                known.complete = false;
                Change::Nothing
            }
            News::Absent => {
                known.version = None;
                known.listing = Some(HashSet::new());
                known.listed(kind, &mut self.stores)
            }
        }
    }

    /// Whether each kind was listed once or does not exist.
    #[cfg(test)]
    pub(crate) fn complete(&self) -> bool {
        self.missing().next().is_none()
    }

    /// Kinds whose objects have not been listed yet.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &'static str> {
        let complete = |kind: &&Kind| {
            self.kinds
                .get(kind.name)
                .is_some_and(|known| known.complete)
        };
        KINDS
            .iter()
            .filter(move |kind| !complete(kind))
            .map(|kind| kind.name)
    }

    /// The objects.
    pub(crate) fn objects(&self) -> &Objects {
        self.stores.mirror.objects()
    }

    /// Diagnostics of individual objects.
    pub(crate) fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        self.stores.mirror.diagnostics()
    }

    /// The API version in which a kind is watched.
    pub(crate) fn version(&self, kind: &Kind) -> Option<&'static str> {
        self.kinds.get(kind.name)?.version
    }

    /// Metadata and status of an object.
    pub(crate) fn observed(&self, kind: &str, key: &ObjectKey) -> Option<&ObservedObject> {
        self.kinds.get(kind)?.objects.get(key)
    }

    /// Metadata and statuses of all objects of a kind.
    pub(crate) fn all_observed(
        &self,
        kind: &Kind,
    ) -> impl Iterator<Item = (&ObjectKey, &ObservedObject)> {
        let known = self.kinds.get(kind.name).into_iter();
        known.flat_map(|known| &known.objects)
    }

    /// Number of objects by kind.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let kinds = self.kinds.iter();
        kinds.map(|(name, known)| (*name, known.objects.len()))
    }
}

impl Known {
    fn apply(&mut self, kind: &Kind, mut object: Value, stores: &mut Stores) -> Change {
        let key = key(kind, &object);
        if let Some(listing) = &mut self.listing {
            listing.insert(key.clone());
        }
        let observed = observe(kind, &mut object);
        let before = self.objects.get(&key);
        if before
            .is_some_and(|before| before.uid == observed.uid && before.version == observed.version)
        {
            return Change::Nothing;
        }
        let status = before.is_none_or(|before| before.status != observed.status);
        self.objects.insert(key.clone(), observed);
        match (stores.apply(kind, &key, object), status) {
            (true, _) => Change::Objects,
            (false, true) => Change::Status,
            (false, false) => Change::Nothing,
        }
    }

    /// Removes the objects that the complete list does not contain.
    fn listed(&mut self, kind: &Kind, stores: &mut Stores) -> Change {
        let told = self.listing.take().unwrap_or_default();
        let gone: Vec<ObjectKey> = self
            .objects
            .keys()
            .filter(|key| !told.contains(key))
            .cloned()
            .collect();
        let mut changed = !std::mem::replace(&mut self.complete, true);
        for key in gone {
            self.objects.remove(&key);
            changed |= stores.remove(kind, &key);
        }
        match changed {
            true => Change::Objects,
            false => Change::Nothing,
        }
    }
}

/// The key of an object.
fn key(kind: &Kind, object: &Value) -> ObjectKey {
    let metadata = &object["metadata"];
    let namespace = match kind.namespaced {
        true => text(&metadata["namespace"]),
        false => String::new(),
    };
    ObjectKey::new(namespace, text(&metadata["name"]))
}

fn observe(kind: &Kind, object: &mut Value) -> ObservedObject {
    let status = match (object.as_object_mut(), kind.status) {
        (_, StatusShape::None) | (None, _) => None,
        (Some(fields), _) => fields.remove("status"),
    };
    let metadata = &object["metadata"];
    ObservedObject {
        uid: text(&metadata["uid"]),
        version: text(&metadata["resourceVersion"]),
        generation: metadata["generation"].as_i64().unwrap_or(1),
        status: status.map(|status| status.to_string().into()),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds;

    fn event(kind: &str, news: News) -> Event {
        let kind = kinds::find(kind).expect("it is a kind");
        Event { kind, news }
    }

    fn class(version: &str, controller: &str, status: &str) -> News {
        News::Applied(json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": {"name": "edge", "uid": "1", "resourceVersion": version, "generation": 3},
            "spec": {"controllerName": controller},
            "status": {"note": status},
        }))
    }

    fn edge() -> ObjectKey {
        ObjectKey::new("", "edge")
    }

    #[test]
    fn the_world_is_complete_when_each_kind_was_listed_or_is_absent() {
        let mut world = ObjectCache::default();
        for kind in &KINDS {
            assert!(!world.complete(), "{} is missing", kind.name);
            let event = |news| Event { kind, news };
            if kind.name == "UDPRoute" {
                assert_eq!(world.take(event(News::Absent)), Change::Objects);
                continue;
            }
            world.take(event(News::Listing("v1")));
            assert_eq!(
                world.take(event(News::Listed)),
                Change::Objects,
                "it may be the last one"
            );
        }

        assert!(world.complete());
    }

    #[test]
    fn a_kind_of_which_nothing_is_known_any_longer_is_missing_until_it_is_listed() {
        let mut world = ObjectCache::default();
        for kind in &KINDS {
            let news = News::Absent;
            world.take(Event { kind, news });
        }
        assert!(world.complete());

        world.take(event("SecurityPolicy", News::Unknown));
        assert_eq!(world.missing().collect::<Vec<_>>(), ["SecurityPolicy"]);

        world.take(event("SecurityPolicy", News::Listing("v1alpha1")));
        let listed = world.take(event("SecurityPolicy", News::Listed));
        assert_eq!(listed, Change::Objects);
        assert!(world.complete());
    }

    #[test]
    fn a_status_alone_is_no_change_of_objects() {
        let mut world = ObjectCache::default();
        let mut take = |news| world.take(event("GatewayClass", news));

        assert_eq!(take(class("1", "a", "x")), Change::Objects);
        assert_eq!(take(class("1", "a", "x")), Change::Nothing);
        assert_eq!(take(class("2", "a", "y")), Change::Status);
        assert_eq!(take(class("3", "b", "y")), Change::Objects);
        assert_eq!(take(class("4", "b", "y")), Change::Nothing);

        let observed = world
            .observed("GatewayClass", &edge())
            .expect("it is there");
        assert_eq!((&*observed.version, observed.generation), ("4", 3));
        assert_eq!(observed.status.as_deref(), Some(r#"{"note":"y"}"#));
    }

    #[test]
    fn what_a_new_list_lacks_is_gone_when_the_list_is_complete() {
        let mut world = ObjectCache::default();
        let mut take = |news| world.take(event("GatewayClass", news));
        take(News::Listing("v1"));
        take(class("1", "a", "x"));
        take(News::Listed);

        assert_eq!(take(News::Listing("v1")), Change::Nothing);
        assert_eq!(take(News::Listed), Change::Objects);

        assert!(world.objects().gateway_classes.is_empty());
        assert!(world.observed("GatewayClass", &edge()).is_none());
    }

    #[test]
    fn a_kind_that_goes_takes_its_objects_along() {
        let mut world = ObjectCache::default();
        let mut take = |news| world.take(event("GatewayClass", news));
        take(News::Listing("v1"));
        take(class("1", "a", "x"));
        take(News::Listed);

        assert_eq!(take(News::Absent), Change::Objects);

        assert!(world.objects().gateway_classes.is_empty());
    }
}
