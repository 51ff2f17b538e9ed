//! Snippets: nginx configuration in annotations.
//!
//! Header edits, redirects, source ranges, timeouts and sizes are translated to settings. The verdict quotes
//! all other directives with their lines. If one of these directives is a guard, the paths of the Ingress
//! return 500.

use super::directives::may_reject;
use super::snippet_conditions;
use super::{AnnotationReader, global_snippets};
use crate::ingress::deny_rules::{DenyRule, PartTest, RequestCondition, RequestPart};
use crate::ingress::nginx_conf::{Directive, parse};
use crate::ingress::settings::{AccessRule, Redirect, SnippetLocation};
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

/// Header fields that the gateway itself sets, each with the nginx variables that have the same value as the
/// field.
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

/// The result of translating a directive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Applied {
    /// The directive is translated to a setting, or has no effect.
    Translated,
    /// The directive has no equivalent. The requests that it covers return 403.
    Rejected,
    /// The directive has no equivalent and is only reported.
    Left,
}

impl Applied {
    pub(super) fn if_translated(translated: bool) -> Self {
        match translated {
            true => Self::Translated,
            false => Self::Left,
        }
    }
}

/// The directives of a snippet that have no equivalent.
#[derive(Default)]
pub(super) struct Leftovers {
    /// Directives with their lines.
    pub(super) lines: Vec<String>,
    /// Whether one of the directives may reject any request.
    pub(super) guards: bool,
    /// Whether the requests that one of the directives covers return 403.
    rejects: bool,
}

impl Leftovers {
    pub(super) fn add(&mut self, directive: &Directive, line: usize, guards: bool) {
        self.guards |= guards;
        let text = shorten(&directive.text);
        self.lines.push(format!("line {line}: `{text}`"));
    }

    /// The text of a verdict: the directives, and the effect on requests. `paths` describes the paths to
    /// which the snippet applies.
    pub(super) fn text(&self, paths: &str) -> String {
        let mut text = format!("not translated: {}", self.lines.join("; "));
        if self.guards {
            text.push_str(&format!(
                ". These may reject requests, so {paths} return 500. Replace them by a SecurityPolicy, or remove them from the snippet to serve the paths without them"
            ));
        } else if self.rejects {
            text.push_str(". The requests that a location or an `if` covers return 403; other requests are served");
        }
        text
    }
}

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
        if let Some(text) = reader.text("configuration-snippet") {
            snippet(reader, "configuration-snippet", text);
        }
        if let Some(text) = reader.text("server-snippet") {
            server_snippet(reader, text);
        }
        auth_snippet(reader);
    }
    global_snippets::read(reader);
}

/// Reads `server-snippet`, whose settings apply to the host.
fn server_snippet(reader: &mut AnnotationReader<'_>, text: &str) {
    let own = std::mem::take(&mut reader.settings);
    snippet(reader, "server-snippet", text);
    let of_server = std::mem::replace(&mut reader.settings, own);
    let settings = &mut reader.settings;
    if of_server.dropped.is_some() {
        settings.dropped.clone_from(&of_server.dropped);
    }
    if settings.denied.is_none() {
        settings.denied.clone_from(&of_server.denied);
    }
    settings.of_server = Some(Box::new(of_server));
}

/// Reads `auth-snippet`: directives for requests to the authentication server.
fn auth_snippet(reader: &mut AnnotationReader<'_>) {
    let Some(text) = reader.text("auth-snippet") else {
        return;
    };
    if !reader.has("auth-url") {
        return;
    }
    let guards = parse(text).map_or(true, |directives| directives.iter().any(may_reject));
    let mut why = "requests to the authentication server cannot be edited".to_owned();
    if guards {
        reader.settings.denied = Some("auth-snippet".to_owned());
        why.push_str(". A directive may reject requests, so the paths return 500: let the authentication server decide, and remove the directive");
    }
    reader.found("auth-snippet", Finding::impossible(why, ANY));
}

