//! An update reproduces the plan and endpoints of the sender from any earlier version of the receiver.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use proptest::prelude::*;
use towergate_core::plan::{
    BackendId, DatagramPort, Endpoint, Endpoints, Listener, ListenerId, ListenerSettings,
    PathMatch, Plan, Port, Protocol, Route, RouteId, RouteKind, Rule, StreamRoute, Text, TextMatch,
    Traffic,
};
use towergate_policy::Policy;
use towergate_tls::{Certificate, NamePattern, ServerTls};

use super::*;

type Routes = Vec<(usize, usize)>;

/// A route by number and revision. Equal routes are separate allocations.
fn route((number, revision): (usize, usize)) -> Arc<Route<Policy>> {
    let service = BackendId::service("team", &format!("service-{number}"), 80);
    let mut rule = Rule::new(PathMatch::Prefix(format!("/{number}"))).to(&service);
    rule.traffic = Arc::new(Traffic {
        request_timeout: Some(Duration::from_millis(revision as u64)),
        ..Traffic::default()
    });
    static REGEX: LazyLock<Text<regex::Regex>> =
        LazyLock::new(|| "^(?:/é.*)$".parse().expect("it is one"));
    let mut regex = Rule::new(PathMatch::Prefix("/é".to_owned()));
    if number == 0 {
        regex.matches[0].path = PathMatch::Regex(REGEX.clone());
    }
    regex.matches[0]
        .query
        .push(towergate_core::plan::NameMatch {
            name: "q\"\n".to_owned(),
            value: TextMatch::Suffix("\u{1f5fc}".to_owned()),
        });
    Arc::new(Route::new(
        "team",
        &format!("route-{number}"),
        vec![rule, regex],
    ))
}

fn stream(number: usize) -> Arc<StreamRoute> {
    Arc::new(StreamRoute {
        id: Arc::new(RouteId {
            kind: RouteKind::Tls,
            namespace: "team".to_owned(),
            name: format!("stream-{number}"),
        }),
        rule: None,
        hostnames: vec![NamePattern::Any],
        written_hostnames: Vec::new(),
        traffic: Arc::default(),
        backends: Vec::new(),
        access: None,
    })
}

fn listener(number: u16, routes: &[(usize, usize)], streams: &[usize]) -> Listener<Policy> {
    let mut listener = Listener::http("team", &format!("edge-{number}"), number, Vec::new());
    listener.settings = Arc::new(ListenerSettings {
        strict_host: number.is_multiple_of(2),
        ..ListenerSettings::default()
    });
    listener.routes = routes.iter().map(|which| route(*which)).collect();
    listener.streams = streams.iter().map(|which| stream(*which)).collect();
    listener
}

fn plan(listeners: Vec<Listener<Policy>>) -> Plan<Policy> {
    let ports = listeners.chunks(2).enumerate().map(|(number, listeners)| {
        let mut port = Port::new(8000 + number as u16, listeners.to_vec());
        port.addresses.push([127, 0, 0, 1].into());
        port
    });
    let datagrams = DatagramPort {
        addresses: vec![[127, 0, 0, 1].into()],
        port: listeners.len() as u16,
        id: ListenerId::default(),
        idle_timeout: Duration::from_secs(60),
        routes: vec![stream(9)],
    };
    Plan {
        ports: ports.collect(),
        datagrams: vec![datagrams],
    }
}

fn some_routes() -> impl Strategy<Value = Routes> {
    prop::collection::vec((0..8_usize, 0..3_usize), 0..8)
}

fn some_plan() -> impl Strategy<Value = Plan<Policy>> {
    let streams = prop::collection::vec(0..4_usize, 0..3);
    let some = (some_routes(), streams);
    let listeners = prop::collection::vec(some, 0..4);
    // With or without a second listener that shares the routes of the first listener.
    (listeners, any::<bool>()).prop_map(|(listeners, shared)| {
        let made = listeners.iter().zip(0_u16..);
        let mut made: Vec<_> = made
            .map(|((routes, streams), n)| listener(n, routes, streams))
            .collect();
        if let (true, Some(first)) = (shared, made.first().cloned()) {
            made.push(Listener { port: 99, ..first });
        }
        plan(made)
    })
}

fn some_endpoints() -> impl Strategy<Value = Endpoints> {
    let addresses = prop::collection::vec((any::<[u8; 4]>(), 1..3_u32), 0..3);
    let endpoint = |(ip, weight): ([u8; 4], u32)| Endpoint {
        address: SocketAddr::from((ip, 80)).into(),
        weight,
        zone: (weight > 1).then(|| "zone-a".into()),
    };
    prop::collection::btree_map(0..6_u16, addresses, 0..6).prop_map(move |all| {
        let all = all.into_iter().map(|(port, all)| {
            let id = BackendId::service("team", "app", port);
            (id, all.into_iter().map(endpoint).collect())
        });
        all.collect()
    })
}

