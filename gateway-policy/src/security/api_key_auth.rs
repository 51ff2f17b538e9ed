//! `apiKeyAuth`: authentication by API key.

use crate::api_key::{ApiKeyAuthentication, ApiKeyCredential, ApiKeyPlace, ApiKeys};
use crate::api_struct::api_struct;
use crate::check::{Report, count};
use crate::common::ObjectRef;
use crate::field_path::FieldPath;
use crate::parse::{forwarded_header_name, header_name};
use crate::secret::SecretText;
use crate::{FieldError, References};

api_struct! {
    /// Authentication by API key. Requests without a valid key receive 401.
    pub struct ApiKeyAuth {
        /// Secrets with the keys: the data key is the client ID, the value is its API key. If a client ID
        /// occurs more than once, the first is used.
        credential_refs: Vec<ObjectRef> = "credentialRefs" [Required],
        /// Sources of a request's key. The first that is present is used.
        extract_from: Vec<ApiKeySource> = "extractFrom" [Required, Items(1, 1024)],
        /// Header in which the backend receives the client ID. Default: none.
        forward_client_id_header: String = "forwardClientIDHeader",
        /// Whether the key is removed from the request to the backend. Default: `false`.
        sanitize: bool = "sanitize",
    }

    /// A source of a request's key. Exactly one field must be set.
    pub struct ApiKeySource, rules {
        /// Names of headers.
        headers: Vec<String> = "headers" [Items(1, 1024), Length(1, 65536)],
        /// Names of query parameters.
        params: Vec<String> = "params" [Items(1, 1024), Length(1, 65536)],
        /// Names of cookies.
        cookies: Vec<String> = "cookies" [Items(1, 1024), Length(1, 65536)],
    }
}

impl ApiKeySource {
    fn rules(&self, report: &mut Report) {
        let set = [
            self.headers.is_some(),
            self.params.is_some(),
            self.cookies.is_some(),
        ];
        report.rule(
            count(&set) == 1,
            "exactly one of headers, params, or cookies must be specified",
        );
    }
}

impl ApiKeyAuth {
    /// Converts this section of the spec, at `path`.
    pub(super) fn policy(
        &self,
        path: FieldPath<'_>,
        references: &dyn References,
    ) -> Result<ApiKeyAuthentication, FieldError> {
        let at = path.field("credentialRefs");
        let mut credentials = Vec::new();
        for (index, reference) in self.credential_refs.iter().flatten().enumerate() {
            let data = references.secret(&at.item(index).to_string(), reference)?;
            for (client, key) in data {
                let Ok(key) = String::from_utf8(key) else {
                    let message = format!("the key of {client} is not UTF-8");
                    return Err(FieldError::invalid(at.item(index).to_string(), message));
                };
                let key = SecretText::new(key);
                credentials.push(ApiKeyCredential { client, key });
            }
        }
        let forward = path.field("forwardClientIDHeader");
        let header = self.forward_client_id_header.as_deref();
        let keys = ApiKeyAuthentication {
            credentials,
            sources: self.places(path)?,
            forward_client: header
                .map(|name| forwarded_header_name(forward, name))
                .transpose()?,
            sanitize: self.sanitize.unwrap_or(false),
        };
        ApiKeys::new(&keys).map_err(|error| FieldError::invalid(at.to_string(), error))?;
        Ok(keys)
    }

    fn places(&self, path: FieldPath<'_>) -> Result<Vec<ApiKeyPlace>, FieldError> {
        let at = path.field("extractFrom");
        let mut places = Vec::new();
        for (index, source) in self.extract_from.iter().flatten().enumerate() {
            let at = at.item(index);
            for name in source.headers.iter().flatten() {
                places.push(ApiKeyPlace::Header(header_name(at.field("headers"), name)?));
            }
            places.extend(
                source
                    .params
                    .iter()
                    .flatten()
                    .cloned()
                    .map(ApiKeyPlace::Param),
            );
            places.extend(
                source
                    .cookies
                    .iter()
                    .flatten()
                    .cloned()
                    .map(ApiKeyPlace::Cookie),
            );
        }
        Ok(places)
    }
}
