//! The settings of an EnvoyProxy for the process, if manifests come from folders.
//!
//! A flag that differs from its default takes precedence. The settings are read once, at startup.

use std::path::PathBuf;
use std::time::Duration;

use towergate_policy::envoy_proxy::ProcessSettings;

use crate::Failure;
use crate::args::RunArgs;
use crate::flags::{AccessLogFormat, OffOr, Seconds};

/// Default of `--drain-timeout`.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Default of `--log`.
const LOG: &str = "info";

/// Applies `settings` to `args`.
///
/// # Errors
/// If the format of the access log cannot be written as text. This does not occur in a valid EnvoyProxy.
pub(crate) fn apply(args: &mut RunArgs, settings: ProcessSettings) -> Result<(), Failure> {
    args.workers = args.workers.or(settings.workers);
    if let Some(level) = settings.log.filter(|_| args.log == LOG) {
        args.log = level;
    }
    if let Some(timeout) = settings
        .drain_timeout
        .filter(|_| args.drain_timeout() == DRAIN_TIMEOUT)
    {
        args.drain_timeout = Seconds(timeout);
    }
    let is_default = matches!(&args.access_log, OffOr::On(path) if path.as_os_str() == "-")
        && args.access_log_format == AccessLogFormat::Json
        && args.access_log_match.is_empty();
    if !is_default {
        return Ok(());
    }
    if let Some(log) = settings.access_log {
        args.access_log = OffOr::On(PathBuf::from(log.path));
        args.access_log_match = log.conditions;
        if let Some(format) = log.format {
            args.access_log_format = format.parse()?;
        }
    }
    if settings.access_log_off {
        args.access_log = OffOr::Off;
    }
    Ok(())
}
