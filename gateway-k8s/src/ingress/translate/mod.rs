//! Translates the servers of ingress-nginx to objects of Gateway API and Envoy Gateway.
//!
//! ```text
//! Manifests ─┬─ annotations ──> IngressSettings ──> Servers ─┬─ gateway ──> Gateway, ClientTrafficPolicy, redirects
//!            │                                        ├─ routes ───> HTTPRoute, GRPCRoute, TLSRoute
//!            └─ controller ───> ControllerConfig ─────┤   └ policies > BackendTrafficPolicy, SecurityPolicy
//!                                                     └─ verdicts
//! ```

mod alias_hosts;
mod backend_rules;
mod backends;
mod certificates;
mod class;
mod config;
mod drafts;
mod examples;
mod fallback;
mod form_verdicts;
mod gateway;
mod host_listeners;
mod host_slugs;
mod local_replies;
mod locations;
mod matches;
mod namespace_selector;
mod overlaps;
mod own_host_auth;
mod patterns;
mod policies;
mod prefixes;
mod redirects;
mod routes;
mod stream_services;
mod streams;
mod unread;
mod user_secrets;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Value, json};

pub(super) use self::user_secrets::secret_name;
use super::annotations;
use super::controller::ControllerConfig;
use super::input::{Ingress, Manifests, Written};
use super::output::OutputObjects;
use super::servers::{self, ReadIngress, Servers};
use super::verdict::{Aspect, Finding, MigrationVerdict, SettingKind, SourcePlace};
use crate::objects::ObjectKey;

/// Names and flags of a translation.
#[derive(Clone, Debug)]
pub struct MigrateOptions {
    /// The shared Gateway.
    pub gateway: ObjectKey,
    /// GatewayClass of the shared Gateway.
    pub class: String,
    /// Flags of the controller that the manifests do not contain, as `name=value`.
    pub flags: Vec<String>,
    /// Name of the only class whose Ingresses are translated. `None`: the classes that the controller selects
    /// by their `spec.controller`.
    pub only_class: Option<String>,
}

impl Default for MigrateOptions {
    fn default() -> Self {
        Self {
            gateway: ObjectKey::new("gateway", "shared"),
            class: "eg".to_owned(),
            flags: Vec::new(),
            only_class: None,
        }
    }
}

/// The result of a translation.
#[derive(Clone, Debug, Default)]
pub struct Migration {
    /// Objects to apply.
    pub objects: OutputObjects,
    /// The verdict on each setting, by object and name.
    pub verdicts: Vec<MigrationVerdict>,
    /// Name of the IngressClass that the controller serves even without an IngressClass object.
    pub class: String,
    /// The translated Ingresses: all Ingresses of the class.
    pub served: BTreeSet<ObjectKey>,
    /// Secret of the self-signed certificate for clients without a known server name. The caller creates the
    /// certificate, because the manifests do not contain it. `None`: `default-ssl-certificate` names a
    /// certificate.
    pub default_certificate: Option<ObjectKey>,
}

/// Label of namespaces whose routes the Gateway accepts.
pub(crate) const ACCESS_LABEL: &str = "shared-gateway-access";

/// Largest number of objects that a ReferenceGrant names (Gateway API).
const MAX_GRANTED: usize = 16;

/// Source and target of references that need a ReferenceGrant.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Grant {
    /// API group of the referring object.
    group: &'static str,
    /// Kind of the referring object.
    kind: &'static str,
    /// Namespace of the referring object.
    from: String,
    /// Namespace of the referenced object.
    to: String,
}

