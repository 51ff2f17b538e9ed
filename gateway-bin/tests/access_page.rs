//! Tests of the page "Who may use my service": its manifests are served, and its commands print the output
//! that the page shows.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Folder, Towergate, run};

const PAGE: &str = include_str!("../../docs/who-may-use-my-service.md");

/// A block of manifests of the page, and the commands after it with their output.
#[derive(Debug, Default)]
struct Example {
    manifest: String,
    commands: Vec<(String, String)>,
}

/// The examples of the page: each is a block of manifests followed by a block of commands. The other examples
/// protect the objects in the manifests of the first example.
fn examples() -> Vec<Example> {
    let mut examples = Vec::new();
    let mut open: Option<&str> = None;
    for line in PAGE.lines() {
        if let Some(language) = line.strip_prefix("```") {
            if language == "yaml" {
                examples.push(Example::default());
            }
            open = open.is_none().then_some(language);
            continue;
        }
        let Some(example) = examples.last_mut() else {
            continue;
        };
        match open {
            Some("yaml") => example.manifest += &format!("{line}\n"),
            Some("console") => match line.strip_prefix("$ ") {
                Some(command) => example.commands.push((command.to_owned(), String::new())),
                None => example.commands.last_mut().unwrap().1 += &format!("{line}\n"),
            },
            _ => {}
        }
    }
    examples
}

#[test]
fn the_commands_of_the_page_print_what_it_says() {
    let examples = examples();
    let route = &examples[0].manifest;
    let tried = examples
        .iter()
        .filter(|example| !example.commands.is_empty());
    assert!(tried.clone().count() >= 7);
    for example in tried {
        let folder = Folder::new();
        folder.write("route.yaml", route);
        if &example.manifest != route {
            folder.write("policy.yaml", &example.manifest);
        }
        let gateway = Towergate::start(&folder, &[]);
        let address = gateway.http.to_string();
        for (command, expected) in &example.commands {
            let command = command.replace("localhost:8080", &address);
            let output = run("sh", &["-c", &command]);
            let printed = String::from_utf8_lossy(&output.stdout);
            assert_eq!(printed.trim(), expected.trim(), "{command}");
        }
    }
}

#[test]
fn check_accepts_the_manifests_that_need_other_services() {
    let examples = examples();
    let others = examples
        .iter()
        .filter(|example| example.commands.is_empty());
    for example in others {
        let folder = Folder::new();
        folder.write("route.yaml", &examples[0].manifest);
        folder.write("policy.yaml", &example.manifest);
        let path = folder.path().to_str().unwrap();
        let output = run(env!("CARGO_BIN_EXE_towergate"), &["check", path]);
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{printed}");
    }
}
