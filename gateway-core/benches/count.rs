//! The same in instructions, which no neighbour on the machine changes: `.ci/counts`.
//!
//! ```text
//! count          names the cases
//! count CASE     takes the case's step, inside `measured` and nowhere else
//! ```
//!
//! It runs under Callgrind, which counts only inside `measured` (`--toggle-collect`).

mod cases;

use std::process::ExitCode;

/// Steps that are counted together, so that one more probe of a hash table does not show.
const STEPS: u32 = 20;

fn main() -> ExitCode {
    let cases = &cases::CASES[..cases::COUNTED];
    // cargo adds `--bench`.
    let Some(name) = std::env::args().skip(1).find(|arg| !arg.starts_with("--")) else {
        cases
            .iter()
            .for_each(|(name, _)| println!("{name} {STEPS}"));
        return ExitCode::SUCCESS;
    };
    let Some((_, prepare)) = cases.iter().find(|(known, _)| *known == name) else {
        eprintln!("no case {name}");
        return ExitCode::FAILURE;
    };
    let mut step = prepare();
    // What is made at the first use is not counted.
    step();
    for _ in 0..STEPS {
        measured(&mut step);
    }
    ExitCode::SUCCESS
}

/// Callgrind finds it by its name.
#[inline(never)]
fn measured(step: &mut cases::Step) {
    step();
}
