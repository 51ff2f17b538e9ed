//! Snippets: nginx configuration in annotations.
//!
//! Header edits, redirects, source ranges, timeouts and sizes are translated to settings. The verdict quotes
//! all other directives with their lines. If one of these is a guard, the paths of the Ingress return 500.

use super::snippet_conditions;
use super::{AnnotationReader, global_snippets};
use crate::ingress::nginx_conf::{Directive, parse};
use crate::ingress::settings::{Redirect, SnippetAction, SnippetLocation};
use crate::ingress::table::Risk;
use crate::ingress::value::{networks, size, url};
use crate::ingress::verdict::{Aspect, Finding};

pub(super) const ANY: &[Aspect] = &[
    Aspect::Status,
    Aspect::ResponseHeaders,
    Aspect::Body,
    Aspect::Calls,
    Aspect::RequestPath,
    Aspect::RequestHeaders,
];

/// Directives for buffers, logs and other internals of nginx, which have no equivalent.
const HOUSEKEEPING: [&str; 24] = [
    "access_log",
    "error_log",
    "chunked_transfer_encoding",
    "client_body_buffer_size",
    "client_header_buffer_size",
    "client_body_timeout",
    "fastcgi_buffers",
    "gzip",
    "keepalive_timeout",
    "large_client_header_buffers",
    "log_not_found",
    "proxy_buffer_size",
    "proxy_buffering",
    "proxy_buffers",
    "proxy_busy_buffers_size",
    "proxy_force_ranges",
    "proxy_http_version",
    "proxy_max_temp_file_size",
    "proxy_request_buffering",
    "proxy_cache_bypass",
    "sendfile",
    "server_tokens",
    "tcp_nodelay",
    "underscores_in_headers",
];

/// Header fields that the gateway itself sets, with the variables that have the same value.
const OF_THE_GATEWAY: [(&str, &[&str]); 9] = [
    ("host", &["$host", "$http_host", "$best_http_host"]),
    (
        "connection",
        &["upgrade", "$connection_upgrade", "", "Upgrade"],
    ),
    ("upgrade", &["$http_upgrade"]),
    (
        "x-forwarded-for",
        &["$proxy_add_x_forwarded_for", "$remote_addr"],
    ),
    (
        "x-forwarded-proto",
        &["$scheme", "$pass_access_scheme", "https"],
    ),
    ("x-forwarded-port", &["$server_port", "$pass_port", "443"]),
    ("x-scheme", &["$scheme"]),
    ("x-forwarded-scheme", &["$scheme"]),
    ("x-request-id", &["$req_id", "$request_id"]),
];

pub(super) fn read(reader: &mut AnnotationReader<'_>) {
    let allowed = reader.config.bool("allow-snippet-annotations", false)
        && reader.config.risk_level() >= Risk::Critical;
    for name in ["configuration-snippet", "server-snippet", "stream-snippet"] {
        if reader.has(name) && !allowed {
            let why = "snippets are off: they need `allow-snippet-annotations: \"true\"` and `annotations-risk-level: Critical`";
            reader.drop_ingress(name, why);
        }
    }
    if allowed {
        for name in ["configuration-snippet", "server-snippet"] {
            if let Some(text) = reader.text(name) {
                snippet(reader, name, text);
            }
        }
        if reader.has("auth-snippet") && reader.has("auth-url") {
            let text = "requests to the authentication server cannot be edited";
            reader.found("auth-snippet", Finding::impossible(text, ANY));
        }
    }
    global_snippets::read(reader);
}

