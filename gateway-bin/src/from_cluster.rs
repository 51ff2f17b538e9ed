//! `migrate --from-cluster`: the manifests of a cluster, which `kubectl-towergate collect` prints.
//!
//! This program has no Kubernetes client. `kubectl-towergate`, a program of the same release, has one.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failure;
use crate::args::ClusterArgs;

/// Name of the manifests in reports.
pub(crate) const NAME: &str = "<cluster>";
/// Name of the program.
const PLUGIN: &str = "kubectl-towergate";

/// The objects of the cluster of `args` as manifests.
///
/// # Errors
/// If the program is not installed or cannot read the cluster.
pub(crate) fn collect(args: &ClusterArgs) -> Result<String, Failure> {
    collect_with(&plugin(), args)
}

fn collect_with(program: &Path, args: &ClusterArgs) -> Result<String, Failure> {
    let mut command = Command::new(program);
    command.arg("collect");
    let options: [(&str, Option<&OsStr>); 2] = [
        (
            "--kubeconfig",
            args.kubeconfig.as_deref().map(Path::as_os_str),
        ),
        ("--context", args.context.as_deref().map(OsStr::new)),
    ];
    for (name, value) in options {
        command.args(
            value
                .map(|value| [OsStr::new(name), value])
                .into_iter()
                .flatten(),
        );
    }
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| not_started(program, &error))?;
    if !output.status.success() {
        return Err(format!("--from-cluster: {PLUGIN} cannot read the cluster").into());
    }
    String::from_utf8(output.stdout)
        .map_err(|_| format!("--from-cluster: the output of {PLUGIN} is not UTF-8").into())
}

fn not_started(program: &Path, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => format!(
            "--from-cluster: program `{PLUGIN}` not found; install it from the archive of the release, beside `towergate` or in PATH (it is also `kubectl towergate migrate`), or pass the objects: kubectl get ingresses,ingressclasses,services,configmaps,secrets,deployments -A -o yaml | towergate migrate -"
        ),
        _ => format!(
            "--from-cluster: {} cannot be started: {error}",
            program.display()
        ),
    }
}

/// The plugin in the folder of this program, or else the one in PATH.
fn plugin() -> PathBuf {
    let here = std::env::current_exe().ok();
    let beside = here.and_then(|path| Some(path.parent()?.join(PLUGIN)));
    beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from(PLUGIN))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Runs a script in place of the plugin.
    fn collected(script: &str, args: &ClusterArgs) -> Result<String, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("plugin");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a script");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("permissions");
        collect_with(&program, args).map_err(|error| error.to_string())
    }

    #[test]
    fn the_plugin_receives_the_cluster_and_its_output_is_the_manifests() {
        let args = ClusterArgs {
            from_cluster: true,
            kubeconfig: Some("a b.yaml".into()),
            context: Some("prod".to_owned()),
        };

        let text = collected("printf '%s|' \"$@\"", &args);

        let expected = "collect|--kubeconfig|a b.yaml|--context|prod|";
        assert_eq!(text.as_deref(), Ok(expected));
    }

    #[test]
    fn a_plugin_that_fails_or_is_missing_is_an_error_with_the_way_out() {
        let none = ClusterArgs::default();

        let failed = collected("exit 2", &none).expect_err("it fails");
        let missing = collect_with(Path::new("/no/such/program"), &none).expect_err("it fails");

        assert!(failed.contains("cannot read the cluster"), "{failed}");
        let missing = missing.to_string();
        assert!(missing.contains("kubectl towergate migrate"), "{missing}");
    }
}
