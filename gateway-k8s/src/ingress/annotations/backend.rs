//! Protocol, TLS, name and balancing of backends.

use super::AnnotationReader;
use crate::ingress::controller::object_key;
use crate::ingress::settings::{BackendProtocol, HashInput, ProxySsl};
use crate::ingress::verdict::{Aspect, Finding};
use crate::objects::ObjectKey;

const CALLS: &[Aspect] = &[
    Aspect::Status,
    Aspect::Calls,
    Aspect::Body,
    Aspect::ResponseHeaders,
];

pub(super) fn read(reader: &mut AnnotationReader<'_>) {
    protocol(reader);
    tls(reader);
    let vhost = reader.text("upstream-vhost").map(str::trim);
    match vhost {
        Some(host) if host.contains('$') => {
            let text = "the name contains nginx variables: set a fixed name";
            reader.found(
                "upstream-vhost",
                Finding::impossible(text, &[Aspect::RequestHeaders, Aspect::Calls]),
            );
        }
        Some(host) if host.contains([' ', ';', '{', '}', '"', '/']) => {
            reader.invalid("upstream-vhost", "the value is not a host name");
        }
        Some(host) => reader.settings.backend.vhost = Some(host.to_owned()),
        None => {}
    }
    balancing(reader);
}

fn protocol(reader: &mut AnnotationReader<'_>) {
    let Some(text) = reader.text("backend-protocol").map(str::trim) else {
        return;
    };
    let word = text.to_ascii_uppercase();
    let (protocol, finding) = match word.as_str() {
        "HTTP" | "AUTO_HTTP" => (BackendProtocol::Http, Finding::same("HTTP")),
        "HTTPS" => (BackendProtocol::Https, https()),
        "GRPC" => (BackendProtocol::Grpc, grpc()),
        "GRPCS" => (BackendProtocol::Grpcs, https()),
        "FCGI" => {
            reader.settings.denied = Some("backend-protocol".to_owned());
            let text = "FastCGI is not supported; the paths return 500: run a web server with FastCGI in the pod";
            (BackendProtocol::Fcgi, Finding::impossible(text, CALLS))
        }
        _ => {
            reader.invalid("backend-protocol", "the value is not a protocol");
            return;
        }
    };
    reader.settings.backend.protocol = protocol;
    reader.found("backend-protocol", finding);
}

fn https() -> Finding {
    Finding::differs(
        "ingress-nginx does not verify the backend's certificate. A Backend with `tls.insecureSkipVerify` does the same; prefer a BackendTLSPolicy with the CA of the backend. The gateway sends the server name, which ingress-nginx omits",
        CALLS,
    )
}

fn grpc() -> Finding {
    Finding::differs(
        "a Backend with `appProtocols: [gateway.envoyproxy.io/h2c]`; local replies of the gateway are gRPC statuses. The backend receives the host as `:authority`; ingress-nginx sends `Host`",
        &[
            Aspect::Status,
            Aspect::Body,
            Aspect::ResponseHeaders,
            Aspect::Calls,
            Aspect::RequestHeaders,
        ],
    )
}

/// Reads `proxy-ssl-*`. Without `proxy-ssl-secret`, the other annotations have no effect.
fn tls(reader: &mut AnnotationReader<'_>) {
    let verify = match reader.text("proxy-ssl-verify").map(str::trim) {
        Some("on") => true,
        Some("off") | None => false,
        Some(_) => {
            reader.invalid("proxy-ssl-verify", "the value is neither `on` nor `off`");
            false
        }
    };
    let name = reader.text("proxy-ssl-name").map(str::trim);
    let Some(secret) = reader.text("proxy-ssl-secret").map(str::trim) else {
        let text = "without `proxy-ssl-secret`, the setting has no effect, in ingress-nginx and in the gateway";
        for name in [
            "proxy-ssl-verify",
            "proxy-ssl-name",
            "proxy-ssl-server-name",
        ] {
            if reader.has(name) {
                reader.found(name, Finding::same(text));
            }
        }
        return;
    };
    let Some(secret) = ca_secret(reader, secret) else {
        return;
    };
    reader.settings.backend.ssl = Some(ProxySsl {
        secret,
        verify,
        name: name.map(str::to_owned),
    });
    let host =
        "for backends of other Ingresses of the host that have HTTPS and no `proxy-ssl-secret`";
    let tls = reader.settings.backend.has_tls();
    match (tls, verify) {
        (true, true) => {
            let text = format!(
                "a BackendTLSPolicy verifies the backend, also {host}; requests to a backend that fails verification receive 502, as in ingress-nginx"
            );
            for name in ["proxy-ssl-verify", "backend-protocol"] {
                reader.found(name, Finding::differs(&*text, CALLS));
            }
            let text = "the CA certificates are used. The client certificate in the Secret is not sent: refer to the Secret in `spec.tls.backend.clientCertificateRef` of the Gateway";
            reader.found("proxy-ssl-secret", Finding::decision(text, CALLS));
        }
        (false, true) => {
            let text =
                format!("without `backend-protocol: HTTPS` the setting has an effect only {host}");
            reader.found("proxy-ssl-secret", Finding::differs(text, CALLS));
        }
        (true, false) => {
            let text = "the CA certificates in the Secret have no effect without `proxy-ssl-verify: on`. The client certificate in the Secret is not sent: refer to the Secret in `spec.tls.backend.clientCertificateRef` of the Gateway";
            reader.found("proxy-ssl-secret", Finding::decision(text, CALLS));
        }
        (false, false) => {
            let text = "the setting has no effect without `backend-protocol: HTTPS`, in ingress-nginx and in the gateway";
            reader.found("proxy-ssl-secret", Finding::same(text));
        }
    }
}

