//! External authentication: the call of the authentication server, and the response if it denies.

use super::{BackendPort, IngressNginx, ModelAnswer, ModelRequest, Server, find_location};
use crate::ingress::settings::{ExternalAuthSettings, IngressSettings};
use crate::objects::ObjectKey;

/// A call of an authentication server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthCall {
    /// Service that receives the call. `None`: the address is not that of a Service.
    pub service: Option<ObjectKey>,
    /// `Host` of the call.
    pub host: String,
    /// Request target of the call.
    pub target: String,
}

impl IngressNginx<'_> {
    /// The call of the authentication server that precedes the response to `request`. `None`: no
    /// authentication server is called.
    pub fn auth_call(&self, request: &ModelRequest) -> Option<AuthCall> {
        let undecided = ModelRequest {
            auth_status: None,
            ..request.clone()
        };
        if !matches!(
            self.answer(&undecided),
            ModelAnswer::Proxy { asks: true, .. }
        ) {
            return None;
        }
        let auth = self.settings_of(request)?.external_auth.as_ref()?;
        let server = self.server_of(request)?;
        Some(AuthCall {
            service: auth_service(auth, server).map(|port| port.service),
            host: match auth.own_host {
                true => server.host.clone(),
                false => auth.url.host.clone(),
            },
            target: auth.url.target(),
        })
    }

    /// The response if the authentication server does not allow the request. `None`: the server allows the
    /// request or is not called, or its response is unknown.
    pub(super) fn auth_reply(
        &self,
        request: &ModelRequest,
        server: &Server,
        settings: &IngressSettings,
        asks: bool,
    ) -> Option<ModelAnswer> {
        let auth = settings.external_auth.as_ref().filter(|_| asks)?;
        let status = request.auth_status?;
        if auth_service(auth, server).is_some_and(|port| !self.is_alive(&port)) {
            return Some(ModelAnswer::reply(500));
        }
        match (status, &auth.signin) {
            (200..=299, _) => None,
            (401, Some(template)) => Some(ModelAnswer::redirect(
                302,
                signin_address(template, request),
            )),
            (401 | 403, _) => Some(ModelAnswer::reply(status)),
            _ => Some(ModelAnswer::reply(500)),
        }
    }
}

/// The Service that receives the calls of the authentication server. `None`: the address is not that of a Service.
pub(crate) fn auth_service(auth: &ExternalAuthSettings, server: &Server) -> Option<BackendPort> {
    if auth.own_host {
        return find_location(server, &auth.url.path).0.backend.clone();
    }
    let host = auth.url.host.as_str();
    let host = host.strip_suffix(".cluster.local").unwrap_or(host);
    let (name, namespace) = host.strip_suffix(".svc")?.split_once('.')?;
    (!namespace.contains('.')).then(|| BackendPort {
        service: ObjectKey::new(namespace, name),
        port: auth.url.effective_port().to_string(),
    })
}

/// The address of the sign-in page.
fn signin_address(template: &str, request: &ModelRequest) -> String {
    let scheme = if request.https { "https" } else { "http" };
    let escaped: String = request
        .target
        .bytes()
        .map(|byte| match byte {
            b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect();
    template
        .replace("{scheme}", scheme)
        .replace("{host}", request.header("host").unwrap_or_default())
        .replace("{uri}", &request.target)
        .replace("{escaped-uri}", &escaped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingress::Manifests;

    const INGRESS: &str = "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: app
  namespace: apps
  annotations:
    nginx.ingress.kubernetes.io/auth-url: http://auth.sso.svc.cluster.local:4180/check?a
    nginx.ingress.kubernetes.io/auth-signin: https://sso.test/start
spec:
  ingressClassName: nginx
  rules:
  - host: app.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}]}
";

    fn get(auth_status: Option<u16>) -> ModelRequest {
        ModelRequest {
            https: false,
            method: "GET".to_owned(),
            target: "/a?b".to_owned(),
            headers: vec![("Host".to_owned(), "app.test".to_owned())],
            client: [203, 0, 113, 99].into(),
            body_len: 0,
            http10: false,
            certificate: None,
            auth_status,
        }
    }

    #[test]
    fn the_status_of_the_authentication_server_decides() {
        let mut manifests = Manifests::default();
        manifests.add("in.yaml", INGRESS);
        let nginx = IngressNginx::new(&manifests, &[]);

        let signin = "https://sso.test/start?rd=http://app.test%2Fa%3Fb".to_owned();
        for (status, expected) in [
            (401, ModelAnswer::redirect(302, signin)),
            (403, ModelAnswer::reply(403)),
            (302, ModelAnswer::reply(500)),
            (503, ModelAnswer::reply(500)),
        ] {
            assert_eq!(nginx.answer(&get(Some(status))), expected);
        }
        for (status, decides) in [(Some(204), false), (None, true)] {
            let answer = nginx.answer(&get(status));
            assert!(
                matches!(answer, ModelAnswer::Proxy { asks, .. } if asks == decides),
                "{answer:?}"
            );
        }
        let call = nginx.auth_call(&get(Some(401))).expect("a call");
        assert_eq!(call.service, Some(ObjectKey::new("sso", "auth")));
        assert_eq!(call.host, "auth.sso.svc.cluster.local");
        assert_eq!(call.target, "/check?a");
    }
}
