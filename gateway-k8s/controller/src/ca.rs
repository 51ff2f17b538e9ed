//! The CA of controllers and data planes, stored in a Secret that all replicas of the controller share.
//!
//! The first controller creates the CA; the leader renews it before it expires. The key of the controller's
//! server certificate never leaves the process. The shared data plane, which is not provisioned, reads its
//! credentials from a folder.

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
use crate::serve::{CaPem, CertificateAuthority, Credentials, Tls};
use crate::watch::Pause;

/// Interval at which the Secret is read.
const PERIOD: Duration = Duration::from_secs(30);
/// Time limit of reading the Secret and, if necessary, writing it.
const LOOK: Duration = Duration::from_secs(10);
/// Time after a renewal for which the server presents a certificate of the previous CA. After this time, all
/// data planes trust the new CA.
const SPREAD: Duration = Duration::from_secs(600);
/// Keys in the data of the Secret.
const CERTIFICATES: &str = "ca.crt";
const KEY: &str = "ca.key";

/// The folder for the credentials of a data plane.
#[derive(Clone, Debug)]
pub(crate) struct PlaneFolder {
    /// Name of the data plane.
    pub(crate) plane: &'static str,
    /// Path of the folder.
    pub(crate) path: PathBuf,
}

/// Maintains the CA and the certificates that it signs for this controller.
pub(crate) struct Trust {
    api: Api<Secret>,
    name: String,
    leads: watch::Receiver<bool>,
    folder: Option<PlaneFolder>,
    kept: CaPem,
    own: Credentials,
    tls: Tls,
    authority: Arc<CertificateAuthority>,
    /// Time of the last change of the CA.
    changed: Option<SystemTime>,
    tell: watch::Sender<Option<Arc<CertificateAuthority>>>,
}

impl Trust {
    /// Reads or creates the CA, and retries until it succeeds, because data planes cannot connect without the
    /// CA. Sends the CA to `tell` immediately and after each change.
    pub(crate) async fn begin(
        client: &Client,
        place: &Place,
        leads: watch::Receiver<bool>,
        folder: Option<PlaneFolder>,
        tell: watch::Sender<Option<Arc<CertificateAuthority>>>,
    ) -> Result<Self, Failure> {
        let api = Api::namespaced(client.clone(), &place.namespace);
        let mut pause = Pause::default();
        let kept = loop {
            let found = tokio::time::timeout(LOOK, find_or_make(&api, &place.name)).await;
            match found.unwrap_or_else(|late| Err(late.into())) {
                Ok(kept) => break kept,
                Err(error) => {
                    let wait = pause.next();
                    let secret = format!("{}/{}", place.namespace, place.name);
                    tracing::warn!(secret, %error, again_in = ?wait, "the CA of data planes is not available yet");
                    tokio::time::sleep(wait).await;
                }
            }
        };
        let authority = Arc::new(CertificateAuthority::from_pem(&kept)?);
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
            changed: None,
            tell,
        };
        trust.tell.send_replace(Some(Arc::clone(&trust.authority)));
        trust.write_folder()?;
        Ok(trust)
    }

    /// The TLS configuration of the server. [`keep`](Self::keep) updates it in place.
    pub(crate) fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// Keeps CA and certificates up to date until the process exits.
    pub(crate) async fn keep(mut self) {
        loop {
            tokio::time::sleep(PERIOD.mul_f64(0.8 + fastrand::f64() * 0.4)).await;
            let looked = tokio::time::timeout(LOOK, self.look()).await;
            if let Err(error) = looked.unwrap_or_else(|late| Err(late.into())) {
                tracing::warn!(%error, secret = self.name, "the CA of data planes could not be read");
            }
        }
    }

    async fn look(&mut self) -> Result<(), Failure> {
        let now = SystemTime::now();
        let mut secret = self.api.get(&self.name).await?;
        let authority = CertificateAuthority::from_pem(&pem(&secret))?;
        if authority.is_due(now) && *self.leads.borrow() {
            let successor = authority.renew(now)?;
            let kept = successor.to_pem();
            put(&mut secret, &kept);
            // After a conflict, the next read returns the CA that another controller wrote.
            self.api
                .replace(&self.name, &PostParams::default(), &secret)
                .await?;
            tracing::info!("renewed the CA of data planes");
            return self.take(kept, now);
        }
        self.take(pem(&secret), now)
    }

    fn take(&mut self, kept: CaPem, now: SystemTime) -> Result<(), Failure> {
        if kept != self.kept {
            self.authority = Arc::new(CertificateAuthority::from_pem(&kept)?);
            self.kept = kept;
            self.changed = Some(now);
            if self.authority.trusts(&self.own, now) {
                // The server accepts client certificates of the previous and of the new CA. Its own
                // certificate remains signed by the previous CA, because all clients trust the previous CA.
                self.own.authorities.clone_from(&self.kept.certificates);
                self.tls.replace(&self.own)?;
            }
            self.tell.send_replace(Some(Arc::clone(&self.authority)));
        }
        let spreads = self.changed.is_some_and(|changed| now < changed + SPREAD);
        let waits = spreads && self.authority.trusts(&self.own, now);
        if !waits && !self.authority.is_good(&self.own, now) {
            self.own = self.authority.controller(now)?;
            self.tls.replace(&self.own)?;
        }
        self.write_folder()
    }

    /// Writes new credentials to the folder if its credentials are missing or not up to date.
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

