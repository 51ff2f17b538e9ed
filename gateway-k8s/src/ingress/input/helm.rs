//! Values of the Helm chart of ingress-nginx, rendered as the chart renders them.
//!
//! ```text
//! file of values, values of a subchart ─────┐                ┌─> flags, ConfigMap
//! HelmRelease, HelmChart(Config), Application ┴─ChartRelease─┼─> ConfigMaps of ports and header fields
//!                                                            └─> IngressClass
//! ```

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::{ControllerArgs, Data, IngressClass, Manifests, Reader, UnreadSettings, Written};
use crate::decode::{Node, NodeValue, parse_tree};
use crate::objects::ObjectKey;

/// Default name of the chart, of its release and of its namespace.
const CHART: &str = "ingress-nginx";

/// Value of `spec.controller` of the chart's IngressClass.
const CONTROLLER: &str = "k8s.io/ingress-nginx";

/// Keys of `controller` that charts of Ingress controllers have.
const KEYS: [&str; 6] = [
    "config",
    "extraArgs",
    "ingressClass",
    "ingressClassResource",
    "scope",
    "configMapNamespace",
];

/// Keys of `controller` that only this chart has.
const OWN_KEYS: [&str; 6] = [
    "addHeaders",
    "allowSnippetAnnotations",
    "enableAnnotationValidations",
    "ingressClassByName",
    "proxySetHeaders",
    "watchIngressWithoutClass",
];

/// Flag with the Service of the default backend.
const DEFAULT_BACKEND: &str = "default-backend-service";

/// A release of the chart.
#[derive(Clone, Debug)]
pub(super) struct ChartRelease {
    /// Object with the values, such as `HelmRelease ingress-nginx/ingress-nginx`.
    object: String,
    /// Namespace of the controller.
    namespace: String,
    /// Name of the release. `None`: the name and the namespace are unknown.
    name: Option<String>,
}

impl ChartRelease {
    /// The release of a file of values.
    pub(super) fn of_file() -> Self {
        Self {
            object: "Helm values".to_owned(),
            namespace: CHART.to_owned(),
            name: None,
        }
    }

    /// The Service of the default backend, as the chart names it. If the release is unknown, it has the name of the
    /// chart.
    fn default_backend(&self, values: &Node) -> ObjectKey {
        let text = |node: &Node, field: &str| {
            let text = node.field(field).and_then(|value| value.text());
            text.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let release = self.name.as_deref().unwrap_or(CHART);
        let chart = text(values, "nameOverride").unwrap_or_else(|| CHART.to_owned());
        let prefix =
            text(values, "fullnameOverride").unwrap_or_else(|| match release.contains(&chart) {
                true => release.to_owned(),
                false => format!("{release}-{chart}"),
            });
        let backend = values.field("defaultBackend");
        let suffix = backend.and_then(|backend| text(backend, "name"));
        let suffix = suffix.unwrap_or_else(|| "defaultbackend".to_owned());
        ObjectKey::new(&*self.namespace, format!("{prefix}-{suffix}"))
    }
}

/// Whether values belong to the chart. `is_named`: the file or object that contains the values has the name
/// of the chart in its name. Keys that other charts also have are then sufficient.
fn is_chart(values: &Node, is_named: bool) -> bool {
    let controller = values.field("controller");
    let has = |keys: &[&str]| {
        controller.is_some_and(|controller| keys.iter().any(|key| controller.field(key).is_some()))
    };
    has(&OWN_KEYS) || is_named && (has(&KEYS) || has_ports(values))
}

/// Whether `tcp` or `udp` has an entry `PORT: NAMESPACE/SERVICE:PORT`.
fn has_ports(values: &Node) -> bool {
    ["tcp", "udp"].iter().any(|key| {
        let Some(NodeValue::Map(entries)) = values.field(key).map(|map| &map.value) else {
            return false;
        };
        entries.iter().any(|(port, target)| {
            let target = target.text().unwrap_or_default();
            port.text.parse::<u16>().is_ok() && target.contains('/') && target.contains(':')
        })
    })
}

impl Reader<'_> {
    /// Values of the chart, or of a chart that contains it.
    pub(super) fn chart_values(
        &self,
        into: &mut Manifests,
        values: &Rc<Node>,
        release: &ChartRelease,
    ) -> bool {
        if is_chart(values, true) {
            self.render(into, values, release);
            return true;
        }
        let NodeValue::Map(entries) = &values.value else {
            return false;
        };
        let mut found = false;
        for (name, inner) in entries {
            if is_chart(inner, name.text.contains("nginx")) {
                self.render(into, inner, release);
                found = true;
            }
        }
        found
    }