fn snippet(reader: &mut AnnotationReader<'_>, name: &'static str, text: &str) {
    // The text of a block scalar begins on the line after its key.
    let first = reader.line(name) + usize::from(text.contains('\n'));
    let directives = match parse(text) {
        Ok(directives) => directives,
        Err(line) => {
            let why = format!(
                "line {} cannot be read as nginx configuration, such as a block of Lua. The snippet may reject requests, so {} return 500: remove the snippet to serve them",
                first + line - 1,
                covered(name)
            );
            reader.settings.denied = Some(name.to_owned());
            reader.found(name, Finding::impossible(why, ANY));
            return;
        }
    };
    let mut left = Leftovers::default();
    for directive in &directives {
        let applied = apply(reader, name == "server-snippet", directive);
        if applied != Applied::Translated {
            let guards = applied == Applied::Left && may_reject(directive);
            left.rejects |= applied == Applied::Rejected;
            left.add(directive, first + directive.line - 1, guards);
        }
    }
    if left.lines.is_empty() {
        let finding = match reader.settings.deny_rules.is_empty() {
            true => Finding::differs(
                "its directives are filters and policies of the routes",
                &[Aspect::ResponseHeaders, Aspect::RequestHeaders],
            ),
            false => Finding::differs(
                "its directives are filters and policies of the routes. Requests that it rejects return 403, after a redirect to HTTPS",
                ANY,
            ),
        };
        reader.found(name, finding);
        return;
    }
    if left.guards {
        reader.settings.denied = Some(name.to_owned());
    }
    reader.found(name, Finding::impossible(left.text(covered(name)), ANY));
}

/// The paths to which a snippet applies, for verdicts.
fn covered(name: &str) -> &'static str {
    match name {
        "server-snippet" => "all paths of the host",
        _ => "the paths",
    }
}

