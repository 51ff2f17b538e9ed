//! The kinds of objects that policies can target.

use towergate_core::plan::RouteKind;

/// A kind of Gateway API that a policy can target.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum TargetKind {
    /// `Gateway`.
    Gateway,
    /// `ListenerSet`.
    ListenerSet,
    /// A kind of route.
    Route(RouteKind),
}

impl TargetKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Gateway,
        Self::ListenerSet,
        Self::Route(RouteKind::Http),
        Self::Route(RouteKind::Grpc),
        Self::Route(RouteKind::Tls),
        Self::Route(RouteKind::Tcp),
        Self::Route(RouteKind::Udp),
    ];

    /// The kind as Gateway API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "Gateway",
            Self::ListenerSet => "ListenerSet",
            Self::Route(kind) => kind.name(),
        }
    }

    /// The kind that Gateway API calls `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether objects of this kind handle HTTP requests, and not only connections.
    pub const fn carries_requests(self) -> bool {
        match self {
            Self::Gateway | Self::ListenerSet => true,
            Self::Route(kind) => kind.matches_requests(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_by_its_name_only() {
        for kind in TargetKind::ALL {
            assert_eq!(TargetKind::from_name(kind.name()), Some(kind));
        }
        for other in ["", "gateway", "HttpRoute", "Service", "GatewayClass"] {
            assert_eq!(TargetKind::from_name(other), None, "{other}");
        }
    }

    #[test]
    fn requests_pass_through_gateways_and_two_kinds_of_routes() {
        let names: Vec<_> = TargetKind::ALL
            .into_iter()
            .filter(|kind| kind.carries_requests())
            .map(TargetKind::name)
            .collect();
        assert_eq!(names, ["Gateway", "ListenerSet", "HTTPRoute", "GRPCRoute"]);
    }
}
