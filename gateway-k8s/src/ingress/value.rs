//! Values of annotations, parsed as ingress-nginx parses them.

use std::net::IpAddr;

/// Parses a boolean in the syntax of Go's `strconv.ParseBool`: `yes` and `on` are invalid.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Parses addresses and networks, separated by commas. Returns CIDRs.
///
/// # Errors
/// The first entry that is neither an address nor a network.
pub(crate) fn networks(text: &str) -> Result<Vec<String>, String> {
    let entries = text.split(',').map(str::trim).filter(|e| !e.is_empty());
    let mut networks = Vec::new();
    for entry in entries {
        let network = match entry.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => format!("{address}/32"),
            Ok(IpAddr::V6(address)) => format!("{address}/128"),
            Err(_) => {
                let network = towergate_policy::parse_cidr(entry);
                network.ok_or_else(|| entry.to_owned())?.to_string()
            }
        };
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    Ok(networks)
}

/// Items of a list, separated by commas.
pub(crate) fn list(text: &str) -> Vec<String> {
    let items = text.split(',').map(str::trim);
    items.filter(|i| !i.is_empty()).map(str::to_owned).collect()
}

/// Parses a size in bytes: a number with `k`, `m` or `g`, or without a unit. 0: no limit.
pub(crate) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "k" | "K" => 1024,
        "m" | "M" => 1024 * 1024,
        "g" | "G" => 1024 * 1024 * 1024,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// Formats seconds as a duration of Gateway API, whose numbers have at most five digits.
pub(crate) fn duration(seconds: u64) -> String {
    const MAX: u64 = 99_999;
    match seconds {
        0..=MAX => format!("{seconds}s"),
        _ if seconds / 60 <= MAX => match seconds % 60 {
            0 => format!("{}m", seconds / 60),
            rest => format!("{}m{rest}s", seconds / 60),
        },
        _ => format!("{}h", (seconds / 3600).min(MAX)),
    }
}

/// The parts of a URL in an annotation.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UrlParts {
    /// `http` or `https`.
    pub scheme: String,
    /// Host name or address.
    pub host: String,
    /// Port, if written.
    pub port: Option<u16>,
    /// Path, without query. Empty: none.
    pub path: String,
    /// Query, without `?`.
    pub query: Option<String>,
}

impl UrlParts {
    /// The port. Default: that of the scheme.
    pub(crate) fn effective_port(&self) -> u16 {
        let default = if self.scheme == "https" { 443 } else { 80 };
        self.port.unwrap_or(default)
    }

    /// Path and query. `/` if both are absent.
    pub(crate) fn target(&self) -> String {
        let path = if self.path.is_empty() {
            "/"
        } else {
            &self.path
        };
        match &self.query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        }
    }
}

/// Parses an absolute URL with the scheme `http` or `https`.
pub(crate) fn url(text: &str) -> Option<UrlParts> {
    let text = text.trim();
    let (scheme, rest) = text.split_once("://")?;
    if !matches!(scheme, "http" | "https") || text.contains(|c: char| c.is_whitespace()) {
        return None;
    }
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && port.bytes().all(|b| b.is_ascii_digit()) => {
            (host, Some(port.parse().ok()?))
        }
        _ => (authority, None),
    };
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let valid = !host.is_empty() && !host.contains(['{', '}', '"', '\\', '<', '>']);
    valid.then(|| UrlParts {
        scheme: scheme.to_owned(),
        host: host.to_ascii_lowercase(),
        port,
        path: path.to_owned(),
        query,
    })
}

/// Escapes a text for the value of a header field in which `%` begins a command operator.
pub(crate) fn literal(text: &str) -> String {
    text.replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_networks() {
        assert_eq!(
            networks("10.0.0.0/8, 192.0.2.1,2001:db8::1").expect("valid"),
            ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::1/128"]
        );
        for wrong in [
            "x",
            "010.0.0.0/8",
            "10.0.0.08/32",
            "10.0.0.0/",
            "10.0.0.0/+8",
        ] {
            assert_eq!(
                networks(&format!("10.0.0.0/8,{wrong}")),
                Err(wrong.to_owned())
            );
        }
    }

    #[test]
    fn sizes_have_the_units_of_nginx() {
        assert_eq!(size("8k"), Some(8192));
        assert_eq!(size("1m"), Some(1 << 20));
        assert_eq!(size("0"), Some(0));
        assert_eq!(size("8mb"), None);
    }

    #[test]
    fn urls_are_taken_apart() {
        let parts = url("https://auth.example.com:8443/a?b=c").expect("a URL");

        assert_eq!(parts.host, "auth.example.com");
        assert_eq!(parts.effective_port(), 8443);
        assert_eq!(parts.target(), "/a?b=c");
        assert_eq!(url("/relative"), None);
        assert_eq!(url("http://bad {url}"), None);
    }
}
