//! Reports of a migration as text, JSON and HTML.

mod html;

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

pub use self::html::html;
use super::Migration;
use super::verdict::{MigrationOutcome, MigrationVerdict, SettingKind, count};

/// The report as text: a summary, then the differences, the worst first.
pub fn text(migration: &Migration) -> String {
    let mut out = String::new();
    let counts: Vec<String> = count(&migration.verdicts)
        .iter()
        .map(|(outcome, number)| format!("{number} {}", outcome.title()))
        .collect();
    let _ = writeln!(
        out,
        "{} Ingresses, {} settings: {}",
        migration.served.len(),
        migration.verdicts.len(),
        counts.join(", ")
    );
    for outcome in MigrationOutcome::ALL.into_iter().rev() {
        let of_outcome: Vec<&MigrationVerdict> = migration
            .verdicts
            .iter()
            .filter(|verdict| verdict.outcome == outcome)
            .collect();
        if of_outcome.is_empty() {
            continue;
        }
        let _ = writeln!(
            out,
            "\n{} ({})",
            outcome.title().to_uppercase(),
            of_outcome.len()
        );
        // Equal findings of many objects are one entry.
        let mut groups: BTreeMap<(SettingKind, &str, &str), Vec<&MigrationVerdict>> =
            BTreeMap::new();
        for verdict in of_outcome {
            let group = (
                verdict.kind,
                verdict.setting.as_str(),
                verdict.text.as_str(),
            );
            groups.entry(group).or_default().push(verdict);
        }
        for ((_, setting, text), verdicts) in groups {
            let _ = writeln!(out, "  {setting}: {text}");
            if outcome == MigrationOutcome::Same {
                continue;
            }
            for verdict in verdicts {
                write_place(&mut out, verdict);
            }
        }
    }
    out
}

fn write_place(out: &mut String, verdict: &MigrationVerdict) {
    if verdict.kind == SettingKind::Default {
        return;
    }
    let value: String = verdict
        .value
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(60)
        .collect();
    let value = match value.is_empty() {
        true => value,
        false => format!(" = {value}"),
    };
    let place = match (verdict.place.file.as_str(), verdict.place.line) {
        ("", _) => String::new(),
        (file, 0) => format!(" ({file})"),
        (file, line) => format!(" ({file}:{line})"),
    };
    let _ = writeln!(out, "    {}{value}{place}", verdict.object);
}

/// The report as JSON.
pub fn json(migration: &Migration) -> Value {
    let summary: serde_json::Map<String, Value> = count(&migration.verdicts)
        .iter()
        .map(|(outcome, number)| (outcome.as_str().to_owned(), (*number).into()))
        .collect();
    json!({
        "ingresses": migration.served.len(),
        "summary": summary,
        "verdicts": migration.verdicts,
    })
}
