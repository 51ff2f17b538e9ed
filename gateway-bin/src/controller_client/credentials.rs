//! The credentials of a data plane: a folder with `ca.crt`, `tls.crt` and `tls.key`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use towergate_tls::rustls::pki_types::pem::PemObject;
use towergate_tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use towergate_tls::rustls::version::TLS13;
use towergate_tls::rustls::{ClientConfig, RootCertStore};

use crate::Failure;
use crate::watch::Watch;

/// Poll interval for changes that the system does not report.
const POLL: Duration = Duration::from_secs(30);

/// A watched folder of credentials.
pub(super) struct CredentialsFolder {
    path: PathBuf,
    watch: Watch,
    loaded: Option<Files>,
}

#[derive(Eq, PartialEq)]
struct Files {
    ca: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl CredentialsFolder {
    /// Starts to watch the folder at `path`.
    pub(super) fn new(path: PathBuf) -> Self {
        let watch = Watch::new(std::slice::from_ref(&path), POLL);
        Self {
            path,
            watch,
            loaded: None,
        }
    }

    /// Reads the client configuration: TLS 1.3, HTTP/2, and the CA of the controller as the only trusted CA.
    ///
    /// # Errors
    /// If a file cannot be read or is invalid.
    pub(super) fn load(&mut self) -> Result<Arc<ClientConfig>, Failure> {
        self.watch.arm();
        let files = Files::read(&self.path)?;
        let config = files.build()?;
        self.loaded = Some(files);
        Ok(Arc::new(config))
    }

    /// Waits until the files are valid and differ from the loaded files.
    pub(super) async fn changed(&mut self) {
        loop {
            self.watch.changed().await;
            self.watch.arm();
            // A certificate that does not match its key belongs to a change that is not complete yet.
            let files = Files::read(&self.path).ok();
            let usable = files.filter(|files| files.build().is_ok());
            if usable.is_some() && usable != self.loaded {
                return;
            }
        }
    }
}

impl Files {
    fn read(folder: &Path) -> Result<Self, Failure> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        Ok(Self {
            ca: read("ca.crt")?,
            certificate: read("tls.crt")?,
            key: read("tls.key")?,
        })
    }

    fn build(&self) -> Result<ClientConfig, Failure> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(&self.ca) {
            roots
                .add(root.map_err(|_| "ca.crt: invalid PEM")?)
                .map_err(|error| format!("ca.crt: {error}"))?;
        }
        if roots.is_empty() {
            return Err("ca.crt: no certificate found".into());
        }
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| "tls.crt: invalid PEM")?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| "tls.key: invalid PEM or key type")?;
        let provider = towergate_tls::default_provider();
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|error| format!("tls.crt and tls.key: {error}"))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}
