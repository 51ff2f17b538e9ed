//! Manifests of an ingress-nginx installation: Ingresses and the objects that they refer to.
//!
//! Every document is decoded separately, with the line of each annotation and key. Objects of kinds
//! that the translation does not use are ignored.

mod error;
mod helm;
mod ingress_spec;
mod not_a_text;
mod removal;
mod uses;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use data_encoding::BASE64;
use serde::{Deserialize, de};
use serde_json::{Map, Value};

pub use self::error::{InputError, InputErrorKind};
pub use self::ingress_spec::{
    IngressBackend, IngressHttp, IngressPath, IngressPort, IngressRule, IngressService,
    IngressSpec, IngressTls,
};

use self::helm::ChartRelease;
use self::not_a_text::not_a_text;
use super::verdict::SourcePlace;
use crate::decode::{Node, NodeValue, parse_tree, scalar, split_documents};
use crate::objects::ObjectKey;

/// A string and its line in the file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Written {
    /// The string.
    pub text: String,
    /// Line, from 1.
    pub line: usize,
}

/// An Ingress.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ingress {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `metadata.creationTimestamp`, in RFC 3339. Empty: none.
    pub created: String,
    /// Annotations.
    pub annotations: BTreeMap<String, Written>,
    /// `spec` of the Ingress.
    pub spec: IngressSpec,
    /// File that contains the Ingress.
    pub file: Arc<str>,
    /// Line of the object.
    pub line: usize,
}

impl Ingress {
    /// The place of the object in the manifests.
    pub fn place(&self) -> SourcePlace {
        self.place_at(self.line)
    }

    /// A line of the object's file.
    pub fn place_at(&self, line: usize) -> SourcePlace {
        SourcePlace {
            file: self.file.to_string(),
            line,
        }
    }
}

/// The fields of a Service that the translation uses.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct InputService {
    /// Type of the Service (`spec.type`), such as `ExternalName`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Name of a host outside the cluster.
    pub external_name: Option<String>,
    /// Address in the cluster.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<String>,
    /// Ports.
    pub ports: Vec<InputServicePort>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct InputServicePort {
    /// Name.
    pub name: Option<String>,
    /// Number.
    pub port: u16,
    /// `TCP` or `UDP`.
    pub protocol: Option<String>,
}

/// The data of a ConfigMap, or the strings of Helm values, with their lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Data {
    /// Values by key.
    pub values: BTreeMap<String, Written>,
    /// Labels of the object.
    pub labels: BTreeMap<String, String>,
    /// File that contains the object.
    pub file: Arc<str>,
}

/// A Secret. Values are decoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SecretData {
    /// Values by key.
    pub values: BTreeMap<String, Vec<u8>>,
}

/// An IngressClass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IngressClass {
    /// `spec.controller` of the class.
    pub controller: String,
    /// Whether Ingresses without a class belong to this class.
    pub is_default: bool,
}

/// Command-line arguments of a controller.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ControllerArgs {
    /// The workload, such as `Deployment ingress-nginx/ingress-nginx-controller`.
    pub object: String,
    /// Namespace of the workload.
    pub namespace: String,
    /// Flags without dashes, with their values.
    pub flags: BTreeMap<String, Written>,
    /// File that contains the workload.
    pub file: Arc<str>,
}

/// A field with controller settings that cannot be read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UnreadSettings {
    /// Object with the field, such as `HelmRelease ingress-nginx/ingress-nginx`.
    pub object: String,
    /// Name of the field.
    pub field: String,
    /// Place of the field.
    pub place: SourcePlace,
}

/// An object that is copied with changes, such as an Issuer of cert-manager.
#[derive(Clone, Debug, PartialEq)]
pub struct OtherObject {
    /// Kind.
    pub kind: String,
    /// Namespace and name. Without a namespace: a cluster-wide object.
    pub key: ObjectKey,
    /// Whole object.
    pub value: Value,
    /// Place in the manifests.
    pub place: SourcePlace,
}

