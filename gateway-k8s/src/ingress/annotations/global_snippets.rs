//! Snippets and `block-cidrs` of the ConfigMap, which apply to the paths of all Ingresses.
//!
//! The directives are translated like those of annotations. If a guard has no equivalent, all paths return
//! 500.

use super::directives::may_reject;
use super::snippets::{ANY, Applied, Leftovers, apply};
use super::{AnnotationReader, blocked_clients};
use crate::ingress::controller::ControllerConfig;
use crate::ingress::input::{Ingress, Manifests};
use crate::ingress::nginx_conf::{Directive, parse};
use crate::ingress::settings::IngressSettings;
use crate::ingress::value::networks;
use crate::ingress::verdict::{Aspect, Finding};

/// Keys of the ConfigMap with snippets: for all locations, for all servers, and for the whole configuration.
const GLOBAL_SNIPPETS: [&str; 3] = ["location-snippet", "server-snippet", "http-snippet"];

/// Prefix in `IngressSettings::denied` of a setting in the ConfigMap. This setting makes the paths of all
/// Ingresses return 500.
pub(crate) const OF_CONFIG_MAP: &str = "ConfigMap ";

/// Blocks of an `http-snippet` whose content is not applied to requests of Ingresses.
const OTHER_BLOCKS: [&str; 6] = ["geo", "map", "server", "split_clients", "types", "upstream"];

/// The settings of a snippet, and the directives that cannot be translated.
struct GlobalSnippet {
    settings: IngressSettings,
    /// The directives without an equivalent.
    left: Leftovers,
}

/// Adds the settings of the ConfigMap to the settings of an Ingress. The settings of the Ingress take
/// precedence.
pub(super) fn read(reader: &mut AnnotationReader<'_>) {
    for name in GLOBAL_SNIPPETS {
        if let Some(text) = reader.config.text(name) {
            let snippet = global_snippet(reader.config, reader.manifests, name, text);
            add(&mut reader.settings, snippet.settings, name);
        }
    }
    block_cidrs(reader);
    blocked_clients::add(&mut reader.settings, reader.config);
}

/// The settings of a location that belongs to no Ingress.
pub(crate) fn without_ingress(config: &ControllerConfig, manifests: &Manifests) -> IngressSettings {
    let ingress = Ingress::default();
    let mut reader = AnnotationReader::empty(&ingress, config, manifests);
    read(&mut reader);
    reader.settings
}

/// The verdict on a snippet of the ConfigMap.
pub(crate) fn finding(
    config: &ControllerConfig,
    manifests: &Manifests,
    name: &str,
    text: &str,
) -> Finding {
    let snippet = global_snippet(config, manifests, name, text);
    if snippet.left.lines.is_empty() {
        let text = "its directives are filters and policies of the routes of all Ingresses; other requests, such as those to unknown hosts, do not have them";
        return match snippet.settings.deny_rules.is_empty() {
            true => Finding::differs(text, &[Aspect::ResponseHeaders, Aspect::RequestHeaders]),
            false => Finding::differs(format!("{text}. Requests that it rejects return 403"), ANY),
        };
    }
    Finding::impossible(snippet.left.text("the paths of all Ingresses"), ANY)
}

fn global_snippet(
    config: &ControllerConfig,
    manifests: &Manifests,
    name: &str,
    text: &str,
) -> GlobalSnippet {
    let ingress = Ingress::default();
    let mut reader = AnnotationReader::empty(&ingress, config, manifests);
    let mut left = Leftovers::default();
    match parse(text) {
        Ok(directives) => {
            for directive in &directives {
                let applied = apply(&mut reader, true, directive);
                if applied != Applied::Translated {
                    let guards = applied == Applied::Left && is_guard_of(name, directive);
                    left.add(directive, directive.line, guards);
                }
            }
        }
        Err(line) => {
            left.lines.push(format!("line {line} cannot be read"));
            left.guards = true;
        }
    }
    let mut settings = reader.settings;
    if left.guards {
        settings.denied = Some(format!("{OF_CONFIG_MAP}{name}"));
    }
    GlobalSnippet { settings, left }
}

fn is_guard_of(name: &str, directive: &Directive) -> bool {
    let other = name == "http-snippet" && OTHER_BLOCKS.contains(&directive.name.as_str());
    !other && may_reject(directive)
}

/// Adds the settings of a snippet. If a location has its own source ranges, nginx ignores those of the server
/// and of the whole configuration.
pub(crate) fn add(settings: &mut IngressSettings, global: IngressSettings, name: &str) {
    if name == "location-snippet" || !settings.has_source_ranges() {
        settings.access_rules.extend(global.access_rules);
    }
    settings.deny_rules.extend(global.deny_rules);
    if settings.denied.is_none() {
        settings.denied = global.denied;
    }
    if settings.redirect.is_none() {
        settings.redirect = global.redirect;
    }
    let vhost = &mut settings.backend.vhost;
    *vhost = vhost.take().or(global.backend.vhost);
    let (own, proxy) = (&mut settings.proxy, global.proxy);
    own.body_size = own.body_size.or(proxy.body_size);
    own.idle_timeout = own.idle_timeout.or(proxy.idle_timeout);
    own.connect_timeout = own.connect_timeout.or(proxy.connect_timeout);
    add_fields(&mut settings.response_headers, global.response_headers);
    add_fields(&mut settings.request_headers, global.request_headers);
    settings.hidden_headers.extend(global.hidden_headers);
    let removed = &mut settings.removed_request_headers;
    removed.extend(global.removed_request_headers);
    settings.locations.extend(global.locations);
}

fn add_fields(own: &mut Vec<(String, String)>, global: Vec<(String, String)>) {
    for (name, value) in global {
        if !own
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(&name))
        {
            own.push((name, value));
        }
    }
}

/// Reads `block-cidrs`, which adds `deny` directives to the whole configuration.
fn block_cidrs(reader: &mut AnnotationReader<'_>) {
    let settings = &mut reader.settings;
    let Some(text) = reader.config.text("block-cidrs") else {
        return;
    };
    if settings.has_source_ranges() {
        return;
    }
    match networks(text) {
        Ok(blocked) => settings.deny = blocked,
        Err(_) => settings.denied = Some(format!("{OF_CONFIG_MAP}block-cidrs")),
    }
}
