//! Settings of the data plane process.

use std::time::Duration;

use super::{EnvoyProxySpec, FileLog};

/// Settings of a data plane process. `None`: the default of the program.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ProcessSettings {
    /// Number of worker threads.
    pub workers: Option<u16>,
    /// Level of the process log.
    pub log: Option<String>,
    /// Time limit for requests in flight at shutdown.
    pub drain_timeout: Option<Duration>,
    /// Time for which a terminating process accepts connections.
    pub leave: Option<Duration>,
    /// Access log that replaces the default access log.
    pub access_log: Option<FileLog>,
    /// Whether requests are not logged: by `disable`, or because none of the settings can be applied.
    pub access_log_off: bool,
}

impl ProcessSettings {
    /// The settings of a valid spec.
    pub fn of(spec: &EnvoyProxySpec) -> Self {
        let levels = spec
            .logging
            .as_ref()
            .and_then(|logging| logging.level.as_ref());
        let shutdown = spec.shutdown.as_ref();
        let access_log = spec.applied_log();
        Self {
            workers: spec
                .concurrency
                .and_then(|number| u16::try_from(number).ok()),
            log: levels
                .and_then(|levels| levels.get("default"))
                .map(|level| level.as_str().to_owned()),
            drain_timeout: shutdown
                .and_then(|shutdown| shutdown.drain_timeout.as_ref())
                .and_then(|time| time.parse()),
            leave: shutdown
                .and_then(|shutdown| shutdown.min_drain_duration.as_ref())
                .and_then(|time| time.parse()),
            access_log: access_log.file,
            access_log_off: access_log.off,
        }
    }
}

impl ProcessSettings {
    /// Paths of the EnvoyProxy fields, without `spec`, whose values differ.
    pub fn differing(&self, other: &Self) -> Vec<&'static str> {
        let log = (&self.access_log, self.access_log_off);
        [
            ("concurrency", self.workers != other.workers),
            ("logging.level[default]", self.log != other.log),
            (
                "shutdown.drainTimeout",
                self.drain_timeout != other.drain_timeout,
            ),
            ("shutdown.minDrainDuration", self.leave != other.leave),
            (
                "telemetry.accessLog",
                log != (&other.access_log, other.access_log_off),
            ),
        ]
        .into_iter()
        .filter_map(|(field, differs)| differs.then_some(field))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_of_the_process_is_read() {
        let spec: EnvoyProxySpec = serde_json::from_str(
            r#"{"concurrency": 2, "logging": {"level": {"default": "warn"}},
                "shutdown": {"drainTimeout": "1m30s", "minDrainDuration": "5s"},
                "telemetry": {"accessLog": {"disable": true}}}"#,
        )
        .expect("the spec is read");

        assert_eq!(
            ProcessSettings::of(&spec),
            ProcessSettings {
                workers: Some(2),
                log: Some("warn".to_owned()),
                drain_timeout: Some(Duration::from_secs(90)),
                leave: Some(Duration::from_secs(5)),
                access_log: None,
                access_log_off: true,
            }
        );
        assert_eq!(
            ProcessSettings::of(&EnvoyProxySpec::default()),
            ProcessSettings::default()
        );
    }
}
