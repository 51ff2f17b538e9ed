//! Verdicts on settings of a controller that are in the files but are not read.

use super::Translator;
use crate::ingress::controller::unused_settings;
use crate::ingress::verdict::{Aspect, Finding, MigrationVerdict, SettingKind, SourcePlace};

/// Parts of exchanges that may differ because settings are not read.
const ANY: &[Aspect] = &[
    Aspect::Status,
    Aspect::Calls,
    Aspect::Body,
    Aspect::ResponseHeaders,
];

impl Translator<'_> {
    /// Records fields and ConfigMaps with settings that the translation does not contain.
    pub(crate) fn settings_that_are_not_read(&mut self) {
        for unread in &self.manifests.unread {
            let finding = match unread.field.as_str() {
                "scope" => Finding::decision(
                    "the controller watches its own namespace only, which the values do not name, so the Ingresses of all namespaces are translated: pass --nginx-flag watch-namespace=NAMESPACE",
                    &[],
                ),
                "defaultBackend" => Finding::decision(
                    format!(
                        "its Service is `{}` if the release has the name and the namespace `ingress-nginx`: for another release, pass --nginx-flag default-backend-service=NAMESPACE/NAME",
                        self.config
                            .flag("default-backend-service")
                            .unwrap_or_default()
                    ),
                    &[Aspect::Status, Aspect::Calls, Aspect::Body],
                ),
                _ => Finding::impossible(
                    "these settings of ingress-nginx are not read, and restrictions in them are lost: add the ConfigMap and the Deployment of the controller to the files",
                    ANY,
                ),
            };
            self.verdicts.push(verdict(
                &unread.object,
                &unread.field,
                unread.place.clone(),
                finding,
            ));
        }
        let config = self.config;
        for (key, data, restricts) in unused_settings(self.manifests, &config.object) {
            let text = match config.object.is_empty() {
                true => "the ConfigMap contains settings of ingress-nginx and is not read, because no controller names it: pass --nginx-flag configmap=NAMESPACE/NAME".to_owned(),
                false => format!(
                    "the ConfigMap contains settings of ingress-nginx and is not read, because the settings of {} apply: if the ConfigMap belongs to this controller, pass --nginx-flag configmap=NAMESPACE/NAME",
                    config.object
                ),
            };
            let finding = match restricts && config.object.is_empty() {
                true => Finding::impossible(text, ANY),
                false => Finding::decision(text, ANY),
            };
            let line = data.values.values().map(|written| written.line).min();
            let place = SourcePlace {
                file: data.file.to_string(),
                line: line.unwrap_or_default(),
            };
            self.verdicts
                .push(verdict(&format!("ConfigMap {key}"), "data", place, finding));
        }
        if !config.combined.is_empty() {
            let text = format!(
                "the flags of {} are combined, although they select different classes: run the command for each controller with --nginx-flag ingress-class=NAME and its --nginx-flag controller-class",
                config.combined.join(" and ")
            );
            let finding = Finding::decision(text, ANY);
            self.verdicts.push(verdict(
                &config.flags_object,
                "controllers",
                SourcePlace::default(),
                finding,
            ));
        }
    }
}

fn verdict(object: &str, setting: &str, place: SourcePlace, finding: Finding) -> MigrationVerdict {
    MigrationVerdict {
        object: object.to_owned(),
        kind: SettingKind::Field,
        setting: setting.to_owned(),
        value: String::new(),
        place,
        outcome: finding.outcome,
        text: finding.text,
        affects: finding.affects,
        example: None,
    }
}
