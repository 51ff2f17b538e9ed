//! Text form of diagnostics, with the line of the file to which they refer.

use std::collections::HashMap;
use std::fmt::Write;

use towergate_k8s::Diagnostic;
use towergate_k8s::decode::Severity;

/// Formats diagnostics for a terminal. `read` reads a file; it is called once per file.
pub(crate) fn render(
    diagnostics: &[Diagnostic],
    read: impl Fn(&str) -> Option<String>,
    colour: bool,
) -> String {
    let mut files: HashMap<&str, Option<String>> = HashMap::new();
    let mut out = String::new();
    for diagnostic in diagnostics {
        let file = diagnostic.file.as_str();
        let text = files.entry(file).or_insert_with(|| read(file));
        let line = text
            .as_deref()
            .and_then(|text| text.lines().nth(diagnostic.line.checked_sub(1)?));
        one(&mut out, diagnostic, line, colour);
        out.push('\n');
    }
    out.push_str(&summary(diagnostics));
    out.push('\n');
    out
}

/// Formats a diagnostic on one line, for logs.
pub(crate) fn brief(diagnostic: &Diagnostic) -> String {
    let mut line = String::new();
    if !diagnostic.file.is_empty() {
        line.push_str(&place(diagnostic));
        line.push_str(": ");
    }
    if let Some(object) = &diagnostic.object {
        let _ = write!(line, "{} {object}: ", diagnostic.kind);
    }
    line.push_str(&diagnostic.message);
    if !diagnostic.help.is_empty() {
        let _ = write!(line, " ({})", diagnostic.help);
    }
    line
}

/// The number of diagnostics of each severity.
pub(crate) fn summary(diagnostics: &[Diagnostic]) -> String {
    let count = |severity| {
        diagnostics
            .iter()
            .filter(|d| d.severity == severity)
            .count()
    };
    let mut parts = Vec::new();
    for (severity, name) in [
        (Severity::Error, "error"),
        (Severity::Warning, "warning"),
        (Severity::Note, "note"),
    ] {
        match count(severity) {
            0 => {}
            1 => parts.push(format!("1 {name}")),
            n => parts.push(format!("{n} {name}s")),
        }
    }
    if parts.is_empty() {
        "no findings".to_owned()
    } else {
        parts.join(", ")
    }
}

fn one(out: &mut String, diagnostic: &Diagnostic, line: Option<&str>, colour: bool) {
    let (name, code) = match diagnostic.severity {
        Severity::Error => ("error", "1;31"),
        Severity::Warning => ("warning", "1;33"),
        Severity::Note => ("note", "1;36"),
    };
    let paint = |code: &str, text: &str| {
        if colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    };
    let title = paint(code, &format!("{name}[{}]", diagnostic.code));
    let _ = writeln!(
        out,
        "{title}: {}",
        paint("1", &printable(&diagnostic.message))
    );
    let number = diagnostic.line.to_string();
    let margin = " ".repeat(if line.is_some() { number.len() } else { 1 });
    let bar = paint("34", "|");
    if !diagnostic.file.is_empty() {
        let _ = writeln!(out, "{margin}{} {}", paint("34", "-->"), place(diagnostic));
    }
    if let Some(line) = line {
        let text = printable(line);
        let _ = writeln!(out, "{margin} {bar}\n{} {bar} {text}", paint("34", &number));
        let (before, width) = underline(line, diagnostic.column);
        let _ = writeln!(
            out,
            "{margin} {bar} {before}{}",
            paint(code, &"^".repeat(width))
        );
    }
    let note = paint("34", "=");
    if let Some(object) = &diagnostic.object {
        let field = if diagnostic.field.is_empty() {
            String::new()
        } else {
            format!(", `{}`", diagnostic.field)
        };
        let _ = writeln!(
            out,
            "{margin} {note} in {} {object}{field}",
            diagnostic.kind
        );
    }
    if !diagnostic.help.is_empty() {
        let _ = writeln!(out, "{margin} {note} help: {}", printable(&diagnostic.help));
    }
}