fn snippet(reader: &mut AnnotationReader<'_>, name: &'static str, text: &str) {
    // The text of a block scalar begins on the line after its key.
    let first = reader.line(name) + usize::from(text.contains('\n'));
    let directives = match parse(text) {
        Ok(directives) => directives,
        Err(line) => {
            let why = format!(
                "it is not valid nginx configuration (line {})",
                first + line - 1
            );
            reader.drop_ingress(name, &why);
            return;
        }
    };
    let mut left = Vec::new();
    for directive in &directives {
        if !apply(reader, name == "server-snippet", directive) {
            left.push(directive);
        }
    }
    if left.is_empty() {
        let text = "its directives are filters and policies of the routes";
        reader.found(
            name,
            Finding::differs(text, &[Aspect::ResponseHeaders, Aspect::RequestHeaders]),
        );
        return;
    }
    let guards = left.iter().any(|directive| is_guard(directive));
    let lines: Vec<String> = left
        .iter()
        .map(|directive| {
            format!(
                "line {}: `{}`",
                first + directive.line - 1,
                shorten(&directive.text)
            )
        })
        .collect();
    let mut text = format!("not translated: {}", lines.join("; "));
    if guards {
        reader.settings.denied = Some(name.to_owned());
        text.push_str(". These guard requests, so the paths return 500 until they are replaced by a SecurityPolicy");
    }
    reader.found(name, Finding::impossible(text, ANY));
}