    /// Values in an object of Flux, of the Helm controller of K3s and RKE2, or of Argo CD.
    pub(super) fn chart_object(
        &self,
        into: &mut Manifests,
        node: &Rc<Node>,
        kind: &str,
        key: &ObjectKey,
    ) {
        let Some(spec) = node.field("spec") else {
            return;
        };
        let texts = |path: &[&str]| {
            let end = path
                .iter()
                .try_fold(Rc::clone(spec), |node, field| node.field(field).cloned());
            end.and_then(|node| node.text().map(str::to_owned))
        };
        let namespace =
            texts(&["targetNamespace"]).or_else(|| texts(&["destination", "namespace"]));
        let named = texts(&["releaseName"]).or_else(|| texts(&["source", "helm", "releaseName"]));
        // Flux adds the target namespace to the name of an object in another namespace.
        let name = match (kind, texts(&["targetNamespace"])) {
            ("HelmRelease", Some(target)) => format!("{target}-{}", key.name),
            _ => key.name.clone(),
        };
        let release = ChartRelease {
            object: format!("{kind} {key}"),
            namespace: namespace.unwrap_or_else(|| key.namespace.clone()),
            name: Some(named.unwrap_or(name)),
        };
        match kind {
            "HelmRelease" => {
                let chart = texts(&["chart", "spec", "chart"]);
                let ours = is_ours(chart.as_deref(), key);
                self.values_of_object(into, spec, "values", ours, &release);
                if ours && spec.field("valuesFrom").is_some() {
                    self.unread(into, spec, "valuesFrom", &release);
                }
            }
            "HelmChart" | "HelmChartConfig" => {
                let ours = is_ours(texts(&["chart"]).as_deref(), key);
                self.values_of_object(into, spec, "valuesContent", ours, &release);
            }
            _ => self.application(into, spec, key, &release),
        }
    }

    /// The sources of an Application of Argo CD.
    fn application(
        &self,
        into: &mut Manifests,
        spec: &Rc<Node>,
        key: &ObjectKey,
        release: &ChartRelease,
    ) {
        let mut sources: Vec<Rc<Node>> = spec.field("source").cloned().into_iter().collect();
        if let Some(NodeValue::List(more)) = spec.field("sources").map(|list| &list.value) {
            sources.extend(more.iter().cloned());
        }
        for source in sources {
            let Some(helm) = source.field("helm") else {
                continue;
            };
            let ours = is_ours(source.field("chart").and_then(|chart| chart.text()), key);
            for field in ["values", "valuesObject"] {
                self.values_of_object(into, helm, field, ours, release);
            }
            for field in ["parameters", "valueFiles", "fileParameters"] {
                if ours && helm.field(field).is_some() {
                    self.unread(into, helm, field, release);
                }
            }
        }
    }

    /// Values in a field: a map, or YAML in a string.
    fn values_of_object(
        &self,
        into: &mut Manifests,
        parent: &Node,
        field: &str,
        ours: bool,
        release: &ChartRelease,
    ) {
        let Some(values) = parent.field(field) else {
            return;
        };
        let found = match values.text().map(parse_tree) {
            None => (ours || is_nested_chart(values)) && self.chart_values(into, values, release),
            Some(Ok(inner)) => {
                let reader = Reader {
                    file: self.file,
                    first_line: self.line(values),
                };
                (ours || is_nested_chart(&inner)) && reader.chart_values(into, &inner, release)
            }
            Some(Err(_)) => false,
        };
        let is_empty = matches!(&values.value, NodeValue::Map(entries) if entries.is_empty());
        if ours && !found && !is_empty {
            self.unread(into, parent, field, release);
        }
    }

