//! Whom controllers and data planes trust: an authority of their own, kept in a Secret that all replicas
//! of the controller share.
//!
//! The first controller makes it; the leader makes its successor when it is time. What it signs for the
//! controller's own server never leaves the process. A data plane that no Gateway has made, such as the
//! shared one, gets its credentials by a folder.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use tokio::sync::watch;

use crate::Failure;
use crate::lease::Place;
use crate::serve::{Authority, AuthorityPem, Credentials, Tls};
use crate::watch::Pause;

/// Time between two looks at the Secret.
const PERIOD: Duration = Duration::from_secs(30);
/// The keys of the Secret.
const CERTIFICATES: &str = "ca.crt";
const KEY: &str = "ca.key";

/// A folder for the credentials of a plane.
#[derive(Clone, Debug)]
pub(crate) struct PlaneFolder {
    /// The plane's name.
    pub(crate) plane: &'static str,
    /// Where.
    pub(crate) path: PathBuf,
}

/// Keeps the authority, and what it signs for us.
pub(crate) struct Trust {
    api: Api<Secret>,
    name: String,
    leads: watch::Receiver<bool>,
    folder: Option<PlaneFolder>,
    kept: AuthorityPem,
    own: Credentials,
    tls: Tls,
    authority: Arc<Authority>,
    tell: watch::Sender<Option<Arc<Authority>>>,
}

impl Trust {
    /// Reads the authority, or makes it: tries until it works, because without it nobody can be served.
    /// `tell` is told of it, now and later.
    pub(crate) async fn begin(
        client: &Client,
        place: &Place,
        leads: watch::Receiver<bool>,
        folder: Option<PlaneFolder>,
        tell: watch::Sender<Option<Arc<Authority>>>,
    ) -> Result<Self, Failure> {
        let api = Api::namespaced(client.clone(), &place.namespace);
        let mut pause = Pause::default();
        let kept = loop {
            match find_or_make(&api, &place.name).await {
                Ok(kept) => break kept,
                Err(error) => {
                    let wait = pause.next();
                    let secret = format!("{}/{}", place.namespace, place.name);
                    tracing::warn!(secret, %error, again_in = ?wait, "there is no authority for data planes yet");
                    tokio::time::sleep(wait).await;
                }
            }
        };
        let authority = Arc::new(Authority::from_pem(&kept)?);
        let own = authority.controller(SystemTime::now())?;
        let trust = Self {
            api,
            name: place.name.clone(),
            leads,
            folder,
            kept,
            tls: Tls::new(&own)?,
            own,
            authority,
            tell,
        };
        trust.tell.send_replace(Some(Arc::clone(&trust.authority)));
        trust.write_folder()?;
        Ok(trust)
    }

    /// What the server shows; it follows.
    pub(crate) fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// Keeps all of it up to date, for ever.
    pub(crate) async fn keep(mut self) {
        loop {
            tokio::time::sleep(PERIOD.mul_f64(0.8 + fastrand::f64() * 0.4)).await;
            if let Err(error) = self.look().await {
                tracing::warn!(%error, secret = self.name, "the authority for data planes could not be looked at");
            }
        }
    }

    async fn look(&mut self) -> Result<(), Failure> {
        let now = SystemTime::now();
        let mut secret = self.api.get(&self.name).await?;
        let authority = Authority::from_pem(&pem(&secret))?;
        if authority.is_due(now) && *self.leads.borrow() {
            let successor = authority.renew(now)?;
            let kept = successor.to_pem();
            put(&mut secret, &kept);
            // Somebody else in between: the next look shows what it has written.
            self.api
                .replace(&self.name, &PostParams::default(), &secret)
                .await?;
            tracing::info!("the authority for data planes has a successor");
            return self.take(kept, now);
        }
        self.take(pem(&secret), now)
    }

    fn take(&mut self, kept: AuthorityPem, now: SystemTime) -> Result<(), Failure> {
        if kept != self.kept {
            self.authority = Arc::new(Authority::from_pem(&kept)?);
            self.kept = kept;
            self.tell.send_replace(Some(Arc::clone(&self.authority)));
        }
        if !self.authority.is_good(&self.own, now) {
            self.own = self.authority.controller(now)?;
            self.tls.replace(&self.own)?;
        }
        self.write_folder()
    }

    /// Writes new credentials if those of the folder will not do.
    fn write_folder(&self) -> Result<(), Failure> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let (authority, now) = (&self.authority, SystemTime::now());
        let held = Credentials::read(&folder.path)?;
        if !held.is_some_and(|held| authority.is_good(&held, now)) {
            authority.plane(folder.plane, now)?.write(&folder.path)?;
        }
        Ok(())
    }
}

async fn find_or_make(api: &Api<Secret>, name: &str) -> Result<AuthorityPem, Failure> {
    if let Some(secret) = api.get_opt(name).await? {
        let kept = pem(&secret);
        // Better no service than one that nobody can trust to be the same tomorrow.
        Authority::from_pem(&kept)?;
        return Ok(kept);
    }
    let made = Authority::create(SystemTime::now())?.to_pem();
    let mut secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..Secret::default()
    };
    put(&mut secret, &made);
    let created = api.create(&PostParams::default(), &secret).await?;
    tracing::info!(
        secret = created.name_any(),
        "made an authority for data planes"
    );
    Ok(pem(&created))
}

fn pem(secret: &Secret) -> AuthorityPem {
    let text = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        let bytes = bytes.map(|bytes| bytes.0.clone()).unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    };
    AuthorityPem {
        certificates: text(CERTIFICATES),
        key: text(KEY),
    }
}

fn put(secret: &mut Secret, pem: &AuthorityPem) {
    let data = [(CERTIFICATES, &pem.certificates), (KEY, &pem.key)];
    let data = data.map(|(key, text)| (key.to_owned(), ByteString(text.clone().into_bytes())));
    secret.data = Some(data.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_holds_the_authority() {
        let made = Authority::create(SystemTime::now())
            .expect("it can be made")
            .to_pem();
        let mut secret = Secret::default();

        put(&mut secret, &made);

        assert!(pem(&secret) == made);
        assert!(Authority::from_pem(&pem(&secret)).is_ok());
        assert!(Authority::from_pem(&pem(&Secret::default())).is_err());
    }
}
