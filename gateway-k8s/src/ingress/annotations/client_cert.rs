//! Client certificates, and TLS passthrough.

use super::AnnotationReader;
use crate::ingress::controller::object_key;
use crate::ingress::settings::ClientCert;
use crate::ingress::verdict::{Aspect, Finding};

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
    let unverified = reader.text("auth-tls-verify-client").map(str::trim) == Some("optional_no_ca");
    let verify = match reader.text("auth-tls-verify-client").map(str::trim) {
        Some("off") => {
            reader.found(
                "auth-tls-verify-client",
                Finding::same("no certificate is requested"),
            );
            reader.found(
                "auth-tls-secret",
                Finding::same("no certificate is requested"),
            );
            return;
        }
        Some("optional") => {
            reader.found("auth-tls-verify-client", Finding::same("`optional: true`"));
            true
        }
        Some("optional_no_ca") => {
            let text = "a certificate that chains to no configured CA is rejected in the handshake, which is stricter";
            reader.found("auth-tls-verify-client", Finding::differs(text, TLS));
            true
        }
        Some("on") | None => false,
        Some(_) => {
            reader.invalid("auth-tls-verify-client", "the value is not a valid mode");
            false
        }
    };
    let text = "the host has a listener of its own with `tls.clientValidation`. A client without a valid certificate is rejected in the handshake, where ingress-nginx returns 400. Requests over plain HTTP are not affected, in ingress-nginx and in the gateway: keep `ssl-redirect` on";
    reader.found("auth-tls-secret", Finding::differs(text, TLS));
    let secret = object_key(secret, &reader.ingress.key.namespace);
    if reader.is_complete() && !reader.manifests.secrets.contains_key(&secret) {
        reader.settings.denied = Some("auth-tls-secret".to_owned());
        let text = "the Secret does not exist: the host returns 403, as in ingress-nginx";
        reader.found("auth-tls-secret", Finding::decision(text, TLS));
    }
    match_subject(reader);
    let passes_certificate = reader.bool("auth-tls-pass-certificate-to-upstream") == Some(true);
    reader.settings.client_cert = Some(ClientCert {
        secret,
        optional: verify,
        unverified,
        passes_certificate,
    });
}

/// `auth-tls-match-cn`: a condition on the subject of the certificate.
fn match_subject(reader: &mut AnnotationReader<'_>) {
    let Some(pattern) = reader.text("auth-tls-match-cn").map(str::trim) else {
        return;
    };
    reader.settings.match_subject = Some(pattern.to_owned());
    let readable = regex::Regex::new(pattern).is_ok() && !pattern.contains(['\'', '\\', '\n']);
    let finding = if readable {
        let text = "a rule of `authorization` rejects clients with another subject (403). It applies to plain HTTP as well";
        Finding::differs(text, TLS)
    } else {
        reader.settings.denied = Some("auth-tls-match-cn".to_owned());
        let text = "the pattern has syntax that CEL does not have: the paths return 500. Write it without look-around, escapes and quotes";
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
