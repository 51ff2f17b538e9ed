//! Selects the Ingresses that belong to the controller.

use super::namespace_selector::NamespaceSelector;
use crate::ingress::controller::ControllerConfig;
use crate::ingress::input::{Ingress, Manifests};
use crate::ingress::verdict::Finding;

/// Annotation with the class. `spec.ingressClassName` takes precedence.
const ANNOTATION: &str = "kubernetes.io/ingress.class";

/// Returns `Ok` if the controller serves an Ingress, or if the Ingress has the only class that is served.
/// Otherwise returns the reason why the Ingress is not served.
pub(super) fn select(
    ingress: &Ingress,
    manifests: &Manifests,
    config: &ControllerConfig,
) -> Result<(), Finding> {
    if let Some(watched) = config.watched_namespace()
        && watched != ingress.key.namespace
    {
        return Err(Finding::same(format!(
            "the controller watches namespace `{watched}` only (`--watch-namespace`): ingress-nginx ignores the Ingress, and so does the translation"
        )));
    }
    if let Some(selector) = config.namespace_selector() {
        in_selected_namespace(selector, ingress, manifests)?;
    }
    let annotation = ingress.annotations.get(ANNOTATION);
    let annotation = annotation.map(|written| written.text.as_str());
    let annotation = annotation.filter(|name| !name.is_empty());
    // The field takes precedence, as in the controller.
    let field = ingress.spec.ingress_class_name.as_deref();
    let named = field.or(annotation);
    if let Some(only) = &config.only_class {
        return of_class(only, named, manifests, config);
    }
    match (field, annotation) {
        (Some(name), _) => match manifests.classes.get(name) {
            Some(class) if config.is_ours(&class.controller) => Ok(()),
            Some(_) if name == config.class_name() && config.is_set("ingress-class-by-name") => {
                Ok(())
            }
            None if name == config.class_name() => Ok(()),
            class => Err(other_class(
                ingress,
                name,
                class.map(|class| &*class.controller),
                config,
            )),
        },
        (None, Some(name)) if name == config.class_name() => Ok(()),
        (None, Some(name)) => Err(other_class(ingress, name, None, config)),
        (None, None) => {
            let mut classes = manifests.classes.values();
            let default = classes.find(|class| class.is_default);
            without_class(
                default.is_some_and(|class| config.is_ours(&class.controller)),
                config,
            )
        }
    }
}

/// Returns an error if the Namespace of an Ingress does not have the labels of `--watch-namespace-selector`, or if
/// the files do not contain these labels.
fn in_selected_namespace(
    selector: &str,
    ingress: &Ingress,
    manifests: &Manifests,
) -> Result<(), Finding> {
    let Some(parsed) = NamespaceSelector::parse(selector) else {
        return Err(Finding::decision(
            format!(
                "`--watch-namespace-selector` is not a label selector: `{selector}`. No Ingress is translated: correct the flag"
            ),
            &[],
        ));
    };
    let namespace = &ingress.key.namespace;
    match parsed.selects(namespace, manifests.namespaces.get(namespace)) {
        Some(true) => Ok(()),
        Some(false) => Err(Finding::same(format!(
            "namespace `{namespace}` does not have the labels `{selector}` (`--watch-namespace-selector`): ingress-nginx ignores the Ingress, and so does the translation"
        ))),
        None => Err(Finding::decision(
            format!(
                "the files do not contain Namespace `{namespace}`, whose labels `--watch-namespace-selector` compares with `{selector}`. The Ingress is not translated: add the Namespace to the files"
            ),
            &[],
        )),
    }
}

/// Whether an Ingress belongs to the class `only`, by its name.
fn of_class(
    only: &str,
    named: Option<&str>,
    manifests: &Manifests,
    config: &ControllerConfig,
) -> Result<(), Finding> {
    match named {
        Some(name) if name == only => Ok(()),
        Some(name) => Err(Finding::same(format!(
            "the Ingress has class `{name}`: it is not served"
        ))),
        None => {
            let class = manifests.classes.get(only);
            without_class(class.is_some_and(|class| class.is_default), config)
        }
    }
}

/// Whether an Ingress without a class is served.
fn without_class(of_default: bool, config: &ControllerConfig) -> Result<(), Finding> {
    if of_default || config.is_set("watch-ingress-without-class") {
        return Ok(());
    }
    let text = "no class: ingress-nginx ignores the Ingress, and so does the translation. Set `ingressClassName`, or pass --nginx-flag watch-ingress-without-class=true";
    Err(Finding::decision(text, &[]))
}

