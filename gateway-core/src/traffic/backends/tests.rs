use super::*;
use crate::plan::BackendId;

fn of(rule: &str, balancer: LoadBalancer, live: &Live) -> Arc<Backends> {
    let backend = Backend {
        id: BackendId::service("n", "b", 80),
        protocol: BackendProtocol::Http1,
        tls: None,
        hosts: Vec::new(),
        fallback: false,
        dynamic: None,
    };
    let backend = WeightedBackend {
        weight: 1,
        filters: Vec::new(),
        destination: Destination::Backend(Arc::new(backend)),
    };
    let traffic = Arc::new(Traffic {
        load_balancer: balancer,
        ..Traffic::default()
    });
    let provider = towergate_tls::default_provider();
    Backends::shared(&rule.to_owned(), &traffic, &[backend], live, &provider)
}

#[test]
fn rules_with_equal_backends_share_them_unless_their_balancer_takes_turns() {
    let live = Live::default();
    let both = |balancer: LoadBalancer| ["a", "b"].map(|rule| of(rule, balancer.clone(), &live));

    let [a, b] = both(LoadBalancer::LeastRequest);
    assert!(Arc::ptr_eq(&a, &b));
    let [c, d] = both(LoadBalancer::RoundRobin);
    assert!(!Arc::ptr_eq(&c, &d));
    assert!(
        Arc::ptr_eq(&c.pools[0], &d.pools[0]),
        "pools are shared in any case"
    );
    let [e, _] = both(LoadBalancer::Random);
    assert!(!Arc::ptr_eq(&a, &e));
}
