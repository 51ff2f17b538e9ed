//! Which objects a translation reads, for callers that follow changes in a cluster.

use super::{Data, Manifests};
use crate::ingress::config_table;
use crate::objects::ObjectKey;

impl Manifests {
    /// Whether a translation may read an object. Of Secrets and ConfigMaps, it reads only those whose name is in an
    /// Ingress, a flag or a setting of the controller. A cluster has many other ConfigMaps and Secrets, and some
    /// of them change every few seconds. Callers can ignore changes of objects that a translation does not read.
    ///
    /// ```
    /// use towergate_k8s::ObjectKey;
    /// use towergate_k8s::ingress::Manifests;
    ///
    /// let mut manifests = Manifests::default();
    /// manifests.add("a.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: leader, namespace: a}}");
    ///
    /// assert!(!manifests.may_read("ConfigMap", &ObjectKey::new("a", "leader")));
    /// assert!(manifests.may_read("Service", &ObjectKey::new("a", "web")));
    /// ```
    pub fn may_read(&self, kind: &str, key: &ObjectKey) -> bool {
        match kind {
            // An installation without Secrets has other verdicts than one with a Secret.
            "Secret" => self.secrets.len() < 2 || self.mentions(&key.name),
            "ConfigMap" => {
                let data = self.config_maps.get(key);
                data.is_some_and(|data| may_be_settings(key, data)) || self.mentions(&key.name)
            }
            _ => true,
        }
    }

    /// Whether an Ingress, a flag or a setting of a controller contains the name of an object.
    fn mentions(&self, name: &str) -> bool {
        let mut ingresses = self.ingresses.iter();
        let by_ingress = ingresses.any(|ingress| {
            let mut annotations = ingress.annotations.values();
            let mut tls = ingress.spec.tls.iter();
            annotations.any(|written| written.text.contains(name))
                || tls.any(|section| section.secret_name.as_deref() == Some(name))
        });
        let mut flags = self.controllers.iter().flat_map(|one| one.flags.values());
        let maps = self.config_maps.iter();
        let settings = maps.filter(|(key, data)| may_be_settings(key, data));
        let settings = settings.map(|(_, data)| data).chain(&self.helm_config);
        let mut settings = settings.flat_map(|data| data.values.values());
        by_ingress
            || flags.any(|written| written.text.contains(name))
            || settings.any(|written| written.text.contains(name))
    }
}

/// Whether a ConfigMap may contain the settings of a controller.
fn may_be_settings(key: &ObjectKey, data: &Data) -> bool {
    let mut labels = data.labels.values();
    let mut names = data.values.keys();
    key.name.contains("nginx")
        || labels.any(|label| label.contains("nginx"))
        || names.any(|name| config_table::key(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECTS: &str = "
{apiVersion: v1, kind: ConfigMap, metadata: {name: ingress-nginx-controller, namespace: edge}, data: {add-headers: edge/added}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: added, namespace: edge}, data: {X-A: b}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: old, namespace: edge}, data: {block-cidrs: 10.0.0.0/8}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: leader, namespace: edge}, data: {holder: a}}
---
{apiVersion: v1, kind: Secret, metadata: {name: users, namespace: shop}}
---
{apiVersion: v1, kind: Secret, metadata: {name: tls, namespace: shop}}
---
{apiVersion: v1, kind: Secret, metadata: {name: release, namespace: shop}}
---
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: web, namespace: shop, annotations: {nginx.ingress.kubernetes.io/auth-secret: shop/users}}, spec: {tls: [{hosts: [a.test], secretName: tls}]}}
";

    #[test]
    fn objects_that_a_setting_names_are_read() {
        let mut manifests = Manifests::default();
        manifests.add("in.yaml", OBJECTS);

        for (kind, namespace, name, expected) in [
            ("ConfigMap", "edge", "ingress-nginx-controller", true),
            ("ConfigMap", "edge", "added", true),
            ("ConfigMap", "edge", "old", true),
            ("ConfigMap", "edge", "leader", false),
            ("Secret", "shop", "users", true),
            ("Secret", "shop", "tls", true),
            ("Secret", "shop", "release", false),
            ("Namespace", "", "shop", true),
        ] {
            let found = manifests.may_read(kind, &ObjectKey::new(namespace, name));

            assert_eq!(found, expected, "{kind} {name}");
        }
    }
}
