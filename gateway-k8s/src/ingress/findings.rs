//! Findings about Ingresses that are served in memory and cannot be served as written.

use std::collections::BTreeSet;

use super::input::{InputErrorKind, Manifests};
use super::translate::Migration;
use super::verdict::{MigrationOutcome, MigrationVerdict, SourcePlace};
use crate::decode::Diagnostic;
use crate::finding::FindingCode;
use crate::objects::ObjectKey;

/// Largest number of classes that a message lists.
const LISTED: usize = 5;

/// Findings about the Ingresses of `class`: a warning for each object and setting that cannot be translated,
/// a warning if no Ingress has the class, and an error for each Ingress that cannot be decoded or is defined
/// twice.
pub fn findings(manifests: &Manifests, migration: &Migration, class: &str) -> Vec<Diagnostic> {
    let verdicts = migration.verdicts.iter();
    let impossible = verdicts.filter(|one| one.outcome == MigrationOutcome::Impossible);
    let mut found: Vec<Diagnostic> = impossible.map(not_translated).collect();
    found.extend(unusable(manifests));
    if migration.served.is_empty() {
        found.push(no_ingress(manifests, class));
    }
    found
}

fn not_translated(verdict: &MigrationVerdict) -> Diagnostic {
    let (setting, text) = (&verdict.setting, &verdict.text);
    let help = "`towergate migrate` reports every setting; the path returns 500 if the setting restricts access to it";
    let (kind, key) = match verdict.object.split_once(' ') {
        Some((kind, key)) => (kind, key.split_once('/')),
        None => ("", None),
    };
    let message = match key {
        Some(_) => format!("{setting} is not translated: {text}"),
        None => format!("{}: {setting} is not translated: {text}", verdict.object),
    };
    let finding = Diagnostic::warning(FindingCode::NotTranslated, message, help);
    let mut finding = at(finding, &verdict.place);
    if let Some((namespace, name)) = key {
        kind.clone_into(&mut finding.kind);
        finding.object = Some(ObjectKey::new(namespace, name));
        setting.clone_into(&mut finding.field);
    }
    finding
}

/// Errors about Ingresses with an invalid or a second definition. Documents that are not YAML are left out,
/// because the loader of manifests reports them.
fn unusable(manifests: &Manifests) -> impl Iterator<Item = Diagnostic> {
    manifests.errors.iter().filter_map(|error| {
        let help = match error.kind {
            InputErrorKind::Document => return None,
            InputErrorKind::InvalidIngress => {
                "correct the field; until then the Ingress is not served"
            }
            InputErrorKind::InvalidConfigMap => {
                "correct the value; until then the settings of the ConfigMap have no effect"
            }
            InputErrorKind::DuplicateIngress => {
                "delete this definition or the first one, or give one of them another name"
            }
        };
        let finding = Diagnostic::error(FindingCode::InvalidObject, &*error.message, help);
        Some(at(finding, &error.place))
    })
}

fn no_ingress(manifests: &Manifests, class: &str) -> Diagnostic {
    let mut classes = BTreeSet::new();
    let mut without = 0;
    for ingress in &manifests.ingresses {
        let annotation = ingress.annotations.get("kubernetes.io/ingress.class");
        let annotation = annotation.map(|written| written.text.as_str());
        let annotation = annotation.filter(|name| !name.is_empty());
        match ingress.spec.ingress_class_name.as_deref().or(annotation) {
            Some(name) => classes.extend([name]),
            None => without += 1,
        }
    }
    let count = manifests.ingresses.len();
    let mut message = match count {
        0 => format!("no Ingress has class `{class}`: there are no Ingresses"),
        _ => format!("no Ingress has class `{class}`, and {count} have another class or none"),
    };
    if !classes.is_empty() {
        let listed: Vec<&str> = classes.iter().copied().take(LISTED).collect();
        message.push_str(&format!("; classes in use: {}", listed.join(", ")));
        if classes.len() > LISTED {
            message.push_str(&format!(" and {} more", classes.len() - LISTED));
        }
    }
    if without > 0 {
        message.push_str(&format!("; without a class: {without}"));
    }
    let help = "set `--ingress-class` to the class of the Ingresses, or set `spec.ingressClassName` in them";
    Diagnostic::warning(FindingCode::NoIngressOfClass, message, help)
}

fn at(mut finding: Diagnostic, place: &SourcePlace) -> Diagnostic {
    finding.file.clone_from(&place.file);
    finding.line = place.line;
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingress::{MigrateOptions, translate};

    fn found(manifest: &str) -> Vec<Diagnostic> {
        let mut manifests = Manifests::default();
        manifests.add("web.yaml", manifest);
        let options = MigrateOptions {
            flags: vec!["ingress-class=nginx".to_owned()],
            only_class: Some("nginx".to_owned()),
            ..MigrateOptions::default()
        };
        let migration = translate(&manifests, &options);
        findings(&manifests, &migration, "nginx")
    }

    fn ingress(class: &str, annotations: &str) -> String {
        format!(
            "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  namespace: team-a
  annotations: {annotations}
spec:
  ingressClassName: {class}
  rules:
  - host: web.example.com
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}
"
        )
    }

    #[test]
    fn each_impossible_setting_of_an_object_is_one_warning_with_its_place() {
        let text = ingress(
            "nginx",
            "{nginx.ingress.kubernetes.io/backend-protocol: FCGI}",
        );

        let found = found(&text);

        let [one] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(one.code, FindingCode::NotTranslated);
        assert_eq!((one.file.as_str(), one.line), ("web.yaml", 6));
        assert_eq!(one.object, Some(ObjectKey::new("team-a", "web")));
        assert!(one.message.contains("backend-protocol"), "{}", one.message);
    }

    #[test]
    fn a_class_without_an_ingress_is_a_warning_that_lists_the_classes_in_use() {
        for (text, expected) in [
            (ingress("public", "{}"), "classes in use: public"),
            (String::new(), "there are no Ingresses"),
            (ingress("~", "{}"), "without a class: 1"),
        ] {
            let found = found(&text);

            assert_eq!(found[0].code, FindingCode::NoIngressOfClass);
            assert!(found[0].message.contains(expected), "{}", found[0].message);
        }
        assert_eq!(found(&ingress("nginx", "{}")), []);
    }

    #[test]
    fn an_ingress_that_cannot_be_decoded_is_an_error() {
        let text = ingress("nginx", "{}").replace("number: 80", "number: many");

        let found = found(&text);

        assert_eq!(found[0].code, FindingCode::InvalidObject);
        assert!(found[0].message.contains("team-a/web"));
        assert!(found[0].help.contains("correct the field"));
    }

    #[test]
    fn the_second_definition_of_an_ingress_is_an_error_with_both_places() {
        let first = ingress("nginx", "{}");

        let found = found(&format!("{first}---\n{first}"));

        let [one] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(one.line, 13);
        assert!(one.message.contains("web.yaml:1"), "{}", one.message);
        assert!(one.help.contains("delete this definition"), "{}", one.help);
    }
}
