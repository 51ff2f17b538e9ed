//! The self-signed certificate of translated Ingresses, for clients that send no server name or an unknown
//! one.
//!
//! Like ingress-nginx, the controller creates the certificate at startup. Only clients that do not verify
//! certificates complete the handshake.

use std::sync::OnceLock;

use serde_json::{Value, json};
use towergate_k8s::ObjectKey;

/// Name in the certificate that ingress-nginx creates.
const NAME: &str = "ingress.local";

/// The Secret with the certificate of this process. `None`: the certificate could not be created;
/// the listener then reports that the Secret does not exist.
pub(crate) fn secret(key: &ObjectKey) -> Option<Value> {
    static PAIR: OnceLock<Option<(String, String)>> = OnceLock::new();
    let (certificate, private_key) = PAIR.get_or_init(make).as_ref()?;
    Some(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": key.name, "namespace": key.namespace},
        "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": certificate, "tls.key": private_key},
    }))
}

fn make() -> Option<(String, String)> {
    match rcgen::generate_simple_self_signed([NAME.to_owned()]) {
        Ok(made) => Some((made.cert.pem(), made.signing_key.serialize_pem())),
        Err(error) => {
            tracing::error!(%error, "the default certificate of Ingresses cannot be created");
            None
        }
    }
}
