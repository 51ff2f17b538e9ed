//! The log of the program on standard error.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, ParseError};

use crate::Failure;
use crate::args::LogFormat;

/// Starts logging. `directives` is a level or directives of [`EnvFilter`].
///
/// # Errors
/// If the directives are invalid.
pub(crate) fn init(format: LogFormat, directives: &str) -> Result<(), Failure> {
    let filter = parse(directives)
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

/// The filter of `directives`. The HTTP/2 library logs a warning for each invalid frame of a client, so a
/// client could fill the log. The library therefore logs only errors if the directives do not name it.
fn parse(directives: &str) -> Result<EnvFilter, ParseError> {
    let filter = EnvFilter::try_new(directives)?;
    let is_h2 = |directive: &str| {
        let target = directive.split(['=', '[', ':']).next();
        target.is_some_and(|target| target.trim() == "h2")
    };
    let is_verbose = filter.max_level_hint() > Some(LevelFilter::ERROR);
    if !is_verbose || directives.split(',').any(is_h2) {
        return Ok(filter);
    }
    EnvFilter::try_new(format!("h2=error,{directives}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_http2_library_logs_only_errors_unless_it_is_named() {
        for (directives, expected) in [
            ("info", "h2=error,info"),
            ("debug,hyper=info", "hyper=info,h2=error,debug"),
            ("off", "off"),
            ("error", "error"),
            ("info,h2=debug", "h2=debug,info"),
            ("h2::proto=trace,warn", "h2::proto=trace,warn"),
            ("h2", "h2=trace"),
        ] {
            assert_eq!(parse(directives).unwrap().to_string(), expected);
        }
        assert!(parse("a=b=c").is_err());
    }
}
