//! Settings of the controller: its ConfigMap and its command-line flags.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::config_table;
use super::input::{ControllerArgs, Data, Manifests, Written};
use super::table::Risk;
use super::value::boolean;
use super::verdict::SourcePlace;
use crate::objects::ObjectKey;

/// Default prefix of annotations.
pub(crate) const PREFIX: &str = "nginx.ingress.kubernetes.io";

/// Value of `spec.controller` of ingress-nginx's IngressClasses.
const CONTROLLER: &str = "k8s.io/ingress-nginx";

/// Default of `ingress-class`.
const CLASS: &str = "nginx";

/// Variable of the controller's container with its namespace.
const POD_NAMESPACE: &str = "$(POD_NAMESPACE)";

/// Names of the ConfigMap in manifests that are older than the Helm chart.
const OLD_NAMES: [&str; 2] = ["nginx-configuration", "nginx-ingress-controller"];

/// Keys that restrict access on every host.
const GUARDS: [&str; 9] = [
    "block-cidrs",
    "block-referers",
    "block-user-agents",
    "denylist-source-range",
    "enable-modsecurity",
    "global-auth-url",
    "location-snippet",
    "server-snippet",
    "whitelist-source-range",
];

/// The controller's settings.
#[derive(Clone, Debug, Default)]
pub struct ControllerConfig {
    /// The ConfigMap, such as `ConfigMap ingress-nginx/ingress-nginx-controller`.
    pub object: String,
    /// File of the ConfigMap.
    pub file: Arc<str>,
    /// Keys of the ConfigMap.
    pub values: BTreeMap<String, Written>,
    /// The workload that contains the flags.
    pub flags_object: String,
    /// File of the workload that contains the flags.
    pub flags_file: Arc<str>,
    /// Command-line flags without dashes.
    pub flags: BTreeMap<String, Written>,
    /// Name of the only class whose Ingresses are served. `None`: the classes that the controller selects.
    pub only_class: Option<String>,
    /// Workloads with different classes whose flags are combined. Empty: there is only one controller.
    pub combined: Vec<String>,
    /// Names of the flags from the command line, which the manifests do not contain.
    pub given: BTreeSet<String>,
}

impl ControllerConfig {
    /// Finds the controller of `manifests`. `given` are flags of the command line, which take precedence.
    pub(crate) fn find(manifests: &Manifests, given: &[(String, Written)]) -> Self {
        let mut config = Self::default();
        let controllers = controllers_of_class(manifests, given);
        for controller in &controllers {
            config.flags_object.clone_from(&controller.object);
            config.flags_file = Arc::clone(&controller.file);
            let flags = controller.flags.iter();
            config.flags.extend(flags.map(|(name, written)| {
                let text = written.text.replace(POD_NAMESPACE, &controller.namespace);
                let line = written.line;
                (name.clone(), Written { text, line })
            }));
        }
        if controllers
            .iter()
            .any(|one| class_flags(one) != class_flags(controllers[0]))
        {
            config.combined = controllers.iter().map(|one| one.object.clone()).collect();
        }
        config.flags.extend(given.iter().cloned());
        config.given = given.iter().map(|(name, _)| name.clone()).collect();
        let namespace = controllers
            .last()
            .map_or("ingress-nginx", |controller| &controller.namespace);
        let key = match config.flag("configmap") {
            Some(named) => Some(object_key(
                &named.replace(POD_NAMESPACE, namespace),
                namespace,
            )),
            None => Some(ObjectKey::new(namespace, "ingress-nginx-controller"))
                .filter(|key| manifests.config_maps.contains_key(key))
                .or_else(|| labelled(manifests))
                .or_else(|| only_settings(manifests)),
        };
        let found = key.and_then(|key| Some((manifests.config_maps.get(&key)?, key)));
        if let Some((data, key)) = found {
            config.object = format!("ConfigMap {key}");
            config.file = Arc::clone(&data.file);
            config.values = data.values.clone();
        } else if let Some(data) = &manifests.helm_config {
            config.object = "Helm values".to_owned();
            config.file = Arc::clone(&data.file);
            config.values = data.values.clone();
        }
        config
    }

