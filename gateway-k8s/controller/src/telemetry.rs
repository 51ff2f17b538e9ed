//! The log on standard error.

use tracing_subscriber::EnvFilter;

use crate::Failure;
use crate::args::LogFormat;

/// Starts logging. `directives` is a level or directives of [`EnvFilter`].
///
/// # Errors
/// If the directives are invalid.
pub(crate) fn init(format: LogFormat, directives: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(directives)
        .map_err(|error| format!("--log: `{directives}` is not a level or directive: {error}"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Json => log.json().flatten_event(true).init(),
        LogFormat::Text => {
            let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            log.with_target(false).with_ansi(terminal).init();
        }
    }
    Ok(())
}
