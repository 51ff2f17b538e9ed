//! Fields that are not known: what leaving one out would mean for its object.
//!
//! Most say nothing that matters. But a match that is left out lets a rule take more than was meant, a
//! filter or host name that is left out lets in who should stay out, and so does a field of a policy or a
//! grant. There the part that has the field fails closed, in the way that [`Closed`] tells.

use super::kind::KindId;
use super::typed::UnknownField;

/// What fails closed because of a field that is not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Closed {
    /// What a policy is for.
    Policy,
    /// A rule of a route.
    Rule,
    /// The rule of a route of connections or datagrams.
    Stream,
    /// Every rule of a route.
    Rules,
    /// A route.
    Route,
    /// A route, for one parent.
    Parent,
    /// A listener.
    Listener,
    /// All listeners of a Gateway or ListenerSet that it may concern.
    Gateway,
    /// What a ReferenceGrant permits.
    Grant,
}

impl Closed {
    /// What becomes of it.
    pub(crate) fn effect(self) -> &'static str {
        match self {
            Self::Policy => "what the policy covers answers 500",
            Self::Rule => "the rule answers 500",
            Self::Stream => "what the route takes is closed or dropped",
            Self::Rules => "every rule of the route answers 500",
            Self::Route => "the route is not attached",
            Self::Parent => "the route is not attached to this parent",
            Self::Listener => "the listener is not served",
            Self::Gateway => "no listener that it may concern is served",
            Self::Grant => "the grant permits nothing",
        }
    }
}

/// What the field at `path`, which is not known, makes fail closed. `None`: it has no effect.
pub(crate) fn closed(kind: KindId, path: &str) -> Option<Closed> {
    use KindId as K;
    let Some(field) = path.strip_prefix("spec.") else {
        return (path == "spec").then(|| whole(kind)).flatten();
    };
    match kind {
        K::HttpRoute | K::GrpcRoute if is_of_every_rule(path) => Some(Closed::Rules),
        K::TlsRoute | K::TcpRoute | K::UdpRoute if is_of_every_rule(path) => Some(Closed::Stream),
        K::ClientTrafficPolicy
        | K::BackendTrafficPolicy
        | K::SecurityPolicy
        | K::BackendTlsPolicy => Some(Closed::Policy),
        K::HttpRoute | K::GrpcRoute if field.starts_with("rules[") => Some(Closed::Rule),
        K::TlsRoute | K::TcpRoute | K::UdpRoute if field.starts_with("rules[") => {
            Some(Closed::Stream)
        }
        K::HttpRoute | K::GrpcRoute | K::TlsRoute | K::TcpRoute | K::UdpRoute => {
            match field.starts_with("parentRefs[") {
                true => Some(Closed::Parent),
                false => Some(Closed::Route),
            }
        }
        // Neither labels of what a cluster makes for a Gateway nor addresses let anybody in.
        K::Gateway if field.starts_with("infrastructure.") || field.starts_with("addresses[") => {
            None
        }
        K::Gateway | K::ListenerSet if field.starts_with("listeners[") => Some(Closed::Listener),
        K::Gateway | K::ListenerSet => Some(Closed::Gateway),
        K::ReferenceGrant => Some(Closed::Grant),
        K::GatewayClass
        | K::Service
        | K::EndpointSlice
        | K::Secret
        | K::ConfigMap
        | K::Namespace => None,
    }
}

/// What a fault of the whole `spec` makes fail closed.
fn whole(kind: KindId) -> Option<Closed> {
    use KindId as K;
    match kind {
        K::ClientTrafficPolicy
        | K::BackendTrafficPolicy
        | K::SecurityPolicy
        | K::BackendTlsPolicy => Some(Closed::Policy),
        K::HttpRoute | K::GrpcRoute => Some(Closed::Rules),
        K::TlsRoute | K::TcpRoute | K::UdpRoute => Some(Closed::Stream),
        K::Gateway | K::ListenerSet => Some(Closed::Gateway),
        K::ReferenceGrant => Some(Closed::Grant),
        K::GatewayClass
        | K::Service
        | K::EndpointSlice
        | K::Secret
        | K::ConfigMap
        | K::Namespace => None,
    }
}