/// State of a translation.
pub(crate) struct Translator<'a> {
    manifests: &'a Manifests,
    config: &'a ControllerConfig,
    options: &'a MigrateOptions,
    servers: Servers<'a>,
    output: OutputObjects,
    /// Objects that several rules share, by kind, namespace and `spec`.
    shared_objects: HashMap<(&'static str, String, String), ObjectKey>,
    verdicts: Vec<MigrationVerdict>,
    /// Index of the verdict on each annotation, by object and annotation.
    annotation_verdicts: HashMap<(String, String), usize>,
    /// Objects that grants permit: kind and name of each referenced object.
    grants: BTreeMap<Grant, BTreeSet<(&'static str, String)>>,
    /// Namespaces with routes.
    namespaces: BTreeSet<String>,
    /// Certificates of the shared HTTPS listener, the default certificate first.
    certificates: Vec<ObjectKey>,
    /// Parts of object names for hosts.
    host_slugs: host_slugs::HostSlugs,
    /// Listeners of single hosts.
    host_listeners: host_listeners::HostListeners,
    /// Secret of the self-signed certificate, which the caller creates.
    default_certificate: Option<ObjectKey>,
    /// Statuses that ingress-nginx turns into 500.
    as_500: Vec<u16>,
}

/// Translates `manifests`.
pub fn translate(manifests: &Manifests, options: &MigrateOptions) -> Migration {
    let flags: Vec<(String, Written)> = options
        .flags
        .iter()
        .map(|text| super::input::flag(text))
        .collect();
    let mut config = ControllerConfig::find(manifests, &flags);
    config.only_class.clone_from(&options.only_class);
    let mut verdicts = Vec::new();
    let read = read_all(manifests, &config, &mut verdicts);
    let served = read.iter().map(|read| read.ingress.key.clone()).collect();
    let servers = servers::build(read, &config, manifests);
    let host_slugs = host_slugs::HostSlugs::of_servers(&servers);
    let mut translator = Translator {
        manifests,
        config: &config,
        options,
        servers,
        output: OutputObjects::default(),
        shared_objects: HashMap::new(),
        annotation_verdicts: verdicts
            .iter()
            .enumerate()
            .map(|(at, verdict)| ((verdict.object.clone(), verdict.setting.clone()), at))
            .collect(),
        verdicts,
        grants: BTreeMap::new(),
        namespaces: BTreeSet::new(),
        certificates: Vec::new(),
        host_slugs,
        host_listeners: host_listeners::HostListeners::default(),
        default_certificate: None,
        as_500: annotations::errors::statuses_without_page(&config, manifests),
    };
    translator.collect_certificates();
    translator.routes();
    translator.overlap_verdicts();
    translator.streams();
    translator.gateway();
    translator.cert_manager();
    translator.namespaces();
    translator.reference_grants();
    translator.settings_of_the_controller();
    translator.add_examples();
    let mut verdicts = translator.verdicts;
    verdicts.sort();
    verdicts.dedup();
    Migration {
        default_certificate: translator.default_certificate,
        objects: translator.output,
        verdicts,
        class: config.class_name().to_owned(),
        served,
    }
}

/// Reads the Ingresses that belong to the controller, and adds the verdicts on their settings.
pub(crate) fn read_all<'a>(
    manifests: &'a Manifests,
    config: &ControllerConfig,
    verdicts: &mut Vec<MigrationVerdict>,
) -> Vec<ReadIngress<'a>> {
    let mut read = Vec::new();
    for ingress in &manifests.ingresses {
        match class::select(ingress, manifests, config) {
            Ok(()) => {
                let (settings, found) = annotations::read(ingress, config, manifests);
                verdicts.extend(found);
                read.push(ReadIngress {
                    ingress,
                    settings: Arc::new(settings),
                });
            }
            Err(finding) => verdicts.push(field(ingress, "spec.ingressClassName", finding)),
        }
    }
    read
}

/// Creates a verdict on a field of an Ingress.
fn field(ingress: &Ingress, name: &str, finding: Finding) -> MigrationVerdict {
    MigrationVerdict {
        object: format!("Ingress {}", ingress.key),
        kind: SettingKind::Field,
        setting: name.to_owned(),
        value: String::new(),
        place: ingress.place(),
        outcome: finding.outcome,
        text: finding.text,
        affects: finding.affects,
        example: None,
    }
}

