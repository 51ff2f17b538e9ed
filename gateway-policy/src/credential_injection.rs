//! Credentials of the gateway for the backend (Envoy Gateway `HTTPRouteFilter.credentialInjection`).

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use towergate_core::LocalReply;
use towergate_core::plan::Text;
use towergate_core::policy::{FilledFields, HeadPolicy, PolicyError, RequestHead};

use crate::secret::SecretText;

/// A credential that is added to requests.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct RequestCredential {
    /// Header field.
    pub header: Text<HeaderName>,
    /// Value of the field.
    pub credential: SecretText,
    /// Whether a value from the client is replaced. If `false`, it is kept and no credential is added.
    pub overwrite: bool,
}

/// Adds the credential to each request.
#[derive(Debug)]
pub(crate) struct CredentialPolicy {
    header: HeaderName,
    value: HeaderValue,
    overwrite: bool,
}

impl CredentialPolicy {
    /// Builds the policy.
    ///
    /// # Errors
    /// The credential is not a valid header value.
    pub(crate) fn new(settings: &RequestCredential) -> Result<Self, PolicyError> {
        let mut value = HeaderValue::from_str(settings.credential.expose())
            .map_err(|_| PolicyError::new("the credential is not a valid header value"))?;
        value.set_sensitive(true);
        Ok(Self {
            header: (*settings.header).clone(),
            value,
            overwrite: settings.overwrite,
        })
    }
}

impl HeadPolicy for CredentialPolicy {
    fn check(&self, request: &mut RequestHead<'_>) -> Result<(), LocalReply> {
        FilledFields::set(request.head, &self.header, &self.value, self.overwrite);
        Ok(())
    }
}
