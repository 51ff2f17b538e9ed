//! `towergate status`: prints the status of each object as the API server would show it. If `--bind` sets no
//! addresses, each Gateway has its own address, as in a cluster.

use std::process::ExitCode;

use towergate_k8s::{Diagnostic, FindingCode, yaml};

use crate::args::ManifestArgs;
use crate::check::{NO_ECHO, loader, read_stdin};
use crate::manifest_loader::Reading;
use crate::{Outcome, print};

/// Reads and resolves the manifests, and prints the statuses.
///
/// # Errors
/// If standard input cannot be read or standard output cannot be written.
pub(crate) fn status(args: &ManifestArgs) -> Outcome {
    let loader = loader(args, read_stdin(&args.paths)?);
    let mut loader = loader.with_separate_addresses(args);
    let Some(reading) = loader.read(true, |_| Some(NO_ECHO)) else {
        return Ok(ExitCode::SUCCESS);
    };
    let empty = reading.diagnostics.iter().filter(|d| is_empty(d));
    for diagnostic in reading.unreadable.iter().chain(empty) {
        eprintln!("towergate: {}", crate::render::brief(diagnostic));
    }
    print(documents(&reading).as_bytes())?;
    Ok(ExitCode::from(exit_status(&reading)))
}

/// Whether there is no manifest at all.
fn is_empty(diagnostic: &Diagnostic) -> bool {
    diagnostic.code == FindingCode::NoManifest
}

/// Exit status: 2 if a file is unreadable or there is no manifest, 1 if an object is unreadable and therefore
/// has no status.
fn exit_status(reading: &Reading) -> u8 {
    let mut unreadable = reading.unreadable.iter();
    if unreadable.any(|d| d.code == FindingCode::Unreadable)
        || reading.diagnostics.iter().any(is_empty)
    {
        return crate::USAGE;
    }
    u8::from(!reading.unreadable.is_empty())
}

fn documents(reading: &Reading) -> String {
    let documents: Vec<String> = reading
        .resolution
        .statuses
        .objects()
        .map(|object| yaml::write(&object))
        .collect();
    documents.join("---\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest_loader::ManifestLoader;

    #[test]
    fn each_status_is_printed_with_the_name_of_its_object() {
        let folder = tempfile::tempdir().expect("a folder");
        let class = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: eg}\n\
                     spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}\n";
        std::fs::write(folder.path().join("a.yaml"), class).expect("the file is written");
        let args = ManifestArgs {
            paths: vec![folder.path().to_owned()],
            controller_name: "gateway.envoyproxy.io/gatewayclass-controller".to_owned(),
            ..ManifestArgs::default()
        };
        let reading = ManifestLoader::new(&args)
            .read(true, |_| None)
            .expect("a reading");

        let text = documents(&reading);

        let head = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata:\n  name: eg\nstatus:\n";
        assert!(text.starts_with(head), "{text}");
        assert!(text.contains("    type: Accepted\n"), "{text}");
    }

    #[test]
    fn an_unreadable_object_hides_no_other_status_and_fails_the_command() {
        let folder = tempfile::tempdir().expect("a folder");
        let class = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: eg}\n\
                     spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}\n";
        let read = |text: &str, missing: Option<&str>| {
            std::fs::write(folder.path().join("a.yaml"), text).expect("the file is written");
            let mut paths = vec![folder.path().to_owned()];
            paths.extend(missing.map(|name| folder.path().join(name)));
            let args = ManifestArgs {
                paths,
                controller_name: "gateway.envoyproxy.io/gatewayclass-controller".to_owned(),
                ..ManifestArgs::default()
            };
            ManifestLoader::new(&args)
                .read(true, |_| None)
                .expect("a reading")
        };
        let broken = format!("{class}---\nkind: Gateway\nmetadata: [\n");

        assert_eq!(exit_status(&read(class, None)), 0);
        let reading = read(&broken, None);
        assert_eq!(exit_status(&reading), 1);
        assert!(documents(&reading).contains("  name: eg\n"));
        assert_eq!(exit_status(&read(&broken, Some("missing"))), 2);
    }

    #[test]
    fn each_gateway_has_an_address_of_its_own_as_in_a_cluster() {
        let folder = tempfile::tempdir().expect("a folder");
        let gateway = |name: &str| {
            format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}, namespace: x}}\n\
                 spec: {{gatewayClassName: eg, listeners: [{{name: http, port: 80, protocol: HTTP}}]}}\n"
            )
        };
        let both = gateway("one") + "---\n" + &gateway("two");
        std::fs::write(folder.path().join("a.yaml"), both).expect("the file is written");
        let args = ManifestArgs {
            paths: vec![folder.path().to_owned()],
            ..ManifestArgs::default()
        };

        let reading = ManifestLoader::new(&args)
            .with_separate_addresses(&args)
            .read(true, |_| None)
            .expect("a reading");

        let text = documents(&reading);
        assert!(
            text.contains("198.18.0.1") && text.contains("198.18.0.2"),
            "{text}"
        );
        assert!(
            !text.contains("status: \"False\"\n    type: Programmed"),
            "{text}"
        );
    }
}