    /// Records a field of the release that cannot be read.
    fn unread(&self, into: &mut Manifests, parent: &Node, field: &str, release: &ChartRelease) {
        let line = parent.field(field).map_or(0, |node| self.line(node));
        into.unread.push(UnreadSettings {
            object: release.object.clone(),
            field: field.to_owned(),
            place: self.place(line),
        });
    }

    /// Renders values as the chart does.
    fn render(&self, into: &mut Manifests, values: &Rc<Node>, release: &ChartRelease) {
        let empty = Rc::new(Node::empty_map(values.place));
        let controller = values.field("controller").unwrap_or(&empty);
        let config = self.chart_config(into, controller, release);
        if !config.is_empty() {
            let earlier = into.helm_config.take();
            into.helm_config = Some(combined(earlier, self.data(config)));
        }
        self.chart_class(into, controller);
        let mut flags = BTreeMap::new();
        if let Some(backend) = values.field("defaultBackend")
            && backend.field("enabled").is_some_and(is_true)
        {
            let service = release.default_backend(values).to_string();
            flags.insert(DEFAULT_BACKEND.to_owned(), self.one(&service, backend));
            if release.name.is_none() {
                self.unread(into, values, "defaultBackend", release);
            }
        }
        if let Some(scope) = controller.field("scope")
            && scope.field("enabled").is_some_and(is_true)
            && release.name.is_none()
            && scope
                .field("namespace")
                .and_then(|name| name.text())
                .is_none_or(str::is_empty)
        {
            self.unread(into, controller, "scope", release);
        }
        flags.extend(self.chart_flags(controller, release));
        flags.extend(self.chart_ports(into, values, release));
        // These arguments follow the flags of the chart, so they take precedence.
        for (name, mut written) in self.written(controller.field("extraArgs")) {
            if written.text.is_empty() {
                "true".clone_into(&mut written.text);
            }
            flags.insert(name, written);
        }
        if !flags.is_empty() {
            into.controllers.push(ControllerArgs {
                object: release.object.clone(),
                namespace: release.namespace.clone(),
                flags,
                file: Arc::clone(self.file),
            });
        }
    }

    /// Keys of the controller's ConfigMap. Adds the ConfigMaps of header fields.
    fn chart_config(
        &self,
        into: &mut Manifests,
        controller: &Node,
        release: &ChartRelease,
    ) -> BTreeMap<String, Written> {
        let mut config = BTreeMap::new();
        if let Some(value) = controller
            .field("allowSnippetAnnotations")
            .filter(|value| is_true(value))
        {
            config.insert(
                "allow-snippet-annotations".to_owned(),
                self.one("true", value),
            );
        }
        for (field, key, suffix) in [
            ("addHeaders", "add-headers", "custom-add-headers"),
            (
                "proxySetHeaders",
                "proxy-set-headers",
                "custom-proxy-headers",
            ),
        ] {
            let Some(map) = controller.field(field) else {
                continue;
            };
            let name = ObjectKey::new(&*release.namespace, format!("{CHART}-{suffix}"));
            config.insert(key.to_owned(), self.one(&name.to_string(), map));
            let fields = self.written(Some(map));
            let maps = &mut into.config_maps;
            maps.entry(name).or_insert_with(|| self.data(fields));
        }
        config.extend(self.written(controller.field("config")));
        config
    }

    /// Flags for the ports of `tcp` and `udp`. Adds their ConfigMaps.
    fn chart_ports(
        &self,
        into: &mut Manifests,
        values: &Node,
        release: &ChartRelease,
    ) -> BTreeMap<String, Written> {
        let mut flags = BTreeMap::new();
        for kind in ["tcp", "udp"] {
            let Some(map) = values.field(kind) else {
                continue;
            };
            let entries = self.written(Some(map));
            if entries.is_empty() {
                continue;
            }
            let name = ObjectKey::new(&*release.namespace, format!("{CHART}-{kind}"));
            flags.insert(
                format!("{kind}-services-configmap"),
                self.one(&name.to_string(), map),
            );
            let maps = &mut into.config_maps;
            maps.entry(name).or_insert_with(|| self.data(entries));
        }
        flags
    }

    fn data(&self, values: BTreeMap<String, Written>) -> Data {
        Data {
            values,
            labels: BTreeMap::new(),
            file: Arc::clone(self.file),
        }
    }

