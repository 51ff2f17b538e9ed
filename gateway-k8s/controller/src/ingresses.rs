//! Ingresses of ingress-nginx, served without a migration of their manifests (`--ingress-class`).
//!
//! ```text
//! Ingress, IngressClass, Service, Secret, ... ──(texts)──> translate ─┬─ Gateway ───> API server (leader)
//!                                                                     ├─ routes, policies ──> ObjectCache
//!                                                                     └─ verdicts ──> Events, metrics
//! ```
//!
//! The translation is that of `towergate migrate`. Only its Gateway becomes an object of the API
//! server, because it needs an address and data planes. All other objects stay in memory. An object
//! of the API server takes precedence over a translated object of the same kind and name, so hosts
//! can be migrated one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use towergate_k8s::ingress::verdict::SettingKind;
use towergate_k8s::ingress::{
    Manifests, MigrateOptions, Migration, MigrationOutcome, MigrationVerdict, OutputObject,
    findings, translate,
};
use towergate_k8s::{Diagnostic, ObjectKey};

use crate::default_certificate;

/// Kinds that the translation reads. EndpointSlices are not among them, so the rollout of a Deployment does
/// not cause a new translation.
const READ: [&str; 6] = [
    "Ingress",
    "IngressClass",
    "Service",
    "ConfigMap",
    "Secret",
    "Namespace",
];

/// Kinds that are not added to the objects in memory: the Gateway is applied to the API server, and objects
/// of the other kinds already exist.
const NOT_IN_MEMORY: [&str; 3] = ["Gateway", "GatewayClass", "Namespace"];

/// The class of Ingresses to serve, and the Gateway that serves them.
#[derive(Clone, Debug)]
pub(crate) struct IngressOptions {
    /// Name of the class.
    pub(crate) class: String,
    /// The Gateway.
    pub(crate) gateway: ObjectKey,
    /// GatewayClass of the Gateway.
    pub(crate) gateway_class: String,
}

/// A setting of an Ingress that cannot be served unchanged.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct ImpossibleSetting {
    /// Path of the field that contains the setting.
    pub(crate) field: String,
    /// Name of the setting, and the reason.
    pub(crate) text: String,
}

/// The objects that the translation reads, and its last result.
#[derive(Debug)]
pub(crate) struct Ingresses {
    options: IngressOptions,
    /// The parts of the objects that the translation reads.
    manifests: Manifests,
    /// Hashes of the parts in `manifests`, by kind and name.
    hashes: BTreeMap<(&'static str, ObjectKey), u64>,
    /// Whether an object changed since the last translation.
    stale: bool,
    /// Kinds and names of the translated objects, with the hash of the object in memory. `None`: the API
    /// server has or had an object of this name, which takes precedence.
    translated: BTreeMap<(String, ObjectKey), Option<u64>>,
    /// Ingresses of the class.
    served: BTreeSet<ObjectKey>,
    verdicts: Vec<MigrationVerdict>,
    /// Findings about Ingresses that cannot be served as written.
    findings: Vec<Diagnostic>,
    gateway: Option<Value>,
}

/// A new translation, as changes of the objects in memory.
#[derive(Debug, Default)]
pub(crate) struct NewTranslation {
    /// New and changed objects.
    pub(crate) objects: Vec<(String, ObjectKey, Value)>,
    /// Objects of the last translation that the new one does not contain.
    pub(crate) gone: Vec<(String, ObjectKey)>,
}

impl Ingresses {
    /// Creates the value without any objects.
    pub(crate) fn new(options: IngressOptions) -> Self {
        Self {
            options,
            manifests: Manifests::default(),
            hashes: BTreeMap::new(),
            stale: true,
            translated: BTreeMap::new(),
            served: BTreeSet::new(),
            verdicts: Vec::new(),
            findings: Vec::new(),
            gateway: None,
        }
    }

