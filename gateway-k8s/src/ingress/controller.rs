//! Settings of the controller: its ConfigMap and its command-line flags.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::input::{Manifests, Written};
use super::table::Risk;
use super::value::boolean;
use super::verdict::SourcePlace;
use crate::objects::ObjectKey;

/// Default prefix of annotations.
pub(crate) const PREFIX: &str = "nginx.ingress.kubernetes.io";

/// Value of `spec.controller` of ingress-nginx's IngressClasses.
const CONTROLLER: &str = "k8s.io/ingress-nginx";

/// The controller's settings.
#[derive(Clone, Debug, Default)]
pub struct ControllerConfig {
    /// The ConfigMap, such as `ConfigMap ingress-nginx/ingress-nginx-controller`.
    pub object: String,
    /// File of the ConfigMap.
    pub file: Arc<str>,
    /// Keys of the ConfigMap.
    pub values: BTreeMap<String, Written>,
    /// The workload of the flags.
    pub flags_object: String,
    /// File of the flags.
    pub flags_file: Arc<str>,
    /// Command-line flags without dashes.
    pub flags: BTreeMap<String, Written>,
    /// Names of the flags that the manifests do not contain.
    pub given: BTreeSet<String>,
}

impl ControllerConfig {
    /// Finds the controller of `manifests`. `given` are flags of the command line, which take precedence.
    pub(crate) fn find(manifests: &Manifests, given: &[(String, Written)]) -> Self {
        let mut config = Self::default();
        for controller in &manifests.controllers {
            config.flags_object.clone_from(&controller.object);
            config.flags_file = Arc::clone(&controller.file);
            config.flags.extend(controller.flags.clone());
        }
        config.flags.extend(given.iter().cloned());
        config.given = given.iter().map(|(name, _)| name.clone()).collect();
        let namespace = manifests
            .controllers
            .last()
            .map_or("ingress-nginx", |controller| &controller.namespace);
        let key = match config.flag("configmap") {
            Some(named) => {
                let named = named.replace("$(POD_NAMESPACE)", namespace);
                Some(object_key(&named, namespace))
            }
            None => Some(ObjectKey::new(namespace, "ingress-nginx-controller"))
                .filter(|key| manifests.config_maps.contains_key(key))
                .or_else(|| labelled(manifests)),
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

    /// A flag.
    pub(crate) fn flag(&self, name: &str) -> Option<&str> {
        self.flags.get(name).map(|written| written.text.as_str())
    }

    /// The object with a flag, and its file. Without a file: the flag is an option of the command.
    pub(crate) fn origin_of_flag(&self, name: &str) -> (&str, &str) {
        match self.given.contains(name) {
            true => ("option --nginx-flag", ""),
            false => (&self.flags_object, &self.flags_file),
        }
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

    /// Whether backends receive the address of the client alone in `X-Forwarded-For`, although it comes from a header
    /// field or the PROXY protocol.
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

    /// Whether Ingresses of an IngressClass with this controller belong to the controller.
    pub(crate) fn is_ours(&self, controller: &str) -> bool {
        controller == self.flag("controller-class").unwrap_or(CONTROLLER)
    }

    /// Name of the IngressClass that is valid without an object.
    pub(crate) fn class_name(&self) -> &str {
        self.flag("ingress-class").unwrap_or("nginx")
    }

    /// Where a key of the ConfigMap is written.
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

/// The ConfigMap of the Helm chart under another name.
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
