//! Example requests of verdicts: a request to a host of the Ingress, and the responses of both sides.

use std::collections::HashMap;

use super::Translator;
use crate::ingress::input::Ingress;
use crate::ingress::verdict::{ExampleExchange, MigrationOutcome, MigrationVerdict, SettingKind};

/// The address that an example requests.
struct Address {
    host: String,
    path: String,
    https: bool,
}

impl Address {
    /// The first path of the first rule with a host.
    fn of(ingress: &Ingress) -> Option<Self> {
        let rules = ingress.spec.rules.iter();
        let rule = rules.clone().find(|rule| rule.host.is_some())?;
        let host = rule.host.clone()?.replace("*.", "sample.");
        let paths = rule.http.iter().flat_map(|http| &http.paths);
        let path = paths.filter_map(|path| path.path.clone()).next();
        let plain = |path: &String| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
            path.starts_with('/') && path.bytes().all(allowed)
        };
        Some(Self {
            path: path.filter(plain).unwrap_or_else(|| "/".to_owned()),
            https: !ingress.spec.tls.is_empty(),
            host,
        })
    }

    fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}{}", self.host, self.path)
    }
}

impl Translator<'_> {
    /// Adds an example to each verdict whose difference shows in a single request.
    pub(super) fn add_examples(&mut self) {
        let code = self.config.redirect_code();
        let ingresses = self.servers.ingresses.iter();
        let addresses: HashMap<String, Address> = ingresses
            .filter_map(|read| {
                let object = format!("Ingress {}", read.ingress.key);
                Some((object, Address::of(read.ingress)?))
            })
            .collect();
        for verdict in &mut self.verdicts {
            let shows = matches!(
                verdict.outcome,
                MigrationOutcome::SameWithADifference | MigrationOutcome::Impossible
            );
            if !shows || verdict.kind != SettingKind::Annotation || verdict.example.is_some() {
                continue;
            }
            if let Some(address) = addresses.get(&verdict.object) {
                verdict.example = example(verdict, address, code);
            }
        }
    }
}

fn example(verdict: &MigrationVerdict, address: &Address, code: u64) -> Option<ExampleExchange> {
    let name = verdict.setting.rsplit('/').next().unwrap_or_default();
    redirect_example(name, verdict, address, code)
        .or_else(|| response_example(name, verdict, address))
        .or_else(|| match verdict.outcome {
            MigrationOutcome::Impossible => impossible_example(name, verdict, address.url()),
            _ => None,
        })
}

/// A `GET` request of `url` with the property `with`, and both responses.
fn get(url: String, with: &str, nginx: String, gateway: String) -> ExampleExchange {
    ExampleExchange {
        method: "GET".to_owned(),
        url,
        with: with.to_owned(),
        ingress_nginx: nginx,
        towergate: gateway,
    }
}

/// Example for a setting whose difference shows in a redirect. `code` is the status of redirects to HTTPS.
fn redirect_example(
    name: &str,
    verdict: &MigrationVerdict,
    address: &Address,
    code: u64,
) -> Option<ExampleExchange> {
    let (host, value) = (&address.host, &verdict.value);
    Some(match name {
        "ssl-redirect" | "force-ssl-redirect" => get(
            format!("http://{host}/x/"),
            "",
            format!("{code} to https://{host}/x"),
            format!("{code} to https://{host}/x/"),
        ),
        "app-root" => get(
            format!("https://{host}/"),
            "",
            format!("302 to https://{host}{value}"),
            format!("302 to https://{host}{value}, with `Strict-Transport-Security`"),
        ),
        "from-to-www-redirect" => {
            let other = match host.strip_prefix("www.") {
                Some(bare) => bare.to_owned(),
                None => format!("www.{host}"),
            };
            get(
                format!("http://{other}/x/"),
                "",
                format!("{code} to http://{host}:80/x"),
                format!("{code} to http://{host}:80/x/"),
            )
        }
        "enable-cors" if address.https => ExampleExchange {
            method: "OPTIONS".to_owned(),
            url: format!("http://{host}{}", address.path),
            with: "Origin: https://other.example, Access-Control-Request-Method: GET".to_owned(),
            ingress_nginx: "204".to_owned(),
            towergate: format!("{code} to https://{host}{}", address.path),
        },
        "relative-redirects" if address.https => get(
            format!("http://{host}{}", address.path),
            "",
            "`Location` without scheme and host".to_owned(),
            format!("`Location: https://{host}{}`", address.path),
        ),
        _ => return None,
    })
}

/// Example for a translated setting whose difference shows in another response.
fn response_example(
    name: &str,
    verdict: &MigrationVerdict,
    address: &Address,
) -> Option<ExampleExchange> {
    let value = &verdict.value;
    let impossible = verdict.outcome == MigrationOutcome::Impossible;
    Some(match name {
        "auth-tls-secret" if !impossible => get(
            format!("https://{}{}", address.host, address.path),
            "without a client certificate",
            "400".to_owned(),
            "the TLS handshake fails".to_owned(),
        ),
        "proxy-redirect-from" => get(
            address.url(),
            &format!("to which the backend responds with `Location: {value}`"),
            "`Location` is rewritten".to_owned(),
            format!("`Location: {value}`"),
        ),
        _ => return None,
    })
}

/// Example for a setting that is not translated.
fn impossible_example(
    name: &str,
    verdict: &MigrationVerdict,
    url: String,
) -> Option<ExampleExchange> {
    let received = || "the backend receives the request".to_owned();
    Some(match name {
        "auth-type" => get(url, "", "401".to_owned(), "500".to_owned()),
        "auth-url" => get(
            url,
            "",
            "the authentication server decides".to_owned(),
            "500".to_owned(),
        ),
        "backend-protocol" => get(url, "", received(), "500".to_owned()),
        "satisfy" => get(
            url,
            "from an allowed network, without credentials",
            received(),
            "401".to_owned(),
        ),
        "custom-http-errors" => {
            let status = verdict.value.split(',').next().unwrap_or_default().trim();
            get(
                url,
                &format!("to which the backend responds {status}"),
                format!("{status} with the page of the default backend"),
                format!("{status} with the content of the backend"),
            )
        }
        "default-backend" => get(
            url,
            "while the Service has no endpoints",
            format!("the response of Service {}", verdict.value),
            "503".to_owned(),
        ),
        _ => return None,
    })
}