    /// Records an object of the API server, or its deletion. Returns whether the translation may
    /// change.
    pub(crate) fn note(&mut self, kind: &str, key: &ObjectKey, object: Option<&Value>) -> bool {
        let in_memory = self.translated.get_mut(&(kind.to_owned(), key.clone()));
        // If the API server already had the object, a new version of the object does not change its
        // precedence.
        let shadows = in_memory.is_some_and(|hash| hash.take().is_some() || object.is_none());
        self.stale |= shadows;
        let Some(kind) = READ.into_iter().find(|read| *read == kind) else {
            return shadows;
        };
        let text = object.map(relevant);
        let hash = text.as_deref().map(hash_of);
        let at = (kind, key.clone());
        let mut changed = self.hashes.get(&at).copied() != hash;
        if changed {
            let was_read = self.manifests.may_read(kind, key);
            let file = format!("{kind} {key}");
            self.manifests.remove(&file, kind, key);
            if let Some(text) = &text {
                self.manifests.add(&file, text);
            }
            match hash {
                Some(hash) => self.hashes.insert(at, hash),
                None => self.hashes.remove(&at),
            };
            changed = was_read || self.manifests.may_read(kind, key);
        }
        self.stale |= changed;
        changed || shadows
    }

    /// Translates again if an object changed. `exists` returns whether the API server has an object
    /// of a kind and name.
    pub(crate) fn translate(
        &mut self,
        exists: impl Fn(&str, &ObjectKey) -> bool,
    ) -> Option<NewTranslation> {
        if !std::mem::take(&mut self.stale) {
            return None;
        }
        let migration = catch_unwind(AssertUnwindSafe(|| self.migration()));
        let Ok(migration) = migration else {
            tracing::error!(
                "the translation of Ingresses panicked; the last translation stays in service until the next change"
            );
            return None;
        };
        let mut new = NewTranslation::default();
        let mut old = std::mem::take(&mut self.translated);
        self.gateway = None;
        let certificate = migration.default_certificate.as_ref();
        let certificate =
            certificate.and_then(|key| Some((key, default_certificate::secret(key)?)));
        let certificate = certificate.map(|(key, secret)| OutputObject {
            kind: "Secret".to_owned(),
            key: key.clone(),
            value: secret,
            comments: BTreeSet::new(),
        });
        for object in migration.objects.iter().chain(&certificate) {
            if object.kind == "Gateway" {
                self.gateway = Some(open_to_all(object.value.clone()));
            }
            if NOT_IN_MEMORY.contains(&&*object.kind) {
                continue;
            }
            let at = (object.kind.clone(), object.key.clone());
            let in_memory = old.remove(&at).flatten();
            if exists(&at.0, &at.1) {
                self.translated.insert(at, None);
                continue;
            }
            let hash = hash_of(&object.value.to_string());
            if in_memory != Some(hash) {
                let (kind, key) = at.clone();
                let value = match &*kind {
                    "ListenerSet" => open_to_all(object.value.clone()),
                    _ => object.value.clone(),
                };
                new.objects.push((kind, key, value));
            }
            self.translated.insert(at, Some(hash));
        }
        let gone = old.into_keys();
        new.gone = gone.filter(|(kind, key)| !exists(kind, key)).collect();
        self.findings = findings(&self.manifests, &migration, &self.options.class);
        self.served = migration.served;
        self.verdicts = migration.verdicts;
        Some(new)
    }

    fn migration(&self) -> Migration {
        if self.manifests.ingresses.is_empty() {
            return Migration::default();
        }
        let options = MigrateOptions {
            gateway: self.options.gateway.clone(),
            class: self.options.gateway_class.clone(),
            flags: vec![format!("ingress-class={}", self.options.class)],
            only_class: Some(self.options.class.clone()),
        };
        translate(&self.manifests, &options)
    }

    /// The Gateway to apply. `None`: there are no Ingresses; an existing Gateway is left unchanged.
    pub(crate) fn gateway(&self) -> Option<&Value> {
        self.gateway.as_ref()
    }

