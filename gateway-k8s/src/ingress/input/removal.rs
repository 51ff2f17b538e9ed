//! Removal of objects, for callers that follow changes in a cluster.

use super::Manifests;
use crate::objects::ObjectKey;

impl Manifests {
    /// Removes an object that [`add`](Self::add) added from `file`. EndpointSlices, workloads and objects of
    /// cert-manager cannot be removed.
    ///
    /// ```
    /// use towergate_k8s::ObjectKey;
    /// use towergate_k8s::ingress::Manifests;
    ///
    /// let mut manifests = Manifests::default();
    /// manifests.add("a.yaml", "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}}");
    ///
    /// manifests.remove("a.yaml", "Service", &ObjectKey::new("shop", "web"));
    ///
    /// assert!(manifests.services.is_empty());
    /// ```
    pub fn remove(&mut self, file: &str, kind: &str, key: &ObjectKey) {
        match kind {
            "Ingress" => {
                self.ingresses.retain(|ingress| ingress.key != *key);
                self.ingress_places.remove(key);
            }
            "IngressClass" => drop(self.classes.remove(&*key.name)),
            "Service" => drop(self.services.remove(key)),
            "ConfigMap" => drop(self.config_maps.remove(key)),
            "Secret" => drop(self.secrets.remove(key)),
            "Namespace" => drop(self.namespaces.remove(&*key.name)),
            _ => {}
        }
        self.errors.retain(|error| error.place.file != file);
    }
}
