//! The objects of a cluster that `towergate migrate` reads.
//!
//! Only Secrets that Ingresses and the controller refer to are read. Their private keys are replaced, because
//! the translation only needs to know whether a key exists.

use std::collections::BTreeSet;
use std::fmt::Write;

use data_encoding::BASE64;
use futures_util::{StreamExt, TryStreamExt, stream};
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::{Client, Error};
use serde_json::Value;

use crate::CommandError;

/// Number of objects per response of the API server.
const PAGE: u32 = 500;
/// Number of Secrets that are read at the same time.
const CONCURRENT: usize = 8;
/// Replacement of a private key. The translation reads only the first line.
const REMOVED_KEY: &[u8] = b"-----BEGIN PRIVATE KEY-----\nremoved by kubectl-towergate\n";
/// Annotation in which kubectl stores a copy of the object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A kind that is listed.
struct ListedKind {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
}

const fn listed(group: &'static str, kind: &'static str, plural: &'static str) -> ListedKind {
    ListedKind {
        group,
        kind,
        plural,
    }
}

/// Kinds with version `v1` that are listed. An API server without cert-manager lacks the last three.
const LISTED: [ListedKind; 11] = [
    listed("networking.k8s.io", "Ingress", "ingresses"),
    listed("networking.k8s.io", "IngressClass", "ingressclasses"),
    listed("", "Namespace", "namespaces"),
    listed("", "Service", "services"),
    listed("discovery.k8s.io", "EndpointSlice", "endpointslices"),
    listed("", "ConfigMap", "configmaps"),
    listed("apps", "Deployment", "deployments"),
    listed("apps", "DaemonSet", "daemonsets"),
    listed("cert-manager.io", "ClusterIssuer", "clusterissuers"),
    listed("cert-manager.io", "Issuer", "issuers"),
    listed("cert-manager.io", "Certificate", "certificates"),
];

impl ListedKind {
    fn resource(&self) -> ApiResource {
        let version = match self.group {
            "" => "v1".to_owned(),
            group => format!("{group}/v1"),
        };
        ApiResource {
            group: self.group.to_owned(),
            version: "v1".to_owned(),
            api_version: version,
            kind: self.kind.to_owned(),
            plural: self.plural.to_owned(),
        }
    }
}

/// The manifests: one JSON object per line, each a YAML document.
///
/// # Errors
/// If the API server cannot be reached or denies access.
pub(crate) async fn collect(client: &Client) -> Result<String, CommandError> {
    let mut objects = Vec::new();
    for kind in &LISTED {
        let listed = list(client, kind)
            .await
            .map_err(|error| failed(kind.plural, &error))?;
        objects.extend(listed.into_iter().filter(is_relevant));
    }
    let secrets = stream::iter(secrets(&objects))
        .map(|(namespace, name)| secret(client, namespace, name))
        .buffered(CONCURRENT)
        .try_collect::<Vec<Option<Value>>>()
        .await
        .map_err(|error| failed("secrets", &error))?;
    objects.extend(secrets.into_iter().flatten());
    let mut text = String::new();
    for object in &objects {
        let _ = write!(text, "---\n{object}\n");
    }
    Ok(text)
}

fn failed(plural: &str, error: &Error) -> String {
    format!("{plural} cannot be read: {error}")
}

/// The objects of a kind. None if the API server does not have the kind.
async fn list(client: &Client, kind: &ListedKind) -> Result<Vec<Value>, Error> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind.resource());
    let resource = kind.resource();
    let mut params = ListParams::default().limit(PAGE);
    let mut objects = Vec::new();
    loop {
        let page = match api.list(&params).await {
            Ok(page) => page,
            Err(error) if is_missing(&error) && objects.is_empty() => return Ok(objects),
            Err(error) => return Err(error),
        };
        let next = page.metadata.continue_.filter(|token| !token.is_empty());
        objects.extend(
            page.items
                .into_iter()
                .map(|object| manifest(object, &resource)),
        );
        match next {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(objects),
        }
    }
}

/// A Secret without private keys. `None`: the Secret does not exist.
async fn secret(client: &Client, namespace: String, name: String) -> Result<Option<Value>, Error> {
    let resource = listed("", "Secret", "secrets").resource();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
    match api.get(&name).await {
        Ok(object) => Ok(Some(without_keys(manifest(object, &resource)))),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 404)
}

/// An object as a manifest, without its status and the fields that the API server added.
fn manifest(object: DynamicObject, resource: &ApiResource) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    value["apiVersion"] = resource.api_version.clone().into();
    value["kind"] = resource.kind.clone().into();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("status");
        fields.remove("binaryData");
    }
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.retain(|name, _| {
            matches!(
                name.as_str(),
                "name" | "namespace" | "labels" | "annotations" | "creationTimestamp"
            )
        });
    }
    if let Some(annotations) = value["metadata"]["annotations"].as_object_mut() {
        annotations.remove(LAST_APPLIED);
    }
    value
}

