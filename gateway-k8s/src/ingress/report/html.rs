//! The report as one HTML page without references to other files.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::ingress::Migration;
use crate::ingress::verdict::{MigrationOutcome, MigrationVerdict, SettingKind, count};

const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<title>Migration from ingress-nginx</title>
<style>
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .4rem .6rem; text-align: left; vertical-align: top; }
td:first-child { overflow-wrap: anywhere; width: 26%; }
code { font-family: ui-monospace, monospace; font-size: .9em; }
ul { margin: 0; padding-left: 1.1rem; }
.count { display: inline-block; border-left: .4rem solid; margin-right: 1.5rem; padding-left: .6rem; }
.count b { display: block; font-size: 1.8rem; line-height: 1.1; }
.same { border-color: #2e8b57; } .same-with-a-difference { border-color: #3b78c2; }
.needs-a-decision { border-color: #c98a1b; } .impossible { border-color: #c23b3b; }
</style>
";

/// Writes the report.
pub fn html(migration: &Migration) -> String {
    let mut out = HEAD.to_owned();
    let _ = writeln!(
        out,
        "<h1>Migration from ingress-nginx</h1>\n<p>{} Ingresses, {} settings, {} objects.</p>\n<p>",
        migration.served.len(),
        migration.verdicts.len(),
        migration.objects.iter().count()
    );
    for (outcome, number) in count(&migration.verdicts) {
        let _ = writeln!(
            out,
            "<a class=\"count {0}\" href=\"#{0}\"><b>{number}</b>{1}</a>",
            outcome.as_str(),
            outcome.title()
        );
    }
    out.push_str("</p>\n");
    for outcome in MigrationOutcome::ALL.into_iter().rev() {
        section(&mut out, migration, outcome);
    }
    objects(&mut out, migration);
    out
}

fn section(out: &mut String, migration: &Migration, outcome: MigrationOutcome) {
    let mut groups: BTreeMap<(SettingKind, &str, &str), Vec<&MigrationVerdict>> = BTreeMap::new();
    for verdict in migration.verdicts.iter().filter(|v| v.outcome == outcome) {
        let group = (
            verdict.kind,
            verdict.setting.as_str(),
            verdict.text.as_str(),
        );
        groups.entry(group).or_default().push(verdict);
    }
    if groups.is_empty() {
        return;
    }
    let title = outcome.title();
    let title = title[..1].to_uppercase() + &title[1..];
    let _ = writeln!(
        out,
        "<h2 id=\"{}\">{title}</h2>\n<table>\n<tr><th>Setting</th><th>Verdict</th><th>Where</th></tr>",
        outcome.as_str()
    );
    for ((kind, setting, text), verdicts) in groups {
        let _ = write!(
            out,
            "<tr><td><code>{}</code></td><td>{}</td><td>",
            escape(setting),
            marked(text)
        );
        if kind != SettingKind::Default {
            out.push_str("<ul>");
            for verdict in verdicts {
                let _ = write!(out, "<li>{}", escape(&verdict.object));
                let value: String = verdict.value.chars().take(80).collect();
                if !value.is_empty() {
                    let _ = write!(out, " = <code>{}</code>", escape(&value));
                }
                if !verdict.place.file.is_empty() {
                    let place = format!("{}:{}", verdict.place.file, verdict.place.line);
                    let _ = write!(out, " ({})", escape(&place));
                }
                out.push_str("</li>");
            }
            out.push_str("</ul>");
        }
        out.push_str("</td></tr>\n");
    }
    out.push_str("</table>\n");
}

fn objects(out: &mut String, migration: &Migration) {
    out.push_str("<h2>Objects</h2>\n<table>\n<tr><th>Object</th><th>From</th></tr>\n");
    for object in migration.objects.iter() {
        let from: Vec<String> = object
            .comments
            .iter()
            .map(|comment| escape(comment))
            .collect();
        let _ = writeln!(
            out,
            "<tr><td>{} <code>{}</code></td><td>{}</td></tr>",
            object.kind,
            escape(&object.key.to_string()),
            from.join("<br>")
        );
    }
    out.push_str("</table>\n</html>\n");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Escapes a text, and renders text in backticks as code.
fn marked(text: &str) -> String {
    let mut out = String::new();
    for (index, part) in text.split('`').enumerate() {
        let part = escape(part);
        if index % 2 == 1 {
            let _ = write!(out, "<code>{part}</code>");
        } else {
            out.push_str(&part);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_manifests_cannot_become_markup() {
        assert_eq!(
            marked("a `<b>` & \"c\""),
            "a <code>&lt;b&gt;</code> &amp; &quot;c&quot;"
        );
    }
}