fn place(diagnostic: &Diagnostic) -> String {
    match (diagnostic.line, diagnostic.column) {
        (0, _) => diagnostic.file.clone(),
        (line, 0) => format!("{}:{line}", diagnostic.file),
        (line, column) => format!("{}:{line}:{column}", diagnostic.file),
    }
}

/// Number of spaces before the carets, as text, and number of carets. The carets mark the word at `column`.
fn underline(line: &str, column: usize) -> (String, usize) {
    let start = column.saturating_sub(1);
    let before = " ".repeat(start.min(line.chars().count()));
    let word: Vec<char> = line.chars().skip(start).collect();
    let quoted = word.first().filter(|c| matches!(c, '"' | '\''));
    let width = match quoted {
        Some(quote) => word
            .iter()
            .skip(1)
            .position(|c| c == quote)
            .map_or(word.len(), |at| at + 2),
        None => word
            .iter()
            .enumerate()
            .position(|(i, c)| {
                let next = word.get(i + 1);
                matches!(c, ',' | ']' | '}' | ' ')
                    || *c == ':' && next.is_none_or(|c| c.is_whitespace())
            })
            .unwrap_or(word.len()),
    };
    (before, width.max(1))
}

/// Replaces control characters, because they could change the state of the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use towergate_k8s::FindingCode;
    use towergate_k8s::decode::decode;

    use super::*;

    const TEXT: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: echo
  lables: {a: b}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  ports:
    - port: \"eighty five\"
---
apiVersion: apps/v1
kind: Deployment
";

    fn shown(colour: bool) -> String {
        let decoded = decode("app.yaml", TEXT);
        render(&decoded.diagnostics, |_| Some(TEXT.to_owned()), colour)
    }

    #[test]
    fn a_finding_shows_its_line_and_marks_the_word() {
        assert_eq!(
            shown(false),
            "\
warning[unknown-field]: the field `metadata.lables` is not known: it has no effect
 --> app.yaml:5:3
  |
5 |   lables: {a: b}
  |   ^^^^^^
  = in Service default/echo, `metadata.lables`
  = help: did you mean `labels`?

error[invalid-object]: found the string \"eighty five\", expected a number from 0 to 65535
  --> app.yaml:12:13
   |
12 |     - port: \"eighty five\"
   |             ^^^^^^^^^^^^^
   = in Service default/echo, `spec.ports[0].port`
   = help: correct or remove the field; until then the object is not in force

note[passed-over]: 1 object of kind Deployment (apps/v1) skipped: not for this gateway
  --> app.yaml:15:7
   |
15 | kind: Deployment
   |       ^^^^^^^^^^

1 error, 1 warning, 1 note
"
        );
    }

    #[test]
    fn colours_do_not_change_the_text() {
        let coloured = shown(true);
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            plain.push_str(before);
            rest = after
                .split_once('m')
                .expect("the end of the escape sequence")
                .1;
        }
        plain.push_str(rest);

        assert_eq!(plain, shown(false));
    }

    #[test]
    fn positions_outside_the_file_and_control_characters_are_harmless() {
        let mut diagnostic = Diagnostic::error(FindingCode::Syntax, "a\u{1b}[2Jb", "y");
        diagnostic.file = "f".to_owned();
        diagnostic.line = 99;
        diagnostic.column = 99;

        let text = render(
            std::slice::from_ref(&diagnostic),
            |_| Some("a\u{7}".to_owned()),
            false,
        );

        assert!(
            text.starts_with("error[syntax]: a\u{fffd}[2Jb\n --> f:99:99\n"),
            "{text}"
        );
        diagnostic.line = 1;
        let text = render(&[diagnostic], |_| Some("a\u{7}".to_owned()), false);
        assert!(text.contains("1 | a\u{fffd}\n"), "{text}");
    }

    #[test]
    fn a_log_line_has_position_object_message_and_help() {
        let decoded = decode("app.yaml", TEXT);

        assert_eq!(
            brief(&decoded.diagnostics[0]),
            "app.yaml:5:3: Service default/echo: the field `metadata.lables` is not known: it has no effect \
             (did you mean `labels`?)"
        );
    }
}
