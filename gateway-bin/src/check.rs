//! `towergate check`: finds mistakes without serving.

use std::io::IsTerminal;
use std::process::ExitCode;

use towergate_k8s::Diagnostic;
use towergate_k8s::decode::Severity;

use crate::args::{CheckArgs, FindingsFormat};
use crate::render;
use crate::world::World;
use crate::{Outcome, print};

/// Stands for the built-in echo backend, which only runs when something is served.
pub(crate) const NO_ECHO: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

/// Reads and resolves the manifests, and prints what is wrong.
///
/// # Errors
/// If standard output cannot be written.
pub(crate) fn check(args: &CheckArgs) -> Outcome {
    let reading = World::new(&args.manifests).read(true, |_| Some(NO_ECHO));
    let found = reading
        .map(|reading| reading.diagnostics)
        .unwrap_or_default();
    let text = match args.format {
        FindingsFormat::Json => serde_json::to_string_pretty(&found)? + "\n",
        FindingsFormat::Text => {
            let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            render::render(&found, |file| std::fs::read_to_string(file).ok(), colour)
        }
    };
    print(text.as_bytes())?;
    Ok(ExitCode::from(exit_status(&found, args.manifests.strict)))
}

fn exit_status(found: &[Diagnostic], strict: bool) -> u8 {
    if found.iter().any(|d| d.code == "unreadable") {
        return crate::USAGE;
    }
    let counts = |severity| found.iter().any(|d| d.severity == severity);
    u8::from(counts(Severity::Error) || strict && counts(Severity::Warning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_status_tells_the_worst() {
        let error = Diagnostic::error("x", "", "y");
        let warning = Diagnostic::warning("x", "", "y");
        let note = Diagnostic::note("x", "");
        let unreadable = Diagnostic::error("unreadable", "", "y");

        for (found, strict, status) in [
            (vec![], true, 0),
            (vec![note.clone()], true, 0),
            (vec![warning.clone()], false, 0),
            (vec![warning.clone()], true, 1),
            (vec![note, warning, error.clone()], false, 1),
            (vec![error, unreadable], false, 2),
        ] {
            assert_eq!(exit_status(&found, strict), status, "{found:?}");
        }
    }
}
