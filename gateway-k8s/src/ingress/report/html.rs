//! The report as one HTML page without references to other files.

use std::fmt::Write;

use super::{DEFAULTS, Groups, counted, groups, phrase, place};
use crate::ingress::Migration;
use crate::ingress::proof_report::{Difference, LISTED_UNANSWERED, ProofReport};
use crate::ingress::verdict::{ExampleExchange, MigrationOutcome, MigrationVerdict, count};

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
td { overflow-wrap: anywhere; }
td:first-child { width: 26%; }
dl { display: grid; gap: 0 .6rem; grid-template-columns: max-content 1fr; margin: .4rem 0 0; font-size: .9em; }
dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 45rem) {
  body { margin: 1rem auto; }
  th { display: none; }
  tr, td, td:first-child { display: block; width: auto; }
  tr { border-bottom: 1px solid var(--line); padding: .5rem 0; }
  td { border: 0; padding: .1rem 0; }
  .count { margin-bottom: .6rem; }
}
code { font-family: ui-monospace, monospace; font-size: .9em; }
ul { margin: 0; padding-left: 1.1rem; }
.count { display: inline-block; border-left: .4rem solid; margin-right: 1.5rem; padding-left: .6rem; }
.count b { display: block; font-size: 1.8rem; line-height: 1.1; }
.same { border-color: #2e8b57; } .same-with-a-difference { border-color: #3b78c2; }
.needs-a-decision { border-color: #c98a1b; } .impossible { border-color: #c23b3b; }
</style>
";

/// Writes the report, with the results of `proofs`.
pub fn html(migration: &Migration, proofs: &[ProofReport]) -> String {
    let mut out = HEAD.to_owned();
    let counts = count(&migration.verdicts);
    let _ = writeln!(
        out,
        "<h1>Migration from ingress-nginx</h1>\n<p>{}, {}, {}.</p>\n<p>",
        counted(migration.served.len(), "Ingress", "Ingresses"),
        counted(
            counts.iter().map(|(_, number)| number).sum(),
            "setting",
            "settings"
        ),
        counted(migration.objects.iter().count(), "object", "objects")
    );
    for (outcome, number) in counts {
        let _ = writeln!(
            out,
            "<a class=\"count {0}\" href=\"#{0}\"><b>{number}</b>{1}</a>",
            outcome.as_str(),
            phrase(outcome, number)
        );
    }
    out.push_str("</p>\n");
    for (number, report) in proofs.iter().enumerate() {
        let (title, summary) = (escape(&report.title), escape(&report.summary()));
        let _ = writeln!(
            out,
            "<p><a href=\"#proof-{number}\">{title}</a>: {summary}.</p>"
        );
    }
    for outcome in MigrationOutcome::ALL.into_iter().rev() {
        let title = outcome.title();
        let title = title[..1].to_uppercase() + &title[1..];
        let of_outcome = groups(migration, |one| one.is_setting() && one.outcome == outcome);
        section(&mut out, outcome.as_str(), &title, of_outcome);
    }
    for (number, report) in proofs.iter().enumerate() {
        proof(&mut out, number, report);
    }
    objects(&mut out, migration);
    let defaults = groups(migration, |one| !one.is_setting());
    section(&mut out, "defaults", DEFAULTS, defaults);
    out.push_str("</html>\n");
    out
}

fn section(out: &mut String, id: &str, title: &str, groups: Groups<'_>) {
    if groups.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "<h2 id=\"{id}\">{title}</h2>\n<table>\n<tr><th>Setting</th><th>Verdict</th><th>Where</th></tr>"
    );
    for ((_, setting, text), verdicts) in groups {
        let _ = write!(
            out,
            "<tr><td><code>{}</code></td><td>{}",
            breakable(setting),
            marked(text)
        );
        let example = verdicts.iter().find_map(|verdict| verdict.example.as_ref());
        if let Some(example) = example {
            write_example(out, example);
        }
        out.push_str("</td><td>");
        if verdicts.iter().any(|verdict| verdict.is_setting()) {
            places(out, &verdicts);
        }
        out.push_str("</td></tr>\n");
    }
    out.push_str("</table>\n");
}

fn write_example(out: &mut String, example: &ExampleExchange) {
    let _ = write!(
        out,
        "<dl><dt>example</dt><dd><code>{}</code></dd><dt>ingress-nginx</dt><dd>{}</dd><dt>towergate</dt><dd>{}</dd></dl>",
        escape(&example.request()),
        escape(&example.ingress_nginx),
        escape(&example.towergate)
    );
}

/// Writes the list of objects that have a setting. Each entry contains the value of the setting and the place
/// of the setting in the manifests.
fn places(out: &mut String, verdicts: &[&MigrationVerdict]) {
    out.push_str("<ul>");
    for verdict in verdicts {
        let _ = write!(out, "<li>{}", escape(&verdict.object));
        let mut value: String = verdict.value.chars().take(80).collect();
        if value.len() < verdict.value.len() {
            value.push('…');
        }
        if !value.is_empty() {
            let _ = write!(out, " = <code>{}</code>", escape(&value));
        }
        let place = place(verdict);
        if !place.is_empty() {
            let _ = write!(out, " ({})", escape(&place));
        }
        out.push_str("</li>");
    }
    out.push_str("</ul>");
}

fn proof(out: &mut String, number: usize, report: &ProofReport) {
    let _ = writeln!(
        out,
        "<h2 id=\"proof-{number}\">{}</h2>\n<p>{}.</p>\n<ul>",
        escape(&report.title),
        escape(&report.summary())
    );
    for line in report.limits() {
        let _ = writeln!(out, "<li>{}</li>", escape(&line));
    }
    out.push_str("</ul>\n");
    let unanswered = report.unanswered.iter().take(LISTED_UNANSWERED);
    let (listed, more) = report.listed();
    let rows: Vec<&Difference> = listed.into_iter().chain(unanswered).collect();
    if rows.is_empty() {
        return;
    }
    out.push_str("<table>\n<tr><th>Request</th><th>Responses</th></tr>\n");
    for difference in rows {
        let explained = match difference.explained_by.is_empty() {
            true => String::new(),
            false => {
                let names = escape(&difference.explained_by.join(", "));
                format!("<dt>described by</dt><dd>{names}</dd>")
            }
        };
        let _ = writeln!(
            out,
            "<tr><td><code>{}</code></td><td><dl><dt>ingress-nginx</dt><dd>{}</dd><dt>towergate</dt><dd>{}</dd>{explained}</dl></td></tr>",
            escape(&difference.request),
            escape(&difference.expected),
            escape(&difference.found)
        );
    }
    for (names, number) in more {
        let requests = counted(number, "further request", "further requests");
        let names = escape(&names.join(", "));
        let _ = writeln!(
            out,
            "<tr><td>{requests}</td><td>described by {names}</td></tr>"
        );
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
    out.push_str("</table>\n");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Escapes the name of a setting. Lines may break after its prefix.
fn breakable(name: &str) -> String {
    escape(name).replace('/', "/<wbr>")
}

/// Escapes a string, and renders parts in backticks as code.
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
    fn the_page_begins_with_the_results_of_its_proofs() {
        let mut report = ProofReport::new("Proof");
        report.compared = 2;

        let page = html(&Migration::default(), &[report]);

        let link = "<p><a href=\"#proof-0\">Proof</a>: 2 requests compared: 2 equal";
        assert!(
            page.contains(link) && page.contains("<h2 id=\"proof-0\">"),
            "{page}"
        );
        assert_eq!(breakable("a.io/b-c"), "a.io/<wbr>b-c");
    }

    #[test]
    fn text_of_manifests_cannot_become_markup() {
        assert_eq!(
            marked("a `<b>` & \"c\""),
            "a <code>&lt;b&gt;</code> &amp; &quot;c&quot;"
        );
    }
}
