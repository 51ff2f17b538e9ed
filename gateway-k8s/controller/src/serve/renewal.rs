//! Makes certificates anew before they expire.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::sleep;
use towergate_k8s::wire::SHARED;

use super::credentials::{Authority, Credentials, CredentialsError};
use super::tls::Tls;

/// How often to look whether something is due.
const LOOK: Duration = Duration::from_secs(3600);

/// Renews what the server shows, and the credentials of the plane `shared` in `folder` if there is one, when
/// they are due or there is another authority. Never ends.
pub(crate) async fn keep_renewed(
    mut authority: watch::Receiver<Arc<Authority>>,
    tls: Tls,
    folder: Option<PathBuf>,
) {
    loop {
        let current = Arc::clone(&authority.borrow_and_update());
        let now = SystemTime::now();
        if let Err(error) = renew(&current, &tls, folder.as_deref(), now) {
            tracing::error!(%error, "certificates cannot be renewed");
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            Ok(()) = authority.changed() => {}
        }
    }
}

fn renew(
    authority: &Authority,
    tls: &Tls,
    folder: Option<&Path>,
    now: SystemTime,
) -> Result<(), CredentialsError> {
    if !authority.is_good(&tls.credentials(), now) {
        tls.replace(&authority.controller(now)?)?;
        tracing::info!("the certificate of the server for data planes is a new one");
    }
    match folder {
        Some(folder) => keep_folder(authority, SHARED, folder, now).map(|_| ()),
        None => Ok(()),
    }
}

/// Writes credentials of `plane` into `folder`, unless good ones are there. Whether it did.
///
/// # Errors
/// If they cannot be read, made or written.
pub(crate) fn keep_folder(
    authority: &Authority,
    plane: &str,
    folder: &Path,
    now: SystemTime,
) -> Result<bool, CredentialsError> {
    let there = Credentials::read(folder)?;
    if there.is_some_and(|there| authority.is_good(&there, now)) {
        return Ok(false);
    }
    authority.plane(plane, now)?.write(folder)?;
    tracing::info!(folder = %folder.display(), plane, "credentials for a data plane are written");
    Ok(true)
}
