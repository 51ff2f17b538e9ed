//! Secrets with the users of `auth-type: basic`, under the key that Envoy Gateway reads.

use std::collections::BTreeSet;

use data_encoding::BASE64;
use serde_json::json;

use super::Translator;
use crate::ingress::input::SecretData;
use crate::ingress::password_file::PasswordFile;
use crate::ingress::settings::BasicAuth;
use crate::objects::ObjectKey;

/// Key of the users in the written Secret.
const USERS: &str = ".htpasswd";

/// Name of the Secret that is written to `namespace` for the users of `basic`. The name depends on the source
/// Secret and on its form (`auth-secret-type`), because two Secrets with equal names can have different
/// users.
pub(crate) fn secret_name(basic: &BasicAuth, namespace: &str) -> String {
    let BasicAuth {
        secret, by_user, ..
    } = basic;
    let origin = match secret.namespace == namespace {
        true => secret.name.clone(),
        false => format!("{}-{}", secret.namespace, secret.name),
    };
    match by_user {
        true => format!("{origin}-map-htpasswd"),
        false => format!("{origin}-htpasswd"),
    }
}

impl Translator<'_> {
    /// Writes a Secret with the users to `namespace`. Returns its name. If the files do not contain the users, the
    /// verdict on `auth-secret` asks for a Secret with this name.
    pub(super) fn users(
        &mut self,
        basic: &BasicAuth,
        namespace: &str,
        comments: &BTreeSet<String>,
    ) -> String {
        let source = self.manifests.secrets.get(&basic.secret);
        let users = source.map(|secret| PasswordFile::of(secret, basic.by_user).lines);
        let origin = format!("{} {}", basic.secret, basic.by_user);
        let entry = ("Secret", namespace.to_owned(), origin);
        let key = match self.shared_objects.get(&entry) {
            Some(key) => key.clone(),
            None => {
                let name = secret_name(basic, namespace);
                let key = self.users_key(namespace, &name, users.as_deref());
                self.shared_objects.insert(entry, key.clone());
                key
            }
        };
        if let Some(users) = users {
            let value = json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": key.name, "namespace": key.namespace},
                "type": "Opaque",
                "data": {USERS: BASE64.encode(users.as_bytes())},
            });
            self.output.add_value("Secret", &key, value, comments);
        }
        key.name
    }

    /// A name that no other written Secret has, and that no Secret of the manifests has. A Secret of the
    /// manifests with equal users may have the name, because an earlier translation wrote this Secret.
    fn users_key(&self, namespace: &str, name: &str, users: Option<&str>) -> ObjectKey {
        let has_users = |secret: &SecretData| {
            let known = secret.values.get(USERS).map(Vec::as_slice);
            secret.values.len() == 1 && known == users.map(str::as_bytes)
        };
        let is_free = |key: &ObjectKey| {
            let mut written = self.shared_objects.iter();
            let is_written = written.any(|((kind, ..), known)| *kind == "Secret" && known == key);
            let existing = self.manifests.secrets.get(key);
            !is_written && (users.is_none() || existing.is_none_or(has_users))
        };
        let mut keys = (1..).map(|number| match number {
            1 => ObjectKey::new(namespace, name),
            _ => ObjectKey::new(namespace, format!("{name}-{number}")),
        });
        keys.find(is_free).unwrap_or_default()
    }
}
