//! `jwt`: authentication by JSON Web Token (RFC 7519).

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use towergate_core::plan::{Destination, WeightedBackend};

use crate::api_struct::{api_struct, string_enum};
use crate::backend_traffic::ClusterSettings;
use crate::check::Report;
use crate::common::{BackendRef, Backends, ConfigMapRef, DurationText, SingleBackendRef};
use crate::field_path::FieldPath;
use crate::jwt::{
    ClaimHeader, JwtAuthentication, KeySet, KeySource, RemoteKeys, TokenHeader, TokenProvider,
    TokenRequirement, TokenSources,
};
use crate::parse::{duration, forwarded_header_name, header_name};
use crate::secret::SecretText;
use crate::url_origin::UrlOrigin;
use crate::{FieldError, References};

string_enum! {
    /// The source of a key set.
    pub enum ValueSource {
        Inline = "Inline",
        ValueRef = "ValueRef",
    }
}

api_struct! {
    /// Authentication by JSON Web Token. Requests without a valid token receive 401.
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
        cache_duration: DurationText = "cacheDuration" [DefaultText("300s")],
        /// Time to wait after a failed fetch. Default: 1 second.
        failed_refetch_duration: DurationText = "failedRefetchDuration",
    }

    /// A key set that is part of the configuration.
    pub struct LocalJwks, rules {
        /// Source of the key set. Default: `Inline`.
        kind: ValueSource = "type" [DefaultText("Inline")],
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

impl Jwt {
    /// Converts this section of the spec, at `path`.
    pub(super) fn policy(
        &self,
        path: FieldPath<'_>,
        references: &dyn References,
    ) -> Result<JwtAuthentication, FieldError> {
        let at = path.field("providers");
        let mut providers: Vec<TokenProvider> = Vec::new();
        for (index, provider) in self.providers.iter().flatten().enumerate() {
            let at = at.item(index);
            let provider = provider.convert(at, references)?;
            if providers.iter().any(|known| known.name == provider.name) {
                let at = at.field("name").to_string();
                return Err(FieldError::invalid(at, "the name is not unique"));
            }
            providers.push(provider);
        }
        let requirement = match (self.optional, self.fail_open) {
            (_, Some(true)) => TokenRequirement::FailOpen,
            (Some(true), _) => TokenRequirement::Optional,
            _ => TokenRequirement::Required,
        };
        Ok(JwtAuthentication {
            providers,
            requirement,
        })
    }
}

impl JwtProvider {
    fn convert(
        &self,
        path: FieldPath<'_>,
        references: &dyn References,
    ) -> Result<TokenProvider, FieldError> {
        let keys = match (&self.local_jwks, &self.remote_jwks) {
            (Some(local), _) => local.keys(path.field("localJWKS"), references)?,
            (None, Some(remote)) => remote.keys(path.field("remoteJWKS"), references)?,
            (None, None) => {
                let reason = "either remoteJWKS or localJWKS must be specified";
                return Err(FieldError::invalid(path.to_string(), reason));
            }
        };
        let sources = self.extract_from.as_ref();
        let sources = sources.map(|from| from.convert(path.field("extractFrom")));
        let at = path.field("claimToHeaders");
        let claims = self.claim_to_headers.iter().flatten().enumerate();
        let claims = claims.map(|(index, claim)| {
            let at = at.item(index);
            Ok(ClaimHeader {
                name: forwarded_header_name(
                    at.field("header"),
                    claim.header.as_deref().unwrap_or(""),
                )?,
                claim: claim.claim.clone().unwrap_or_default(),
            })
        });
        Ok(TokenProvider {
            name: self.name.clone().unwrap_or_default(),
            issuer: self.issuer.clone().filter(|issuer| !issuer.is_empty()),
            audiences: self.audiences.clone().unwrap_or_default(),
            keys,
            sources: sources.transpose()?.unwrap_or_default(),
            claim_headers: claims.collect::<Result<_, FieldError>>()?,
            recompute_route: self.recompute_route.unwrap_or(false),
        })
    }
}

/// Shortest time between two fetches of a key set.
const SHORTEST: Duration = Duration::from_secs(1);
/// Key of a ConfigMap under which a key set is looked up first.
const JWKS: &str = "jwks";

impl LocalJwks {
    fn keys(
        &self,
        path: FieldPath<'_>,
        references: &dyn References,
    ) -> Result<KeySource, FieldError> {
        let (at, text) = match &self.value_ref {
            Some(reference) => {
                let at = path.field("valueRef").to_string();
                let mut data = references.config_map(&at, reference)?;
                let found = data.remove(JWKS);
                let found = found.or_else(|| data.pop_first().map(|(_, value)| value));
                let Some(found) = found else {
                    let name = reference.name.as_deref().unwrap_or_default();
                    let message = format!("ConfigMap {name} has no data");
                    return Err(FieldError::invalid(at, message));
                };
                (at, String::from_utf8_lossy(&found).into_owned())
            }
            None => {
                let at = path.field("inline").to_string();
                (at, self.inline.clone().unwrap_or_default())
            }
        };
        KeySet::parse(text.as_bytes()).map_err(|error| FieldError::invalid(at, error))?;
        Ok(KeySource::Local(SecretText::new(text)))
    }
}

impl RemoteJwks {
    fn keys(
        &self,
        path: FieldPath<'_>,
        references: &dyn References,
    ) -> Result<KeySource, FieldError> {
        let at = path.field("uri").to_string();
        let text = self.uri.clone().unwrap_or_default();
        let uri: Result<Uri, _> = text.parse();
        let uri = uri.map_err(|error| FieldError::invalid(&*at, error))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(FieldError::invalid(at, "must be an http or https URL")),
        };
        let refs = self.backend_refs.as_deref().unwrap_or_default();
        let field = path.field("backendRefs").to_string();
        let backends = match UrlOrigin::of(&uri) {
            Some(origin) if refs.is_empty() => vec![origin.backend()],
            _ => references.backends(&field, refs)?,
        };
        let plain = |backend: &WeightedBackend| match &backend.destination {
            Destination::Backend(backend) => backend.tls.is_none(),
            _ => true,
        };
        if tls && backends.iter().any(plain) {
            let reason = "a backend of an https URL requires a BackendTLSPolicy";
            return Err(FieldError::invalid(field, reason));
        }
        let settings = self.backend_settings.clone().unwrap_or_default();
        let cache = duration(path.field("cacheDuration"), self.cache_duration.as_ref())?;
        let failed = self.failed_refetch_duration.as_ref();
        let retry = duration(path.field("failedRefetchDuration"), failed)?;
        Ok(KeySource::Remote(RemoteKeys {
            uri: text,
            backends,
            traffic: Arc::new(settings.traffic(path.field("backendSettings"))?),
            cache: cache.unwrap_or(Duration::from_secs(300)).max(SHORTEST),
            retry: retry.unwrap_or(Duration::from_secs(1)).max(SHORTEST),
        }))
    }
}

impl JwtExtractFrom {
    fn convert(&self, path: FieldPath<'_>) -> Result<TokenSources, FieldError> {
        let at = path.field("headers");
        let headers = self.headers.iter().flatten().enumerate();
        let headers = headers.map(|(index, header)| {
            let at = at.item(index);
            Ok(TokenHeader {
                name: header_name(at.field("name"), header.name.as_deref().unwrap_or(""))?,
                prefix: header.value_prefix.clone().unwrap_or_default(),
            })
        });
        Ok(TokenSources {
            headers: headers.collect::<Result<_, FieldError>>()?,
            params: self.params.clone().unwrap_or_default(),
            cookies: self.cookies.clone().unwrap_or_default(),
        })
    }
}
