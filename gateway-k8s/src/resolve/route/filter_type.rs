//! Types of filters.

/// Type of a filter of a rule or backendRef.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum FilterType {
    RequestHeaderModifier,
    ResponseHeaderModifier,
    RequestRedirect,
    UrlRewrite,
    RequestMirror,
    Cors,
    ExternalAuth,
    ExtensionRef,
}

impl FilterType {
    /// Reads a type as it is written. `None`: it is not supported.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "RequestHeaderModifier" => Self::RequestHeaderModifier,
            "ResponseHeaderModifier" => Self::ResponseHeaderModifier,
            "RequestRedirect" => Self::RequestRedirect,
            "URLRewrite" => Self::UrlRewrite,
            "RequestMirror" => Self::RequestMirror,
            "CORS" => Self::Cors,
            "ExternalAuth" => Self::ExternalAuth,
            "ExtensionRef" => Self::ExtensionRef,
            _ => return None,
        })
    }

    /// Whether a backendRef may have the filter. Policies and preflight requests are handled before a backend is
    /// picked.
    pub(super) fn is_of_backends(self) -> bool {
        match self {
            Self::RequestHeaderModifier
            | Self::ResponseHeaderModifier
            | Self::RequestRedirect
            | Self::UrlRewrite
            | Self::RequestMirror
            | Self::ExtensionRef => true,
            Self::Cors | Self::ExternalAuth => false,
        }
    }
}
