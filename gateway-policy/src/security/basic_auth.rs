//! `basicAuth`: HTTP Basic authentication (RFC 7617).

use crate::api_struct::api_struct;
use crate::basic_auth::{BasicAuthentication, Users};
use crate::common::ObjectRef;
use crate::field_path::FieldPath;
use crate::parse::forwarded_header_name;
use crate::secret::SecretText;
use crate::{FieldError, References};

api_struct! {
    /// HTTP Basic authentication. Requests without valid credentials receive 401.
    pub struct BasicAuth {
        /// Secret with the users under `.htpasswd`. Hashes are `{SHA}` or, beyond Envoy
        /// Gateway, bcrypt and `$apr1$`.
        users: ObjectRef = "users" [Required],
        /// Header in which the backend receives the user name. Default: none.
        forward_username_header: String = "forwardUsernameHeader",
    }
}

/// Key of the Secret that holds the users.
const USERS: &str = ".htpasswd";

impl BasicAuth {
    /// Converts this section of the spec, at `path`.
    pub(super) fn policy(
        &self,
        path: FieldPath<'_>,
        references: &dyn References,
    ) -> Result<BasicAuthentication, FieldError> {
        let at = path.field("users").to_string();
        let reference = self.users.clone().unwrap_or_default();
        let data = references.secret(&at, &reference)?;
        let name = reference.name.unwrap_or_default();
        let users = data.get(USERS).map(|bytes| String::from_utf8_lossy(bytes));
        let Some(users) = users.filter(|text| !text.trim().is_empty()) else {
            let message = format!("Secret {name} has no users under {USERS}");
            return Err(FieldError::invalid(at, message));
        };
        Users::parse(&users).map_err(|error| {
            FieldError::invalid(&*at, format_args!("{USERS} of Secret {name}: {error}"))
        })?;
        let forward = path.field("forwardUsernameHeader");
        let header = self.forward_username_header.as_deref();
        Ok(BasicAuthentication {
            users: SecretText::new(users),
            forward_user_name: header
                .map(|name| forwarded_header_name(forward, name))
                .transpose()?,
            realm: None,
        })
    }
}