/// Whether an object may be part of the installation. The ConfigMap `kube-root-ca.crt`, a copy of the
/// cluster's CA in every namespace, is not part of it.
fn is_relevant(object: &Value) -> bool {
    object["kind"] != "ConfigMap" || object["metadata"]["name"] != "kube-root-ca.crt"
}

/// The Secret with a placeholder for each private key.
fn without_keys(mut secret: Value) -> Value {
    let data = secret["data"].as_object_mut();
    for (name, value) in data.into_iter().flatten() {
        let text = value
            .as_str()
            .and_then(|text| BASE64.decode(text.as_bytes()).ok());
        // Bytes that are not UTF-8 may be a key store, or a key in DER.
        let private = text.is_none_or(|text| {
            std::str::from_utf8(&text).map_or(true, |text| text.contains("PRIVATE KEY-----"))
        });
        if private || name.ends_with(".key") {
            *value = BASE64.encode(REMOVED_KEY).into();
        }
    }
    secret
}

/// Whether an annotation's value can be the name of an object. The names of unrelated annotations may also
/// end in `-secret`, and their values need not be names.
fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
}

/// Namespace and name of the Secrets that Ingresses and workloads refer to.
fn secrets(objects: &[Value]) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for object in objects {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let mut add = |text: &str| {
            let (namespace, name) = text.split_once('/').unwrap_or((namespace, text));
            if is_name(namespace) && is_name(name) {
                found.insert((namespace.to_owned(), name.to_owned()));
            }
        };
        match object["kind"].as_str() {
            Some("Ingress") => {
                let tls = object["spec"]["tls"].as_array().into_iter().flatten();
                tls.filter_map(|tls| tls["secretName"].as_str())
                    .for_each(&mut add);
                let annotations = object["metadata"]["annotations"].as_object();
                for (name, value) in annotations.into_iter().flatten() {
                    if name.ends_with("-secret") {
                        value.as_str().into_iter().for_each(&mut add);
                    }
                }
            }
            Some("Deployment" | "DaemonSet") => {
                default_certificates(object).for_each(add);
            }
            _ => {}
        }
    }
    found
}

/// Values of the flag `--default-ssl-certificate` of a workload.
fn default_certificates(workload: &Value) -> impl Iterator<Item = &str> {
    let containers = workload["spec"]["template"]["spec"]["containers"].as_array();
    let arguments = containers.into_iter().flatten().flat_map(|container| {
        let lists = [&container["command"], &container["args"]];
        lists.into_iter().filter_map(Value::as_array).flatten()
    });
    arguments.filter_map(|argument| {
        argument
            .as_str()?
            .strip_prefix("--default-ssl-certificate=")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_secrets_that_are_referred_to_are_read() {
        let ingress = json!({
            "kind": "Ingress",
            "metadata": {"namespace": "shop", "name": "web", "annotations": {
                "nginx.ingress.kubernetes.io/auth-secret": "users",
                "nginx.ingress.kubernetes.io/auth-tls-secret": "pki/clients",
                "nginx.ingress.kubernetes.io/auth-realm": "shop",
            }},
            "spec": {"tls": [{"secretName": "cert"}, {"hosts": ["a.test"]}]},
        });
        let workload = json!({
            "kind": "Deployment",
            "metadata": {"namespace": "ingress-nginx", "name": "controller"},
            "spec": {"template": {"spec": {"containers": [{"args": [
                "--default-ssl-certificate=certs/wildcard", "--v=2",
            ]}]}}},
        });

        let found = secrets(&[ingress, workload]);

        let found: Vec<String> = found
            .iter()
            .map(|(space, name)| format!("{space}/{name}"))
            .collect();
        assert_eq!(
            found,
            ["certs/wildcard", "pki/clients", "shop/cert", "shop/users"]
        );
    }

    #[test]
    fn private_keys_are_replaced() {
        let key = BASE64.encode(b"-----BEGIN EC PRIVATE KEY-----\nsecret\n");
        let store = BASE64.encode(&[0xfe, 0xed, 0xfe, 0xed]);
        let secret = json!({"data": {
            "tls.key": key, "bundle": key, "keystore.jks": store, "auth": "dTpw", "tls.crt": "LS0t"
        }});

        let stripped = without_keys(secret);

        let removed = BASE64.encode(REMOVED_KEY);
        assert_eq!(
            stripped["data"],
            json!({
                "tls.key": removed, "bundle": removed, "keystore.jks": removed,
                "auth": "dTpw", "tls.crt": "LS0t"
            })
        );
    }

    #[test]
    fn what_the_server_adds_is_left_out() {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": "a", "namespace": "b", "uid": "c", "resourceVersion": "1",
                "annotations": {LAST_APPLIED: "{}", "d": "e"},
            },
            "data": {"f": "g"},
            "status": {},
        }))
        .expect("an object");

        let text = manifest(object, &listed("", "ConfigMap", "configmaps").resource());

        assert_eq!(
            text,
            json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "a", "namespace": "b", "annotations": {"d": "e"}},
                "data": {"f": "g"},
            })
        );
    }
}
