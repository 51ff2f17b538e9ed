//! `migrate`: translates Ingresses of ingress-nginx.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use towergate_k8s::ObjectKey;
use towergate_k8s::ingress::{
    Manifests, MigrateOptions, Migration, MigrationOutcome, report, translate,
};
use towergate_k8s::source::find_manifests;

use crate::args::{FailOn, MigrateArgs, ReportFormat};
use crate::check::read_stdin;
use crate::prove::Proof;
use crate::prove_against::{RequestBudget, prove_against};
use crate::{Failure, Outcome, default_certificate, from_cluster, print, prove};

/// Reads the manifests, writes the translation and prints the report.
///
/// # Errors
/// If a file cannot be read or written.
pub(crate) fn migrate(args: &MigrateArgs) -> Outcome {
    let mut texts = read(&args.paths, args.out.as_deref())?;
    if args.cluster.from_cluster {
        let objects = from_cluster::collect(&args.cluster)?;
        texts.push((from_cluster::NAME.to_owned(), objects));
    }
    let mut manifests = Manifests::default();
    for (file, text) in &texts {
        manifests.add(file, text);
    }
    if manifests.ingresses.is_empty() && manifests.errors.is_empty() {
        return Err(
            "no Ingress in the given paths; pass the folder of your manifests, or `-`".into(),
        );
    }
    let (namespace, name) = args
        .gateway
        .split_once('/')
        .ok_or("--gateway: expected NAMESPACE/NAME")?;
    let options = MigrateOptions {
        gateway: ObjectKey::new(namespace, name),
        class: args.gateway_class.clone(),
        flags: args.nginx_flags.clone(),
    };
    let migration = translate(&manifests, &options);
    if let Some(folder) = &args.out {
        write(folder, &migration)?;
    }
    let text = match args.format {
        ReportFormat::Text => report::text(&migration),
        ReportFormat::Html => report::html(&migration),
        ReportFormat::Json => serde_json::to_string_pretty(&report::json(&migration))? + "\n",
    };
    print(text.as_bytes())?;
    if args.prove {
        let proof = prove::prove(&manifests, &texts, &args.nginx_flags, &migration, None)?;
        show(args, &proof)?;
    }
    if !args.prove_against.is_empty() {
        let budget = RequestBudget {
            per_second: args.prove_rate,
            total: args.prove_requests,
        };
        let (flags, against) = (&args.nginx_flags, &args.prove_against);
        let allowed = &args.prove_methods;
        let proof = prove_against(&manifests, flags, against, allowed, budget)?;
        show(args, &proof)?;
    }
    for error in &manifests.errors {
        eprintln!(
            "{}:{}: {}",
            error.place.file, error.place.line, error.message
        );
    }
    let failed = args.fail_on.is_some_and(|limit| {
        let limit = outcome(limit);
        migration
            .verdicts
            .iter()
            .any(|verdict| verdict.outcome >= limit)
    });
    Ok(ExitCode::from(u8::from(
        failed || !manifests.errors.is_empty(),
    )))
}

/// Prints a proof. JSON and HTML on standard output stay one document.
fn show(args: &MigrateArgs, proof: &Proof) -> Result<(), Failure> {
    match args.format {
        ReportFormat::Text => print(proof.text().as_bytes())?,
        ReportFormat::Json | ReportFormat::Html => eprint!("{}", proof.text()),
    }
    Ok(())
}

/// The manifests of the arguments, by file name. Files below `--out` are the result of an earlier run and are skipped.
///
/// # Errors
/// If a file cannot be read.
pub(crate) fn read(
    paths: &[PathBuf],
    out: Option<&Path>,
) -> Result<Vec<(String, String)>, Failure> {
    let mut texts = Vec::new();
    if let Some(text) = read_stdin(paths)? {
        texts.push(("<stdin>".to_owned(), text));
    }
    let paths: Vec<PathBuf> = paths
        .iter()
        .filter(|path| *path != Path::new("-"))
        .cloned()
        .collect();
    let (files, problems) = find_manifests(&paths);
    if let Some(problem) = problems.first() {
        return Err(format!("{}: {}", problem.file, problem.message).into());
    }
    let out = out.and_then(|out| fs::canonicalize(out).ok());
    for file in files {
        let ours = out
            .as_ref()
            .is_some_and(|out| fs::canonicalize(&file).is_ok_and(|file| file.starts_with(out)));
        if ours {
            continue;
        }
        let text = fs::read_to_string(&file)
            .map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
        texts.push((file.display().to_string(), text));
    }
    Ok(texts)
}

fn write(folder: &Path, migration: &Migration) -> Result<(), Failure> {
    fs::create_dir_all(folder)
        .map_err(|error| format!("{} cannot be created: {error}", folder.display()))?;
    for (name, text) in migration.objects.files() {
        let path = folder.join(name);
        fs::write(&path, text)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    }
    match &migration.default_certificate {
        Some(key) => default_certificate::write_once(folder, key),
        None => Ok(()),
    }
}

fn outcome(limit: FailOn) -> MigrationOutcome {
    match limit {
        FailOn::SameWithADifference => MigrationOutcome::SameWithADifference,
        FailOn::NeedsADecision => MigrationOutcome::NeedsADecision,
        FailOn::Impossible => MigrationOutcome::Impossible,
    }
}
