//! The Secret with the key of OpenID Connect sessions, if the operator names no Secret.
//!
//! The first controller creates the Secret, and all controllers use it, so that a session is valid at all
//! data planes and survives restarts. An existing Secret is never written, because the operator may add keys
//! and remove old ones. Plans do not contain the keys of the Secret, only keys that are derived from them for
//! each policy.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use towergate_policy::oidc::SHORTEST_SESSION_KEY;

use crate::Failure;
use crate::lease::Place;
use crate::watch::Pause;

/// Interval at which the existence of the Secret is checked. A deleted Secret is created again.
const PERIOD: Duration = Duration::from_secs(30);
/// Time limit of reading the Secret and, if necessary, creating it.
const LIMIT: Duration = Duration::from_secs(10);
/// Name of the created key. To replace it, the operator adds a key whose name sorts before it.
const KEY: &str = "key";

/// Creates the Secret whenever it is missing, until the process exits. While it is missing, policies with
/// `oidc` fail closed.
pub(crate) async fn keep(client: Client, place: Place) {
    let api = Api::namespaced(client, &place.namespace);
    let mut pause = Pause::default();
    loop {
        let found = tokio::time::timeout(LIMIT, find_or_make(&api, &place.name)).await;
        let wait = match found.unwrap_or_else(|late| Err(late.into())) {
            Ok(()) => {
                pause = Pause::default();
                PERIOD.mul_f64(0.8 + fastrand::f64() * 0.4)
            }
            Err(error) => {
                let wait = pause.next();
                let secret = format!("{}/{}", place.namespace, place.name);
                tracing::warn!(secret, %error, again_in = ?wait, "the Secret with the session key cannot be created");
                wait
            }
        };
        tokio::time::sleep(wait).await;
    }
}

async fn find_or_make(api: &Api<Secret>, name: &str) -> Result<(), Failure> {
    if api.get_opt(name).await?.is_some() {
        return Ok(());
    }
    match api.create(&PostParams::default(), &secret(name)?).await {
        Ok(_) => {
            tracing::info!(secret = name, "created the key of OpenID Connect sessions");
            Ok(())
        }
        // Another controller has created the Secret first.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A Secret with a random key.
fn secret(name: &str) -> Result<Secret, Failure> {
    let mut key = vec![0; SHORTEST_SESSION_KEY];
    let random = towergate_tls::default_provider().secure_random;
    let filled = random.fill(&mut key);
    filled.map_err(|error| format!("no random bytes: {error:?}"))?;
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some([(KEY.to_owned(), ByteString(key))].into()),
        ..Secret::default()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response};
    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// Calls [`find_or_make`] with an API server that replies to `GET` and `POST` with the given statuses.
    /// Returns the result, and the requests with their bodies.
    async fn calls(get: u16, create: u16) -> (Result<(), Failure>, Vec<(Method, Value)>) {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = calls.clone();
        let server = tower::service_fn(move |request: Request<Body>| {
            let seen = seen.clone();
            async move {
                let method = request.method().clone();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
                let status = if method == Method::GET { get } else { create };
                let reply = match status {
                    200 | 201 if method == Method::GET => json!({"metadata": {"name": "keys"}}),
                    200 | 201 => sent.clone(),
                    code => {
                        let reason = if code == 404 { "NotFound" } else { "Other" };
                        json!({"status": "Failure", "code": code, "reason": reason, "message": ""})
                    }
                };
                seen.lock().unwrap().push((method, sent));
                let reply = Body::from(serde_json::to_vec(&reply).unwrap());
                let response = Response::builder().status(status).body(reply).unwrap();
                Ok::<_, std::io::Error>(response)
            }
        });
        let api = Api::default_namespaced(Client::new(server, "default"));

        let found = find_or_make(&api, "keys").await;

        let calls = calls.lock().unwrap().clone();
        (found, calls)
    }

    #[tokio::test]
    async fn a_missing_secret_is_created_with_a_random_key() {
        let mut keys = Vec::new();
        for _ in 0..2 {
            let (found, calls) = calls(404, 201).await;

            assert!(found.is_ok());
            let [(Method::GET, _), (Method::POST, made)] = &calls[..] else {
                panic!("{calls:?}");
            };
            assert_eq!(made["metadata"]["name"], "keys");
            let made: Secret = serde_json::from_value(made.clone()).unwrap();
            let key = made.data.unwrap().remove(KEY).unwrap().0;
            assert_eq!(key.len(), SHORTEST_SESSION_KEY);
            keys.push(key);
        }
        assert_ne!(keys[0], keys[1]);
    }

    #[tokio::test]
    async fn a_secret_that_exists_is_not_written() {
        let (found, calls) = calls(200, 500).await;

        assert!(found.is_ok() && calls.len() == 1, "{calls:?}");
    }

    #[tokio::test]
    async fn of_two_controllers_that_create_it_one_succeeds_and_both_go_on() {
        assert!(calls(404, 409).await.0.is_ok());
        assert!(calls(404, 403).await.0.is_err());
    }
}
