//! Micro-benchmarks that measure time: `cargo bench -p towergate-core --bench time`.

mod cases;

use divan::Bencher;

fn main() {
    divan::main();
}

/// Measures one case.
#[divan::bench(args = cases::CASES.map(|(name, _)| name))]
fn case(bencher: Bencher<'_, '_>, name: &str) {
    let found = cases::CASES.iter().find(|(known, _)| *known == name);
    let (_, prepare) = found.expect("the name of a case");
    let step = prepare();

    bencher.bench_local(step);
}
