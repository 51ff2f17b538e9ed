//! Writes the Gateway of the Ingresses to the API server, and Events about settings that cannot be
//! served.
//!
//! Only the leader writes. A failed write is retried with exponential backoff.

use std::collections::{BTreeMap, HashSet};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::Value;
use tokio::sync::watch;
use towergate_k8s::ObjectKey;

use crate::ingresses::ImpossibleSetting;
use crate::kinds;
use crate::lease::Leads;
use crate::watch::{Pause, resource};

/// Field manager of the Gateway.
const MANAGER: &str = "towergate-ingresses";
/// Maximum length of the note of an Event, in bytes.
const MAX_NOTE: usize = 1024;

/// The objects to write.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct IngressWrites {
    /// The Gateway of the Ingresses.
    pub(crate) gateway: Option<Value>,
    /// `metadata.uid` and `metadata.generation` of the Gateway in the cluster. `None`: the Gateway does not
    /// exist. A change of these values makes the writer apply the Gateway again, which restores a deleted or
    /// edited Gateway.
    pub(crate) observed: Option<(String, i64)>,
    /// Settings that cannot be served, by Ingress.
    pub(crate) impossible: BTreeMap<IngressId, Vec<ImpossibleSetting>>,
}

/// The identity of an Ingress. An Ingress that was deleted and created again has another identity.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct IngressId {
    /// Namespace and name.
    pub(crate) key: ObjectKey,
    /// `metadata.uid`.
    pub(crate) uid: String,
}

/// Settings for which an Event was written.
type WrittenEvents = HashSet<(IngressId, ImpossibleSetting)>;

/// Writes each value of `wanted` until its sender is dropped.
pub(crate) async fn run(
    client: Client,
    mut leads: Leads,
    mut wanted: watch::Receiver<IngressWrites>,
) {
    let reporter = Reporter {
        controller: "towergate-controller".to_owned(),
        instance: std::env::var("HOSTNAME").ok(),
    };
    let mut pause = Pause::default();
    let mut told = HashSet::new();
    loop {
        let writes = wanted.borrow_and_update().clone();
        let wait = match leads.now() {
            false => None,
            true => match write(&client, &reporter, &writes, &mut told).await {
                Ok(()) => {
                    pause = Pause::default();
                    None
                }
                Err(error) => {
                    let wait = pause.next();
                    tracing::warn!(%error, again_in = ?wait, "the Gateway of the Ingresses cannot be written");
                    Some(wait)
                }
            },
        };
        let led = leads.now();
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            () = becomes_leader(&mut leads), if !led => {}
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
        }
    }
}

async fn becomes_leader(leads: &mut Leads) {
    while !leads.now() {
        leads.changed().await;
    }
}

/// Writes the Gateway and the Events that are not written yet. An Event that cannot be written, for example
/// because its namespace is being deleted, does not prevent the other writes.
async fn write(
    client: &Client,
    reporter: &Reporter,
    writes: &IngressWrites,
    told: &mut WrittenEvents,
) -> kube::Result<()> {
    if let Some(gateway) = &writes.gateway {
        apply(client, gateway).await?;
    }
    forget(told, writes);
    let mut result = Ok(());
    for (ingress, settings) in &writes.impossible {
        for setting in settings {
            let entry = (ingress.clone(), setting.clone());
            if told.contains(&entry) {
                continue;
            }
            // A recorder combines Events with the same reason and object into one Event. Each setting has its
            // own Event, and `told` prevents repetitions.
            let recorder = Recorder::new(client.clone(), reporter.clone());
            let about = reference(ingress, &setting.field);
            match recorder.publish(&event(&setting.text), &about).await {
                Ok(()) => {
                    told.insert(entry);
                }
                Err(error) => result = Err(error),
            }
        }
    }
    result
}

/// The reference from an Event to its Ingress. `kubectl describe` finds Events by the UID in this reference.
fn reference(ingress: &IngressId, field: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("networking.k8s.io/v1".to_owned()),
        kind: Some("Ingress".to_owned()),
        name: Some(ingress.key.name.clone()),
        namespace: Some(ingress.key.namespace.clone()),
        uid: Some(ingress.uid.clone()).filter(|uid| !uid.is_empty()),
        field_path: Some(field.to_owned()),
        ..ObjectReference::default()
    }
}

/// Forgets Events about settings that no longer exist, which bounds the size of the set.
fn forget(told: &mut WrittenEvents, writes: &IngressWrites) {
    told.retain(|(ingress, setting)| {
        let settings = writes.impossible.get(ingress);
        settings.is_some_and(|settings| settings.contains(setting))
    });
}

/// Applies the Gateway. Changes of its fields by other writers are reverted.
async fn apply(client: &Client, gateway: &Value) -> kube::Result<()> {
    let Some(kind) = kinds::KINDS.iter().find(|kind| kind.name == "Gateway") else {
        return Ok(());
    };
    let text = |field: &str| gateway["metadata"][field].as_str().unwrap_or_default();
    let resource = resource(kind, "v1");
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), text("namespace"), &resource);
    let params = PatchParams::apply(MANAGER).force();
    api.patch(text("name"), &params, &Patch::Apply(gateway))
        .await
        .map(drop)
}

fn event(text: &str) -> Event {
    let mut end = text.len().min(MAX_NOTE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Event {
        type_: EventType::Warning,
        reason: "NotTranslated".to_owned(),
        note: Some(text[..end].to_owned()),
        action: "Translate".to_owned(),
        secondary: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_about_removed_settings_are_forgotten() {
        let id = |name: &str, uid: &str| IngressId {
            key: ObjectKey::new("shop", name),
            uid: uid.to_owned(),
        };
        let setting = ImpossibleSetting {
            field: "spec.rules".to_owned(),
            text: "text".to_owned(),
        };
        let event = |name: &str, uid: &str| (id(name, uid), setting.clone());
        let mut told = HashSet::from([event("a", "1"), event("b", "1"), event("b", "2")]);
        let writes = IngressWrites {
            impossible: BTreeMap::from([(id("b", "2"), vec![setting.clone()])]),
            ..IngressWrites::default()
        };

        forget(&mut told, &writes);

        assert_eq!(told, HashSet::from([event("b", "2")]));
    }

    #[test]
    fn an_event_is_about_a_field_of_one_ingress() {
        let ingress = IngressId {
            key: ObjectKey::new("shop", "web"),
            uid: "f1".to_owned(),
        };

        let reference = reference(&ingress, "spec.rules");

        assert_eq!(reference.uid.as_deref(), Some("f1"));
        assert_eq!(reference.field_path.as_deref(), Some("spec.rules"));
    }

    #[test]
    fn a_long_note_ends_at_a_character() {
        let note = event(&"ü".repeat(1000)).note.expect("a note");

        assert_eq!(note.len(), 1024);
        assert_eq!(event("short").note.as_deref(), Some("short"));
    }
}
