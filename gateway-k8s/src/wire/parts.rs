//! Splitting of a plan into parts, and joining of parts into a plan.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use towergate_core::plan::{Listener, Plan, Route, StreamRoute};
use towergate_policy::Policy;

use super::frame::write_json;
use super::run::{Run, runs};
use super::{Digest, Kind, WireError};

/// A part of a plan.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// A listener without its routes.
    Head(Arc<Listener<Policy>>),
    /// A route of requests.
    Route(Arc<Route<Policy>>),
    /// A route of connections.
    Stream(Arc<StreamRoute>),
}

/// A part with its digest.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) digest: Digest,
    pub(super) part: Part,
}

/// A plan with table indices instead of its parts.
#[derive(Serialize, Deserialize)]
pub(super) struct Skeleton {
    /// The plan without the listeners of its ports.
    plan: Plan<Policy>,
    /// The listeners of each port.
    listeners: Vec<Vec<Shape>>,
}

/// A listener as table indices.
#[derive(Serialize, Deserialize)]
struct Shape {
    head: usize,
    routes: Vec<Run>,
    streams: Vec<Run>,
}

impl Part {
    /// The kind of the frame of the part.
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Head(_) => Kind::Head,
            Self::Route(_) => Kind::Route,
            Self::Stream(_) => Kind::Stream,
        }
    }

    /// Appends the frame of the part.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        match self {
            Self::Head(head) => write_json(out, self.kind(), head),
            Self::Route(route) => write_json(out, self.kind(), route),
            Self::Stream(route) => write_json(out, self.kind(), route),
        }
    }

    /// Reads a frame of a part.
    pub(super) fn read(kind: Kind, payload: &[u8]) -> Result<Self, WireError> {
        let malformed = |error| WireError::malformed(kind, &error);
        match kind {
            Kind::Head => serde_json::from_slice(payload).map(Self::Head),
            Kind::Route => serde_json::from_slice(payload).map(Self::Route),
            Kind::Stream => serde_json::from_slice(payload).map(Self::Stream),
            other => return Err(WireError::Unexpected(other)),
        }
        .map_err(malformed)
    }

    /// The memory address of a route, which plans share. `None` for listeners, because each version has its
    /// own copies.
    fn address(&self) -> Option<usize> {
        match self {
            Self::Head(_) => None,
            Self::Route(route) => Some(Arc::as_ptr(route).addr()),
            Self::Stream(route) => Some(Arc::as_ptr(route).addr()),
        }
    }
}

/// Collector of the parts of a plan: each once, in order.
struct Taking {
    /// Digests of parts of the previous version, by address, so that they need not be computed again.
    before: HashMap<usize, Digest>,
    /// Indices of parts of this plan, by address, since listeners share routes.
    seen: HashMap<usize, usize>,
    by_digest: HashMap<Digest, usize>,
    entries: Vec<Entry>,
    scratch: Vec<u8>,
}

/// Splits `plan` into its parts and the rest. Digests are taken from `before`, the parts of an earlier
/// version, where possible.
pub(super) fn take_apart(
    plan: &Plan<Policy>,
    before: &[Entry],
) -> Result<(Vec<Entry>, Skeleton), WireError> {
    let mut taking = Taking::new(before);
    let mut listeners = Vec::with_capacity(plan.ports.len());
    for port in &plan.ports {
        let shapes = port
            .listeners
            .iter()
            .map(|listener| taking.listener(listener));
        listeners.push(shapes.collect::<Result<_, _>>()?);
    }
    let mut rest = plan.clone();
    for port in &mut rest.ports {
        port.listeners = Vec::new();
    }
    let skeleton = Skeleton {
        plan: rest,
        listeners,
    };
    Ok((taking.entries, skeleton))
}

impl Taking {
    fn new(before: &[Entry]) -> Self {
        let known = before
            .iter()
            .filter_map(|entry| Some((entry.part.address()?, entry.digest)));
        Self {
            before: known.collect(),
            seen: HashMap::new(),
            by_digest: HashMap::new(),
            entries: Vec::with_capacity(before.len()),
            scratch: Vec::new(),
        }
    }

    fn listener(&mut self, listener: &Listener<Policy>) -> Result<Shape, WireError> {
        let mut head = listener.clone();
        head.routes = Vec::new();
        head.streams = Vec::new();
        let head = self.place(Part::Head(Arc::new(head)))?;
        let routes = listener
            .routes
            .iter()
            .map(|route| Part::Route(route.clone()));
        let routes = runs(routes.map(|part| self.place(part)))?;
        let streams = listener
            .streams
            .iter()
            .map(|route| Part::Stream(route.clone()));
        let streams = runs(streams.map(|part| self.place(part)))?;
        Ok(Shape {
            head,
            routes,
            streams,
        })
    }

    /// The index of a part in the table.
    fn place(&mut self, part: Part) -> Result<usize, WireError> {
        let address = part.address();
        if let Some(place) = address.and_then(|address| self.seen.get(&address)) {
            return Ok(*place);
        }
        let known = address.and_then(|address| self.before.get(&address));
        let digest = match known {
            Some(digest) => *digest,
            None => self.digest(&part)?,
        };
        let place = *self.by_digest.entry(digest).or_insert_with(|| {
            self.entries.push(Entry { digest, part });
            self.entries.len() - 1
        });
        if let Some(address) = address {
            self.seen.insert(address, place);
        }
        Ok(place)
    }

    fn digest(&mut self, part: &Part) -> Result<Digest, WireError> {
        self.scratch.clear();
        part.write(&mut self.scratch)?;
        Ok(Digest::of_frame(part.kind(), &self.scratch))
    }
}

impl Skeleton {
    /// The plan with its parts taken from `table`.
    pub(super) fn join(self, table: &[Entry]) -> Result<Plan<Policy>, WireError> {
        let Self {
            mut plan,
            listeners,
        } = self;
        if plan.ports.len() != listeners.len() {
            return Err(WireError::NoSuchPart(listeners.len()));
        }
        for (port, shapes) in plan.ports.iter_mut().zip(listeners) {
            let whole = shapes.into_iter().map(|shape| shape.join(table));
            port.listeners = whole.collect::<Result<_, _>>()?;
        }
        Ok(plan)
    }
}

impl Shape {
    fn join(self, table: &[Entry]) -> Result<Listener<Policy>, WireError> {
        let Some(Part::Head(head)) = table.get(self.head).map(|entry| &entry.part) else {
            return Err(WireError::NoSuchPart(self.head));
        };
        let mut listener = Listener::clone(head);
        for run in self.routes {
            for (entry, place) in run.of(table)? {
                let Part::Route(route) = &entry.part else {
                    return Err(WireError::NoSuchPart(place));
                };
                listener.routes.push(route.clone());
            }
        }
        for run in self.streams {
            for (entry, place) in run.of(table)? {
                let Part::Stream(route) = &entry.part else {
                    return Err(WireError::NoSuchPart(place));
                };
                listener.streams.push(route.clone());
            }
        }
        Ok(listener)
    }
}