pub(super) fn shorten(text: &str) -> String {
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Converts a directive of a `server-snippet` or of a `configuration-snippet` to settings.
pub(super) fn apply(
    reader: &mut AnnotationReader<'_>,
    of_server: bool,
    directive: &Directive,
) -> Applied {
    let args: Vec<&str> = directive.args.iter().map(String::as_str).collect();
    let block = directive.block.as_deref().unwrap_or_default();
    match (directive.name.as_str(), &args[..]) {
        ("return", _) => reply(reader, &args),
        ("rewrite", [pattern, to, flag]) => {
            snippet_conditions::rewrite(reader, of_server, [*pattern, *to, *flag])
        }
        ("if", _) => snippet_conditions::condition(reader, of_server, directive),
        ("location", path) => location(reader, path, block),
        ("limit_except", methods) => limit_except(reader, methods, block),
        ("try_files", files) if is_status(files.last()) => {
            // nginx has no file for a path that a backend serves, so `try_files` ends with its status 404.
            deny(reader, Vec::new(), Some(404));
            Applied::Translated
        }
        ("allow" | "deny", [network]) => {
            Applied::if_translated(access(reader, directive.name == "allow", network))
        }
        _ => Applied::if_translated(edit(reader, directive, &args)),
    }
}

/// Converts a directive about header fields, timeouts and sizes. Returns `false` if that is not possible.
fn edit(reader: &mut AnnotationReader<'_>, directive: &Directive, args: &[&str]) -> bool {
    let settings = &mut reader.settings;
    match (directive.name.as_str(), args) {
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
        ("more_clear_input_headers", names) => names.iter().all(|name| {
            hide(
                &mut settings.removed_request_headers,
                name.trim_end_matches(':'),
            )
        }),
        ("proxy_hide_header", [name]) => hide(&mut settings.hidden_headers, name),
        ("proxy_set_header" | "grpc_set_header", [name, value]) => {
            request_header(reader, name, value)
        }
        ("more_set_input_headers", fields) => fields
            .iter()
            .filter_map(|field| field.split_once(':'))
            .map(|(name, value)| request_header(reader, name.trim(), value.trim()))
            .fold(
                fields.iter().all(|field| field.contains(':')),
                |all, one| all && one,
            ),
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
        _ => false,
    }
}

/// Reads `return` for all requests.
fn reply(reader: &mut AnnotationReader<'_>, args: &[&str]) -> Applied {
    if let [code, to] | [to @ code] = args
        && let Some(redirect) = redirect(if code == to { "302" } else { code }, to)
    {
        reader.settings.redirect = Some(redirect);
        return Applied::Translated;
    }
    let status = args.first().and_then(|code| rejection(code));
    deny(reader, Vec::new(), status);
    match status {
        Some(_) => Applied::Translated,
        None => Applied::Rejected,
    }
}

/// Reads `limit_except`, which denies all methods except those that it lists.
fn limit_except(
    reader: &mut AnnotationReader<'_>,
    methods: &[&str],
    block: &[Directive],
) -> Applied {
    let mut methods: Vec<&str> = methods.to_vec();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    let condition = RequestCondition {
        part: RequestPart::Method,
        test: PartTest::Matches(format!("^(?:{})$", methods.join("|"))),
        negated: true,
    };
    let denies = matches!(block, [one] if one.name == "deny" && one.args == ["all"]);
    deny(reader, vec![condition], denies.then_some(403));
    match denies {
        true => Applied::Translated,
        false => Applied::Rejected,
    }
}

/// Adds a rule that rejects requests.
pub(super) fn deny(
    reader: &mut AnnotationReader<'_>,
    conditions: Vec<RequestCondition>,
    status: Option<u16>,
) {
    reader.settings.deny_rules.push(DenyRule {
        conditions,
        status,
        below_paths: false,
    });
}

fn is_status(file: Option<&&str>) -> bool {
    file.and_then(|file| file.strip_prefix('='))
        .is_some_and(|code| rejection(code).is_some())
}

/// A status that rejects a request. `None`: another status, or a variable.
fn rejection(code: &str) -> Option<u16> {
    code.parse().ok().filter(|code| (400..600).contains(code))
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
    let settings = &mut reader.settings;
    if value.is_empty() {
        return hide(&mut settings.removed_request_headers, name);
    }
    let is_set = set(&mut settings.request_headers, name, value);
    if !is_set {
        // The client's own field is removed, so that the backend does not mistake it for the field of nginx.
        hide(&mut settings.removed_request_headers, name);
    }
    is_set
}

/// Reads `allow` or `deny`.
fn access(reader: &mut AnnotationReader<'_>, allow: bool, network: &str) -> bool {
    let found = match network {
        "all" => Ok(vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()]),
        one => networks(one),
    };
    let Ok(found) = found else {
        return false;
    };
    let rules = &mut reader.settings.access_rules;
    rules.extend(
        found
            .into_iter()
            .map(|network| AccessRule { allow, network }),
    );
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

/// The status of a block that only rejects requests.
pub(super) fn rejection_of_block(block: &[Directive]) -> Option<u16> {
    let mut effective = block.iter().filter(|one| may_reject(one));
    let (first, None) = (effective.next()?, effective.next()) else {
        return None;
    };
    match (first.name.as_str(), &first.args[..]) {
        ("return", [code, ..]) => rejection(code),
        ("deny", [all]) if all == "all" => Some(403),
        _ => None,
    }
}

/// The redirect of a block that is one redirect.
pub(super) fn redirect_of_block(block: &[Directive]) -> Option<Redirect> {
    let [directive] = block else {
        return None;
    };
    match (directive.name.as_str(), &directive.args[..]) {
        ("return", [code, to]) => redirect(code, to),
        _ => None,
    }
}

/// Converts a `location`. nginx serves the requests of a location only by the directives in its block. If the
/// block has no equivalent, these requests are rejected.
fn location(reader: &mut AnnotationReader<'_>, path: &[&str], block: &[Directive]) -> Applied {
    let below_paths = path.len() == 1;
    let (path, exact, regex) = match path {
        ["=", path] => ((*path).to_owned(), true, false),
        ["~", path] => ((*path).to_owned(), false, true),
        ["~*", path] => (format!("(?i){path}"), false, true),
        ["^~", path] | [path] => ((*path).to_owned(), false, false),
        _ => return Applied::Left,
    };
    if !regex && !path.starts_with('/') {
        return Applied::Left;
    }
    if let Some(redirect) = redirect_of_block(block) {
        reader.settings.locations.push(SnippetLocation {
            path,
            exact,
            regex,
            redirect,
        });
        return Applied::Translated;
    }
    let status = rejection_of_block(block);
    let test = match (exact, regex) {
        (true, _) => PartTest::Equals(path),
        (_, true) => PartTest::Matches(path),
        _ => PartTest::StartsWith(path),
    };
    let mut rule = DenyRule::of_path(test, status);
    rule.below_paths = below_paths;
    if rule.cel().is_none() {
        return Applied::Left;
    }
    reader.settings.deny_rules.push(rule);
    match status {
        Some(_) => Applied::Translated,
        None => Applied::Rejected,
    }
}
