//! What resolving looks up again and again, indexed once.

use std::collections::{BTreeMap, HashMap};

use super::Scope;
use super::grant::Grants;
use crate::api::core::EndpointSlice;
use crate::api::meta::ObjectMeta;
use crate::objects::{Object, ObjectKey, Objects};

/// The label by which an EndpointSlice names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The objects, with indexes over them.
#[derive(Debug)]
pub(super) struct World<'a> {
    pub(super) objects: &'a Objects,
    pub(super) scope: &'a Scope,
    pub(super) grants: Grants<'a>,
    slices: HashMap<ObjectKey, Vec<&'a EndpointSlice>>,
}

impl<'a> World<'a> {
    /// Indexes `objects`.
    pub(super) fn new(objects: &'a Objects, scope: &'a Scope) -> Self {
        let mut slices: HashMap<_, Vec<_>> = HashMap::new();
        for slice in objects.endpoint_slices.values() {
            if let Some(service) = slice.meta.labels.get(SERVICE_NAME) {
                let key = ObjectKey::new(&*slice.meta.namespace, &**service);
                slices.entry(key).or_default().push(&slice.spec);
            }
        }
        Self {
            objects,
            scope,
            grants: Grants::new(&objects.reference_grants),
            slices,
        }
    }

    /// The EndpointSlices of a Service, in order of name.
    pub(super) fn slices(&self, service: &ObjectKey) -> &[&'a EndpointSlice] {
        self.slices.get(service).map_or(&[], Vec::as_slice)
    }

    /// The labels of a namespace, with the one that Kubernetes gives to each.
    pub(super) fn labels(&self, namespace: &str) -> BTreeMap<String, String> {
        let found = self.objects.namespaces.get(&ObjectKey::new("", namespace));
        let mut labels = found
            .map(|object| object.meta.labels.clone())
            .unwrap_or_default();
        labels
            .entry("kubernetes.io/metadata.name".to_owned())
            .or_insert_with(|| namespace.to_owned());
        labels
    }
}

/// The order in which objects of a kind get their way: the oldest first, then by namespace and name.
/// Without a time an object is older than all that have one. Times of API servers compare as text.
pub(super) fn by_age<'a, S>(objects: impl Iterator<Item = &'a Object<S>>) -> Vec<&'a Object<S>> {
    let mut sorted: Vec<_> = objects.collect();
    sorted.sort_by(|a, b| age(&a.meta).cmp(&age(&b.meta)));
    sorted
}

/// What [`by_age`] compares.
pub(super) fn age(meta: &ObjectMeta) -> (Option<&str>, &str, &str) {
    (
        meta.creation_timestamp.as_deref(),
        &meta.namespace,
        &meta.name,
    )
}
