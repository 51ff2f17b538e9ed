//! Reports of a migration as text, JSON and HTML.

mod html;

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

pub use self::html::html;
use super::Migration;
use super::proof_report::ProofReport;
use super::verdict::{MigrationOutcome, MigrationVerdict, SettingKind, count};

/// Title of the differences that no setting affects.
const DEFAULTS: &str = "Defaults of ingress-nginx that behave differently";

/// Verdicts with equal texts: kind, setting and text of the group, and its verdicts.
type Groups<'a> = BTreeMap<(SettingKind, &'a str, &'a str), Vec<&'a MigrationVerdict>>;

/// The report as text: a summary, then the verdicts, with the worst outcomes first.
pub fn text(migration: &Migration) -> String {
    let mut out = summary(migration);
    out.push('\n');
    for outcome in MigrationOutcome::ALL.into_iter().rev() {
        let groups = groups(migration, |one| one.is_setting() && one.outcome == outcome);
        let number: usize = groups.values().map(Vec::len).sum();
        if number == 0 {
            continue;
        }
        let _ = writeln!(out, "\n{} ({number})", outcome.title().to_uppercase());
        for ((_, setting, text), verdicts) in groups {
            let _ = writeln!(out, "  {setting}: {text}");
            write_example(&mut out, &verdicts);
            if outcome != MigrationOutcome::Same {
                for verdict in verdicts {
                    write_place(&mut out, verdict);
                }
            }
        }
    }
    let defaults = groups(migration, |one| !one.is_setting());
    if !defaults.is_empty() {
        let _ = writeln!(out, "\n{}", DEFAULTS.to_uppercase());
        for (_, setting, text) in defaults.keys() {
            let _ = writeln!(out, "  {setting}: {text}");
        }
    }
    out
}

/// A summary in one line: the number of Ingresses and settings, and the settings by outcome.
fn summary(migration: &Migration) -> String {
    let counts = count(&migration.verdicts);
    let total: usize = counts.iter().map(|(_, number)| number).sum();
    let counts: Vec<String> = counts
        .iter()
        .map(|(outcome, number)| format!("{number} {}", phrase(*outcome, *number)))
        .collect();
    format!(
        "{}, {}: {}",
        counted(migration.served.len(), "Ingress", "Ingresses"),
        counted(total, "setting", "settings"),
        counts.join(", ")
    )
}

/// The noun phrase that follows a number of settings with this outcome.
fn phrase(outcome: MigrationOutcome, number: usize) -> &'static str {
    match (outcome, number) {
        (MigrationOutcome::NeedsADecision, number) if number != 1 => "need a decision",
        (outcome, _) => outcome.title(),
    }
}

/// A number with its noun.
pub fn counted(number: usize, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {many}"),
    }
}

/// Groups of equal findings about several objects.
fn groups(migration: &Migration, has: impl Fn(&MigrationVerdict) -> bool) -> Groups<'_> {
    let mut groups = Groups::new();
    for verdict in migration.verdicts.iter().filter(|verdict| has(verdict)) {
        let group = (
            verdict.kind,
            verdict.setting.as_str(),
            verdict.text.as_str(),
        );
        groups.entry(group).or_default().push(verdict);
    }
    groups
}

fn write_example(out: &mut String, verdicts: &[&MigrationVerdict]) {
    let Some(example) = verdicts.iter().find_map(|verdict| verdict.example.as_ref()) else {
        return;
    };
    let _ = writeln!(
        out,
        "    example: {}\n      ingress-nginx: {}\n      towergate: {}",
        example.request(),
        example.ingress_nginx,
        example.towergate
    );
}

fn write_place(out: &mut String, verdict: &MigrationVerdict) {
    let mut lines = verdict.value.trim().lines();
    let first = lines.next().unwrap_or_default();
    let mut value: String = first.chars().take(60).collect();
    if value.len() < first.len() || lines.next().is_some() {
        value.push('…');
    }
    let value = match value.is_empty() {
        true => value,
        false => format!(" = {value}"),
    };
    let place = match place(verdict) {
        place if place.is_empty() => place,
        place => format!(" ({place})"),
    };
    let _ = writeln!(out, "    {}{value}{place}", verdict.object);
}

/// The place of a verdict: `file:line`, or `file` if the line is unknown. Empty: the setting is in no file.
fn place(verdict: &MigrationVerdict) -> String {
    match (verdict.place.file.as_str(), verdict.place.line) {
        ("", _) => String::new(),
        (file, 0) => file.to_owned(),
        (file, line) => format!("{file}:{line}"),
    }
}

/// The report as JSON: the number of Ingresses, the number of settings by outcome, the verdicts on settings,
/// the differences that no setting affects, and the proofs.
pub fn json(migration: &Migration, proofs: &[ProofReport]) -> Value {
    let summary: serde_json::Map<String, Value> = count(&migration.verdicts)
        .iter()
        .map(|(outcome, number)| (outcome.as_str().to_owned(), (*number).into()))
        .collect();
    let (settings, defaults): (Vec<_>, Vec<_>) = migration
        .verdicts
        .iter()
        .partition(|verdict| verdict.is_setting());
    json!({
        "ingresses": migration.served.len(),
        "summary": summary,
        "verdicts": settings,
        "defaults": defaults,
        "proofs": proofs,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Manifests, MigrateOptions, translate};
    use super::*;

    const INGRESS: &str = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  namespace: shop
  annotations: {nginx.ingress.kubernetes.io/limit-rate: '100'}
spec:
  ingressClassName: nginx
  rules: [{host: a.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
";

    fn migration(flags: &[&str]) -> Migration {
        let mut manifests = Manifests::default();
        manifests.add("a.yaml", INGRESS);
        let options = MigrateOptions {
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            ..MigrateOptions::default()
        };
        translate(&manifests, &options)
    }

    #[test]
    fn defaults_of_ingress_nginx_do_not_count_as_settings() {
        let migration = migration(&[]);

        let text = text(&migration);
        let json = json(&migration, &[]);

        let expected = "1 Ingress, 1 setting: 0 same, 0 same with a difference, 0 need a decision, 1 impossible\n";
        assert!(text.starts_with(expected), "{text}");
        let (settings, defaults) = text.split_once("DEFAULTS OF").expect("a heading");
        assert!(!settings.contains("health checks") && defaults.contains("health checks"));
        assert_eq!(json["verdicts"].as_array().map(Vec::len), Some(1));
        assert!(json["defaults"].as_array().is_some_and(|all| all.len() > 5));
    }

    #[test]
    fn a_flag_of_the_command_line_names_the_option_and_no_file() {
        let text = text(&migration(&["default-backend-service=shop/pages"]));

        let expected = "    option --nginx-flag = shop/pages\n";
        assert!(text.contains(expected), "{text}");
    }
}
