//! Codes of findings: the stable names of the problems that `towergate check` reports.
//!
//! `docs/findings.md` is generated from this table; a test compares the two.

use std::fmt::{self, Display, Formatter};

use serde::{Serialize, Serializer};

/// Declares the codes, each with its string, its meaning and general advice.
macro_rules! finding_codes {
    ($($(#[$attribute:meta])* $code:ident = $text:literal: $meaning:literal, $advice:literal;)*) => {
        /// Name of a kind of finding.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum FindingCode {$(
            #[doc = concat!("`", $text, "`: ", $meaning, ".")]
            $code,
        )*}

        impl FindingCode {
            /// Every code, in alphabetical order.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// The code in its printed form.
            pub const fn as_str(self) -> &'static str {
                match self {$(Self::$code => $text,)*}
            }

            /// Meaning of the code, as a clause.
            pub const fn meaning(self) -> &'static str {
                match self {$(Self::$code => $meaning,)*}
            }

            /// General advice, as a clause. A finding may have more specific advice.
            pub const fn advice(self) -> &'static str {
                match self {$(Self::$code => $advice,)*}
            }
        }
    };
}

finding_codes! {
    AuthenticationReplaced = "authentication-replaced": "a SecurityPolicy without authentication replaces a SecurityPolicy with authentication",
        "set `mergeType` in the more specific policy, or repeat the sections in it";
    AuthenticationSkipped = "authentication-skipped": "a request skips the authentication of the rule that `recomputeRoute` selects",
        "let one SecurityPolicy cover all rules that the recomputed route can select";
    AuthorizationByPeerAddress = "authorization-by-peer-address": "a SecurityPolicy compares client addresses on a listener that does not configure their detection",
        "set `proxyProtocol` or `clientIPDetection` in a ClientTrafficPolicy";
    BackendInvalid = "backend-invalid": "a Backend has an invalid or unsupported field",
        "correct or remove the field; until then requests to the Backend get 500";
    BackendNotFound = "backend-not-found": "a backendRef names an object that does not exist",
        "create the object, or correct its name and namespace";
    BackendNotVerified = "backend-not-verified": "the certificate of a Backend is not verified",
        "set `caCertificateRefs` or `wellKnownCACertificates` in place of `insecureSkipVerify`";
    BackendPort = "backend-port": "a backendRef names no port, or a port that the Service does not have",
        "set `port` to a port of the Service";
    CaNotUsable = "ca-not-usable": "a reference yields no CA certificates",
        "reference a ConfigMap or Secret with PEM certificates under `ca.crt`";
    CertificateExpired = "certificate-expired": "a certificate of a listener has expired",
        "renew the certificate";
    CertificateExpiresSoon = "certificate-expires-soon": "a certificate of a listener expires within 7 days",
        "renew the certificate";
    CertificateNotUsable = "certificate-not-usable": "a reference yields no usable certificate and key",
        "reference a Secret of type `kubernetes.io/tls` whose `tls.crt` and `tls.key` belong together";
    CertificateNotYetValid = "certificate-not-yet-valid": "a certificate of a listener is not valid yet",
        "check the clocks of this machine and of the issuer";
    ClientAddressUnknown = "client-address-unknown": "no ClientTrafficPolicy configures the detection of the client address",
        "set `proxyProtocol` or `clientIPDetection` in a ClientTrafficPolicy";
    ClientsNotValidated = "clients-not-validated": "clients without a valid certificate are accepted",
        "set mode `AllowValidOnly`";
    CredentialsInPlainText = "credentials-in-plain-text": "a SecurityPolicy requires credentials on an HTTP listener, or uses an `http` URL of another host for secrets or keys",
        "use an HTTPS listener, and redirect the HTTP listener to it; use `https` URLs";
    DuplicateObject = "duplicate-object": "two documents define the same object",
        "remove or rename one of the objects";
    FieldIgnored = "field-ignored": "a field is not supported, and the policy is applied without it",
        "remove the field, or keep it for another gateway";
    ForwardedForTrusted = "forwarded-for-trusted": "the client address is taken from `X-Forwarded-For`",
        "allow connections to the port only from the proxy in front";
    GatewayOfAnotherController = "gateway-of-another-controller": "the GatewayClass of a Gateway belongs to another controller",
        "set `--controller-name` to that controller to serve the Gateway";
    GeoDatabaseUnusable = "geo-database-unusable": "a GeoIP database cannot be read, or no database has a field that a policy compares",
        "pass databases that have these fields with `--geoip-database`";
    HeaderEditWithoutEffect = "header-edit-without-effect": "an edit has no effect, because its header field frames the message or belongs to the connection",
        "remove the edit";
    HostUnresolved = "host-unresolved": "a host that a SecurityPolicy or Backend names has no address",
        "correct the name, or refer to the service with `backendRefs`";
    HostnameInvalid = "hostname-invalid": "a hostname of a route is invalid",
        "use lower case, without port, with `*` only as the first label";
    HostnameOfAnotherListener = "hostname-of-another-listener": "a more specific listener serves a hostname of the route, and the route is not attached to it",
        "attach the route to that listener, or remove the hostname";
    HostnameWithoutCertificate = "hostname-without-certificate": "no certificate of the listener covers a hostname of the route",
        "add a certificate for the hostname to the listener";
    Http10Rejected = "http10-rejected": "a proxy is in front of the gateway, and requests over HTTP/1.0 get 426",
        "let the proxy use HTTP/1.1, or set `spec.http1.http10: {}` in the ClientTrafficPolicy";
    InvalidName = "invalid-name": "a name or namespace is not valid in Kubernetes",
        "use lower-case letters, digits and `-`";
    InvalidObject = "invalid-object": "a value has the wrong type",
        "correct or remove the value";
    ListenerConflict = "listener-conflict": "two listeners of a port conflict in protocol or hostname",
        "set another port or hostname for one of the listeners";
    ListenerInvalid = "listener-invalid": "a listener has an invalid field",
        "correct the field, or remove the listener";
    ListenerSet = "listener-set": "the Gateway does not accept a ListenerSet",
        "allow the namespace in `spec.allowedListeners` of the Gateway";
    MissingKind = "missing-kind": "a document has only one of `apiVersion` and `kind`",
        "add the missing field";
    MissingName = "missing-name": "an object has no name",
        "set `metadata.name`";
    NamespaceNotAllowed = "namespace-not-allowed": "the listener does not accept routes from the namespace of the route",
        "add the labels that the listener selects to the Namespace";
    NoCommonHostname = "no-common-hostname": "the route and the listeners have no hostname in common",
        "use a hostname that the listener accepts, or another listener";
    NoEndpoints = "no-endpoints": "a backend has no ready endpoints",
        "add an EndpointSlice with ready endpoints, or set `--endpoint`";
    NoGateway = "no-gateway": "there are manifests, but none is a Gateway",
        "add a Gateway, or pass the folder that contains the Gateway";
    NoIngressOfClass = "no-ingress-of-class": "no Ingress has the class of `--ingress-class`",
        "set `--ingress-class` to the class of the Ingresses, or set `spec.ingressClassName` in them";
    NoManifest = "no-manifest": "there are no manifests",
        "pass a folder with files that end in `.yaml`, `.yml` or `.json`";
    NoSuchListener = "no-such-listener": "a parentRef names a listener that does not exist",
        "name one of the listeners of the parent";
    NotAnObject = "not-an-object": "a document is not a Kubernetes object",
        "move the file out of the folder";
    NotTranslated = "not-translated": "an Ingress or a setting of ingress-nginx has no effect without a translation",
        "see the report of `towergate migrate`";
    OidcLogoutNotServed = "oidc-logout-not-served": "no rule under a SecurityPolicy serves the `logoutPath` of its `oidc`",
        "use a path that a route under the policy matches";
    OidcRedirectNotServed = "oidc-redirect-not-served": "no rule under a SecurityPolicy serves the `redirectURL` of its `oidc`",
        "use a scheme, host, port and path that a route under the policy matches";
    ParametersIgnored = "parameters-ignored": "an EnvoyProxy has fields without effect",
        "configure the equivalent policy or Towergate option, and remove the fields";
    ParametersInvalid = "parameters-invalid": "parameters of a GatewayClass or Gateway are missing, invalid or of an unsupported kind",
        "correct or remove the reference";
    ParentKind = "parent-kind": "a parentRef names a kind that routes cannot attach to",
        "reference a Gateway or ListenerSet";
    ParentNamespaceMissing = "parent-namespace-missing": "a parentRef lacks the namespace of its Gateway",
        "set `namespace` in the parentRef";
    ParentNotFound = "parent-not-found": "a parentRef names a Gateway or ListenerSet that does not exist",
        "correct the name and namespace";
    PassedOver = "passed-over": "objects of kinds that a gateway does not use are skipped",
        "no action is required";
    PolicyClosesConnections = "policy-closes-connections": "a SecurityPolicy for requests covers a TCPRoute, TLSRoute or UDPRoute, whose connections are closed",
        "target the HTTPRoutes or the HTTP listeners, or set a SecurityPolicy with `clientCIDRs` for the route";
    PolicyConflict = "policy-conflict": "an older policy has the same target",
        "remove one of the policies";
    PolicyInvalid = "policy-invalid": "a policy cannot be enforced",
        "correct or remove the field";
    PolicyNamespace = "policy-namespace": "a policy is not in the namespace of its target",
        "move the policy to that namespace";
    PolicyReplaced = "policy-replaced": "a SecurityPolicy protects nothing, because more specific policies replace it",
        "set `mergeType` in the more specific policies, or remove the policy";
    PolicyTargetMissing = "policy-target-missing": "a policy targets an object that does not exist, or a kind that is not supported",
        "correct the target";
    PolicyTargetSection = "policy-target-section": "a policy targets a listener or rule that does not exist",
        "name a listener of the Gateway, or a rule of the route";
    PolicyTargetsUnreadable = "policy-targets-unreadable": "the targets of a policy cannot be read, so everything that the policy may cover fails closed",
        "name group, kind and name of each target in `spec.targetRefs`";
    PortOutOfRange = "port-out-of-range": "a port is not between 1 and 65535",
        "correct the port";
    PortTaken = "port-taken": "another listener, or the data plane itself, uses the port",
        "use another port, address or hostname";
    ProxyProtocolOptional = "proxy-protocol-optional": "connections without a PROXY header are accepted",
        "set `optional: false` once all clients come through the load balancer";
    ProxyProtocolRequired = "proxy-protocol-required": "connections without a PROXY header are closed",
        "connect through the load balancer, and let its health checks send the header";
    RedirectLoop = "redirect-loop": "a redirect leads back to its own listener",
        "set `sectionName` in the parentRef to the listener that redirects";
    ReferenceNotGranted = "reference-not-granted": "no ReferenceGrant permits a reference into another namespace",
        "add a ReferenceGrant in the namespace of the referenced object";
    RouteNotAllowed = "route-not-allowed": "the listener does not accept the namespace or kind of the route",
        "allow the namespace and kind in `allowedRoutes` of the listener";
    RuleInvalid = "rule-invalid": "a rule of a route has an invalid field",
        "correct or remove the field";
    RuleNameTwice = "rule-name-twice": "two rules of a route have the same name",
        "give each rule a unique name";
    RuleWithoutBackends = "rule-without-backends": "a rule has no backends and no redirect",
        "add a backendRef, or remove the rule";
    SchemaViolation = "schema-violation": "a value violates the schema of its kind",
        "correct or remove the field";
    SettingWithoutEffect = "setting-without-effect": "a setting for requests is set for a TLSRoute, TCPRoute or UDPRoute",
        "remove the field";
    Syntax = "syntax": "a document is not valid YAML or JSON, or is too large",
        "correct the document";
    TimeoutWithoutEffect = "timeout-without-effect": "a timeout for TLS and TCP listeners is set for a Gateway that has no listener of this kind",
        "set `timeout.http.idleTimeout`, or remove the field";
    TrustedHops = "trusted-hops": "more than one proxy in front of the gateway is trusted",
        "set the number of proxies that append to `X-Forwarded-For`";
    UnknownBind = "unknown-bind": "`--bind` names a Gateway that does not exist",
        "write the value as `NAMESPACE/NAME=ADDRESS`";
    UnknownEndpoint = "unknown-endpoint": "`--endpoint` names a Service or port that does not exist",
        "write the value as `NAMESPACE/SERVICE:PORT=ADDRESS`";
    UnknownField = "unknown-field": "a field does not exist",
        "correct the name, or remove the field";
    UnknownKind = "unknown-kind": "a kind does not exist in its API group",
        "correct `apiVersion` or `kind`";
    UnknownPort = "unknown-port": "`--port` names a port that no listener has",
        "write the value as `PORT=BOUND`, with the port of a listener";
    Unreadable = "unreadable": "a file or folder cannot be read",
        "correct the permissions, encoding or size of the file";
    Unsupported = "unsupported": "a field or value is not supported",
        "remove the field, or follow the suggestion in the finding";
    UnsupportedKind = "unsupported-kind": "a kind of Gateway API or Envoy Gateway is not supported",
        "remove the object";
    WrongVersion = "wrong-version": "a kind is not supported in this version",
        "use a supported `apiVersion`";
}

impl Display for FindingCode {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for FindingCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::fs;
    use std::path::Path;

    use super::*;

    fn page() -> String {
        let mut page = "\
# Findings

`towergate check` reports these problems, listed by code. The severity and the exact advice depend on the finding.

<!-- Generated from gateway-k8s/src/finding.rs: UPDATE=1 cargo test -p towergate-k8s --lib finding -->

| code | meaning | advice |
|---|---|---|
"
        .to_owned();
        for code in FindingCode::ALL {
            let (meaning, advice) = (code.meaning(), code.advice());
            writeln!(page, "| `{code}` | {meaning} | {advice} |").unwrap();
        }
        page
    }

    #[test]
    fn the_page_of_findings_is_generated_from_the_codes() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/findings.md");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, page()).unwrap();
        }
        // A packaged crate does not contain the page.
        if let Ok(written) = fs::read_to_string(path) {
            assert_eq!(written, page());
        }
    }

    #[test]
    fn codes_are_unique_and_in_alphabetical_order() {
        let codes = FindingCode::ALL.iter().map(|code| code.as_str());

        assert!(codes.is_sorted_by(|a, b| a < b));
    }
}
