//! The spec of an HTTPRouteFilter.
//!
//! ```
//! use towergate_policy::route_filter::HttpRouteFilterSpec;
//!
//! let spec: HttpRouteFilterSpec =
//!     serde_json::from_str(r#"{"directResponse": {"statusCode": 503, "body": {"type": "Inline", "inline": "later"}}}"#)?;
//! assert_eq!(spec.direct_response.and_then(|direct| direct.status_code), Some(503));
//! # Ok::<(), serde_json::Error>(())
//! ```

use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::common::{ConfigMapRef, Header, ObjectRef};

string_enum! {
    /// How a path is rewritten.
    pub enum PathRewriteKind {
        ReplaceRegexMatch = "ReplaceRegexMatch",
    }

    /// The source of a new host.
    pub enum HostRewriteKind {
        Header = "Header",
        Backend = "Backend",
        PathRegex = "PathRegex",
    }

    /// Source of a body.
    pub enum BodyKind {
        Inline = "Inline",
        ValueRef = "ValueRef",
    }

    /// How the value of a cookie is compared.
    pub enum CookieMatchKind {
        Exact = "Exact",
        RegularExpression = "RegularExpression",
    }
}

api_struct! {
    /// A filter that rules of HTTPRoutes and GRPCRoutes reference with `ExtensionRef`.
    pub struct HttpRouteFilterSpec {
        /// Rewrite of path and host.
        url_rewrite: UrlRewrite = "urlRewrite",
        /// Response that the gateway sends instead of forwarding the request.
        direct_response: DirectResponse = "directResponse",
        /// Credential that is added for the backend.
        credential_injection: CredentialInjection = "credentialInjection",
        /// Alternative conditions, in addition to the matches of the rule.
        matches: Vec<FilterMatch> = "matches" [Items(0, 8)],
    }

    /// Rewrite of path and host.
    pub struct UrlRewrite {
        /// Host of the request to the backend.
        hostname: HostRewrite = "hostname",
        /// Path of the request to the backend.
        path: PathRewrite = "path",
        /// Whether the original host is appended to `X-Forwarded-Host`. Default: `true`.
        append_x_forwarded_host: bool = "appendXForwardedHost",
    }

    /// A new host.
    pub struct HostRewrite {
        /// Source of the host.
        kind: HostRewriteKind = "type" [Required],
        /// Name of the header field, for type `Header`.
        header: String = "header",
        /// Replacement in the path, for type `PathRegex`.
        path_regex: RegexReplacement = "pathRegex",
    }

    /// A new path.
    pub struct PathRewrite {
        /// How the path is rewritten.
        kind: PathRewriteKind = "type" [Required],
        /// Replacement of the parts that match.
        replace_regex_match: RegexReplacement = "replaceRegexMatch",
    }

    /// Replaces the parts of a string that match an expression.
    pub struct RegexReplacement {
        /// Regular expression.
        pattern: String = "pattern" [Required],
        /// Replacement; `\1` is the first group.
        substitution: String = "substitution" [Required],
    }

    /// Response that the gateway sends instead of forwarding the request.
    pub struct DirectResponse {
        /// `Content-Type`. Default, if there is a body: `text/plain`.
        content_type: String = "contentType",
        /// Body. Default: empty.
        body: ResponseBody = "body",
        /// Status. Default: 200.
        status_code: i64 = "statusCode",
        /// Header fields.
        header: ResponseHeaders = "header",
    }

    /// The body of a response.
    pub struct ResponseBody {
        /// Source of the body.
        kind: BodyKind = "type" [Required, DefaultText("Inline")],
        /// Body as text, which can contain command operators.
        inline: String = "inline",
        /// ConfigMap with the body under `response.body`, or else under its first key.
        value_ref: ConfigMapRef = "valueRef",
    }

    /// Header fields of a response.
    pub struct ResponseHeaders {
        /// Fields that are set.
        set: Vec<Header> = "set" [Items(0, 16)],
        /// Fields that are added.
        add: Vec<Header> = "add" [Items(0, 16)],
        /// Not allowed: a direct response has no fields to remove.
        remove: Vec<String> = "remove" [Items(0, 16)],
    }

    /// A credential for the backend.
    pub struct CredentialInjection {
        /// Header field of the credential. Default: `Authorization`.
        header: String = "header",
        /// Whether a value of the client is replaced. Default: `false`.
        overwrite: bool = "overwrite",
        /// The credential.
        credential: InjectedCredential = "credential" [Required],
    }

    /// The value of a credential.
    pub struct InjectedCredential {
        /// Secret with the value under `credential`.
        value_ref: ObjectRef = "valueRef" [Required],
    }

    /// Conditions that must all hold.
    pub struct FilterMatch, rules {
        /// Conditions on cookies.
        cookies: Vec<CookieMatch> = "cookies" [Items(1, 16)],
    }

    /// A condition on a cookie.
    pub struct CookieMatch {
        /// How the value is compared. Default: `Exact`.
        kind: CookieMatchKind = "type" [DefaultText("Exact")],
        /// Name of the cookie.
        name: String = "name" [Required, Length(1, 256)],
        /// Value or expression.
        value: String = "value" [Required, Length(1, 4096)],
    }
}

impl FilterMatch {
    /// A match without a condition is invalid, because it would match every request.
    fn rules(&self, report: &mut Report) {
        let message = "should have at least 1 properties";
        report.rule(self.cookies.is_some(), message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_needs_a_condition() {
        let violations = |spec: &str| {
            let spec: HttpRouteFilterSpec = serde_json::from_str(spec).unwrap();
            let violations = Report::of(&spec).violations;
            let violations = violations.iter().map(ToString::to_string);
            violations.collect::<Vec<_>>()
        };

        assert_eq!(
            violations(r#"{"matches": [{"cookies": [{"name": "a", "value": "b"}]}, {}]}"#),
            ["spec.matches[1]: should have at least 1 properties"]
        );
        assert_eq!(
            violations(r#"{"matches": [{"cookies": []}]}"#),
            ["spec.matches[0].cookies: should have at least 1 items"]
        );
        assert!(violations(r#"{"matches": []}"#).is_empty());
        let defaulted = r#"{"directResponse": {"body": {"inline": "later"}}}"#;
        assert!(violations(defaulted).is_empty());
    }
}
