//! `towergate status`: each object's status, as the API server would show it.

use std::io::Write;
use std::process::ExitCode;

use serde_json::{Map, Value, json};
use towergate_k8s::status::StatusKey;

use crate::args::ManifestArgs;
use crate::check::NO_ECHO;
use crate::world::{Reading, World};
use crate::{Outcome, yaml};

/// Reads and resolves the manifests, and prints the statuses.
///
/// # Errors
/// If standard output cannot be written.
pub(crate) fn status(args: &ManifestArgs) -> Outcome {
    let Some(reading) = World::new(args).read(true, |_| Some(NO_ECHO)) else {
        return Ok(ExitCode::SUCCESS);
    };
    let unreadable = reading.diagnostics.iter().filter(|d| d.code == "unreadable");
    let mut status = ExitCode::SUCCESS;
    for diagnostic in unreadable {
        eprintln!("towergate: {}", crate::render::brief(diagnostic));
        status = ExitCode::from(crate::USAGE);
    }
    std::io::stdout().write_all(documents(&reading).as_bytes())?;
    Ok(status)
}

fn documents(reading: &Reading) -> String {
    let statuses = reading.resolution.statuses.0.iter();
    let documents: Vec<String> = statuses
        .map(|(key, status)| yaml::write(&document(reading.objects.api_version(key.kind, &key.object), key, status)))
        .collect();
    documents.join("---\n")
}

fn document(api_version: Option<&str>, key: &StatusKey, status: &Value) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), key.object.name.clone().into());
    if !key.object.namespace.is_empty() {
        metadata.insert("namespace".to_owned(), key.object.namespace.clone().into());
    }
    json!({
        "apiVersion": api_version.unwrap_or_default(),
        "kind": key.kind,
        "metadata": metadata,
        "status": status,
    })
}

#[cfg(test)]
mod tests {
    use towergate_k8s::ObjectKey;

    use super::*;

    #[test]
    fn a_status_is_shown_with_its_objects_name() {
        let key = StatusKey { kind: "Gateway", object: ObjectKey::new("edge", "shared") };

        let text = yaml::write(&document(Some("gateway.networking.k8s.io/v1"), &key, &json!({"addresses": []})));

        assert_eq!(
            text,
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: shared\n  namespace: edge\n\
             status:\n  addresses: []\n"
        );
    }
}
