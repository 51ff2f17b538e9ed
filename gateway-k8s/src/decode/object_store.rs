//! The objects of an API server, updated one at a time.
//!
//! An object is decoded like a document of a file. If an update changes at most the status of an object, the
//! `Arc` of the object is kept, so that caches keyed by its address stay valid.
//!
//! ```
//! use serde_json::json;
//! use towergate_k8s::decode::ObjectStore;
//!
//! let mut mirror = ObjectStore::default();
//! let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a"}});
//!
//! assert!(mirror.apply(namespace.clone()), "it is new");
//! assert!(!mirror.apply(namespace), "it is the same");
//! assert_eq!(mirror.objects().namespaces.len(), 1);
//! ```

use std::collections::BTreeMap;

use serde_json::Value;

use super::document_cache::{Item, take_from};
use super::{Diagnostic, Reader};
use crate::objects::{ObjectKey, Objects};

/// Annotation in which `kubectl apply` keeps a second copy of the object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The objects of an API server and their diagnostics.
#[derive(Clone, Debug, Default)]
pub struct ObjectStore {
    objects: Objects,
    diagnostics: BTreeMap<(String, ObjectKey), Vec<Diagnostic>>,
}

impl ObjectStore {
    /// Adds or replaces an object. `object` includes `apiVersion` and `kind`. Returns whether objects or
    /// diagnostics changed. An object that cannot be decoded is removed, with a diagnostic.
    pub fn apply(&mut self, mut object: Value) -> bool {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let kind = text(&object["kind"]);
        let metadata = &object["metadata"];
        let key = ObjectKey::new(text(&metadata["namespace"]), text(&metadata["name"]));
        leave_out(&mut object);
        let mut changed = false;
        let mut found = false;
        let mut diagnostics = Vec::new();
        for item in Reader::read_json(&object) {
            match item {
                Item::Object(object, _) => {
                    found = true;
                    changed |= object.put_into(&mut self.objects);
                }
                Item::Diagnostic(diagnostic) => diagnostics.push(*diagnostic),
                Item::PassedOver(..) | Item::Issued(..) => {}
            }
        }
        if !found {
            changed |= take_from(&mut self.objects, &kind, &key);
        }
        changed | self.note(kind, key, diagnostics)
    }

    /// Removes an object and its diagnostics. Returns whether the object or a diagnostic was present.
    pub fn remove(&mut self, kind: &str, key: &ObjectKey) -> bool {
        let noted = self.note(kind.to_owned(), key.clone(), Vec::new());
        take_from(&mut self.objects, kind, key) | noted
    }

    /// Returns the objects.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Returns the diagnostics of all objects, ordered by kind and name.
    pub fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.values().flatten()
    }

    /// Replaces the diagnostics of an object. Returns whether they changed.
    fn note(&mut self, kind: String, key: ObjectKey, diagnostics: Vec<Diagnostic>) -> bool {
        if diagnostics.is_empty() {
            return self.diagnostics.remove(&(kind, key)).is_some();
        }
        let before = self.diagnostics.insert((kind, key), diagnostics.clone());
        before != Some(diagnostics)
    }
}

/// Removes fields that are not used and that are large or change often.
fn leave_out(object: &mut Value) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    fields.remove("status");
    let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    metadata.remove("managedFields");
    metadata.remove("resourceVersion");
    if let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.remove(LAST_APPLIED);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decode::decode;

    fn service(port: Value, version: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": "team", "name": "web", "uid": "1", "resourceVersion": version},
            "spec": {"ports": [{"port": port, "name": "http"}], "clusterIP": null},
            "status": {"loadBalancer": {"version": version}},
        })
    }

    fn key() -> ObjectKey {
        ObjectKey::new("team", "web")
    }

    #[test]
    fn an_object_is_read_as_a_file_with_the_same_text() {
        let object = service(json!(80), "1");
        let mut mirror = ObjectStore::default();

        mirror.apply(object.clone());

        let decoded = decode("a.json", &object.to_string());
        let (from_file, from_server) = (
            &decoded.objects.services[&key()],
            &mirror.objects().services[&key()],
        );
        assert_eq!(from_file.spec, from_server.spec);
        assert_eq!(from_file.meta.name, from_server.meta.name);
        assert_eq!(from_server.meta.uid.as_deref(), Some("1"));
    }

    #[test]
    fn another_status_or_version_is_no_change() {
        let mut mirror = ObjectStore::default();
        assert!(mirror.apply(service(json!(80), "1")));
        let before: *const _ = &raw const mirror.objects().services[&key()];

        assert!(!mirror.apply(service(json!(80), "2")));

        assert!(std::ptr::eq(
            before,
            &raw const mirror.objects().services[&key()]
        ));
        assert!(mirror.apply(service(json!(81), "3")));
    }

    #[test]
    fn an_object_that_cannot_be_decoded_is_removed_with_a_diagnostic() {
        let mut mirror = ObjectStore::default();
        mirror.apply(service(json!(80), "1"));

        assert!(mirror.apply(service(json!("eighty"), "2")));

        assert!(mirror.objects().services.is_empty());
        let said: Vec<_> = mirror.diagnostics().collect();
        assert_eq!((said.len(), said[0].line), (1, 0));
        assert_eq!(said[0].object, Some(key()));
        assert!(mirror.remove("Service", &key()), "the diagnostics changed");
        assert_eq!(mirror.diagnostics().count(), 0);
    }

    #[test]
    fn an_object_is_removed_once() {
        let mut mirror = ObjectStore::default();
        mirror.apply(service(json!(80), "1"));

        assert!(mirror.remove("Service", &key()));
        assert!(!mirror.remove("Service", &key()));
        assert!(mirror.objects().services.is_empty());
    }
}