impl Translator<'_> {
    /// Adds a verdict on behaviour that no setting affects.
    fn default_behaviour(&mut self, name: &str, finding: Finding) {
        self.verdicts.push(MigrationVerdict {
            object: "ingress-nginx".to_owned(),
            kind: SettingKind::Default,
            setting: name.to_owned(),
            value: String::new(),
            place: SourcePlace::default(),
            outcome: finding.outcome,
            text: finding.text,
            affects: finding.affects,
            example: None,
        });
    }

    /// Adds a verdict on a field of an Ingress.
    fn field_of(&mut self, ingress: usize, name: &str, finding: Finding) {
        let ingress = self.servers.ingresses[ingress].ingress;
        self.verdicts.push(field(ingress, name, finding));
    }

    /// Replaces the verdict on an annotation of an Ingress.
    fn replace_verdict(&mut self, ingress: usize, annotation: &str, finding: Finding) {
        match self.annotation_verdict(ingress, annotation) {
            Some(at) => {
                let verdict = &mut self.verdicts[at];
                verdict.outcome = finding.outcome;
                verdict.text = finding.text;
                verdict.affects = finding.affects;
            }
            None => self.field_of(ingress, annotation, finding),
        }
    }

    /// Index of the verdict on an annotation of an Ingress.
    fn annotation_verdict(&self, ingress: usize, annotation: &str) -> Option<usize> {
        let object = format!("Ingress {}", self.servers.ingresses[ingress].ingress.key);
        let setting = format!("{}/{annotation}", self.config.prefix());
        self.annotation_verdicts.get(&(object, setting)).copied()
    }

    /// A reference to the shared Gateway, or to the ListenerSet that contains the listener.
    fn parent(&self, section: Option<&str>) -> Value {
        if let Some(section) = section
            && let Some(set) = self.host_listeners.set_of(section)
        {
            return json!({
                "group": "gateway.networking.k8s.io", "kind": "ListenerSet",
                "name": set.name, "namespace": set.namespace, "sectionName": section,
            });
        }
        let gateway = &self.options.gateway;
        let mut parent = json!({"name": gateway.name, "namespace": gateway.namespace});
        if let Some(section) = section {
            parent["sectionName"] = section.into();
        }
        parent
    }

    /// Permits a reference into another namespace.
    fn permit(
        &mut self,
        (group, kind, from): (&'static str, &'static str, &str),
        (to_kind, to): (&'static str, &ObjectKey),
    ) {
        if from == to.namespace {
            return;
        }
        let grant = Grant {
            group,
            kind,
            from: from.to_owned(),
            to: to.namespace.clone(),
        };
        let names = self.grants.entry(grant).or_default();
        names.insert((to_kind, to.name.clone()));
    }

    fn reference_grants(&mut self) {
        for (grant, names) in std::mem::take(&mut self.grants) {
            let to: Vec<Value> = names
                .into_iter()
                .map(|(kind, name)| json!({"group": "", "kind": kind, "name": name}))
                .collect();
            let name = format!("{}-of-{}", grant.kind.to_ascii_lowercase(), grant.from);
            let why = BTreeSet::from([format!(
                "a {} of namespace {} refers to objects of this namespace",
                grant.kind, grant.from
            )]);
            for to in to.chunks(MAX_GRANTED) {
                let key = self.output.free_name("ReferenceGrant", &grant.to, &name);
                let spec = json!({
                    "from": [{"group": grant.group, "kind": grant.kind, "namespace": grant.from}],
                    "to": to,
                });
                self.output.add("ReferenceGrant", &key, spec, &why);
            }
        }
    }

    /// The object of `kind` with this `spec`. All rules that need it share one object.
    fn equal_or_new(
        &mut self,
        kind: &'static str,
        namespace: &str,
        name: &str,
        spec: Value,
        comments: &BTreeSet<String>,
    ) -> ObjectKey {
        let output = &mut self.output;
        let entry = (kind, namespace.to_owned(), spec.to_string());
        let known = self.shared_objects.entry(entry);
        let key = known.or_insert_with(|| output.free_name(kind, namespace, name));
        output.add(kind, key, spec, comments);
        key.clone()
    }

    /// The namespaces of routes, with the label that the Gateway selects.
    fn namespaces(&mut self) {
        let mut names = std::mem::take(&mut self.namespaces);
        names.insert(self.options.gateway.namespace.clone());
        for name in names {
            let mut labels = self
                .manifests
                .namespaces
                .get(&name)
                .cloned()
                .unwrap_or_default();
            labels.insert(ACCESS_LABEL.to_owned(), "true".to_owned());
            let value = json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": name, "labels": labels},
            });
            let key = ObjectKey::new("", name);
            self.output
                .add_value("Namespace", &key, value, &BTreeSet::new());
        }
    }
}

/// Aspects that differ if the gateway and ingress-nginx give different kinds of responses.
pub(crate) const ANSWER: &[Aspect] = &[
    Aspect::Status,
    Aspect::Body,
    Aspect::ResponseHeaders,
    Aspect::Calls,
];
