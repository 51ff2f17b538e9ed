//! `apiKeyAuth`: authentication by API key.

use crate::api_struct::api_struct;
use crate::check::{Report, count};
use crate::common::ObjectRef;

api_struct! {
    /// Authentication by API key. Requests without a valid key are answered 401.
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
