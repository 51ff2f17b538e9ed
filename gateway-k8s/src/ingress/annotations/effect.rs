//! Annotations without an effect: another annotation takes precedence, or the value is the default.

use super::AnnotationReader;
use crate::ingress::settings::BackendProtocol;
use crate::ingress::value::boolean;

/// Annotations that are off by default and whose value is a boolean.
const OFF_BY_DEFAULT: [&str; 12] = [
    "auth-tls-pass-certificate-to-upstream",
    "enable-cors",
    "enable-modsecurity",
    "enable-opentelemetry",
    "enable-owasp-core-rules",
    "enable-rewrite-log",
    "from-to-www-redirect",
    "relative-redirects",
    "service-upstream",
    "session-cookie-change-on-failure",
    "session-cookie-conditional-samesite-none",
    "use-port-in-redirects",
];

/// Annotations that also apply to requests that the guards of the Ingress deny: they are evaluated before the guards,
/// or apply to the host.
const BEFORE_GUARDS: [&str; 16] = [
    "app-root",
    "auth-tls-match-cn",
    "auth-tls-secret",
    "auth-tls-verify-client",
    "from-to-www-redirect",
    "permanent-redirect",
    "permanent-redirect-code",
    "preserve-trailing-slash",
    "rewrite-target",
    "server-alias",
    "server-snippet",
    "ssl-passthrough",
    "ssl-redirect",
    "temporal-redirect",
    "temporal-redirect-code",
    "use-regex",
];

/// The reason why an annotation has no effect, in ingress-nginx and in the gateway. `None`: the annotation
/// has an effect, or is unknown.
pub(super) fn none(reader: &AnnotationReader<'_>, name: &str) -> Option<String> {
    let settings = &reader.settings;
    let (text, _) = reader.values.get(name)?;
    let text = text.trim();
    if text.is_empty() {
        return Some(
            "empty: the setting has no effect, in ingress-nginx and in the gateway".to_owned(),
        );
    }
    if let Some(cause) = &settings.dropped {
        return Some(format!(
            "the setting has no effect, because the whole Ingress is ignored: see `{cause}`"
        ));
    }
    if let Some(cause) = settings.denied.as_ref().filter(|cause| *cause != name) {
        let applies = BEFORE_GUARDS.contains(&name)
            || name == "force-ssl-redirect"
            || cause.ends_with("snippet")
            || name.ends_with("snippet");
        let status = settings.denied_status().unwrap_or(500);
        if !applies {
            return Some(format!(
                "the setting has no effect, because the paths return {status}: see `{cause}`"
            ));
        }
    }
    if settings.canary.is_some() && !name.starts_with("canary") {
        return of_canary(name);
    }
    if is_off(name, text) {
        return Some("off, which is also the default".to_owned());
    }
    if settings.affinity.is_some() && matches!(name, "upstream-hash-by" | "load-balance") {
        let text = "the setting has no effect beside `affinity: cookie`, in ingress-nginx and in the gateway";
        return Some(text.to_owned());
    }
    beside(reader, name).map(|other| {
        format!("the setting has no effect without `{other}`, in ingress-nginx and in the gateway")
    })
}

/// The verdict on an annotation of a canary. It has no effect, because the annotations of the main Ingress
/// apply. `None`: the annotation is one for load balancing or for the whole host, which also applies on a canary.
fn of_canary(name: &str) -> Option<String> {
    let is_of_host = name.starts_with("auth-tls-") || name.starts_with("proxy-ssl-");
    let applies = is_of_host
        || name.starts_with("upstream-hash-by")
        || name.starts_with("session-cookie")
        || name.starts_with("affinity")
        || name == "load-balance";
    (!applies).then(|| {
        "the setting has no effect on a canary, in ingress-nginx and in the gateway: the annotations of the main Ingress apply".to_owned()
    })
}

/// Whether the value `text` turns the annotation `name` off, as by default.
fn is_off(name: &str, text: &str) -> bool {
    match name {
        "enable-access-log" => boolean(text) == Some(true),
        "mirror-request-body" => text == "on",
        "proxy-cookie-domain" | "proxy-cookie-path" | "proxy-redirect-from" => text == "off",
        "limit-connections" | "limit-rate" | "limit-rate-after" => text == "0",
        "affinity-canary-behavior" => text == "legacy",
        name => OFF_BY_DEFAULT.contains(&name) && boolean(text) == Some(false),
    }
}

/// The missing annotation without which `name` has no effect.
fn beside(reader: &AnnotationReader<'_>, name: &str) -> Option<&'static str> {
    let settings = &reader.settings;
    let is_true = |name| reader.text(name).map(str::trim).and_then(boolean) == Some(true);
    let (present, other) = match name {
        "affinity-canary-behavior" | "affinity-mode" => {
            (settings.affinity.is_some(), "affinity: cookie")
        }
        name if name.starts_with("session-cookie-") => {
            (settings.affinity.is_some(), "affinity: cookie")
        }
        name if name.starts_with("cors-") => (settings.cors.is_some(), "enable-cors: \"true\""),
        "auth-realm" | "auth-secret" | "auth-secret-type" => (reader.has("auth-type"), "auth-type"),
        name if name.starts_with("canary-") => (settings.canary.is_some(), "canary: \"true\""),
        "permanent-redirect-code" => (reader.has("permanent-redirect"), "permanent-redirect"),
        "temporal-redirect-code" => (reader.has("temporal-redirect"), "temporal-redirect"),
        "auth-tls-error-page"
        | "auth-tls-match-cn"
        | "auth-tls-pass-certificate-to-upstream"
        | "auth-tls-verify-client"
        | "auth-tls-verify-depth" => (reader.has("auth-tls-secret"), "auth-tls-secret"),
        name if name.starts_with("proxy-ssl-") && name != "proxy-ssl-secret" => {
            (reader.has("proxy-ssl-secret"), "proxy-ssl-secret")
        }
        "limit-allowlist" | "limit-whitelist" | "limit-burst-multiplier" => {
            let limits = &settings.limits;
            (
                limits.per_second + limits.per_minute > 0,
                "limit-rps` or `limit-rpm",
            )
        }
        "modsecurity-snippet" | "modsecurity-transaction-id" | "enable-owasp-core-rules" => {
            let global = reader.config.bool("enable-modsecurity", false);
            (
                global || is_true("enable-modsecurity"),
                "enable-modsecurity",
            )
        }
        "auth-url" | "auth-type" | "auth-tls-secret" => return None,
        name if name.starts_with("auth-") => {
            let global = reader.config.text("global-auth-url").is_some();
            (global || reader.has("auth-url"), "auth-url")
        }
        "mirror-host" | "mirror-request-body" => (reader.has("mirror-target"), "mirror-target"),
        "upstream-hash-by-subset" | "upstream-hash-by-subset-size" => {
            (reader.has("upstream-hash-by"), "upstream-hash-by")
        }
        "fastcgi-index" | "fastcgi-params-configmap" => {
            let is_fastcgi = settings.backend.protocol == BackendProtocol::Fcgi;
            (is_fastcgi, "backend-protocol: FCGI")
        }
        "proxy-redirect-to" => (reader.has("proxy-redirect-from"), "proxy-redirect-from"),
        _ => return None,
    };
    (!present).then_some(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingress::table;

    #[test]
    fn every_listed_annotation_exists() {
        for name in OFF_BY_DEFAULT.iter().chain(&BEFORE_GUARDS) {
            assert!(table::annotation(name).is_some(), "{name}");
        }
    }
}
