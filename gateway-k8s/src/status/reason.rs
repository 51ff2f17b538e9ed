//! Reasons of conditions, by kind of object.
//!
//! The strings are those of Gateway API, or of Envoy Gateway where Gateway API has none.

use std::fmt::Debug;

/// Reason of a condition.
pub trait Reason: Copy + Debug + Ord {
    /// The string in a status.
    fn as_str(self) -> &'static str;
}

/// Declares reasons with their strings.
macro_rules! reasons {
    ($($(#[$attribute:meta])* pub enum $name:ident {
        $($(#[$of_reason:meta])* $reason:ident = $text:literal,)*
    })*) => {$(
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum $name {$(
            #[doc = concat!("`", $text, "`.")]
            $(#[$of_reason])*
            $reason,
        )*}

        impl Reason for $name {
            fn as_str(self) -> &'static str {
                match self {$(Self::$reason => $text,)*}
            }
        }
    )*};
}

reasons! {
    /// Reasons in the status of a GatewayClass.
    pub enum GatewayClassReason {
        Accepted = "Accepted",
        InvalidParameters = "InvalidParameters",
        UnsupportedField = "UnsupportedField",
    }

    /// Reasons in the status of a Gateway.
    pub enum GatewayReason {
        Accepted = "Accepted",
        AddressNotAssigned = "AddressNotAssigned",
        AddressNotUsable = "AddressNotUsable",
        ConfigurationChanged = "ConfigurationChanged",
        Invalid = "Invalid",
        InvalidClientCertificateRef = "InvalidClientCertificateRef",
        InvalidParameters = "InvalidParameters",
        ListenersNotValid = "ListenersNotValid",
        Programmed = "Programmed",
        RefNotPermitted = "RefNotPermitted",
        ResolvedRefs = "ResolvedRefs",
        UnsupportedAddress = "UnsupportedAddress",
        UnsupportedField = "UnsupportedField",
    }

    /// Reasons in the status of a listener.
    pub enum ListenerReason {
        Accepted = "Accepted",
        HostnameConflict = "HostnameConflict",
        Invalid = "Invalid",
        InvalidCaCertificateKind = "InvalidCACertificateKind",
        InvalidCaCertificateRef = "InvalidCACertificateRef",
        InvalidCertificateRef = "InvalidCertificateRef",
        InvalidRouteKinds = "InvalidRouteKinds",
        ListenersNotValid = "ListenersNotValid",
        NoConflicts = "NoConflicts",
        NoValidCaCertificate = "NoValidCACertificate",
        OverlappingCertificates = "OverlappingCertificates",
        OverlappingHostnames = "OverlappingHostnames",
        PartiallyInvalidCertificateRef = "PartiallyInvalidCertificateRef",
        PortUnavailable = "PortUnavailable",
        Programmed = "Programmed",
        ProtocolConflict = "ProtocolConflict",
        RefNotPermitted = "RefNotPermitted",
        ResolvedRefs = "ResolvedRefs",
        UnsupportedProtocol = "UnsupportedProtocol",
        UnsupportedTlsMode = "UnsupportedTLSMode",
        UnsupportedValue = "UnsupportedValue",
    }

    /// Reasons in the status of a ListenerSet.
    pub enum ListenerSetReason {
        Accepted = "Accepted",
        ListenersNotValid = "ListenersNotValid",
        NotAllowed = "NotAllowed",
        ParentNotAccepted = "ParentNotAccepted",
        Programmed = "Programmed",
    }

    /// Reasons in the status of a route.
    pub enum RouteReason {
        Accepted = "Accepted",
        BackendNotFound = "BackendNotFound",
        EndpointsNotFound = "EndpointsNotFound",
        IncompatibleFilters = "IncompatibleFilters",
        InvalidAddress = "InvalidAddress",
        InvalidBackendFilters = "InvalidBackendFilters",
        InvalidBackendRef = "InvalidBackendRef",
        InvalidBackendTls = "InvalidBackendTLS",
        InvalidKind = "InvalidKind",
        InvalidRule = "InvalidRule",
        NoMatchingListenerHostname = "NoMatchingListenerHostname",
        NoMatchingParent = "NoMatchingParent",
        NotAllowedByListeners = "NotAllowedByListeners",
        PortNotFound = "PortNotFound",
        PortNotSpecified = "PortNotSpecified",
        RefNotPermitted = "RefNotPermitted",
        ResolvedRefs = "ResolvedRefs",
        RouteRulesOverlap = "RouteRulesOverlap",
        UnsupportedAddressType = "UnsupportedAddressType",
        UnsupportedRefValue = "UnsupportedRefValue",
        UnsupportedValue = "UnsupportedValue",
    }

    /// Reasons in the status of a Backend.
    pub enum BackendReason {
        Accepted = "Accepted",
        Invalid = "Invalid",
    }

    /// Reasons in the status of a policy.
    pub enum PolicyReason {
        Accepted = "Accepted",
        Aggregated = "Aggregated",
        Conflicted = "Conflicted",
        DeprecatedField = "DeprecatedField",
        Invalid = "Invalid",
        InvalidCaCertificateRef = "InvalidCACertificateRef",
        InvalidKind = "InvalidKind",
        Merged = "Merged",
        NoValidCaCertificate = "NoValidCACertificate",
        Overridden = "Overridden",
        ResolvedRefs = "ResolvedRefs",
        TargetNotFound = "TargetNotFound",
        UnsupportedField = "UnsupportedField",
        UnsupportedHttp3ClientValidation = "UnsupportedHTTP3ClientValidation",
        Warnings = "Warnings",
    }
}
