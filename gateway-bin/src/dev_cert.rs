//! `towergate dev-cert`: a self-signed certificate to try things with.

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

/// A certificate and its key as PEM.
struct Pair {
    certificate: String,
    key: String,
}

/// Makes a certificate, and writes or prints it.
///
/// # Errors
/// If a name is none, or a file cannot be written.
pub(crate) fn run(args: &DevCertArgs) -> Outcome {
    let pair = make(&args.names, args.days, SystemTime::now())?;
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder)?;
        write(&folder.join("tls.crt"), &pair.certificate, 0o644)?;
        write(&folder.join("tls.key"), &pair.key, 0o600)?;
        eprintln!("wrote {0}/tls.crt and {0}/tls.key", folder.display());
        return Ok(ExitCode::SUCCESS);
    }
    let name = args.secret.as_deref().unwrap_or("default/dev-cert");
    let (namespace, name) = name_parts(name).ok_or("--secret: write it as NAMESPACE/NAME")?;
    print(manifest(namespace, name, &pair).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn make(names: &[String], days: u32, now: SystemTime) -> Result<Pair, Failure> {
    for name in names {
        let is_name = !matches!(name.parse(), Err(_) | Ok(NamePattern::Any));
        if !is_name && name.parse::<IpAddr>().is_err() {
            let fault = "is neither a DNS name in lower case, such as app.test or *.app.test, nor an IP address";
            return Err(format!("`{name}` {fault}").into());
        }
    }
    let mut params = CertificateParams::new(names)?;
    let mut subject = DistinguishedName::new();
    subject.push(
        DnType::CommonName,
        names.first().map_or("towergate", String::as_str),
    );
    params.distinguished_name = subject;
    // A clock that is a little behind must not refuse it.
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

fn manifest(namespace: &str, name: &str, pair: &Pair) -> String {
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

/// Writes a file that only its mode's users can read, from the first byte on.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_secret_is_one_that_is_read() {
        let pair = make(&["a.example.com".to_owned()], 1, SystemTime::now()).expect("it is made");

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
    fn a_name_that_is_none_gets_no_certificate() {
        for (name, good) in [
            ("a.example.com", true),
            ("*.example.com", true),
            ("localhost", true),
            ("::1", true),
            ("bad name", false),
            ("UPPER.example.com", false),
            ("a.*.example.com", false),
            ("", false),
        ] {
            let made = make(&[name.to_owned()], 1, SystemTime::now());
            assert_eq!(made.is_ok(), good, "{name}");
        }
    }

    #[test]
    fn nobody_else_can_read_the_key_file() {
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

        run(&args).expect("it is written");

        let mode = std::fs::metadata(folder.path().join("tls.key"))
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
