//! The default crypto provider, and [`Provider`], a crypto provider as part of a configuration.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// A crypto provider as a value of a configuration. Two values are equal if they point to the same provider.
#[derive(Clone)]
pub struct Provider(pub Arc<CryptoProvider>);

impl PartialEq for Provider {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Provider {}

/// Shows only the type's name, because a provider contains only functions.
impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Provider")
    }
}

/// The default crypto provider, aws-lc-rs. It prefers the key exchange X25519MLKEM768, and prefers AES-128 to
/// AES-256. This function does not install the provider as the default of the process.
#[cfg(feature = "aws-lc-rs")]
pub fn default_provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    crate::ciphers::sort(&mut provider.cipher_suites);
    Arc::new(provider)
}
