//! `towergate check`: reports errors in manifests without serving them.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use towergate_k8s::decode::Severity;
use towergate_k8s::{Diagnostic, FindingCode};

use crate::args::{CheckArgs, FindingsFormat, ManifestArgs};
use crate::manifest_loader::ManifestLoader;
use crate::preflight_hosts;
use crate::render;
use crate::{Failure, Outcome, print};

/// Placeholder address of the built-in echo backend, which only `run` starts.
pub(crate) const NO_ECHO: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

/// The path that selects standard input, and the name of standard input in diagnostics.
const STDIN: (&str, &str) = ("-", "<stdin>");
/// Largest manifest on standard input, in bytes.
const MAX_INPUT: u64 = 64 * 1024 * 1024;

/// Reads and resolves the manifests, and prints the diagnostics.
///
/// # Errors
/// If standard input cannot be read, standard output cannot be written, or no lookup can be started.
pub(crate) fn check(args: &CheckArgs) -> Outcome {
    let input = read_stdin(&args.manifests.paths)?;
    let mut loader = loader(&args.manifests, input.clone());
    let reading = loader.read(true, |_| Some(NO_ECHO));
    let mut found = reading
        .map(|reading| reading.diagnostics)
        .unwrap_or_default();
    if args.resolve {
        let looked_up = preflight_hosts::find(loader.objects(), &args.dns_server)?;
        add_new(&mut found, looked_up);
    }
    let text = match args.format {
        FindingsFormat::Json => serde_json::to_string_pretty(&found)? + "\n",
        FindingsFormat::Text => {
            let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let text = |file: &str| match &input {
                Some(text) if file == STDIN.1 => Some(text.clone()),
                _ => std::fs::read_to_string(file).ok(),
            };
            render::render(&found, text, colour)
        }
    };
    print(text.as_bytes())?;
    Ok(ExitCode::from(exit_status(&found, args.manifests.strict)))
}

/// Adds the findings of `more`, except for fields that already have a finding with the same code. The
/// findings stay sorted by place.
fn add_new(found: &mut Vec<Diagnostic>, more: Vec<Diagnostic>) {
    let place = |d: &Diagnostic| (d.code, d.kind.clone(), d.object.clone(), d.field.clone());
    let known: BTreeSet<_> = found.iter().map(place).collect();
    found.extend(more.into_iter().filter(|one| !known.contains(&place(one))));
    found.sort_by(|a, b| {
        let by_place = |d: &Diagnostic| (d.file.clone(), d.line, d.column);
        by_place(a).cmp(&by_place(b))
    });
}

/// Standard input as text, if `-` is one of the paths.
///
/// # Errors
/// If standard input cannot be read, is not UTF-8 or exceeds 64 MiB.
pub(crate) fn read_stdin(paths: &[PathBuf]) -> Result<Option<String>, Failure> {
    if !paths.iter().any(|path| path == Path::new(STDIN.0)) {
        return Ok(None);
    }
    let mut text = String::new();
    let read = std::io::stdin()
        .take(MAX_INPUT + 1)
        .read_to_string(&mut text);
    let read = read.map_err(|error| format!("standard input cannot be read: {error}"))?;
    if u64::try_from(read).unwrap_or(u64::MAX) > MAX_INPUT {
        return Err("standard input is larger than 64 MiB; pass files instead".into());
    }
    Ok(Some(text))
}

/// A loader for the paths of `args` and standard input.
pub(crate) fn loader(args: &ManifestArgs, input: Option<String>) -> ManifestLoader {
    let mut files = args.clone();
    files.paths.retain(|path| path != Path::new(STDIN.0));
    let loader = ManifestLoader::new(&files);
    match input {
        // Empty input is reported like an empty folder.
        Some(text) if !text.trim().is_empty() => loader.with_text(STDIN.1, text),
        _ => loader,
    }
}

/// Exit status: 2 if a file is unreadable or nothing was checked, 1 if there are errors. With `strict`, also
/// 1 if there are warnings.
fn exit_status(found: &[Diagnostic], strict: bool) -> u8 {
    if found
        .iter()
        .any(|d| matches!(d.code, FindingCode::Unreadable | FindingCode::NoManifest))
    {
        return crate::USAGE;
    }
    let has = |severity| found.iter().any(|d| d.severity == severity);
    u8::from(has(Severity::Error) || strict && has(Severity::Warning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_status_is_that_of_the_worst_finding() {
        let error = Diagnostic::error(FindingCode::Syntax, "", "y");
        let warning = Diagnostic::warning(FindingCode::UnknownField, "", "y");
        let note = Diagnostic::note(FindingCode::PassedOver, "");
        let unreadable = Diagnostic::error(FindingCode::Unreadable, "", "y");

        for (found, strict, status) in [
            (vec![], true, 0),
            (vec![note.clone()], true, 0),
            (vec![warning.clone()], false, 0),
            (vec![warning.clone()], true, 1),
            (vec![note, warning, error.clone()], false, 1),
            (vec![error, unreadable], false, 2),
            (
                vec![Diagnostic::warning(FindingCode::NoManifest, "", "y")],
                false,
                2,
            ),
        ] {
            assert_eq!(exit_status(&found, strict), status, "{found:?}");
        }
    }
}
