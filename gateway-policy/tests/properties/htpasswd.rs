//! An `.htpasswd` file is accepted or rejected as a whole, and no error contains a hash.
//!
//! Input: the file.

use std::hint::black_box;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use towergate_policy::basic_auth::{Credentials, Users, UsersError};

/// Checks the property for one input.
pub fn check(bytes: &[u8]) {
    credentials(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let user = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with('#');
    match Users::parse(text) {
        Ok(users) => {
            black_box(users);
            if let Some(line) = text.lines().find(user) {
                let twice = Users::parse(&format!("{text}\n{line}"));
                let duplicate =
                    matches!(twice, Err(UsersError::Duplicate(_) | UsersError::TooLong));
                assert!(duplicate, "{twice:?}");
            }
        }
        Err(error) => {
            let message = error.to_string();
            let hashes = text.lines().filter_map(|line| line.split_once(':'));
            // Only texts that begin like a hash are checked. Other texts may also be words of the message.
            let mut hashes = hashes.filter(|(_, hash)| hash.starts_with(['$', '{']));
            let quoted = hashes.any(|(_, hash)| hash.len() > 12 && message.contains(hash));
            assert!(!quoted, "{message}");
        }
    }
}

/// Header fields in which `Authorization` has any bytes as value.
fn credentials(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    if let Ok(credentials) = Credentials::of(&headers) {
        assert_eq!(format!("{credentials:?}"), "Credentials");
    }
}
