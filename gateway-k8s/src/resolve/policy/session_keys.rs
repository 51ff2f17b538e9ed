//! Keys of sessions, from the Secret of the operator.

use towergate_policy::FieldError;
use towergate_policy::oidc::SHORTEST_SESSION_KEY;
use towergate_policy::secret::SecretText;

use super::super::object_index::ObjectIndex;
use super::object_data::{error, read};
use crate::objects::ObjectKey;

/// Keys of `owner`, derived from the session keys in `secret`; none without a Secret. A data plane has only the keys
/// of its own policies and routes. Errors contain `field`.
///
/// # Errors
/// The Secret does not exist, or has no key of the required length.
pub(in super::super) fn session_keys(
    index: &ObjectIndex<'_>,
    secret: Option<&ObjectKey>,
    owner: &str,
    field: &str,
) -> Result<Vec<SecretText>, FieldError> {
    let Some(key) = secret else {
        return Ok(Vec::new());
    };
    let Some(secret) = index.objects.secrets.get(key) else {
        let message = format!("Secret {key} with the session keys not found");
        return error(field, message);
    };
    let spec = &secret.spec;
    let names = spec.data.keys().chain(spec.string_data.keys());
    let values = read(field, &format!("Secret {key}"), names, |name| {
        spec.value(name)
    })?;
    let keys = values.into_iter().map(|(name, value)| match value.len() {
        SHORTEST_SESSION_KEY.. => Ok(SecretText::derived(&value, owner)),
        _ => {
            let message = format!(
                "{name} of Secret {key} has less than {SHORTEST_SESSION_KEY} bytes, \
                 which is too short for a session key"
            );
            error(field, message)
        }
    });
    let keys: Vec<SecretText> = keys.collect::<Result<_, FieldError>>()?;
    if keys.is_empty() {
        return error(field, format_args!("Secret {key} has no session key"));
    }
    Ok(keys)
}
