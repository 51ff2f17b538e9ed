//! ModSecurity. With `SecRuleEngine On` it rejects requests, so the paths return 500. Otherwise it only logs,
//! and the paths are served without it.

use super::AnnotationReader;
use super::global_snippets::OF_CONFIG_MAP;
use super::snippets::ANY;
use crate::ingress::controller::ControllerConfig;
use crate::ingress::verdict::Finding;

const SNIPPET: &str = "modsecurity-snippet";

/// The reason why the paths return 500.
const WHY: &str = "ModSecurity rejects requests (`SecRuleEngine On`) and is not supported, so the paths return 500. Put a web application firewall in front, and remove the setting to serve the paths without it";

pub(super) fn read(reader: &mut AnnotationReader<'_>) {
    let global = reader.config.bool("enable-modsecurity", false);
    if !reader.bool("enable-modsecurity").unwrap_or(global) {
        return;
    }
    if reader.text(SNIPPET).is_some_and(rejects) {
        reader.settings.denied = Some(SNIPPET.to_owned());
        for name in ["enable-modsecurity", "enable-owasp-core-rules", SNIPPET] {
            reader.found(name, Finding::impossible(WHY, ANY));
        }
    } else if reader.settings.denied.is_none() && reader.config.text(SNIPPET).is_some_and(rejects) {
        reader.settings.denied = Some(format!("{OF_CONFIG_MAP}{SNIPPET}"));
    }
}

/// The verdict on `modsecurity-snippet` of the ConfigMap. `None`: its rules reject no requests.
pub(crate) fn finding(config: &ControllerConfig, text: &str) -> Option<Finding> {
    let closes = config.bool("enable-modsecurity", false) && rejects(text);
    closes.then(|| Finding::impossible(WHY, ANY))
}

/// Whether rules are enforced.
fn rejects(snippet: &str) -> bool {
    snippet.lines().any(|line| {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default();
        let value = words.next().unwrap_or_default().trim_matches(['"', '\'']);
        name.eq_ignore_ascii_case("SecRuleEngine") && value.eq_ignore_ascii_case("On")
            || name.eq_ignore_ascii_case("Include")
    })
}
