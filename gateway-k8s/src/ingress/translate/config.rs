//! Verdicts on the controller's ConfigMap and flags, and on behaviour that no setting affects.

use super::Translator;
use crate::decode::nearest;
use crate::ingress::config_table::{self, ConfigRow};
use crate::ingress::verdict::{Finding, MigrationVerdict, SettingKind, SourcePlace};

impl Translator<'_> {
    /// Records the verdict on each key and flag, and the differences of the defaults.
    pub(crate) fn settings_of_the_controller(&mut self) {
        let config = self.config;
        for (key, written) in &config.values {
            let finding = match config_table::key(key) {
                Some(row) => finding(row),
                None => unknown("ConfigMap key", key, config_table::keys()),
            };
            self.verdicts.push(MigrationVerdict {
                object: config.object.clone(),
                kind: SettingKind::ConfigKey,
                setting: key.clone(),
                value: written.text.clone(),
                place: config.place(key),
                outcome: finding.outcome,
                text: finding.text,
                affects: finding.affects,
            });
        }
        for (name, written) in &config.flags {
            let finding = match config_table::flag(name) {
                Some(row) => finding(row),
                None => unknown("flag", name, config_table::flags()),
            };
            self.verdicts.push(MigrationVerdict {
                object: config.flags_object.clone(),
                kind: SettingKind::Flag,
                setting: format!("--{name}"),
                value: written.text.clone(),
                place: SourcePlace {
                    file: config.flags_file.to_string(),
                    line: written.line,
                },
                outcome: finding.outcome,
                text: finding.text,
                affects: finding.affects,
            });
        }
        self.stream_verdicts();
        for (name, text, affects) in config_table::DEFAULTS {
            self.default_behaviour(name, Finding::differs(*text, affects));
        }
    }
}

fn finding(row: &ConfigRow) -> Finding {
    match row {
        ConfigRow::Same(text) => Finding::same(*text),
        ConfigRow::Differs(text, affects) => Finding::differs(*text, affects),
        ConfigRow::Decide(text, affects) => Finding::decision(*text, affects),
        ConfigRow::Never(text, affects) => Finding::impossible(*text, affects),
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Finding {
    let similar = match nearest(name, known) {
        Some(nearest) => format!("; the most similar one is `{nearest}`"),
        None => String::new(),
    };
    let text = format!("unknown {what}{similar}. It has no effect here");
    Finding::decision(text, &[])
}
