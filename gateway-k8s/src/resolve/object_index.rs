//! Indexes over the objects.

use std::collections::{BTreeMap, HashMap};

use super::ResolveOptions;
use super::creation_time::CreationTime;
use super::grant::Grants;
use crate::api::core::EndpointSlice;
use crate::api::meta::ObjectMeta;
use crate::objects::{Object, ObjectKey, Objects};

/// Label of an EndpointSlice that names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The objects, with indexes over them.
#[derive(Debug)]
pub(super) struct ObjectIndex<'a> {
    pub(super) objects: &'a Objects,
    pub(super) options: &'a ResolveOptions,
    pub(super) grants: Grants<'a>,
    slices: HashMap<ObjectKey, Vec<&'a EndpointSlice>>,
}

impl<'a> ObjectIndex<'a> {
    /// Indexes `objects`.
    pub(super) fn new(objects: &'a Objects, options: &'a ResolveOptions) -> Self {
        let mut slices: HashMap<_, Vec<_>> = HashMap::new();
        for slice in objects.endpoint_slices.values() {
            if let Some(service) = slice.meta.labels.get(SERVICE_NAME) {
                let key = ObjectKey::new(&*slice.meta.namespace, &**service);
                slices.entry(key).or_default().push(&slice.spec);
            }
        }
        Self {
            objects,
            options,
            grants: Grants::new(&objects.reference_grants),
            slices,
        }
    }

    /// The EndpointSlices of a Service, in order of name.
    pub(super) fn slices(&self, service: &ObjectKey) -> &[&'a EndpointSlice] {
        self.slices.get(service).map_or(&[], Vec::as_slice)
    }

    /// The labels of a namespace, with the name label that Kubernetes sets.
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

/// Objects in order of precedence: the oldest first, then by namespace and name. An object without
/// a timestamp precedes objects with one.
pub(super) fn by_age<'a, S>(objects: impl Iterator<Item = &'a Object<S>>) -> Vec<&'a Object<S>> {
    let mut sorted: Vec<_> = objects.collect();
    sorted.sort_by_cached_key(|object: &&'a Object<S>| {
        let object: &'a Object<S> = object;
        age(&object.meta)
    });
    sorted
}

/// Sort key of [`by_age`].
pub(super) fn age(meta: &ObjectMeta) -> (CreationTime, &str, &str) {
    (CreationTime::of(meta), &meta.namespace, &meta.name)
}
