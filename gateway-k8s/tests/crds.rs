//! CRDs of Envoy Gateway's kinds, for clusters without Envoy Gateway. The files match the Rust types, and every
//! field exists in Envoy Gateway with the same type.
//!
//! `UPDATE_GOLDEN=1` writes the files. If `ENVOY_GATEWAY_CRDS` is also set to the folder of Envoy
//! Gateway's CRDs, the recorded field types are updated, too.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use towergate_policy::schema::custom_resource_definitions;

/// Folders of the CRD files: for `kubectl apply`, and for the Helm chart.
const FOLDERS: [&str; 2] = ["deploy/crds", "chart/towergate/files/crds"];
/// Fields of Envoy Gateway v1.9.1 and their types, one per line.
const ENVOY_GATEWAY: &str = "tests/envoy_gateway_fields.txt";
/// Fields that only later versions of Envoy Gateway have.
const NEWER: [&str; 2] = [
    "ClientTrafficPolicy.spec.headers.maxRequestHeaderLimit",
    "EnvoyProxy.spec.lua",
];
/// A field that Envoy Gateway has for Deployments only.
const EXTENSION: &str = "EnvoyProxy.spec.provider.kubernetes.envoyDaemonSet.initContainers";

fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn updating() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

fn name(crd: &Value) -> &str {
    crd["metadata"]["name"].as_str().expect("it has a name")
}

#[test]
fn the_files_are_what_the_types_say() {
    for crd in custom_resource_definitions() {
        let text = towergate_k8s::yaml::write(&crd);
        for folder in FOLDERS {
            let file = path(folder).join(format!("{}.yaml", name(&crd)));
            if updating() {
                fs::write(&file, &text).unwrap();
            }
            let found = fs::read_to_string(&file).unwrap_or_default();
            assert!(found == text, "{} is not up to date", file.display());
        }
    }
}

#[test]
fn every_field_is_one_of_envoy_gateways_with_its_type() {
    let ours: BTreeMap<String, String> = custom_resource_definitions()
        .iter()
        .flat_map(fields)
        .collect();
    if let Some(folder) = std::env::var_os("ENVOY_GATEWAY_CRDS") {
        write_down(Path::new(&folder), &ours);
    }
    let text = fs::read_to_string(path(ENVOY_GATEWAY)).unwrap();
    let theirs: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect();

    let ours_alone = |field: &str| {
        !theirs.contains_key(field) && (NEWER.contains(&field) || field.starts_with(EXTENSION))
    };
    let differing = ours
        .iter()
        .filter(|(field, kind)| !is_compatible(kind, theirs.get(&***field)) && !ours_alone(field));

    let differing: Vec<_> = differing
        .map(|(field, kind)| (field, kind, theirs.get(&**field)))
        .collect();
    assert!(differing.is_empty(), "ours, type, theirs: {differing:#?}");
    assert!(ours.len() > 900, "{}", ours.len());
}

/// An API server adds the defaults of the schema before a controller receives an object. With different
/// defaults, the same manifest would have different meanings.
#[test]
fn every_field_has_the_default_of_envoy_gateways() {
    let text = fs::read_to_string(path("src/validate/schemas.json")).unwrap();
    let catalog: Value = serde_json::from_str(&text).unwrap();
    let mut different = Vec::new();

    for crd in custom_resource_definitions() {
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
        // Where an EnvoyProxy sets nothing, the options of the controller apply.
        if kind == "EnvoyProxy" {
            continue;
        }
        let theirs = &catalog["schemas"][index(&catalog["kinds"][kind]["v1alpha1"])];
        let ours = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let theirs = &catalog["schemas"][index(&theirs["properties"]["spec"])];
        compare_defaults(ours, theirs, &catalog, kind, &mut different);
    }

    assert!(different.is_empty(), "field, ours, theirs: {different:#?}");
}

/// The index of a schema in the catalog.
fn index(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

/// Adds the fields of `ours` whose default differs from the default in `theirs`.
fn compare_defaults(
    ours: &Value,
    theirs: &Value,
    catalog: &Value,
    path: &str,
    different: &mut Vec<String>,
) {
    if ours.get("default") != theirs.get("default") {
        let [ours, theirs] = [ours, theirs].map(|schema| schema.get("default"));
        different.push(format!("{path}: {ours:?}, {theirs:?}"));
    }
    let mut below = |key: &str, ours: &Value, theirs: &Value| {
        // A field of a newer version is not in the catalog.
        if let Some(index) = theirs.as_u64() {
            let theirs = &catalog["schemas"][usize::try_from(index).unwrap()];
            compare_defaults(ours, theirs, catalog, &format!("{path}{key}"), different);
        }
    };
    for (key, schema) in ours["properties"].as_object().into_iter().flatten() {
        below(&format!(".{key}"), schema, &theirs["properties"][key]);
    }
    for (key, name) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(schema) = ours.get(key) {
            below(name, schema, &theirs[key]);
        }
    }
}

/// Whether a value that is valid in Envoy Gateway is also valid here. Sections of pods and Services accept
/// any value, because the API server validates them in the objects that contain them.
fn is_compatible(ours: &str, theirs: Option<&&str>) -> bool {
    theirs.is_some_and(|theirs| ours == "any" || ours == *theirs)
}

/// Records the types of Envoy Gateway's fields that are also in `ours`.
fn write_down(folder: &Path, ours: &BTreeMap<String, String>) {
    let mut lines = String::new();
    for crd in custom_resource_definitions() {
        let (plural, group) = name(&crd).split_once('.').expect("it has a group");
        let text = fs::read_to_string(folder.join(format!("{group}_{plural}.yaml"))).unwrap();
        let theirs: Value = serde_saphyr::from_str(&text).unwrap();
        for (field, kind) in fields(&theirs) {
            if ours.contains_key(&field) {
                lines.push_str(&format!("{field} {kind}\n"));
            }
        }
    }
    if updating() {
        fs::write(path(ENVOY_GATEWAY), lines).unwrap();
    }
}

/// Returns path and type of each field in the spec of a CRD.
fn fields(crd: &Value) -> Vec<(String, String)> {
    let kind = crd["spec"]["names"]["kind"]
        .as_str()
        .expect("it has a kind");
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut fields = Vec::new();
    walk(
        &schema["properties"]["spec"],
        &format!("{kind}.spec"),
        &mut fields,
    );
    fields
}

fn walk(schema: &Value, path: &str, fields: &mut Vec<(String, String)>) {
    let kind = match schema["type"].as_str() {
        _ if schema["x-kubernetes-int-or-string"] == true => "int-or-string",
        None | Some("object") if schema["x-kubernetes-preserve-unknown-fields"] == true => "any",
        None if schema.get("x-kubernetes-preserve-unknown-fields").is_none() => "any",
        other => other.unwrap_or("any"),
    };
    fields.push((path.to_owned(), kind.to_owned()));
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        walk(schema, &format!("{path}.{key}"), fields);
    }
    for (key, below) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(schema) = schema.get(key) {
            walk(schema, &format!("{path}{below}"), fields);
        }
    }
}
