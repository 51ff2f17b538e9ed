//! `towergate dev-cert`: a self-signed certificate for tests.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};

use towergate_tls::NamePattern;

use crate::args::DevCertArgs;
use crate::flags::name_parts;
use crate::{Failure, Outcome, print};

/// A certificate and its key in PEM format.
pub(crate) struct Pair {
    certificate: String,
    key: String,
}

/// Creates a certificate and writes or prints it.
///
/// # Errors
/// If a name is invalid or a file cannot be written.
pub(crate) fn run(args: &DevCertArgs) -> Outcome {
    let subject = args.names.first().map_or("towergate", String::as_str);
    let pair = make(subject, &args.names, args.days, SystemTime::now())?;
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder)?;
        write(&folder.join("tls.crt"), &pair.certificate, 0o644)?;
        write(&folder.join("tls.key"), &pair.key, 0o600)?;
        eprintln!("wrote {0}/tls.crt and {0}/tls.key", folder.display());
        return Ok(ExitCode::SUCCESS);
    }
    let name = args.secret.as_deref().unwrap_or("default/dev-cert");
    let (namespace, name) = name_parts(name).ok_or("--secret: expected NAMESPACE/NAME")?;
    print(manifest(namespace, name, &pair).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Makes a self-signed certificate with the common name `subject` for `names`.
///
/// # Errors
/// If a name is invalid.
pub(crate) fn make(
    subject: &str,
    names: &[String],
    days: u32,
    now: SystemTime,
) -> Result<Pair, Failure> {
    for name in names {
        let is_name = !matches!(name.parse(), Err(_) | Ok(NamePattern::Any));
        if !is_name && name.parse::<IpAddr>().is_err() {
            let expected =
                "a DNS name in lower case, such as app.test or *.app.test, or an IP address";
            return Err(format!("invalid name `{name}`: expected {expected}").into());
        }
    }
    let mut params = CertificateParams::new(names)?;
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, subject);
    params.distinguished_name = distinguished;
    // The certificate is also valid for clients whose clock is up to an hour behind.
    params.not_before = (now - Duration::from_secs(3600)).into();
    params.not_after = (now + Duration::from_secs(u64::from(days) * 86_400)).into();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

/// Manifest of a Secret with the certificate and its key.
pub(crate) fn manifest(namespace: &str, name: &str, pair: &Pair) -> String {
    let indented = |pem: &str| {
        pem.lines()
            .map(|line| format!("    {line}\n"))
            .collect::<String>()
    };
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  namespace: {namespace}\ntype: kubernetes.io/tls\n\
         stringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
        indented(&pair.certificate),
        indented(&pair.key)
    )
}

/// Writes a file. It is created with `mode`, so its contents are never readable with other permissions.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(true);
    write_with(&mut options, path, text, mode)
}

/// Like [`write`](fn@write), but fails if the file exists.
pub(crate) fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    write_with(OpenOptions::new().create_new(true), path, text, mode)
}

fn write_with(options: &mut OpenOptions, path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = options.write(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_printed_secret_is_a_valid_manifest() {
        let pair =
            make("a", &["a.example.com".to_owned()], 1, SystemTime::now()).expect("a certificate");

        let decoded = towergate_k8s::decode::decode("", &manifest("edge", "a-tls", &pair));

        assert_eq!(decoded.diagnostics, []);
        let secret = &decoded.objects.secrets[&towergate_k8s::ObjectKey::new("edge", "a-tls")].spec;
        assert_eq!(
            secret.string_data["tls.crt"].trim(),
            pair.certificate.trim().replace("\r\n", "\n")
        );
        assert!(secret.string_data["tls.key"].contains("PRIVATE KEY"));
    }

    #[test]
    fn an_invalid_name_is_rejected() {
        for (name, valid) in [
            ("a.example.com", true),
            ("*.example.com", true),
            ("localhost", true),
            ("::1", true),
            ("bad name", false),
            ("UPPER.example.com", false),
            ("a.*.example.com", false),
            ("", false),
        ] {
            let result = make("a", &[name.to_owned()], 1, SystemTime::now());
            assert_eq!(result.is_ok(), valid, "{name}");
        }
    }

    #[test]
    fn only_the_owner_can_read_the_key_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let args = DevCertArgs {
            names: vec![
                "a.example.com".to_owned(),
                "*.b.example.com".to_owned(),
                "127.0.0.1".to_owned(),
            ],
            out: Some(folder.path().to_owned()),
            secret: None,
            days: 1,
        };

        run(&args).expect("the files are written");

        let mode = std::fs::metadata(folder.path().join("tls.key"))
            .expect("the key file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
