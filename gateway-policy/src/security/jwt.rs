//! `jwt` of a SecurityPolicy as it is written.

use crate::api_struct::{api_struct, string_enum};
use crate::backend_traffic::ClusterSettings;
use crate::check::Report;
use crate::common::{BackendRef, Backends, ConfigMapRef, DurationText, SingleBackendRef};

string_enum! {
    /// Where a value is.
    pub enum ValueSource {
        Inline = "Inline",
        ValueRef = "ValueRef",
    }
}

api_struct! {
    /// Tokens.
    pub struct Jwt, rules {
        /// Requests without a token pass.
        optional: bool = "optional",
        /// Requests with a bad token pass too.
        fail_open: bool = "failOpen",
        /// Who gives tokens.
        providers: Vec<JwtProvider> = "providers" [Required, Items(1, 16)],
    }

    /// Who gives tokens.
    pub struct JwtProvider, rules {
        /// Its name.
        name: String = "name" [Required, Length(1, 253)],
        /// What tokens say of who gave them.
        issuer: String = "issuer" [Length(0, 253)],
        /// For whom they are.
        audiences: Vec<String> = "audiences" [Items(0, 8)],
        /// The keys, fetched.
        remote_jwks: RemoteJwks = "remoteJWKS",
        /// The keys, given.
        local_jwks: LocalJwks = "localJWKS",
        /// Claims that the backend sees.
        claim_to_headers: Vec<ClaimToHeader> = "claimToHeaders",
        /// The request is routed once more afterwards.
        recompute_route: bool = "recomputeRoute",
        /// Where requests have their token.
        extract_from: JwtExtractFrom = "extractFrom",
    }

    /// Keys that are fetched.
    pub struct RemoteJwks, rules {
        /// Not allowed here.
        backend_ref: SingleBackendRef = "backendRef",
        /// Where they are fetched, if not at the host of `uri`.
        backend_refs: Vec<BackendRef> = "backendRefs" [Items(0, 16)],
        /// How it is reached.
        backend_settings: ClusterSettings = "backendSettings",
        /// Where they are.
        uri: String = "uri" [Required, Length(1, 253)],
        /// How long they are kept.
        cache_duration: DurationText = "cacheDuration",
        /// Time before the next try.
        failed_refetch_duration: DurationText = "failedRefetchDuration",
    }

    /// Keys that are given.
    pub struct LocalJwks, rules {
        /// Where they are.
        kind: ValueSource = "type",
        /// The keys.
        inline: String = "inline",
        /// The ConfigMap that holds them.
        value_ref: ConfigMapRef = "valueRef",
    }

    /// A claim that the backend sees.
    pub struct ClaimToHeader {
        /// In this header.
        header: String = "header" [Required],
        /// The claim.
        claim: String = "claim" [Required],
    }

    /// Where requests have their token.
    pub struct JwtExtractFrom {
        /// In these headers.
        headers: Vec<JwtHeader> = "headers",
        /// In these cookies.
        cookies: Vec<String> = "cookies",
        /// In these query parameters.
        params: Vec<String> = "params",
    }

    /// A header with a token.
    pub struct JwtHeader {
        /// Its name.
        name: String = "name" [Required],
        /// What stands before the token.
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
