//! The self-signed certificate of translated Ingresses, for clients that send no server name or an unknown
//! one.
//!
//! ingress-nginx creates a self-signed certificate at startup. The translation refers to a Secret with a
//! self-signed certificate instead. `migrate` creates the Secret once in the folder of the translation; `run
//! --ingress-class` creates it once per process.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use towergate_k8s::ObjectKey;

use crate::Failure;
use crate::dev_cert;

/// Subject and name of the certificate that ingress-nginx creates.
const SUBJECT: &str = "Kubernetes Ingress Controller Fake Certificate";
const NAME: &str = "ingress.local";
/// Validity in days: ten years. A shorter validity has no benefit, because clients cannot verify the
/// certificate.
const DAYS: u32 = 3650;
/// File name of the Secret in the folder of a translation, after the namespace. The file sorts after the file
/// of the namespace, because `kubectl apply -f` must create the namespace first.
const FILE: &str = "_default-certificate.yaml";
/// File of the Secret in translations of earlier versions.
const EARLIER_FILE: &str = "default-certificate.yaml";

/// Manifest of a Secret with a new certificate.
fn new_secret(key: &ObjectKey) -> Result<String, Failure> {
    let names = [NAME.to_owned()];
    let pair = dev_cert::make(SUBJECT, &names, DAYS, SystemTime::now())?;
    Ok(dev_cert::manifest(&key.namespace, &key.name, &pair))
}

/// Writes the Secret into `folder` if the folder does not contain the Secret.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn write_once(folder: &Path, key: &ObjectKey) -> Result<(), Failure> {
    let path = folder.join(format!("{}{FILE}", key.namespace));
    if fs::exists(&path)? || fs::exists(folder.join(EARLIER_FILE))? {
        return Ok(());
    }
    match dev_cert::write_new(&path, &new_secret(key)?, 0o600) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(format!("{} cannot be written: {error}", path.display()).into())
        }
        _ => Ok(()),
    }
}

/// The file of the Secret in a folder, if there is one.
pub(crate) fn find(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(FILE) || *name == *EARLIER_FILE
    })
}

/// The Secret of this process. Empty if the certificate cannot be created; the status of the listener then
/// reports a missing Secret.
pub(crate) fn of_process(key: &ObjectKey) -> &'static str {
    static SECRET: OnceLock<String> = OnceLock::new();
    SECRET.get_or_init(|| new_secret(key).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_exists_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = ObjectKey::new("gateway", "default-certificate");

        write_once(folder.path(), &key).expect("written");
        let file = folder.path().join("gateway_default-certificate.yaml");
        let first = fs::read(&file).expect("a file");
        write_once(folder.path(), &key).expect("kept");

        let second = fs::read(&file).expect("a file");
        assert_eq!(first, second);
        assert!(String::from_utf8_lossy(&first).contains("namespace: gateway"));
    }
}