    /// The value of a key of the ConfigMap.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        let text = self.values.get(key)?.text.trim();
        (!text.is_empty()).then_some(text)
    }

    /// A key of the ConfigMap as a boolean.
    pub(crate) fn bool(&self, key: &str, default: bool) -> bool {
        self.text(key).and_then(boolean).unwrap_or(default)
    }

    /// A key of the ConfigMap as a number.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.text(key)?.parse().ok()
    }

    /// The value of a flag.
    pub(crate) fn flag(&self, name: &str) -> Option<&str> {
        self.flags.get(name).map(|written| written.text.as_str())
    }

    /// The object with a flag, and its file. The file is empty if the flag is an option of the command.
    pub(crate) fn origin_of_flag(&self, name: &str) -> (&str, &str) {
        match self.given.contains(name) {
            true => ("option --nginx-flag", ""),
            false => (&self.flags_object, &self.flags_file),
        }
    }

    /// The only namespace whose Ingresses the controller serves (`--watch-namespace`).
    pub(crate) fn watched_namespace(&self) -> Option<&str> {
        self.flag("watch-namespace").filter(|name| !name.is_empty())
    }

    /// Labels of the Namespaces whose Ingresses the controller serves (`--watch-namespace-selector`).
    pub(crate) fn namespace_selector(&self) -> Option<&str> {
        let selector = self.flag("watch-namespace-selector");
        selector.filter(|selector| !selector.trim().is_empty())
    }

    /// Whether Services of type ExternalName have no endpoints (`--disable-svc-external-name`).
    pub(crate) fn disables_external_names(&self) -> bool {
        self.is_set("disable-svc-external-name")
    }

    /// Whether a flag is set to true.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.flag(name).and_then(boolean).unwrap_or(false)
    }

    /// Prefix of annotations.
    pub(crate) fn prefix(&self) -> &str {
        self.flag("annotations-prefix").unwrap_or(PREFIX)
    }

    /// The highest risk of annotations that are allowed.
    pub(crate) fn risk_level(&self) -> Risk {
        let level = self.text("annotations-risk-level");
        level.and_then(Risk::parse).unwrap_or(Risk::High)
    }

    /// Status of redirects to HTTPS.
    pub(crate) fn redirect_code(&self) -> u64 {
        let code = self.number("http-redirect-code");
        code.filter(|code| matches!(code, 301 | 302 | 307 | 308))
            .unwrap_or(308)
    }

    /// Whether backends receive the address of the client alone in `X-Forwarded-For`, although the address
    /// comes from a header field or the PROXY protocol.
    pub(crate) fn replaces_forwarded_for(&self) -> bool {
        let detects = [
            "use-forwarded-headers",
            "enable-real-ip",
            "use-proxy-protocol",
        ];
        let full = self.bool("compute-full-forwarded-for", false)
            && self.bool("use-forwarded-headers", false);
        !full && detects.iter().any(|key| self.bool(key, false))
    }

    /// Whether the controller serves Ingresses of an IngressClass with `spec.controller` `controller`.
    pub(crate) fn is_ours(&self, controller: &str) -> bool {
        controller == self.flag("controller-class").unwrap_or(CONTROLLER)
    }

    /// Name of the IngressClass that applies even without an IngressClass object.
    pub(crate) fn class_name(&self) -> &str {
        self.flag("ingress-class").unwrap_or(CLASS)
    }

    /// The place of a key of the ConfigMap.
    pub(crate) fn place(&self, key: &str) -> SourcePlace {
        SourcePlace {
            file: self.file.to_string(),
            line: self.values.get(key).map_or(0, |written| written.line),
        }
    }
}

/// `namespace/name`, or a name in `namespace`.
pub(crate) fn object_key(text: &str, namespace: &str) -> ObjectKey {
    match text.split_once('/') {
        Some((namespace, name)) => ObjectKey::new(namespace, name),
        None => ObjectKey::new(namespace, text),
    }
}