/// Whether an invalid field of a route concerns each of its rules: where the route is attached is known,
/// so requests for it must not reach a less specific route.
pub(crate) fn is_of_every_rule(path: &str) -> bool {
    matches!(
        path,
        "spec" | "spec.rules" | "spec.parentRefs" | "spec.hostnames"
    ) || path.starts_with("spec.hostnames[")
}

/// The most names that are listed.
const LISTED: usize = 16;

/// How to mend it: the name that may have been meant, or those that there are.
pub(crate) fn mend(field: &UnknownField) -> String {
    if let Some(meant) = &field.nearest {
        return format!("Did you mean `{meant}`?");
    }
    match field.known.as_slice() {
        [] => "Remove it.".to_owned(),
        known if known.len() > LISTED => {
            "Remove it, or look its name up in the reference of the API.".to_owned()
        }
        known => format!("Remove it, or use one of: `{}`.", known.join("`, `")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_let_somebody_in_fails_closed() {
        use KindId as K;
        for (kind, path, expected) in [
            (
                K::HttpRoute,
                "spec.rules[0].matches[0].pth",
                Some(Closed::Rule),
            ),
            (K::HttpRoute, "spec.rules[0].filtres", Some(Closed::Rule)),
            (K::GrpcRoute, "spec.rules[3].mathces", Some(Closed::Rule)),
            (K::HttpRoute, "spec.hostnmaes", Some(Closed::Route)),
            (
                K::GrpcRoute,
                "spec.parentRefs[0].sectionNmae",
                Some(Closed::Parent),
            ),
            (K::TcpRoute, "spec.hostnames", Some(Closed::Stream)),
            (
                K::TlsRoute,
                "spec.rules[0].backendRefs[0].prot",
                Some(Closed::Stream),
            ),
            (K::HttpRoute, "metadata.lables", None),
            (K::HttpRoute, "specs", None),
            (
                K::ListenerSet,
                "spec.listeners[1].allowedRuotes",
                Some(Closed::Listener),
            ),
            (
                K::Gateway,
                "spec.listeners[0].hostnmae",
                Some(Closed::Listener),
            ),
            (
                K::Gateway,
                "spec.tls.frontend.defualt",
                Some(Closed::Gateway),
            ),
            (K::Gateway, "spec.infrastructure.lables", None),
            (K::Gateway, "spec.addresses[0].vlaue", None),
            (K::GatewayClass, "spec.describtion", None),
            (K::ReferenceGrant, "spec.to[0].nmae", Some(Closed::Grant)),
            (
                K::SecurityPolicy,
                "spec.authorisation",
                Some(Closed::Policy),
            ),
            (
                K::BackendTlsPolicy,
                "spec.validation.hostnmae",
                Some(Closed::Policy),
            ),
        ] {
            assert_eq!(closed(kind, path), expected, "{kind:?} {path}");
        }
    }

    #[test]
    fn the_mend_names_what_was_meant_or_what_there_is() {
        let field = |nearest: Option<&str>, known: &[&'static str]| UnknownField {
            path: "spec.x".to_owned(),
            place: crate::decode::tree::Place { line: 1, column: 1 },
            nearest: nearest.map(str::to_owned),
            known: known.to_vec(),
        };

        assert_eq!(
            mend(&field(Some("path"), &["path"])),
            "Did you mean `path`?"
        );
        assert_eq!(
            mend(&field(None, &["path", "method"])),
            "Remove it, or use one of: `path`, `method`."
        );
        assert_eq!(mend(&field(None, &[])), "Remove it.");
        assert!(mend(&field(None, &["a"; 17])).contains("reference"));
    }
}
