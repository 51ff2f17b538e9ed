//! Determines the statuses to write.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::sync::Arc;

use serde_json::Value;
use towergate_k8s::Statuses;

use super::merge::merge;
use super::{Id, Task};
use crate::kinds::{KINDS, Kind, StatusShape};
use crate::object_cache::{ObjectCache, ObservedObject};

/// The last written statuses by object: the desired status, and the status that the API server stored.
///
/// The API server may drop fields that its version does not support. The stored status therefore counts as
/// written; otherwise every resolution would write it again.
#[derive(Debug, Default)]
pub(crate) struct LastWritten(HashMap<Id, (u64, Option<Arc<str>>)>);

impl LastWritten {
    /// Records `status`, which the API server stored for the desired status with the hash `print`.
    pub(crate) fn note(&mut self, id: Id, print: u64, status: Option<Arc<str>>) {
        self.0.insert(id, (print, status));
    }

    fn holds(&self, id: &Id, print: u64, observed: &ObservedObject) -> bool {
        let known = self.0.get(id);
        known.is_some_and(|(known, status)| *known == print && *status == observed.status)
    }
}

/// The desired statuses by object, with their hashes.
#[derive(Debug, Default)]
pub(crate) struct DesiredStatuses(BTreeMap<Id, (Value, u64)>);

impl From<Statuses> for DesiredStatuses {
    fn from(statuses: Statuses) -> Self {
        let said = statuses.0.into_iter().filter_map(|(key, status)| {
            let print = print(Some(&status));
            Some((Id::new(key.kind, key.object)?, (status, print)))
        });
        Self(said.collect())
    }
}

/// The statuses that differ from the desired statuses. `now` is in RFC 3339.
pub(crate) fn due(
    world: &ObjectCache,
    said: &DesiredStatuses,
    controller: &str,
    last_written: &mut LastWritten,
    now: &str,
) -> Vec<Task> {
    let mut due = Vec::new();
    let mut alive = HashSet::new();
    let mut consider = |id: Id, desired: Option<&Value>, print: u64, observed: &ObservedObject| {
        let Some(version) = world.version(id.kind()) else {
            return;
        };
        if last_written.holds(&id, print, observed) {
            alive.insert(id);
            return;
        }
        let current = current(observed);
        let shape = id.kind().status;
        if merge(shape, controller, current.as_ref(), desired, now).is_none() {
            last_written.note(id.clone(), print, observed.status.clone());
            alive.insert(id);
            return;
        }
        due.push(Task {
            id,
            version,
            desired: desired.cloned(),
            print,
            observed: observed.clone(),
        });
    };
    for (id, (status, print)) in &said.0 {
        if let Some(observed) = world.observed(id.kind().name, &id.object) {
            consider(id.clone(), Some(status), *print, observed);
        }
    }
    // If an object has no desired status, the entries of this controller are removed.
    let nothing = print(None);
    for kind in KINDS.iter().filter(|kind| is_shared(kind)) {
        for (object, observed) in world.all_observed(kind) {
            let status = observed.status.as_ref();
            if !status.is_some_and(|status| status.contains(controller)) {
                continue;
            }
            let id = Id::new(kind.name, object.clone());
            if let Some(id) = id.filter(|id| !said.0.contains_key(id)) {
                consider(id, None, nothing, observed);
            }
        }
    }
    last_written.0.retain(|id, _| alive.contains(id));
    due
}

/// Whether several controllers write entries to the status of this kind.
fn is_shared(kind: &Kind) -> bool {
    matches!(kind.status, StatusShape::Parents | StatusShape::Ancestors)
}

/// The current status of an object.
pub(super) fn current(observed: &ObservedObject) -> Option<Value> {
    // The text is valid JSON, because it was serialized from a value.
    observed
        .status
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok())
}

/// The hash of a status.
fn print(desired: Option<&Value>) -> u64 {
    struct Sink(DefaultHasher);
    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut sink = Sink(DefaultHasher::new());
    // Serializing a value into a hasher cannot fail.
    let _ = serde_json::to_writer(&mut sink, &desired);
    sink.0.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use towergate_k8s::ObjectKey;
    use towergate_k8s::status::StatusKey;

    use super::*;
    use crate::kinds;
    use crate::watch::{Event, News};

    const OURS: &str = "example.test/ours";
    const NOW: &str = "2026-02-02T00:00:00Z";

    fn world(status: Value) -> ObjectCache {
        let mut world = ObjectCache::default();
        tell(&mut world, News::Listing("v1"));
        apply(&mut world, "1", status);
        world
    }

    fn tell(world: &mut ObjectCache, news: News) {
        let kind = kinds::find("HTTPRoute").expect("it is a kind");
        world.take(Event { kind, news });
    }

    fn apply(world: &mut ObjectCache, version: &str, status: Value) {
        let route = json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"namespace": "d", "name": "r", "resourceVersion": version},
            "spec": {},
            "status": status,
        });
        tell(world, News::Applied(route));
    }

    fn key() -> ObjectKey {
        ObjectKey::new("d", "r")
    }

    fn says(entries: Value) -> DesiredStatuses {
        let status = json!({ "parents": entries });
        Statuses([(StatusKey::new("HTTPRoute", key()), status)].into()).into()
    }

    fn entry() -> Value {
        json!({"controllerName": OURS, "parentRef": {"name": "a"}, "conditions": []})
    }

    #[test]
    fn a_status_is_due_until_it_is_there() {
        let mut world = world(json!({}));
        let mut last_written = LastWritten::default();
        let statuses = says(json!([entry()]));

        let tasks = due(&world, &statuses, OURS, &mut last_written, NOW);
        assert_eq!(tasks.len(), 1);
        assert_eq!(tasks[0].observed.version, "1");

        apply(&mut world, "2", json!({"parents": [entry()]}));
        assert!(due(&world, &statuses, OURS, &mut last_written, NOW).is_empty());
        assert_eq!(last_written.0.len(), 1);
        apply(&mut world, "3", json!({"parents": []}));
        assert_eq!(
            due(&world, &statuses, OURS, &mut last_written, NOW).len(),
            1
        );
    }

    #[test]
    fn what_the_server_made_of_a_status_is_not_written_again() {
        let mut world = world(json!({}));
        let mut last_written = LastWritten::default();
        let statuses = says(json!([entry()]));
        let task = due(&world, &statuses, OURS, &mut last_written, NOW).remove(0);
        let made = json!({"parents": [], "note": 1});
        let text: Arc<str> = made.to_string().into();

        last_written.note(task.id, task.print, Some(text));
        apply(&mut world, "2", made);

        assert!(due(&world, &statuses, OURS, &mut last_written, NOW).is_empty());
        // A different desired status is written.
        let mut other = entry();
        other["parentRef"]["name"] = "b".into();
        let statuses = says(json!([entry(), other]));
        assert_eq!(
            due(&world, &statuses, OURS, &mut last_written, NOW).len(),
            1
        );
    }

    #[test]
    fn entries_of_a_route_that_left_us_are_taken_away() {
        let world = world(json!({"parents": [entry()]}));
        let mut last_written = LastWritten::default();

        let tasks = due(
            &world,
            &DesiredStatuses::default(),
            OURS,
            &mut last_written,
            NOW,
        );

        assert_eq!(tasks.len(), 1);
        assert_eq!(tasks[0].desired, None);
        let others = due(
            &world,
            &DesiredStatuses::default(),
            "example.test",
            &mut last_written,
            NOW,
        );
        assert!(
            others.is_empty(),
            "a longer name that contains the name is another name"
        );
    }
}
