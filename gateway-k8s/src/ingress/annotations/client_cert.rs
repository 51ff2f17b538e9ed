//! Client certificates, and TLS passthrough.

use super::AnnotationReader;
use crate::ingress::controller::object_key;
use crate::ingress::deny_rules::literal;
use crate::ingress::settings::ClientCert;
use crate::ingress::verdict::{Aspect, Finding};
use crate::objects::ObjectKey;

const TLS: &[Aspect] = &[
    Aspect::Status,
    Aspect::Tls,
    Aspect::Body,
    Aspect::ResponseHeaders,
    Aspect::RequestHeaders,
    Aspect::Calls,
];

pub(super) fn read(reader: &mut AnnotationReader<'_>) {
    passthrough(reader);
    let Some(secret) = reader.text("auth-tls-secret").map(str::trim) else {
        let text = "without `auth-tls-secret`, the setting has no effect, in ingress-nginx and in the gateway";
        for name in [
            "auth-tls-verify-client",
            "auth-tls-pass-certificate-to-upstream",
        ] {
            reader.found(name, Finding::same(text));
        }
        return;
    };
    let mode = reader.text("auth-tls-verify-client").map(str::trim);
    let (off, unverified) = (mode == Some("off"), mode == Some("optional_no_ca"));
    let Some(secret) = ca_secret(reader, secret, off) else {
        reader.settings.denied = Some("auth-tls-secret".to_owned());
        reader.settings.refuses_hosts = true;
        return;
    };
    match mode {
        Some("off") => {
            let text = "no certificate is requested";
            reader.found("auth-tls-verify-client", Finding::same(text));
            reader.found("auth-tls-secret", Finding::same(text));
        }
        Some("optional") => {
            reader.found("auth-tls-verify-client", Finding::same("`optional: true`"));
        }
        Some("optional_no_ca") => {
            let text = "a certificate that chains to no configured CA is rejected in the handshake, which is stricter";
            reader.found("auth-tls-verify-client", Finding::differs(text, TLS));
        }
        Some("on") | None => {}
        Some(_) => reader.invalid("auth-tls-verify-client", "the value is not a valid mode"),
    }
    match_subject(reader);
    let passes_certificate = reader.bool("auth-tls-pass-certificate-to-upstream") == Some(true);
    reader.settings.client_cert = Some(ClientCert {
        secret,
        off,
        optional: mode == Some("optional") || unverified,
        unverified,
        passes_certificate,
    });
}

/// The Secret of `auth-tls-secret`. `None`: ingress-nginx cannot use the Secret, and rejects every request to
/// the hosts of the Ingress.
fn ca_secret(reader: &mut AnnotationReader<'_>, text: &str, off: bool) -> Option<ObjectKey> {
    let own = &reader.ingress.key.namespace;
    let secret = object_key(text, own);
    let data = reader.manifests.secrets.get(&secret);
    let foreign = secret.namespace != *own;
    let cause = if text.split('/').count() != 2 {
        Some("the value is not `namespace/name`")
    } else if foreign && !reader.config.bool("allow-cross-namespace-resources", false) {
        Some("a Secret of another namespace may not be used")
    } else if reader.is_complete() && data.is_none() {
        Some("the Secret does not exist")
    } else if off && data.is_none() && !reader.manifests.secrets.is_empty() {
        // With the other modes, the listeners reject all clients until the Secret exists.
        Some("the Secret is not among the files")
    } else if data.is_some_and(|data| !data.values.contains_key("ca.crt")) {
        Some("the Secret has no key `ca.crt`")
    } else {
        None
    };
    if let Some(cause) = cause {
        let text = format!("{cause}: the host returns 403, as in ingress-nginx");
        reader.found("auth-tls-secret", Finding::decision(text, TLS));
        return None;
    }
    let text = "listeners for the names of the host have `tls.clientValidation`. A client without a valid certificate is rejected in the handshake, where ingress-nginx returns 400. Requests over plain HTTP are not affected, in ingress-nginx and in the gateway: keep `ssl-redirect` on";
    reader.found("auth-tls-secret", Finding::differs(text, TLS));
    Some(secret)
}

/// `auth-tls-match-cn`: a condition on the subject of the certificate.
fn match_subject(reader: &mut AnnotationReader<'_>) {
    let Some(pattern) = reader.text("auth-tls-match-cn").map(str::trim) else {
        return;
    };
    if !pattern.starts_with("CN=") {
        reader.invalid("auth-tls-match-cn", "the value does not begin with `CN=`");
        return;
    }
    reader.settings.match_subject = Some(pattern.to_owned());
    let readable = regex::Regex::new(pattern).is_ok() && literal(pattern).is_some();
    let finding = if readable {
        let text = "a rule of `authorization` on all paths of the host rejects clients with another subject (403). Requests over plain HTTP are also rejected, in ingress-nginx and in the gateway. Redirects of single paths take precedence over the rule";
        Finding::differs(text, TLS)
    } else {
        reader.settings.denied = Some("auth-tls-match-cn".to_owned());
        let text = "the pattern has syntax that CEL does not have: the paths return 500. Write it without look-around and back-references";
        Finding::impossible(text, TLS)
    };
    reader.found("auth-tls-match-cn", finding);
}

fn passthrough(reader: &mut AnnotationReader<'_>) {
    if reader.bool("ssl-passthrough") != Some(true) {
        return;
    }
    if !reader.config.is_set("enable-ssl-passthrough") {
        let text = "without the flag `--enable-ssl-passthrough`, the setting has no effect, in ingress-nginx and in the gateway";
        reader.found("ssl-passthrough", Finding::same(text));
        return;
    }
    let text = "a TLSRoute and a listener of mode Passthrough for the host; plain HTTP is served by an HTTPRoute";
    reader.found("ssl-passthrough", Finding::differs(text, TLS));
    reader.settings.passthrough = true;
}
