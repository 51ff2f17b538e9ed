//! Findings of `towergate check` and conditions of `towergate status` for a folder.

use super::{Folder, run};

/// A finding of `check`.
#[derive(Debug)]
pub struct Finding {
    /// Finding code.
    pub code: String,
    /// Severity: `error`, `warning` or `note`.
    pub severity: String,
    /// Name of the file, without the folder.
    pub file: String,
    /// Trimmed content of the line.
    pub line: String,
    /// Path of the field.
    pub field: String,
    /// Message.
    pub message: String,
    /// Advice.
    pub help: String,
}

/// A condition in the status of an object, or of one of its listeners, parents or ancestors.
#[derive(Debug, Eq, PartialEq)]
pub struct Condition {
    /// Type, such as `Accepted`.
    pub kind: String,
    /// Status: `True` or `False`.
    pub status: String,
    /// Reason.
    pub reason: String,
    /// `observedGeneration`.
    pub generation: String,
}

/// Runs a command on a folder, with an endpoint for the Service of team-a. Returns its output and exit
/// status.
pub fn command(folder: &Folder, command: &str, args: &[&str]) -> (String, Option<i32>) {
    let mut all = vec![command, folder.path().to_str().unwrap()];
    all.extend(["--endpoint", "team-a/echo:80=127.0.0.1:9"]);
    all.extend(args);
    let output = run(env!("CARGO_BIN_EXE_towergate"), &all);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (text, output.status.code())
}

/// Returns the findings of `check` for a folder.
pub fn findings(folder: &Folder) -> Vec<Finding> {
    let (text, _) = command(folder, "check", &["--format", "json"]);
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    found.as_array().unwrap().iter().map(finding).collect()
}

fn finding(found: &serde_json::Value) -> Finding {
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    let path = text("file");
    let number = found["line"].as_u64().unwrap() as usize;
    let content = std::fs::read_to_string(&path).unwrap_or_default();
    let line = content.lines().nth(number.saturating_sub(1));
    Finding {
        code: text("code"),
        severity: text("severity"),
        file: path.rsplit('/').next().unwrap_or_default().to_owned(),
        line: line.unwrap_or_default().trim().to_owned(),
        field: text("field"),
        message: text("message"),
        help: text("help"),
    }
}

/// Returns the conditions in the status of an object. `None` if it has no status.
pub fn conditions(folder: &Folder, kind: &str, name: &str) -> Option<Vec<Condition>> {
    let (all, _) = command(folder, "status", &[]);
    let document = all.split("---\n").find(|document| {
        document.contains(&format!("\nkind: {kind}\n"))
            && document.contains(&format!("\n  name: {name}\n"))
    })?;
    let (_, status) = document.split_once("\nstatus:")?;
    // The fields of a condition are sorted by name: `message` is the first.
    let each = status.split("- message:").skip(1);
    Some(each.map(condition).collect())
}

fn condition(text: &str) -> Condition {
    let field = |name: &str| {
        let lines = text.lines().map(str::trim);
        let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        values
            .next()
            .unwrap_or_default()
            .trim_matches('"')
            .to_owned()
    };
    Condition {
        kind: field("type"),
        status: field("status"),
        reason: field("reason"),
        generation: field("observedGeneration"),
    }
}