pub(super) fn shorten(text: &str) -> String {
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Whether a directive may reject requests.
pub(super) fn is_guard(directive: &Directive) -> bool {
    let rejects = |code: &String| code.starts_with(['4', '5', '$']);
    let own = match directive.name.as_str() {
        // The content of an `include` is unknown, so it may contain guards.
        "deny" | "allow" | "auth_request" | "auth_basic" | "satisfy" | "limit_except"
        | "limit_req" | "include" | "internal" | "ssl_verify_client" => true,
        "return" => directive.args.first().is_some_and(rejects),
        _ => directive.name.contains("_by_lua") || directive.name.starts_with("modsecurity"),
    };
    own || directive.block.iter().flatten().any(is_guard)
}

/// Converts a directive of a `server-snippet` or of a `configuration-snippet` to a setting. Returns `false`
/// if the directive has no equivalent.
pub(super) fn apply(
    reader: &mut AnnotationReader<'_>,
    of_server: bool,
    directive: &Directive,
) -> bool {
    let args: Vec<&str> = directive.args.iter().map(String::as_str).collect();
    let settings = &mut reader.settings;
    match (directive.name.as_str(), &args[..]) {
        (name, _) if HOUSEKEEPING.contains(&name) => true,
        ("add_header", [name, value] | [name, value, "always"]) => {
            set(&mut settings.response_headers, name, value)
        }
        ("more_set_headers", fields) => fields.iter().all(|field| {
            let Some((name, value)) = field.split_once(':') else {
                return false;
            };
            match value.trim() {
                "" => hide(&mut settings.hidden_headers, name.trim()),
                value => set(&mut settings.response_headers, name.trim(), value),
            }
        }),
        ("more_clear_headers", names) => names
            .iter()
            .all(|name| hide(&mut settings.hidden_headers, name.trim_end_matches(':'))),
        ("proxy_hide_header", [name]) => hide(&mut settings.hidden_headers, name),
        ("proxy_set_header", [name, value]) => request_header(reader, name, value),
        ("more_set_input_headers", fields) => fields.iter().all(|field| {
            let field = field.split_once(':');
            field.is_some_and(|(name, value)| request_header(reader, name.trim(), value.trim()))
        }),
        ("allow", ["all"]) => true,
        ("allow", [network]) => add_network(&mut settings.allow, network),
        ("deny", ["all"]) if !settings.allow.is_empty() => true,
        ("deny", ["all"]) => {
            add_network(&mut settings.deny, "0.0.0.0/0") && add_network(&mut settings.deny, "::/0")
        }
        ("deny", [network]) => add_network(&mut settings.deny, network),
        ("client_max_body_size", [text]) => {
            settings.proxy.body_size = size(text);
            settings.proxy.body_size.is_some()
        }
        ("proxy_read_timeout" | "proxy_send_timeout", [text]) => {
            let seconds = seconds(text);
            settings.proxy.idle_timeout = settings.proxy.idle_timeout.max(seconds);
            seconds.is_some()
        }
        ("proxy_connect_timeout", [text]) => {
            settings.proxy.connect_timeout = seconds(text);
            settings.proxy.connect_timeout.is_some()
        }
        ("return", [code, to]) => match redirect(code, to) {
            Some(redirect) => {
                settings.redirect = Some(redirect);
                true
            }
            None => false,
        },
        ("rewrite", [pattern, to, flag]) => {
            snippet_conditions::rewrite(reader, of_server, [*pattern, *to, *flag])
        }
        ("if", _) => snippet_conditions::condition(reader, of_server, directive),
        ("location", path) => {
            location(reader, path, directive.block.as_deref().unwrap_or_default())
        }
        _ => false,
    }
}

fn set(fields: &mut Vec<(String, String)>, name: &str, value: &str) -> bool {
    let valid = is_token(name) && !value.contains('$') && !value.contains('%');
    if valid {
        fields.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        fields.push((name.to_owned(), value.to_owned()));
    }
    valid
}

fn hide(fields: &mut Vec<String>, name: &str) -> bool {
    let valid = is_token(name);
    if valid && !fields.iter().any(|known| known == name) {
        fields.push(name.to_owned());
    }
    valid
}

fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

fn request_header(reader: &mut AnnotationReader<'_>, name: &str, value: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let known = OF_THE_GATEWAY.iter().find(|(known, _)| *known == lower);
    if known.is_some_and(|(_, values)| values.contains(&value)) {
        return true;
    }
    if lower == "host" {
        let fixed = !value.contains('$');
        if fixed {
            reader.settings.backend.vhost = Some(value.to_owned());
        }
        return fixed;
    }
    if matches!(
        lower.as_str(),
        "connection" | "upgrade" | "content-length" | "transfer-encoding"
    ) {
        return false;
    }
    match value {
        "" => hide(&mut reader.settings.removed_request_headers, name),
        value => set(&mut reader.settings.request_headers, name, value),
    }
}

fn add_network(list: &mut Vec<String>, text: &str) -> bool {
    let Ok(found) = networks(text) else {
        return false;
    };
    for network in found {
        if !list.contains(&network) {
            list.push(network);
        }
    }
    true
}

fn seconds(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    match &text[digits.len()..] {
        "" | "s" => Some(number),
        "m" => number.checked_mul(60),
        "h" => number.checked_mul(3600),
        "ms" => Some(number.div_ceil(1000)),
        _ => None,
    }
}

/// Parses a redirect to a fixed address, or to a path of the same host.
pub(super) fn redirect(code: &str, to: &str) -> Option<Redirect> {
    let code: u16 = code.parse().ok()?;
    if !matches!(code, 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let own = [
        "$scheme://$host",
        "$scheme://$http_host",
        "https://$host",
        "https://$http_host",
    ];
    let path = own.iter().find_map(|prefix| to.strip_prefix(prefix));
    let to = path.unwrap_or(to);
    let fixed = !to.contains('$') && (to.starts_with('/') || url(to).is_some());
    fixed.then(|| Redirect {
        to: to.to_owned(),
        code,
        keeps_query: false,
    })
}

/// The action of a block that only redirects or rejects every request.
pub(super) fn reply_of_block(block: &[Directive]) -> Option<SnippetAction> {
    let [directive] = block else {
        return None;
    };
    let args: Vec<&str> = directive.args.iter().map(String::as_str).collect();
    match (directive.name.as_str(), &args[..]) {
        ("return", [code, to]) => redirect(code, to).map(SnippetAction::Redirect),
        ("return", ["403" | "404" | "444" | "401"]) | ("deny", ["all"]) => {
            Some(SnippetAction::Reject)
        }
        _ => None,
    }
}

/// Adds a location whose block only redirects or rejects every request.
fn location(reader: &mut AnnotationReader<'_>, path: &[&str], block: &[Directive]) -> bool {
    let (path, exact, regex) = match path {
        ["=", path] => ((*path).to_owned(), true, false),
        ["~", path] => ((*path).to_owned(), false, true),
        ["~*", path] => (format!("(?i){path}"), false, true),
        ["^~", path] | [path] => ((*path).to_owned(), false, false),
        _ => return false,
    };
    if !regex && !path.starts_with('/') {
        return false;
    }
    let Some(action) = reply_of_block(block) else {
        return false;
    };
    reader.settings.locations.push(SnippetLocation {
        path,
        exact,
        regex,
        action,
    });
    true
}