/// An event on a stream before a version is sent.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The stream continues.
    Goes,
    /// The data plane reconnects.
    Reconnects,
    /// The stream breaks off after this many bytes of the update, and the data plane reconnects.
    Breaks(usize),
    /// The server restarts, and the data plane reconnects.
    ServerRestarts,
}

fn some_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Goes),
        1 => Just(Event::Reconnects),
        1 => (0..20_000_usize).prop_map(Event::Breaks),
        1 => Just(Event::ServerRestarts),
    ]
}

/// The bytes of an update.
fn bytes(peer: &mut Peer, version: &Version) -> Vec<u8> {
    let pieces = peer.update(version).expect("it can be written");
    pieces
        .map(|piece| piece.expect("it can be written"))
        .collect::<Vec<_>>()
        .concat()
}

/// Decodes `bytes` in pieces of an odd length. Returns the update that they complete.
fn take(decoder: &mut Decoder, bytes: &[u8]) -> Option<Update> {
    let (mut reader, mut update) = (FrameReader::default(), None);
    for piece in bytes.chunks(1009) {
        reader.push(piece);
        while let Some((kind, payload)) = reader.next_frame().expect("they are frames") {
            update = decoder.take(kind, payload).expect("they fit");
        }
    }
    update
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_version_arrives_as_it_was_published(
        versions in prop::collection::vec((some_plan(), some_endpoints(), some_event()), 1..8)
    ) {
        let mut decoder = Decoder::default();
        let (mut peer, mut before) = (None, None);
        for (number, (plan, endpoints, event)) in (1..).zip(versions) {
            if matches!(event, Event::ServerRestarts) {
                before = None;
            }
            if !matches!(event, Event::Goes) {
                peer = None;
            }
            let (plan, endpoints) = (Arc::new(plan), Arc::new(endpoints));
            let version = Version::new(number, plan.clone(), endpoints.clone(), before.as_ref()).expect("it can be sent");
            let mut greet = || Peer::new(decoder.hello("pod"), &version);
            if let Event::Breaks(at) = event {
                let whole = bytes(&mut greet(), &version);
                take(&mut decoder, &whole[..at.min(whole.len().saturating_sub(1))]);
            }
            let peer = peer.get_or_insert_with(|| Peer::new(decoder.hello("pod"), &version));

            let update = take(&mut decoder, &bytes(peer, &version)).expect("it is whole");

            prop_assert_eq!(update.version, number);
            prop_assert_eq!(&update.plan, &plan);
            prop_assert_eq!(&update.endpoints, &endpoints);
            before = Some(version);
        }
    }

    #[test]
    fn nonsense_is_an_error_and_no_panic(
        kind in prop::sample::select(&[Kind::Table, Kind::Plan, Kind::Endpoints, Kind::Commit, Kind::Route][..]),
        text in prop_oneof![
            Just(r#"[{"Keep":[18446744073709551615,2]}]"#.to_owned()),
            Just(r#"[{"Add":1}]"#.to_owned()),
            Just(r#"[]"#.to_owned()),
            Just(r#"{"plan":{"ports":[],"datagrams":[]},"listeners":[[{"head":0,"routes":[],"streams":[]}]]}"#.to_owned()),
            Just(r#"{"version":1}"#.to_owned()),
            ".*",
        ],
    ) {
        let mut decoder = Decoder::default();
        let _ = decoder.take(kind, text.as_bytes());
        let _ = decoder.take(Kind::Commit, br#"{"version":1}"#);
    }
}

/// A plan of 2000 routes, one of which has this revision. Two listeners share the routes, like an HTTP and an
/// HTTPS listener.
fn many(revision: usize) -> Arc<Plan<Policy>> {
    let routes: Routes = (0..2000)
        .map(|n| (n, if n == 1000 { revision } else { 0 }))
        .collect();
    let first = listener(1, &routes, &[]);
    let second = Listener {
        port: 443,
        ..first.clone()
    };
    Arc::new(plan(vec![first, second]))
}

/// The kinds of the frames in order; consecutive frames of one kind are counted.
fn kinds(bytes: &[u8]) -> Vec<(Kind, usize)> {
    let mut reader = FrameReader::default();
    reader.push(bytes);
    let mut kinds: Vec<(Kind, usize)> = Vec::new();
    while let Some((kind, _)) = reader.next_frame().expect("they are frames") {
        match kinds.last_mut() {
            Some((last, count)) if *last == kind => *count += 1,
            _ => kinds.push((kind, 1)),
        }
    }
    kinds
}

#[test]
fn the_change_of_one_route_among_many_costs_the_route() {
    let none = Arc::<Endpoints>::default();
    let one = Version::new(1, many(1), none.clone(), None).expect("it can be sent");
    let two = Version::new(2, many(2), none.clone(), Some(&one)).expect("it can be sent");
    let (mut peer, mut decoder) = (Peer::empty(), Decoder::default());

    let all = bytes(&mut peer, &one);
    let change = bytes(&mut peer, &two);

    // Routes that both listeners share are sent once.
    let expected = [(Kind::Head, 1), (Kind::Route, 2000), (Kind::Head, 1)];
    assert_eq!(kinds(&all)[..3], expected);
    let expected = [
        (Kind::Route, 1),
        (Kind::Table, 1),
        (Kind::Plan, 1),
        (Kind::Commit, 1),
    ];
    assert_eq!(kinds(&change), expected);
    assert!(
        change.len() < 10_000 && change.len() < all.len() / 100,
        "{} of {}",
        change.len(),
        all.len()
    );

    // The decoder keeps the allocations of unchanged routes, so they are not built again.
    let first = take(&mut decoder, &all).expect("it is whole").plan;
    let second = take(&mut decoder, &change).expect("it is whole").plan;
    let routes = |plan: &Plan<Policy>| plan.ports[0].listeners[1].routes.clone();
    let same = routes(&first)
        .iter()
        .zip(routes(&second))
        .filter(|(a, b)| Arc::ptr_eq(a, b))
        .count();
    assert_eq!(same, 1999);

    // The digests that the data plane sends show a restarted server which parts to omit.
    let again = Version::new(1, many(2), none, None).expect("it can be sent");
    let more = bytes(&mut Peer::new(decoder.hello("pod"), &again), &again);
    assert_eq!(
        kinds(&more),
        [(Kind::Table, 1), (Kind::Plan, 1), (Kind::Commit, 1)]
    );
}

#[test]
fn the_change_of_an_endpoint_sends_nothing_of_the_plan() {
    let endpoints = |address: &str| {
        let address = address.parse().expect("it is one");
        let app = |port| BackendId::service("team", "app", port);
        Arc::new(Endpoints::from([
            (app(80), vec![address]),
            (app(81), Vec::new()),
        ]))
    };
    let one = Version::new(1, many(1), endpoints("10.0.0.1:80"), None).expect("it can be sent");
    let two =
        Version::new(2, many(1), endpoints("10.0.0.2:80"), Some(&one)).expect("it can be sent");
    let mut peer = Peer::empty();
    bytes(&mut peer, &one);

    let change = bytes(&mut peer, &two);

    assert_eq!(kinds(&change), [(Kind::Endpoints, 1), (Kind::Commit, 1)]);
    assert!(!one.is_same(&two));
    let three =
        Version::new(3, many(1), endpoints("10.0.0.2:80"), Some(&two)).expect("it can be sent");
    assert!(two.is_same(&three));
}

#[test]
fn parts_that_are_equal_by_value_are_kept_once() {
    let one = Version::new(1, many(1), Arc::default(), None).expect("it can be sent");
    let mut decoder = Decoder::default();

    let update = take(&mut decoder, &bytes(&mut Peer::empty(), &one)).expect("it is whole");

    let routes = &update.plan.ports[0].listeners[0].routes;
    let (first, last) = (&routes[0].rules[0], &routes[1999].rules[0]);
    assert!(Arc::ptr_eq(&first.traffic, &last.traffic));
    assert!(Arc::ptr_eq(&routes[0].id, &first.route));
}

#[test]
fn a_certificate_arrives_with_its_key_which_is_shown_to_nobody() {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("it is made");
    let key = made.signing_key.serialize_pem();
    let certificate = Certificate::from_pem(made.cert.pem(), &key).expect("it is one");
    let mut listener = listener(1, &[(1, 1)], &[]);
    listener.protocol = Protocol::Https(Arc::new(ServerTls {
        certificates: vec![Arc::new(certificate)],
        ..ServerTls::default()
    }));
    let plan = Arc::new(plan(vec![listener]));
    let version = Version::new(1, plan.clone(), Arc::default(), None).expect("it can be sent");
    let mut peer = Peer::empty();
    let shown = format!("{version:?} {:?}", peer.update(&version));
    let mut decoder = Decoder::default();

    let update = take(&mut decoder, &bytes(&mut Peer::empty(), &version)).expect("it is whole");

    assert_eq!(update.plan, plan);
    let secret = key.lines().nth(1).expect("it has lines");
    assert!(!shown.contains(secret) && !format!("{update:?}").contains(secret));
    // A truncated message contains the key; the error must not contain the key.
    let text = format!("{{\"settings\": \"{secret}\"");
    let error = decoder
        .take(Kind::Head, text.as_bytes())
        .expect_err("it is cut off");
    assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
}