/// The manifests of an installation.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// Ingresses in the order of the files.
    pub ingresses: Vec<Ingress>,
    /// IngressClasses by name.
    pub classes: BTreeMap<String, IngressClass>,
    /// Services.
    pub services: BTreeMap<ObjectKey, InputService>,
    /// Service of each address in EndpointSlices.
    pub endpoint_owners: BTreeMap<String, ObjectKey>,
    /// Services with at least one ready endpoint.
    pub ready: BTreeSet<ObjectKey>,
    /// ConfigMaps.
    pub config_maps: BTreeMap<ObjectKey, Data>,
    /// Secrets.
    pub secrets: BTreeMap<ObjectKey, SecretData>,
    /// Labels of Namespaces.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Controllers.
    pub controllers: Vec<ControllerArgs>,
    /// ConfigMap of Helm values.
    pub helm_config: Option<Data>,
    /// Fields with controller settings that cannot be read.
    pub unread: Vec<UnreadSettings>,
    /// Issuers and ClusterIssuers of cert-manager.
    pub issuers: Vec<OtherObject>,
    /// Certificates of cert-manager.
    pub certificates: Vec<OtherObject>,
    /// Documents that cannot be decoded, and Ingresses that are defined twice.
    pub errors: Vec<InputError>,
    /// Places of the Ingresses by name.
    ingress_places: BTreeMap<ObjectKey, SourcePlace>,
}

/// Annotation that makes an IngressClass the default.
const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

impl Manifests {
    /// Adds the objects of `text`, the content of `file`.
    pub fn add(&mut self, file: &str, text: &str) {
        let name: Arc<str> = Arc::from(file);
        for document in split_documents(text) {
            match parse_tree(document.text) {
                Ok(node) => {
                    let reader = Reader {
                        file: &name,
                        first_line: document.line,
                    };
                    reader.document(self, &node);
                }
                Err(error) => {
                    let message = format!("this document cannot be read: {}", error.message);
                    let line = document.line + error.place.line.max(1) - 1;
                    let file = file.to_owned();
                    self.errors.push(InputError {
                        kind: InputErrorKind::Document,
                        place: SourcePlace { file, line },
                        message,
                    });
                }
            }
        }
    }

    /// Adds an Ingress. If several have the same name, the first one is kept.
    fn add_ingress(&mut self, ingress: Ingress) {
        let key = ingress.key.clone();
        if let Some(first) = self.ingress_places.get(&key) {
            let message = format!(
                "Ingress {key} is already defined in {}:{}; the first one is used",
                first.file, first.line
            );
            self.errors.push(InputError {
                kind: InputErrorKind::DuplicateIngress,
                place: ingress.place(),
                message,
            });
            return;
        }
        if !key.name.is_empty() {
            self.ingress_places.insert(key, ingress.place());
        }
        self.ingresses.push(ingress);
    }

    /// The Service with an address as `clusterIP` or as one of its endpoints.
    pub(crate) fn service_of_address(&self, address: &str) -> Option<&ObjectKey> {
        // Host names are frequent and cannot match, so they are excluded first.
        address.parse::<IpAddr>().ok()?;
        let by_ip = |(_, service): &(&ObjectKey, &InputService)| {
            service.cluster_ip.as_deref() == Some(address)
        };
        self.services
            .iter()
            .find(by_ip)
            .map(|(key, _)| key)
            .or_else(|| self.endpoint_owners.get(address))
    }
}

/// Reader of one document.
struct Reader<'a> {
    file: &'a Arc<str>,
    first_line: usize,
}