/// The Secret of `proxy-ssl-secret`. `None`: ingress-nginx cannot use the Secret, and the paths return 503.
fn ca_secret(reader: &mut AnnotationReader<'_>, text: &str) -> Option<ObjectKey> {
    let own = &reader.ingress.key.namespace;
    let secret = object_key(text, own);
    let cause = if text.split('/').count() != 2 {
        Some("the value is not `namespace/name`")
    } else if secret.namespace != *own
        && !reader.config.bool("allow-cross-namespace-resources", false)
    {
        Some("a Secret of another namespace may not be used")
    } else if !reader.manifests.secrets.is_empty()
        && !reader.manifests.secrets.contains_key(&secret)
    {
        Some("the Secret does not exist")
    } else {
        None
    };
    if let Some(cause) = cause {
        reader.deny("proxy-ssl-secret", cause);
        return None;
    }
    if reader.manifests.secrets.is_empty() {
        let text =
            format!("Secret {secret} is not among the files; ingress-nginx returns 503 without it");
        reader.found("proxy-ssl-secret", Finding::decision(text, CALLS));
    }
    Some(secret)
}

fn balancing(reader: &mut AnnotationReader<'_>) {
    let own = reader.text("load-balance").map(str::trim);
    match own.or(reader.config.text("load-balance")).map(load_balance) {
        None => {}
        Some(Some((kind, finding))) => {
            reader.settings.load_balance = kind.map(str::to_owned);
            reader.found("load-balance", finding);
        }
        Some(None) => reader.invalid(
            "load-balance",
            "the value is neither `round_robin` nor `ewma`",
        ),
    }
    let own = reader.text("upstream-hash-by").map(str::trim);
    let Some(text) = own.or(reader.config.text("upstream-hash-by")) else {
        return;
    };
    let (input, finding) = hash_by(text);
    reader.settings.hash_by = input;
    reader.found("upstream-hash-by", finding);
}

/// The type of `loadBalancer` for a value of `load-balance` (inner `None`: the default), and the verdict.
/// Outer `None`: the value is not an algorithm.
pub(crate) fn load_balance(text: &str) -> Option<(Option<&'static str>, Finding)> {
    match text {
        "round_robin" => Some((None, Finding::same("`RoundRobin`"))),
        "ewma" => {
            let text = "`LeastRequest`: endpoints with fewer open requests are preferred, instead of those with short response times";
            let finding = Finding::differs(text, &[Aspect::Calls]);
            Some((Some("LeastRequest"), finding))
        }
        _ => None,
    }
}

/// The input of the hash for a value of `upstream-hash-by`, if it can be translated, and the verdict.
pub(crate) fn hash_by(text: &str) -> (Option<HashInput>, Finding) {
    let input = match text.trim_matches('"') {
        "$remote_addr" | "$binary_remote_addr" | "$the_real_ip" => Some(HashInput::SourceIp),
        "$host" | "$http_host" => Some(HashInput::Header("Host".to_owned())),
        text => variable(text),
    };
    let finding = match &input {
        Some(_) => {
            let text = "a Maglev table: a client may be sent to a different endpoint than by ingress-nginx";
            Finding::differs(text, &[Aspect::Calls])
        }
        None => {
            let text = "only a header field, a cookie, a query parameter or the client address can be hashed; round robin is used";
            Finding::impossible(text, &[Aspect::Calls])
        }
    };
    (input, finding)
}

fn variable(text: &str) -> Option<HashInput> {
    let name = text.strip_prefix('$')?;
    let whole = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !whole {
        return None;
    }
    if let Some(header) = name.strip_prefix("http_") {
        return Some(HashInput::Header(header.replace('_', "-")));
    }
    if let Some(cookie) = name.strip_prefix("cookie_") {
        return Some(HashInput::Cookie(cookie.to_owned()));
    }
    let query = name.strip_prefix("arg_")?;
    Some(HashInput::Query(query.to_owned()))
}
