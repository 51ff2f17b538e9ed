//! `basicAuth`: HTTP Basic authentication (RFC 7617).

use crate::api_struct::api_struct;
use crate::common::ObjectRef;

api_struct! {
    /// HTTP Basic authentication. Requests without valid credentials are answered 401.
    pub struct BasicAuth {
        /// Secret with the users under `.htpasswd`. Only `{SHA}` hashes are valid.
        users: ObjectRef = "users" [Required],
        /// Header in which the backend receives the user name. Default: none.
        forward_username_header: String = "forwardUsernameHeader",
    }
}
