//! Readiness of Gateways, derived from the reports of data planes.
//!
//! A connected data plane reports the version that it serves. A disconnected data plane continues to serve,
//! so a Gateway that was served once counts as served. A reported problem persists until the data plane
//! reports another outcome, even while a newer version is being sent; otherwise statuses would flap.

use std::collections::{BTreeMap, HashSet};

use towergate_k8s::wire::Problem;

use super::Placement;
use crate::address_pool::Claim;
use crate::serve::Reports;

/// Verdicts by plane: the parts of the reports of data planes that statuses depend on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Verdicts(BTreeMap<String, Verdict>);

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Verdict {
    /// Whether a connected data plane serves a version.
    serves: bool,
    /// Problem that a connected data plane reports.
    refused: Option<Problem>,
}

impl Verdicts {
    /// Derives verdicts from reports.
    pub(crate) fn of(reports: &Reports) -> Self {
        let planes = reports.planes.iter().map(|(name, report)| {
            let mut data_planes = report.data_planes.values();
            let verdict = Verdict {
                serves: data_planes.any(|one| one.in_force.is_some()),
                refused: report.problem().cloned(),
            };
            (name.clone(), verdict)
        });
        let planes = planes.filter(|(_, verdict)| *verdict != Verdict::default());
        Self(planes.collect())
    }

    /// Records the problem of `plane`. If an address cannot be bound, the problem affects the Gateways on
    /// that address. A problem without an address affects all Gateways of `plane`.
    pub(super) fn note_refused(&self, plane: &str, gateways: &[&Claim], placement: &mut Placement) {
        let problem = self.0.get(plane).and_then(|one| one.refused.as_ref());
        let Some(problem) = problem else { return };
        let is_bound = |claim: &&&Claim| {
            let bound = placement.bind.get(&claim.gateway);
            let mut sockets = problem.sockets.iter();
            bound.is_some_and(|bound| sockets.any(|socket| bound.contains(&socket.ip())))
        };
        let mut affected: Vec<&Claim> = gateways.iter().filter(is_bound).copied().collect();
        if affected.is_empty() {
            affected = gateways.to_vec();
        }
        for claim in affected {
            let message = problem.message.clone();
            placement.refused.insert(claim.gateway.clone(), message);
        }
    }

    fn serves(&self, plane: &str) -> bool {
        self.0.get(plane).is_some_and(|one| one.serves)
    }
}

/// The uids of Gateways that have been served.
#[derive(Debug, Default)]
pub(super) struct Proven(HashSet<String>);

impl Proven {
    /// Marks a Gateway as waiting if `plane` has never served it. A Gateway whose status is programmed counts
    /// as served: data planes take some seconds to connect to a new controller.
    pub(super) fn note_waiting(
        &mut self,
        plane: &str,
        verdicts: &Verdicts,
        claims: &[Claim],
        placement: &mut Placement,
    ) {
        let serves = verdicts.serves(plane);
        let is_proven = |claim: &&Claim| serves || claim.programmed || self.0.contains(&claim.uid);
        let (proven, waiting): (Vec<_>, Vec<_>) = claims.iter().partition(is_proven);
        self.0 = proven.into_iter().map(|claim| claim.uid.clone()).collect();
        let names = waiting.into_iter().map(|claim| claim.gateway.clone());
        placement.waiting.extend(names.map(|name| (name, None)));
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use super::*;
    use crate::serve::{DataPlaneReport, PlaneReport};

    const PLANE: &str = "shared";

    fn claims(names: &[&str]) -> Vec<Claim> {
        let claim = |name: &&str| Claim {
            gateway: format!("d/{name}"),
            uid: (*name).to_owned(),
            ..Claim::default()
        };
        names.iter().map(claim).collect()
    }

    /// Verdicts with the report of one data plane.
    fn verdicts(in_force: Option<u64>, refused: Option<Problem>) -> Verdicts {
        let data_plane = DataPlaneReport {
            name: "a".to_owned(),
            address: ([192, 0, 2, 1], 1).into(),
            in_force,
            refused: refused.map(|problem| (1, problem)),
        };
        let report = PlaneReport {
            published: Some(2),
            data_planes: [(0, data_plane)].into(),
        };
        let planes = [(PLANE.to_owned(), report)].into();
        Verdicts::of(&Arc::new(Reports { planes }))
    }

    fn waiting(proven: &mut Proven, verdicts: &Verdicts, claims: &[Claim]) -> Vec<String> {
        let mut placement = Placement::default();
        proven.note_waiting(PLANE, verdicts, claims, &mut placement);
        placement.waiting.into_keys().collect()
    }

    #[test]
    fn a_gateway_waits_until_it_has_been_served() {
        let (mut proven, none) = (Proven::default(), Verdicts::default());

        let at_first = waiting(&mut proven, &none, &claims(&["a"]));
        let connected = waiting(&mut proven, &verdicts(None, None), &claims(&["a"]));
        let served = waiting(&mut proven, &verdicts(Some(1), None), &claims(&["a"]));
        let away = waiting(&mut proven, &none, &claims(&["a", "new"]));
        waiting(&mut proven, &none, &[]);
        let again = waiting(&mut proven, &none, &claims(&["a"]));

        assert_eq!(
            (at_first, connected),
            (vec!["d/a".into()], vec!["d/a".into()])
        );
        assert!(served.is_empty(), "{served:?}");
        assert_eq!((away, again), (vec!["d/new".into()], vec!["d/a".into()]));
    }

    #[test]
    fn a_new_controller_trusts_statuses() {
        let (mut proven, none) = (Proven::default(), Verdicts::default());
        let mut gateways = claims(&["a", "b"]);
        gateways[0].programmed = true;
        let begun = waiting(&mut proven, &none, &gateways);
        // The spec of "a" changes before a data plane reconnects.
        gateways[0].programmed = false;

        assert_eq!(begun, ["d/b"]);
        assert_eq!(waiting(&mut proven, &none, &gateways), ["d/b"]);
    }

    #[test]
    fn an_unbound_address_affects_its_gateways_and_other_problems_affect_all() {
        let claims = claims(&["a", "b"]);
        let all: Vec<&Claim> = claims.iter().collect();
        let (first, second) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let refused = |sockets: &[IpAddr]| {
            let problem = Problem {
                message: "no".to_owned(),
                sockets: sockets.iter().map(|ip| (*ip, 80).into()).collect(),
            };
            let bind = [
                ("d/a".to_owned(), vec![first]),
                ("d/b".to_owned(), vec![second]),
            ];
            let mut placement = Placement {
                bind: bind.into(),
                ..Placement::default()
            };
            let verdicts = verdicts(Some(1), Some(problem));
            verdicts.note_refused(PLANE, &all, &mut placement);
            verdicts.note_refused("another", &all, &mut placement);
            placement.refused.into_keys().collect::<Vec<_>>()
        };

        assert_eq!(refused(&[second]), ["d/b"]);
        assert_eq!(refused(&[]), ["d/a", "d/b"]);
        assert_eq!(refused(&[[0, 0, 0, 0].into()]), ["d/a", "d/b"]);
    }
}
