//! `jwt`: authentication by JSON Web Token (RFC 7519).

use crate::api_struct::{api_struct, string_enum};
use crate::backend_traffic::ClusterSettings;
use crate::check::Report;
use crate::common::{BackendRef, Backends, ConfigMapRef, DurationText, SingleBackendRef};

string_enum! {
    /// The source of a key set.
    pub enum ValueSource {
        Inline = "Inline",
        ValueRef = "ValueRef",
    }
}

api_struct! {
    /// Authentication by JSON Web Token. Requests without a valid token are answered 401.
    pub struct Jwt, rules {
        /// Whether requests without a token are allowed. Default: `false`.
        optional: bool = "optional",
        /// Whether requests with a missing or invalid token are allowed. Default: `false`.
        fail_open: bool = "failOpen",
        /// Providers. A token is valid if one of them verifies it.
        providers: Vec<JwtProvider> = "providers" [Required, Items(1, 16)],
    }

    /// A provider of tokens. Either `remoteJWKS` or `localJWKS` must be set.
    pub struct JwtProvider, rules {
        /// Unique name of the provider.
        name: String = "name" [Required, Length(1, 253)],
        /// Required value of `iss`. Default: not checked.
        issuer: String = "issuer" [Length(0, 253)],
        /// Allowed values of `aud`. Default: not checked.
        audiences: Vec<String> = "audiences" [Items(0, 8)],
        /// Key set that is fetched.
        remote_jwks: RemoteJwks = "remoteJWKS",
        /// Key set that is part of the configuration.
        local_jwks: LocalJwks = "localJWKS",
        /// Claims that the backend receives in headers.
        claim_to_headers: Vec<ClaimToHeader> = "claimToHeaders",
        /// Whether the request is routed again after the headers are set. Default: `false`.
        recompute_route: bool = "recomputeRoute",
        /// Sources of the token. Default: `Authorization: Bearer`, then the query parameter
        /// `access_token`.
        extract_from: JwtExtractFrom = "extractFrom",
    }

    /// A key set that is fetched.
    pub struct RemoteJwks, rules {
        /// Always invalid: `backendRefs` must be used.
        backend_ref: SingleBackendRef = "backendRef",
        /// Backends that serve the key set. Default: the host of `uri`.
        backend_refs: Vec<BackendRef> = "backendRefs" [Items(0, 16)],
        /// Settings of the connections to the backends.
        backend_settings: ClusterSettings = "backendSettings",
        /// HTTPS URI of the key set. The server's certificate is verified with the system's CAs.
        uri: String = "uri" [Required, Length(1, 253)],
        /// Time for which the key set is cached. Default: 5 minutes.
        cache_duration: DurationText = "cacheDuration",
        /// Time to wait after a failed fetch. Default: 1 second.
        failed_refetch_duration: DurationText = "failedRefetchDuration",
    }

    /// A key set that is part of the configuration.
    pub struct LocalJwks, rules {
        /// Source of the key set. Default: `Inline`.
        kind: ValueSource = "type",
        /// Key set as text (RFC 7517).
        inline: String = "inline",
        /// ConfigMap with the key set under `jwks`, or else under its first key.
        value_ref: ConfigMapRef = "valueRef",
    }

    /// A claim that the backend receives in a header.
    pub struct ClaimToHeader {
        /// Name of the header.
        header: String = "header" [Required],
        /// Name of the claim. Dots separate the names of nested claims.
        claim: String = "claim" [Required],
    }

    /// Sources of the token. The first that is present is used.
    pub struct JwtExtractFrom {
        /// Headers with a token.
        headers: Vec<JwtHeader> = "headers",
        /// Names of cookies.
        cookies: Vec<String> = "cookies",
        /// Names of query parameters.
        params: Vec<String> = "params",
    }

    /// A header with a token.
    pub struct JwtHeader {
        /// Name of the header.
        name: String = "name" [Required],
        /// Prefix of the value that is not part of the token. Default: none.
        value_prefix: String = "valuePrefix",
    }
}

impl Jwt {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.optional != Some(true) || self.fail_open != Some(true),
            "optional and failOpen cannot both be set; failOpen already tolerates a missing JWT",
        );
    }
}

impl JwtProvider {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.recompute_route != Some(true) || self.claim_to_headers.is_some(),
            "claimToHeaders must be specified if recomputeRoute is enabled.",
        );
        report.rule(
            self.remote_jwks.is_some() || self.local_jwks.is_some(),
            "either remoteJWKS or localJWKS must be specified.",
        );
        report.rule(
            self.remote_jwks.is_none() || self.local_jwks.is_none(),
            "remoteJWKS and localJWKS cannot both be specified.",
        );
    }
}

impl RemoteJwks {
    fn rules(&self, report: &mut Report) {
        Backends {
            single: self.backend_ref.as_ref(),
            list: self.backend_refs.as_ref(),
            settings: self.backend_settings.as_ref(),
        }
        .check_fetched(report);
    }
}

impl LocalJwks {
    fn rules(&self, report: &mut Report) {
        let by_reference = self.kind == Some(ValueSource::ValueRef);
        report.rule(
            self.value_ref.is_some() == by_reference && self.inline.is_some() != by_reference,
            "Exactly one of inline or valueRef must be set with correct type.",
        );
    }
}
