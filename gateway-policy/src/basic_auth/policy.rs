//! Basic authentication as a policy.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, StatusCode, request};
use tokio::sync::Semaphore;
use towergate_core::LocalReply;
use towergate_core::policy::{
    BuiltPolicy, FilledFields, HeadPolicy, PolicyError, PolicyFuture, PolicyRequest, RequestHead,
    WaitingPolicy,
};

use super::{AuthenticatedUser, BasicAuthError, BasicAuthentication, Credentials, Users};
use crate::challenge::{challenge, challenge_with_realm};

/// Maximum number of slow verifications whose result is kept.
const CACHE_SIZE: usize = 1024;
/// Maximum number of concurrent slow verifications of a policy, so that password guessing does not
/// use all CPUs.
const MAX_SLOW: usize = 4;
/// Maximum number of requests of a policy that wait for a slow verification. Further requests receive 503,
/// because it is unknown whether their credentials are valid.
const MAX_WAITING: usize = 64;

/// Admits requests with the name and password of a user.
pub struct BasicAuthPolicy {
    users: Arc<Users>,
    forward: Option<HeaderName>,
    realm: Option<String>,
    slow: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// Digests of credentials whose slow verification has succeeded.
    verified: Mutex<HashMap<[u8; 32], Arc<str>>>,
}

impl BasicAuthPolicy {
    /// A policy for `rule`.
    ///
    /// # Errors
    /// If the file of users cannot be used.
    pub fn new(rule: &BasicAuthentication) -> Result<Self, PolicyError> {
        let users = Users::parse(rule.users.expose());
        let users = users.map_err(|error| PolicyError::new(format!(".htpasswd: {error}")))?;
        Ok(Self {
            users: Arc::new(users),
            forward: rule.forward_user_name.as_deref().cloned(),
            realm: rule.realm.clone(),
            slow: Arc::new(Semaphore::new(MAX_SLOW)),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            verified: Mutex::default(),
        })
    }

    /// Builds the policy. If the file has bcrypt or `$apr1$` hashes, passwords are verified on other threads.
    pub(crate) fn built(rule: &BasicAuthentication) -> Result<BuiltPolicy, PolicyError> {
        let policy = Self::new(rule)?;
        Ok(if policy.users.has_slow_hashes() {
            BuiltPolicy::waiting(policy)
        } else {
            BuiltPolicy::head(policy)
        })
    }

    fn admit(
        &self,
        head: &mut request::Parts,
        user: Result<AuthenticatedUser, BasicAuthError>,
    ) -> Result<(), LocalReply> {
        if let Some(name) = &self.forward {
            FilledFields::reserve(head, name);
        }
        match user {
            Ok(user) => {
                if let Some(name) = &self.forward {
                    let value = HeaderValue::from_str(user.name());
                    let value = value.map_err(|_| self.refuse(head, BasicAuthError::BadFormat))?;
                    head.headers.insert(name, value);
                }
                Ok(())
            }
            Err(error) => Err(self.refuse(head, error)),
        }
    }

    fn refuse(&self, head: &request::Parts, error: BasicAuthError) -> LocalReply {
        if error == BasicAuthError::Overloaded {
            return LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, error.details())
                .with_body(error.to_string())
                .with_header(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        let (name, value) = match &self.realm {
            Some(realm) => challenge_with_realm("Basic", realm),
            None => challenge("Basic", head, ""),
        };
        LocalReply::new(StatusCode::UNAUTHORIZED, error.details())
            .with_body(error.to_string())
            .with_header(name, value)
    }

    async fn verify(&self, credentials: Credentials) -> Result<AuthenticatedUser, BasicAuthError> {
        if !self.users.is_slow(&credentials) {
            return self.users.verify(&credentials);
        }
        let digest = credentials.digest();
        let known = self.cache(|verified| verified.get(&digest).cloned());
        if let Some(name) = known {
            return Ok(AuthenticatedUser(name.as_ref().to_owned()));
        }
        let _place = self
            .waiting
            .try_acquire()
            .map_err(|_| BasicAuthError::Overloaded)?;
        let permit = self.slow.clone().acquire_owned().await;
        let permit = permit.map_err(|_| BasicAuthError::Rejected)?;
        let users = self.users.clone();
        // The permit is held until the verification ends, so a client that resets its request cannot start
        // another verification.
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            users.verify(&credentials)
        });
        let user = task.await.map_err(|_| BasicAuthError::Rejected)??;
        self.cache(|verified| {
            if verified.len() >= CACHE_SIZE {
                verified.clear();
            }
            verified.insert(digest, user.name().into());
        });
        Ok(user)
    }

    fn cache<T>(&self, act: impl FnOnce(&mut HashMap<[u8; 32], Arc<str>>) -> T) -> T {
        act(&mut self.verified.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Credentials {
    /// The digest of verified credentials. It identifies them without storing the password.
    fn digest(&self) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        context.update(&self.decoded);
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }
}

impl HeadPolicy for BasicAuthPolicy {
    fn check(&self, request: &mut RequestHead<'_>) -> Result<(), LocalReply> {
        let user = self.users.authenticate(&request.head.headers);
        self.admit(request.head, user)
    }
}

impl WaitingPolicy for BasicAuthPolicy {
    fn run<'a>(&'a self, request: &'a mut PolicyRequest<'_>) -> PolicyFuture<'a> {
        Box::pin(async move {
            let user = match Credentials::of(&request.head.headers) {
                Ok(credentials) => self.verify(credentials).await,
                Err(error) => Err(error),
            };
            self.admit(request.head, user)
        })
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http::header::WWW_AUTHENTICATE;

    use super::*;
    use crate::secret::SecretText;

    fn policy() -> BasicAuthPolicy {
        let hash = bcrypt::hash_with_salt("pass", 4, [7; 16]).unwrap();
        BasicAuthPolicy::new(&BasicAuthentication {
            users: SecretText::new(format!("ada:{hash}")),
            forward_user_name: None,
            realm: None,
        })
        .unwrap()
    }

    fn request() -> request::Parts {
        let request = Request::get("/").header("authorization", "Basic YWRhOnBhc3M=");
        request.body(()).unwrap().into_parts().0
    }

    async fn run(policy: &BasicAuthPolicy) -> Result<(), LocalReply> {
        let mut head = request();
        let credentials = Credentials::of(&head.headers).unwrap();
        let user = policy.verify(credentials).await;
        policy.admit(&mut head, user)
    }

    #[tokio::test]
    async fn while_too_many_verifications_wait_a_new_user_is_asked_to_retry() {
        let policy = policy();
        let guesses = policy.waiting.clone().acquire_many_owned(64).await.unwrap();

        let reply = run(&policy).await.unwrap_err();

        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(reply.details, "basic_auth_overloaded");
        let header = |name| reply.headers.iter().find(|(own, _)| *own == name);
        assert_eq!(header(RETRY_AFTER).unwrap().1, "1");
        assert_eq!(header(WWW_AUTHENTICATE), None);
        drop(guesses);
        assert!(run(&policy).await.is_ok());
    }

    #[tokio::test]
    async fn a_verified_user_passes_while_other_verifications_wait() {
        let policy = policy();
        assert!(run(&policy).await.is_ok());
        let _guesses = policy.waiting.clone().acquire_many_owned(64).await.unwrap();

        assert!(run(&policy).await.is_ok());
    }
}
