//! Completion scripts and the manual page, generated from the definition of the command line.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::Cli;
use crate::{Outcome, print};

/// Prints the completion script for `shell`.
///
/// # Errors
/// If standard output cannot be written.
pub(crate) fn completions(shell: Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "towergate", &mut script);
    print(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the manual page: the overview, then each command.
///
/// # Errors
/// If standard output cannot be written.
pub(crate) fn man() -> Outcome {
    print(&page()?)?;
    Ok(ExitCode::SUCCESS)
}

fn page() -> io::Result<Vec<u8>> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    let man = Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    examples(&mut page, &command)?;
    for sub in command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
    {
        let name = format!("towergate {}", sub.get_name());
        writeln!(page, ".SH \"{}\"", name.to_uppercase())?;
        let man = Man::new(sub.clone().bin_name(name));
        for section in [
            Man::render_synopsis_section,
            Man::render_description_section,
            Man::render_options_section,
        ] {
            section(&man, &mut page)?;
        }
        examples(&mut page, sub)?;
    }
    Ok(page)
}

/// Writes the examples of a command, with the line breaks of its help.
fn examples(page: &mut Vec<u8>, command: &Command) -> io::Result<()> {
    let Some(text) = command.get_after_help() else {
        return Ok(());
    };
    let text = text
        .to_string()
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq");
    let text = text
        .trim_start_matches("Examples:")
        .trim_start_matches('\n');
    writeln!(page, ".SH EXAMPLES\n.nf\n{text}\n.fi")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_page_covers_every_command_and_option() {
        let page = String::from_utf8(page().expect("writes to memory do not fail")).expect("UTF-8");
        let plain = page.replace("\\-", "-");

        for word in [
            "TOWERGATE RUN",
            "TOWERGATE DEV-CERT",
            "--access-log-format",
            "--poll-interval",
            "EXAMPLES",
        ] {
            assert!(plain.contains(word), "{word}");
        }
    }
}