/// The finding for an Ingress of another class, which may belong to another controller of ingress-nginx.
fn other_class(
    ingress: &Ingress,
    name: &str,
    controller: Option<&str>,
    config: &ControllerConfig,
) -> Finding {
    let prefix = format!("{}/", config.prefix());
    let mut annotations = ingress.annotations.keys();
    let is_annotated = annotations.any(|name| name.starts_with(&prefix));
    let (is_nginx, flag) = match controller {
        Some(value) => (
            value.starts_with("k8s.io/") && value.contains("nginx"),
            format!("controller-class={value}"),
        ),
        None => (name.contains("nginx"), format!("ingress-class={name}")),
    };
    match is_nginx || is_annotated {
        true => Finding::decision(
            format!(
                "class `{name}` belongs to another controller: the Ingress is not translated. To translate the Ingresses of that controller, pass --nginx-flag {flag}"
            ),
            &[],
        ),
        false => Finding::same(format!(
            "class `{name}` belongs to another controller: the Ingress is not translated"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ingress::verdict::MigrationOutcome;
    use crate::ingress::{MigrateOptions, Migration, translate};

    /// Classes of two controllers of ingress-nginx, of which the first has two, and one of Traefik.
    const CLASSES: &str = "
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: nginx}, spec: {controller: k8s.io/ingress-nginx}}
---
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: second}, spec: {controller: k8s.io/ingress-nginx}}
---
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: internal}, spec: {controller: k8s.io/internal-nginx}}
---
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: traefik}, spec: {controller: traefik.io/ingress-controller}}
";

    /// Translates one Ingress for each class, named after the class, and two Ingresses with annotations.
    fn migration(classes: &str, only: Option<&str>, flags: &[&str]) -> Migration {
        let mut manifests = Manifests::default();
        manifests.add("classes.yaml", classes);
        let mut add = |name: &str, annotation: &str, class: &str| {
            let text = format!(
                "{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: {name}, namespace: a, annotations: {{kubernetes.io/ingress.class: '{annotation}'}}}}, spec: {{{class} rules: [{{host: {name}.test, http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: w, port: {{number: 80}}}}}}}}]}}}}]}}}}"
            );
            manifests.add(&format!("{name}.yaml"), &text);
        };
        for class in ["nginx", "second", "internal", "traefik"] {
            add(class, "", &format!("ingressClassName: {class},"));
        }
        add("old", "internal", "");
        add("both", "internal", "ingressClassName: nginx,");
        add("none", "", "");
        let options = MigrateOptions {
            only_class: only.map(str::to_owned),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            ..MigrateOptions::default()
        };
        translate(&manifests, &options)
    }

    fn served(migration: &Migration) -> BTreeSet<&str> {
        migration.served.iter().map(|key| &*key.name).collect()
    }

    #[test]
    fn only_the_ingresses_of_the_class_that_is_served_are_translated() {
        for (class, expected) in [
            ("nginx", &["nginx", "both"][..]),
            ("second", &["second"]),
            ("internal", &["internal", "old"]),
            ("traefik", &["traefik"]),
            ("wrong", &[]),
        ] {
            let flag = format!("ingress-class={class}");
            let migration = migration(CLASSES, Some(class), &[&flag]);

            let expected: BTreeSet<&str> = expected.iter().copied().collect();
            assert_eq!(served(&migration), expected, "{class}");
        }
    }

    #[test]
    fn a_migration_translates_what_the_controller_selects() {
        for (flags, expected) in [
            (&[][..], &["nginx", "second", "both"][..]),
            (&["controller-class=k8s.io/internal-nginx"], &["internal"]),
            (
                &[
                    "controller-class=k8s.io/internal-nginx",
                    "ingress-class=internal",
                ],
                &["internal", "old"],
            ),
            (
                &["ingress-class=internal", "ingress-class-by-name=true"],
                &["nginx", "second", "both", "internal", "old"],
            ),
        ] {
            let migration = migration(CLASSES, None, flags);

            let expected: BTreeSet<&str> = expected.iter().copied().collect();
            assert_eq!(served(&migration), expected, "{flags:?}");
        }
    }

    #[test]
    fn a_controller_that_watches_one_namespace_ignores_the_ingresses_of_others() {
        for (namespace, number) in [("a", 3), ("b", 0), ("", 3)] {
            let flag = format!("watch-namespace={namespace}");
            let migration = migration(CLASSES, None, &[&flag]);

            assert_eq!(served(&migration).len(), number, "{namespace}");
        }
    }

    #[test]
    fn only_ingresses_of_namespaces_with_the_watched_labels_are_served() {
        let namespace =
            "---\n{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {team: web}}}\n";
        let with_namespace = format!("{CLASSES}{namespace}");
        for (files, selector, number) in [
            (&*with_namespace, "team=web", 3),
            (&*with_namespace, "team in (web,shop)", 3),
            (&*with_namespace, "team=shop", 0),
            (&*with_namespace, "team>1", 0),
            (CLASSES, "team=web", 0),
            (CLASSES, "kubernetes.io/metadata.name=a", 3),
            (CLASSES, "", 3),
        ] {
            let flag = format!("watch-namespace-selector={selector}");
            let migration = migration(files, None, &[&flag]);

            assert_eq!(served(&migration).len(), number, "{selector}");
        }
    }

    #[test]
    fn an_ingress_without_a_class_belongs_to_the_default_class() {
        let default = CLASSES.replace(
            "metadata: {name: nginx}",
            "metadata: {name: nginx, annotations: {ingressclass.kubernetes.io/is-default-class: 'true'}}",
        );

        let migration_of = |only| migration(&default, Some(only), &[]);

        assert!(served(&migration_of("nginx")).contains("none"));
        assert!(!served(&migration_of("internal")).contains("none"));
    }

    #[test]
    fn an_ingress_of_another_controller_of_ingress_nginx_needs_a_decision() {
        let migration = migration(CLASSES, None, &[]);

        let outcome = |name: &str| {
            let object = format!("Ingress a/{name}");
            let mut verdicts = migration.verdicts.iter();
            let found =
                verdicts.find(|one| one.object == object && one.setting == "spec.ingressClassName");
            found.map(|one| one.outcome)
        };
        assert_eq!(outcome("internal"), Some(MigrationOutcome::NeedsADecision));
        assert_eq!(outcome("traefik"), Some(MigrationOutcome::Same));
        assert_eq!(outcome("nginx"), None);
    }
}