impl Reader<'_> {
    fn document(&self, into: &mut Manifests, node: &Rc<Node>) {
        let kind = node.field("kind").and_then(|kind| kind.text());
        let Some(kind) = kind else {
            self.chart_values(into, node, &ChartRelease::of_file());
            return;
        };
        if let (true, Some(items)) = (kind.ends_with("List"), node.field("items"))
            && let NodeValue::List(items) = &items.value
        {
            items.iter().for_each(|item| self.document(into, item));
            return;
        }
        let version = node.field("apiVersion").and_then(|version| version.text());
        let (group, version) = version
            .unwrap_or_default()
            .split_once('/')
            .unwrap_or_default();
        self.object(into, node, (group, version), kind);
    }

    fn object(
        &self,
        into: &mut Manifests,
        node: &Rc<Node>,
        (group, version): (&str, &str),
        kind: &str,
    ) {
        let value = json(node);
        let meta = value["metadata"].clone();
        let name = meta["name"].as_str().unwrap_or_default();
        let namespace = meta["namespace"].as_str().unwrap_or("default");
        let key = ObjectKey::new(namespace, name);
        let place = self.place(self.line(node));
        match (group, kind) {
            ("extensions" | "networking.k8s.io", "Ingress" | "IngressClass")
                if group == "extensions" || version.contains("beta") =>
            {
                let object = match kind {
                    "Ingress" => key.to_string(),
                    _ => name.to_owned(),
                };
                let message = format!(
                    "{kind} {object} has the version {group}/{version}, which Kubernetes 1.22 removed: convert it to networking.k8s.io/v1"
                );
                into.errors.push(InputError::of_ingress(place, message));
            }
            ("networking.k8s.io", "Ingress") => match self.ingress(node, &value, key) {
                Ok(ingress) => into.add_ingress(ingress),
                Err(error) => {
                    let message = format!("Ingress {namespace}/{name}: {error}");
                    into.errors.push(InputError::of_ingress(place, message));
                }
            },
            ("networking.k8s.io", "IngressClass") => {
                into.classes.insert(name.to_owned(), ingress_class(&value));
            }
            ("", "Service") => {
                let spec = serde_json::from_value(value["spec"].clone()).unwrap_or_default();
                into.services.insert(key, spec);
            }
            ("discovery.k8s.io", "EndpointSlice") => endpoints(into, &value, namespace),
            ("", "ConfigMap") => {
                let data = node.field("data");
                if let Some(field) = data.and_then(|data| not_a_text("data", data)) {
                    let message =
                        format!("ConfigMap {namespace}/{name}: `{field}` must be a string");
                    let kind = InputErrorKind::InvalidConfigMap;
                    into.errors.push(InputError {
                        kind,
                        place,
                        message,
                    });
                    return;
                }
                let data = Data {
                    values: self.written(node.field("data")),
                    labels: texts(&meta["labels"]),
                    file: Arc::clone(self.file),
                };
                into.config_maps.insert(key, data);
            }
            ("", "Secret") => {
                into.secrets.insert(key, secret(&value));
            }
            ("", "Namespace") => {
                into.namespaces
                    .insert(name.to_owned(), texts(&meta["labels"]));
            }
            ("apps", "Deployment" | "DaemonSet") => {
                self.controller(into, node, kind, &key);
            }
            ("helm.toolkit.fluxcd.io", "HelmRelease")
            | ("helm.cattle.io", "HelmChart" | "HelmChartConfig")
            | ("argoproj.io", "Application") => self.chart_object(into, node, kind, &key),
            ("cert-manager.io", "Issuer" | "ClusterIssuer" | "Certificate") => {
                let object = OtherObject {
                    kind: kind.to_owned(),
                    key,
                    value,
                    place,
                };
                match kind {
                    "Certificate" => into.certificates.push(object),
                    _ => into.issuers.push(object),
                }
            }
            _ => {}
        }
    }

    fn ingress(
        &self,
        node: &Rc<Node>,
        value: &Value,
        key: ObjectKey,
    ) -> Result<Ingress, serde_json::Error> {
        let spec = match &value["spec"] {
            Value::Null => IngressSpec::default(),
            spec => serde_json::from_value(spec.clone())?,
        };
        let meta = node.field("metadata");
        let annotations = meta.and_then(|meta| meta.field("annotations"));
        if let Some(field) = annotations.and_then(|map| not_a_text("metadata.annotations", map)) {
            return Err(de::Error::custom(format!("`{field}` must be a string")));
        }
        let created = value["metadata"]["creationTimestamp"].as_str();
        Ok(Ingress {
            key,
            created: created.unwrap_or_default().to_owned(),
            annotations: self.written(annotations),
            spec,
            file: Arc::clone(self.file),
            line: self.line(node),
        })
    }

    /// Adds the flags of a workload if one of its containers runs the controller.
    fn controller(&self, into: &mut Manifests, node: &Rc<Node>, kind: &str, key: &ObjectKey) {
        let containers = ["spec", "template", "spec", "containers"]
            .iter()
            .try_fold(Rc::clone(node), |node, field| node.field(field).cloned());
        let Some(NodeValue::List(containers)) = containers.as_ref().map(|node| &node.value) else {
            return;
        };
        for container in containers {
            let image = container.field("image").and_then(|image| image.text());
            let arguments: Vec<Written> = ["command", "args"]
                .iter()
                .filter_map(|field| container.field(field))
                .flat_map(|list| match &list.value {
                    NodeValue::List(items) => items.clone(),
                    NodeValue::Scalar(..) | NodeValue::Map(_) => Vec::new(),
                })
                .map(|item| Written {
                    text: item.text().unwrap_or_default().to_owned(),
                    line: self.line(&item),
                })
                .collect();
            let ours = arguments
                .iter()
                .any(|argument| argument.text.ends_with("nginx-ingress-controller"))
                || image.is_some_and(|image| image.contains("ingress-nginx/controller"));
            if ours {
                into.controllers.push(ControllerArgs {
                    object: format!("{kind} {key}"),
                    namespace: key.namespace.clone(),
                    flags: flags(arguments),
                    file: Arc::clone(self.file),
                });
            }
        }
    }

    /// The scalars of a map, with their lines.
    fn written(&self, map: Option<&Rc<Node>>) -> BTreeMap<String, Written> {
        let Some(NodeValue::Map(entries)) = map.map(|map| &map.value) else {
            return BTreeMap::new();
        };
        let scalars = entries.iter().filter_map(|(key, value)| {
            let written = Written {
                text: value.text()?.to_owned(),
                line: self.first_line + key.place.line.max(1) - 1,
            };
            Some((key.text.clone(), written))
        });
        scalars.collect()
    }

    fn place(&self, line: usize) -> SourcePlace {
        SourcePlace {
            file: self.file.to_string(),
            line,
        }
    }

    fn line(&self, node: &Node) -> usize {
        self.first_line + node.place.line.max(1) - 1
    }
}