    /// Flags that the chart derives from keys of `controller`.
    fn chart_flags(&self, controller: &Node, release: &ChartRelease) -> BTreeMap<String, Written> {
        let mut flags = BTreeMap::new();
        for (key, flag) in [
            ("watchIngressWithoutClass", "watch-ingress-without-class"),
            ("ingressClassByName", "ingress-class-by-name"),
            (
                "enableAnnotationValidations",
                "enable-annotation-validation",
            ),
        ] {
            if let Some(value) = controller.field(key).filter(|value| is_true(value)) {
                flags.insert(flag.to_owned(), self.one("true", value));
            }
        }
        let class = controller.field("ingressClassResource");
        let value = class.and_then(|class| class.field("controllerValue"));
        for (flag, value) in [
            ("controller-class", value),
            ("ingress-class", controller.field("ingressClass")),
        ] {
            if let Some((value, text)) = value.and_then(|value| Some((value, value.text()?)))
                && !text.is_empty()
            {
                flags.insert(flag.to_owned(), self.one(text, value));
            }
        }
        if let Some(scope) = controller.field("scope") {
            let text = |key: &str| {
                let text = scope.field(key).and_then(|value| value.text());
                text.filter(|text| !text.is_empty())
            };
            let (flag, value) = match scope.field("enabled").is_some_and(is_true) {
                true => (
                    "watch-namespace",
                    // `render` reports a namespace that is unknown.
                    text("namespace").or(release.name.as_deref().map(|_| &*release.namespace)),
                ),
                false => ("watch-namespace-selector", text("namespaceSelector")),
            };
            if let Some(value) = value {
                flags.insert(flag.to_owned(), self.one(value, scope));
            }
        }
        flags
    }

    /// The IngressClass of the chart and its aliases. An object in the files takes precedence.
    fn chart_class(&self, into: &mut Manifests, controller: &Node) {
        let Some(class) = controller.field("ingressClassResource") else {
            return;
        };
        if class
            .field("enabled")
            .is_some_and(|enabled| enabled.boolean() == Some(false))
        {
            return;
        }
        let text = |key: &str| class.field(key).and_then(|value| value.text());
        let mut names = vec![(
            text("name").unwrap_or("nginx"),
            class.field("default").is_some_and(is_true),
        )];
        if let Some(NodeValue::List(aliases)) = class.field("aliases").map(|list| &list.value) {
            let aliases = aliases.iter().filter_map(|alias| match alias.text() {
                Some(name) => Some((name, false)),
                None => {
                    let name = alias.field("name")?.text()?;
                    Some((name, alias.field("default").is_some_and(is_true)))
                }
            });
            names.extend(aliases);
        }
        for (name, is_default) in names {
            let class = IngressClass {
                controller: text("controllerValue").unwrap_or(CONTROLLER).to_owned(),
                is_default,
            };
            into.classes.entry(name.to_owned()).or_insert(class);
        }
    }

    fn one(&self, text: &str, at: &Node) -> Written {
        Written {
            text: text.to_owned(),
            line: self.line(at),
        }
    }
}

/// Merges the keys of two files of values. The later file takes precedence. If the files differ, lines are
/// set to 0 (unknown).
fn combined(earlier: Option<Data>, mut later: Data) -> Data {
    let Some(earlier) = earlier else {
        return later;
    };
    let mut all = earlier.values;
    all.append(&mut later.values);
    if earlier.file != later.file {
        later.file = Arc::from(format!("{} and {}", earlier.file, later.file));
        all.values_mut().for_each(|written| written.line = 0);
    }
    later.values = all;
    later
}

fn is_true(value: &Rc<Node>) -> bool {
    value.boolean() == Some(true) || value.text() == Some("true")
}

/// Whether a release is that of ingress-nginx, by the name of its chart or of its object.
fn is_ours(chart: Option<&str>, key: &ObjectKey) -> bool {
    chart.unwrap_or(&key.name).contains(CHART)
}

/// Whether values contain those of the chart, recognised by keys that other charts do not have.
fn is_nested_chart(values: &Node) -> bool {
    let NodeValue::Map(entries) = &values.value else {
        return false;
    };
    let mut inner = entries.iter();
    is_chart(values, false) || inner.any(|(name, inner)| is_chart(inner, name.text.contains(CHART)))
}
