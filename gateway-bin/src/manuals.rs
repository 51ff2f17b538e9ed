//! Completion scripts and the manual page, made from the command line's definition.

use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::Outcome;
use crate::args::Cli;

/// Prints the completion script for `shell`.
///
/// # Errors
/// If standard output cannot be written.
pub(crate) fn completions(shell: Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "towergate", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the manual page: the overview, then each command.
///
/// # Errors
/// If standard output cannot be written.
pub(crate) fn man() -> Outcome {
    std::io::stdout().write_all(&page()?)?;
    Ok(ExitCode::SUCCESS)
}

fn page() -> std::io::Result<Vec<u8>> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for sub in command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
    {
        let name = format!("towergate {}", sub.get_name());
        writeln!(page, ".SH \"{}\"", name.to_uppercase())?;
        let man = clap_mangen::Man::new(sub.clone().bin_name(name));
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        man.render_extra_section(&mut page)?;
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_shows_every_command_and_option() {
        let page = String::from_utf8(page().expect("memory can be written")).expect("it is text");
        let plain = page.replace("\\-", "-");

        for word in [
            "TOWERGATE RUN",
            "TOWERGATE DEV-CERT",
            "--access-log-format",
            "--poll-interval",
            "Examples",
        ] {
            assert!(plain.contains(word), "{word}");
        }
    }
}