    /// Namespace and name of the Gateway.
    pub(crate) fn gateway_key(&self) -> &ObjectKey {
        &self.options.gateway
    }

    /// The Ingresses of the class.
    pub(crate) fn served(&self) -> impl Iterator<Item = &ObjectKey> {
        self.served.iter()
    }

    /// Findings about Ingresses that cannot be served as written: settings without a translation, and a class
    /// without an Ingress.
    pub(crate) fn findings(&self) -> &[Diagnostic] {
        &self.findings
    }

    /// Number of settings of Ingresses by outcome of their translation.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (MigrationOutcome, usize)> {
        MigrationOutcome::ALL.into_iter().map(|outcome| {
            let settings = self.verdicts.iter().filter(|one| one.is_setting());
            (
                outcome,
                settings.filter(|one| one.outcome == outcome).count(),
            )
        })
    }

    /// Settings that cannot be served unchanged, by Ingress.
    pub(crate) fn impossible(&self) -> BTreeMap<ObjectKey, Vec<ImpossibleSetting>> {
        let mut by_ingress: BTreeMap<ObjectKey, Vec<ImpossibleSetting>> = BTreeMap::new();
        for verdict in &self.verdicts {
            let name = verdict.object.strip_prefix("Ingress ");
            let key = name.and_then(|name| name.split_once('/'));
            if let (Some((namespace, name)), MigrationOutcome::Impossible) = (key, verdict.outcome)
            {
                let texts = by_ingress.entry(ObjectKey::new(namespace, name));
                texts.or_default().push(ImpossibleSetting {
                    field: match verdict.kind {
                        SettingKind::Annotation => {
                            format!("metadata.annotations[{}]", verdict.setting)
                        }
                        _ => verdict.setting.clone(),
                    },
                    text: format!("{}: {}", verdict.setting, verdict.text),
                });
            }
        }
        by_ingress
    }
}

/// The status of an Ingress: `loadBalancer` with the addresses in the status of its Gateway.
pub(crate) fn load_balancer(gateway_status: &Value) -> Value {
    let addresses = gateway_status["addresses"].as_array().into_iter().flatten();
    let entries: Vec<Value> = addresses
        .filter_map(|address| {
            let value = address["value"].as_str()?;
            Some(match value.parse::<std::net::IpAddr>() {
                Ok(_) => json!({ "ip": value }),
                Err(_) => json!({ "hostname": value }),
            })
        })
        .collect();
    match entries.is_empty() {
        true => json!({"loadBalancer": {}}),
        false => json!({"loadBalancer": {"ingress": entries}}),
    }
}

/// The parts of an object that the translation reads, as JSON. Fields that change without an effect
/// on the translation are omitted.
fn relevant(object: &Value) -> String {
    let mut kept = Map::new();
    let metadata = &object["metadata"];
    let names = [
        "name",
        "namespace",
        "labels",
        "annotations",
        "creationTimestamp",
    ];
    let metadata: Map<String, Value> = names
        .into_iter()
        .filter(|name| !metadata[*name].is_null())
        .map(|name| (name.to_owned(), metadata[name].clone()))
        .collect();
    kept.insert("metadata".to_owned(), Value::Object(metadata));
    for field in ["apiVersion", "kind", "spec", "data", "type"] {
        if !object[field].is_null() {
            kept.insert(field.to_owned(), object[field].clone());
        }
    }
    Value::Object(kept).to_string()
}

/// The hash of a manifest. Manifests with equal hashes are treated as equal; the hash keys are random for
/// each process.
fn hash_of(text: &str) -> u64 {
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    STATE.hash_one(text)
}

