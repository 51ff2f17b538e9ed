//! Values that turn a setting off, or leave it at the default of ingress-nginx.

use super::ConfigValue;
use crate::ingress::value::boolean;
use crate::ingress::verdict::Finding;

/// Keys and flags that are off by default.
const OFF_BY_DEFAULT: [&str; 31] = [
    "allow-backend-server-header",
    "annotations-prefix",
    "disable-access-log",
    "disable-catch-all",
    "disable-svc-external-name",
    "enable-brotli",
    "enable-modsecurity",
    "enable-ocsp",
    "enable-opentelemetry",
    "enable-owasp-modsecurity-crs",
    "enable-real-ip",
    "enable-ssl-passthrough",
    "enable-underscores-in-headers",
    "force-ssl-redirect",
    "global-auth-always-set-cookie",
    "proxy-add-original-uri-header",
    "relative-redirects",
    "retry-non-idempotent",
    "server-tokens",
    "service-upstream",
    "ssl-early-data",
    "ssl-reject-handshake",
    "use-forwarded-headers",
    "use-geoip",
    "use-geoip2",
    "use-gzip",
    "use-port-in-redirects",
    "use-proxy-protocol",
    "watch-ingress-without-class",
    "watch-namespace",
    "watch-namespace-selector",
];

/// Numeric keys whose value 0 means no limit.
const UNLIMITED_AT_ZERO: [&str; 2] = ["limit-rate", "limit-rate-after"];

/// Keys whose value `off` turns the setting off, which is also the default.
const OFF_BY_WORD: [&str; 6] = [
    "proxy-cookie-domain",
    "proxy-cookie-path",
    "proxy-redirect-from",
    "proxy-redirect-to",
    "proxy-stream-next-upstream",
    "ssl-session-cache",
];

/// The verdict on a value that has no effect. `None`: the value has an effect.
pub(super) fn finding(value: &ConfigValue<'_>) -> Option<Finding> {
    let name = value.name;
    if value.text.is_empty() {
        return Some(Finding::same("empty: the default applies"));
    }
    let off = OFF_BY_DEFAULT.contains(&name) && boolean(value.text) == Some(false)
        || UNLIMITED_AT_ZERO.contains(&name) && value.text == "0"
        || OFF_BY_WORD.contains(&name) && value.text == "off";
    off.then(|| Finding::same("off, which is also the default"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted() {
        assert!(OFF_BY_DEFAULT.is_sorted());
        assert!(OFF_BY_WORD.is_sorted());
    }
}
