//! Instruction counts of the benchmark cases. They do not depend on the load of the machine. `.ci/counts`
//! runs this program.
//!
//! ```text
//! count          prints the names of the cases
//! count CASE     runs the step of the case inside `measured`
//! ```
//!
//! The program runs under Callgrind, which counts only inside `measured` (`--toggle-collect`).

mod cases;

use std::process::ExitCode;

/// Number of steps per measurement. It is large enough that an additional probe of a hash table is
/// negligible.
const STEPS: u32 = 20;

fn main() -> ExitCode {
    let cases = &cases::CASES[..cases::COUNTED];
    // cargo adds the argument `--bench`, which is skipped.
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
    // Run once before the measurement, so that initialisation is not counted.
    step();
    for _ in 0..STEPS {
        measured(&mut step);
    }
    ExitCode::SUCCESS
}

/// Runs the steps. Callgrind identifies this function by its name.
#[inline(never)]
fn measured(step: &mut cases::Step) {
    step();
}