/// Parses arguments `--name=value`, `--name value` and `--name`.
fn flags(arguments: Vec<Written>) -> BTreeMap<String, Written> {
    let mut flags = BTreeMap::new();
    let mut rest = arguments.into_iter().peekable();
    while let Some(argument) = rest.next() {
        let Some(flag) = argument.text.strip_prefix("--") else {
            continue;
        };
        let (name, text) = match flag.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => {
                let value = rest.next_if(|next| !next.text.starts_with('-'));
                let value = value.map_or_else(|| "true".to_owned(), |value| value.text);
                (flag.to_owned(), value)
            }
        };
        let line = argument.line;
        flags.insert(name, Written { text, line });
    }
    flags
}

/// Parses a flag that is written as `--name=value` or `name=value`.
pub(crate) fn flag(text: &str) -> (String, Written) {
    let text = text.trim_start_matches('-');
    let (name, value) = text.split_once('=').unwrap_or((text, "true"));
    let written = Written {
        text: value.to_owned(),
        line: 0,
    };
    (name.to_owned(), written)
}

fn ingress_class(value: &Value) -> IngressClass {
    let annotations = texts(&value["metadata"]["annotations"]);
    IngressClass {
        controller: value["spec"]["controller"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        is_default: annotations
            .get(DEFAULT_CLASS)
            .is_some_and(|value| value == "true"),
    }
}

/// Records the addresses of an EndpointSlice, and whether its Service has a ready endpoint.
fn endpoints(into: &mut Manifests, slice: &Value, namespace: &str) {
    let labels = texts(&slice["metadata"]["labels"]);
    if let Some(service) = labels.get("kubernetes.io/service-name") {
        let endpoints = slice["endpoints"].as_array().cloned().unwrap_or_default();
        let owner = ObjectKey::new(namespace, service.as_str());
        let is_ready = |endpoint: &Value| endpoint["conditions"]["ready"] != false;
        if endpoints.iter().any(is_ready) {
            into.ready.insert(owner.clone());
        }
        for address in endpoints
            .iter()
            .flat_map(|endpoint| endpoint["addresses"].as_array().cloned())
            .flatten()
        {
            let address = address.as_str().unwrap_or_default().to_owned();
            into.endpoint_owners
                .entry(address)
                .or_insert_with(|| owner.clone());
        }
    }
}

fn secret(value: &Value) -> SecretData {
    let mut values: BTreeMap<String, Vec<u8>> = texts(&value["data"])
        .into_iter()
        .filter_map(|(key, text)| {
            let text: String = text.split_whitespace().collect();
            Some((key, BASE64.decode(text.as_bytes()).ok()?))
        })
        .collect();
    let plain = texts(&value["stringData"]);
    values.extend(
        plain
            .into_iter()
            .map(|(key, text)| (key, text.into_bytes())),
    );
    SecretData { values }
}

/// The strings of a JSON object.
fn texts(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    let texts = entries.filter_map(|(key, value)| match value {
        Value::String(text) => Some((key.clone(), text.clone())),
        Value::Bool(_) | Value::Number(_) => Some((key.clone(), value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    });
    texts.collect()
}

fn json(node: &Node) -> Value {
    match &node.value {
        NodeValue::Scalar(text, plain) => scalar(text, *plain),
        NodeValue::List(items) => items.iter().map(|item| json(item)).collect(),
        NodeValue::Map(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| (key.text.clone(), json(value)));
            Value::Object(entries.collect::<Map<String, Value>>())
        }
    }
}