/// The values of `controller-class` and `ingress-class` of a controller.
fn class_flags(controller: &ControllerArgs) -> (&str, &str) {
    let flag = |name: &str, default| {
        let written = controller.flags.get(name);
        written.map_or(default, |written| written.text.as_str())
    };
    (
        flag("controller-class", CONTROLLER),
        flag("ingress-class", CLASS),
    )
}

/// The controllers of the class that the flags `given` name. If the flags name no class, or no controller has
/// the class, all controllers.
fn controllers_of_class<'a>(
    manifests: &'a Manifests,
    given: &[(String, Written)],
) -> Vec<&'a ControllerArgs> {
    let all: Vec<&ControllerArgs> = manifests.controllers.iter().collect();
    let flag = |wanted: &str| {
        let mut given = given.iter().filter(|(name, _)| name == wanted);
        given.next_back().map(|(_, written)| written.text.as_str())
    };
    let class = flag("ingress-class");
    let of_object = class.and_then(|class| manifests.classes.get(class));
    let value = flag("controller-class").or(of_object.map(|class| class.controller.as_str()));
    let by_value = |one: &&ControllerArgs| value == Some(class_flags(one).0);
    let by_name = |one: &&ControllerArgs| class == Some(class_flags(one).1);
    let select = |has: &dyn Fn(&&ControllerArgs) -> bool| -> Vec<&'a ControllerArgs> {
        all.iter().copied().filter(|one| has(one)).collect()
    };
    let mut found = select(&|one| by_value(one) && by_name(one));
    if found.is_empty() {
        found = select(&by_value);
    }
    if found.is_empty() {
        found = select(&by_name);
    }
    match found.is_empty() {
        true => all,
        false => found,
    }
}

/// ConfigMaps with settings that no controller uses, and whether their settings restrict access. `used` and
/// ConfigMaps that a controller names are left out.
pub(crate) fn unused_settings<'a>(
    manifests: &'a Manifests,
    used: &str,
) -> impl Iterator<Item = (&'a ObjectKey, &'a Data, bool)> {
    let named: BTreeSet<ObjectKey> = manifests
        .controllers
        .iter()
        .filter_map(|one| {
            let flag = one.flags.get("configmap")?;
            let named = flag.text.replace(POD_NAMESPACE, &one.namespace);
            Some(object_key(&named, &one.namespace))
        })
        .collect();
    let maps = manifests.config_maps.iter();
    let unused =
        maps.filter(move |(key, _)| !named.contains(*key) && format!("ConfigMap {key}") != used);
    unused.filter_map(|(key, data)| {
        let guards = data
            .values
            .keys()
            .any(|name| GUARDS.contains(&name.as_str()));
        (guards || is_settings(key, data)).then_some((key, data, guards))
    })
}

/// The ConfigMap of a controller, found by its name or labels. `None` if there are several.
fn only_settings(manifests: &Manifests) -> Option<ObjectKey> {
    let maps = manifests.config_maps.iter();
    let mut found = maps.filter(|(key, data)| is_settings(key, data));
    let (key, _) = found.next()?;
    found.next().is_none().then(|| key.clone())
}

/// Whether a ConfigMap has the name or the labels of a controller's ConfigMap, and at least one key of a
/// setting.
fn is_settings(key: &ObjectKey, data: &Data) -> bool {
    let name = data.labels.get("app.kubernetes.io/name");
    let is_named = OLD_NAMES.contains(&&*key.name)
        || name.is_some_and(|name| name == "ingress-nginx")
        || key.name.ends_with("ingress-nginx-controller");
    let mut keys = data.values.keys();
    is_named && keys.any(|name| config_table::key(name).is_some())
}

/// The ConfigMap of the Helm chart if it has another name, found by its labels.
fn labelled(manifests: &Manifests) -> Option<ObjectKey> {
    let ours = |labels: &BTreeMap<String, String>| {
        let is = |key: &str, value: &str| labels.get(key).is_some_and(|label| label == value);
        is("app.kubernetes.io/name", "ingress-nginx")
            && is("app.kubernetes.io/component", "controller")
    };
    let mut maps = manifests.config_maps.iter();
    maps.find(|(_, data)| ours(&data.labels))
        .map(|(key, _)| key.clone())
}