/// Lets routes of all namespaces attach to the Gateway or ListenerSet, because every namespace may contain
/// Ingresses.
fn open_to_all(mut object: Value) -> Value {
    let listeners = object["spec"]["listeners"].as_array_mut();
    for listener in listeners.into_iter().flatten() {
        listener["allowedRoutes"]["namespaces"] = json!({"from": "All"});
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ingresses() -> Ingresses {
        Ingresses::new(IngressOptions {
            class: "nginx".to_owned(),
            gateway: ObjectKey::new("edge", "nginx"),
            gateway_class: "towergate".to_owned(),
        })
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("shop", name)
    }

    fn ingress(version: &str, annotations: Value) -> Value {
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {
                "name": "web", "namespace": "shop", "resourceVersion": version, "annotations": annotations,
            },
            "spec": {
                "ingressClassName": "nginx",
                "rules": [{"host": "shop.example.com", "http": {"paths": [{
                    "path": "/", "pathType": "Prefix",
                    "backend": {"service": {"name": "web", "port": {"number": 80}}},
                }]}}],
            },
            "status": {"version": version},
        })
    }

    fn named(mut object: Value, name: &str) -> Value {
        object["metadata"]["name"] = name.into();
        object
    }

    fn nothing(_: &str, _: &ObjectKey) -> bool {
        false
    }

    fn kinds(new: &NewTranslation) -> Vec<&str> {
        new.objects.iter().map(|(kind, ..)| &**kind).collect()
    }

    #[test]
    fn an_ingress_becomes_a_gateway_to_apply_and_objects_in_memory() {
        let mut ingresses = ingresses();
        assert!(ingresses.note("Ingress", &key("web"), Some(&ingress("1", json!({})))));

        let new = ingresses.translate(nothing).expect("an object changed");

        assert!(kinds(&new).contains(&"HTTPRoute"), "{:?}", kinds(&new));
        assert!(kinds(&new).contains(&"Secret"), "the default certificate");
        assert!(!kinds(&new).contains(&"Gateway"));
        let gateway = ingresses.gateway().expect("a Gateway");
        assert_eq!(gateway["metadata"]["namespace"], "edge");
        assert_eq!(gateway["spec"]["gatewayClassName"], "towergate");
        let access = &gateway["spec"]["listeners"][0]["allowedRoutes"];
        assert_eq!(*access, json!({"namespaces": {"from": "All"}}));
        assert_eq!(ingresses.served().collect::<Vec<_>>(), [&key("web")]);
    }

    #[test]
    fn a_status_or_a_version_is_no_change() {
        let mut ingresses = ingresses();
        ingresses.note("Ingress", &key("web"), Some(&ingress("1", json!({}))));
        ingresses.translate(nothing);

        assert!(!ingresses.note("Ingress", &key("web"), Some(&ingress("2", json!({})))));

        assert!(ingresses.translate(nothing).is_none());
    }

    #[test]
    fn an_object_of_the_server_takes_precedence_until_it_is_gone() {
        let mut ingresses = ingresses();
        ingresses.note("Ingress", &key("web"), Some(&ingress("1", json!({}))));
        let new = ingresses.translate(nothing).expect("a translation");
        let (_, route, _) = new
            .objects
            .iter()
            .find(|(kind, ..)| kind == "HTTPRoute")
            .expect("a route")
            .clone();

        assert!(ingresses.note("HTTPRoute", &route, Some(&json!({}))));
        let exists = |kind: &str, key: &ObjectKey| kind == "HTTPRoute" && *key == route;
        let new = ingresses.translate(exists).expect("a translation");
        assert!(!kinds(&new).contains(&"HTTPRoute"));
        assert!(new.gone.is_empty(), "the object of the API server is kept");

        assert!(ingresses.note("HTTPRoute", &route, None));
        let new = ingresses.translate(nothing).expect("a translation");
        assert_eq!(kinds(&new), ["HTTPRoute"]);
    }

    #[test]
    fn a_change_of_one_ingress_replaces_only_its_objects() {
        let mut ingresses = ingresses();
        let mut other = ingress("1", json!({}));
        other["metadata"]["name"] = "blog".into();
        other["spec"]["rules"][0]["host"] = "blog.example.com".into();
        ingresses.note("Ingress", &key("web"), Some(&ingress("1", json!({}))));
        ingresses.note("Ingress", &key("blog"), Some(&other));
        ingresses.translate(nothing).expect("a translation");

        let limited = json!({"nginx.ingress.kubernetes.io/proxy-body-size": "2m"});
        assert!(ingresses.note("Ingress", &key("web"), Some(&ingress("2", limited))));

        let new = ingresses.translate(nothing).expect("a translation");
        assert_eq!(kinds(&new), ["BackendTrafficPolicy"]);
        assert!(new.gone.is_empty());
    }

    #[test]
    fn what_a_deleted_ingress_needed_is_gone() {
        let mut ingresses = ingresses();
        ingresses.note("Ingress", &key("web"), Some(&ingress("1", json!({}))));
        let new = ingresses.translate(nothing).expect("a translation");
        let routes = new.objects.len();

        assert!(ingresses.note("Ingress", &key("web"), None));

        let new = ingresses.translate(nothing).expect("a translation");
        assert_eq!((new.objects.len(), new.gone.len()), (0, routes));
        assert!(ingresses.gateway().is_none());
        assert_eq!(ingresses.served().count(), 0);
    }

    #[test]
    fn what_cannot_be_served_is_told_by_ingress() {
        let mut ingresses = ingresses();
        let snippet = json!({"nginx.ingress.kubernetes.io/backend-protocol": "FCGI"});
        ingresses.note("Ingress", &key("web"), Some(&ingress("1", snippet)));
        ingresses.translate(nothing);

        let told = ingresses.impossible();

        let texts = &told[&key("web")];
        assert!(texts[0].text.contains("backend-protocol"), "{texts:?}");
        let field = "metadata.annotations[nginx.ingress.kubernetes.io/backend-protocol]";
        assert_eq!(texts[0].field, field);
        let count = ingresses.outcomes().map(|(_, count)| count).sum::<usize>();
        assert!(count >= 1);
    }

    #[test]
    fn a_change_of_an_object_that_no_ingress_names_is_no_change() {
        let mut ingresses = ingresses();
        let headers = json!({"nginx.ingress.kubernetes.io/custom-headers": "shop/headers"});
        ingresses.note("Ingress", &key("web"), Some(&ingress("1", headers)));
        let map = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "shop"}, "data": {"X-A": value}});
        for name in ["leader", "headers"] {
            ingresses.note("ConfigMap", &key(name), Some(&named(map("1"), name)));
        }
        ingresses.translate(nothing);

        for (name, expected) in [("leader", false), ("headers", true)] {
            let changed = ingresses.note("ConfigMap", &key(name), Some(&named(map("2"), name)));

            assert_eq!(changed, expected, "{name}");
            assert_eq!(ingresses.translate(nothing).is_some(), expected, "{name}");
        }
    }

    #[test]
    fn a_class_without_an_ingress_is_a_finding() {
        let mut ingresses = ingresses();
        let codes = |ingresses: &Ingresses| {
            let codes = ingresses.findings().iter().map(|found| found.code.as_str());
            codes.collect::<Vec<_>>()
        };

        ingresses.translate(nothing);
        assert_eq!(codes(&ingresses), ["no-ingress-of-class"]);

        ingresses.note("Ingress", &key("web"), Some(&ingress("1", json!({}))));
        ingresses.translate(nothing);
        assert!(codes(&ingresses).is_empty());
    }

    #[test]
    fn an_address_is_told_as_address_or_name() {
        let status = json!({"addresses": [{"value": "192.0.2.1"}, {"value": "lb.example.com"}]});

        let entries = json!([{"ip": "192.0.2.1"}, {"hostname": "lb.example.com"}]);
        assert_eq!(
            load_balancer(&status),
            json!({"loadBalancer": {"ingress": entries}})
        );
        assert_eq!(load_balancer(&Value::Null), json!({"loadBalancer": {}}));
    }
}
