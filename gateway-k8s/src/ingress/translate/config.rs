//! Verdicts on the controller's ConfigMap and flags, and on behaviour that no setting affects.

use super::Translator;
use crate::decode::nearest;
use crate::ingress::config_table::{self, ConfigValue, DefaultFacts};
use crate::ingress::controller::ControllerConfig;
use crate::ingress::input::{Manifests, Written};
use crate::ingress::servers::Server;
use crate::ingress::verdict::{Finding, MigrationVerdict, SettingKind, SourcePlace};

impl Translator<'_> {
    /// Records the verdict on each key and flag, and on the differences that no setting affects.
    pub(crate) fn settings_of_the_controller(&mut self) {
        let config = self.config;
        let manifests = self.manifests;
        let mut verdicts = Vec::new();
        for (key, written) in &config.values {
            let finding = match config_table::key(key) {
                Some(row) => row.finding(&value(config, manifests, key, written)),
                None => unknown("ConfigMap key", key, config_table::keys()),
            };
            verdicts.push(MigrationVerdict {
                object: config.object.clone(),
                kind: SettingKind::ConfigKey,
                setting: key.clone(),
                value: written.text.clone(),
                place: config.place(key),
                outcome: finding.outcome,
                text: finding.text,
                affects: finding.affects,
                example: None,
            });
        }
        for (name, written) in &config.flags {
            let finding = match config_table::flag(name) {
                Some(row) => row.finding(&value(config, manifests, name, written)),
                None => unknown("flag", name, config_table::flags()),
            };
            let (object, file) = config.origin_of_flag(name);
            verdicts.push(MigrationVerdict {
                object: object.to_owned(),
                kind: SettingKind::Flag,
                setting: format!("--{name}"),
                value: written.text.clone(),
                place: SourcePlace {
                    file: file.to_owned(),
                    line: written.line,
                },
                outcome: finding.outcome,
                text: finding.text,
                affects: finding.affects,
                example: None,
            });
        }
        self.verdicts.extend(verdicts);
        self.settings_that_are_not_read();
        self.stream_verdicts();
        self.defaults();
    }

    fn defaults(&mut self) {
        let servers = &self.servers.servers;
        let redirecting = |server: &&Server| {
            let mut locations = server.locations.iter();
            locations.any(|location| {
                let settings = self.servers.settings(location);
                self.redirects(server, location)
                    && settings.is_some_and(|settings| !settings.preserve_trailing_slash)
            })
        };
        let facts = DefaultFacts {
            config: self.config,
            keeps_slashes: !servers.iter().any(|server| redirecting(&server)),
            has_own_listeners: servers
                .iter()
                .any(|server| server.client_cert.is_some() || server.passthrough.is_some()),
            redirects_by_server: servers
                .iter()
                .any(|server| server.app_root.is_some() || server.redirect_from.is_some()),
        };
        for (name, finding) in config_table::defaults(&facts) {
            self.default_behaviour(name, finding);
        }
    }
}

fn value<'a>(
    config: &'a ControllerConfig,
    manifests: &'a Manifests,
    name: &'a str,
    written: &'a Written,
) -> ConfigValue<'a> {
    ConfigValue {
        name,
        text: written.text.trim(),
        config,
        manifests,
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Finding {
    let similar = match nearest(name, known) {
        Some(nearest) => format!("; the most similar one is `{nearest}`"),
        None => String::new(),
    };
    let text = format!("unknown {what}{similar}. The setting has no effect in the gateway");
    Finding::decision(text, &[])
}
