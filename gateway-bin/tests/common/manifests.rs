//! Manifests of a Gateway, a route and a backend, for tests in which they are not the subject.

use std::net::SocketAddr;

/// A rule for every request.
pub const EVERY_REQUEST: &str = "{backendRefs: [{name: app, port: 80}]}";

/// The Gateway `edge` and the Service `echo` of the namespace `team-a`. The endpoint is an argument of the program.
pub const EDGE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: team-a}
spec:
  gatewayClassName: eg
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: team-a}
spec: {ports: [{port: 80}]}
";

/// The Gateway `shared` of the namespace `team`, its route `app` of this kind with these rules, and the Service `app`
/// with these endpoints.
pub fn app(kind: &str, rules: &str, endpoints: &[SocketAddr]) -> String {
    let service = service(endpoints);
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: shared, namespace: team}}
spec:
  gatewayClassName: eg
  listeners: [{{name: http, port: 80, protocol: HTTP}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: app, namespace: team}}
spec:
  parentRefs: [{{name: shared}}]
  rules: [{rules}]
---
{service}"
    )
}

/// The Service `app` of the namespace `team` with these endpoints.
pub fn service(endpoints: &[SocketAddr]) -> String {
    let mut text = "apiVersion: v1
kind: Service
metadata: {name: app, namespace: team}
spec: {ports: [{port: 80}]}
"
    .to_owned();
    for (number, endpoint) in endpoints.iter().enumerate() {
        let (ip, port) = (endpoint.ip(), endpoint.port());
        text += &format!(
            "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: app-{number}, namespace: team, labels: {{kubernetes.io/service-name: app}}}}
addressType: IPv4
ports: [{{port: {port}}}]
endpoints: [{{addresses: [{ip}]}}]
"
        );
    }
    text
}