async fn find_or_make(api: &Api<Secret>, name: &str) -> Result<CaPem, Failure> {
    if let Some(secret) = api.get_opt(name).await? {
        let kept = pem(&secret);
        // An invalid Secret is an error and is not overwritten, because data planes trust the CA that it
        // contained.
        CertificateAuthority::from_pem(&kept)?;
        return Ok(kept);
    }
    let made = CertificateAuthority::create(SystemTime::now())?.to_pem();
    let mut secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..Secret::default()
    };
    put(&mut secret, &made);
    let created = api.create(&PostParams::default(), &secret).await?;
    tracing::info!(secret = created.name_any(), "created the CA of data planes");
    Ok(pem(&created))
}

fn pem(secret: &Secret) -> CaPem {
    let text = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        let bytes = bytes.map(|bytes| bytes.0.clone()).unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    };
    CaPem {
        certificates: text(CERTIFICATES),
        key: text(KEY),
    }
}

fn put(secret: &mut Secret, pem: &CaPem) {
    let data = [(CERTIFICATES, &pem.certificates), (KEY, &pem.key)];
    let data = data.map(|(key, text)| (key.to_owned(), ByteString(text.clone().into_bytes())));
    secret.data = Some(data.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_server_presents_the_old_certificate_until_data_planes_trust_the_new_ca() {
        let now = SystemTime::now();
        let first = CertificateAuthority::create(now).expect("it can be made");
        let own = first.controller(now).expect("it can be signed");
        let server = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("not asked"))
        });
        let (_, leads) = watch::channel(true);
        let mut trust = Trust {
            api: Api::default_namespaced(Client::new(server, "default")),
            name: "authority".to_owned(),
            leads,
            folder: None,
            kept: first.to_pem(),
            tls: Tls::new(&own).expect("it is usable"),
            own: own.clone(),
            authority: Arc::new(first),
            changed: None,
            tell: watch::channel(None).0,
        };
        let second = trust.authority.renew(now).expect("it can be renewed");

        trust.take(second.to_pem(), now).expect("it is taken");
        assert!(trust.own.certificate == own.certificate);
        assert!(trust.own.authorities == second.to_pem().certificates);
        let soon = now + SPREAD / 2;
        trust.take(second.to_pem(), soon).expect("it is taken");
        assert!(trust.own.certificate == own.certificate);
        let later = now + SPREAD;
        trust.take(second.to_pem(), later).expect("it is taken");
        assert!(second.is_good(&trust.own, later));

        // An unrelated CA takes effect at once.
        let other = CertificateAuthority::create(now).expect("it can be made");
        trust.take(other.to_pem(), later).expect("it is taken");
        assert!(other.is_good(&trust.own, later));
    }

    #[test]
    fn a_secret_stores_the_ca() {
        let made = CertificateAuthority::create(SystemTime::now())
            .expect("it can be made")
            .to_pem();
        let mut secret = Secret::default();

        put(&mut secret, &made);

        assert!(pem(&secret) == made);
        assert!(CertificateAuthority::from_pem(&pem(&secret)).is_ok());
        assert!(CertificateAuthority::from_pem(&pem(&Secret::default())).is_err());
    }
}
