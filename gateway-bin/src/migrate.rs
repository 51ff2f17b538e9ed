//! `migrate`: translates Ingresses of ingress-nginx.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use towergate_k8s::ObjectKey;
use towergate_k8s::finding::FindingCode;
use towergate_k8s::ingress::proof_report::ProofReport;
use towergate_k8s::ingress::{
    InputErrorKind, Manifests, MigrateOptions, Migration, MigrationOutcome, findings, report,
    translate,
};
use towergate_k8s::source::find_manifests;

use crate::args::{FailOn, MigrateArgs, ReportFormat};
use crate::check::read_stdin;
use crate::output_folder::{MARKER, write_files};
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
    check_readable(&manifests)?;
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
        only_class: None,
    };
    let mut migration = translate(&manifests, &options);
    if migration.served.is_empty() {
        warn_of_class(&manifests, &migration);
    }
    if let Some(folder) = &args.out {
        write(folder, &migration)?;
    }
    let proofs = report(args, &manifests, &texts, &mut migration)?;
    for error in &manifests.errors {
        eprintln!(
            "{}:{}: {}",
            error.place.file, error.place.line, error.message
        );
    }
    let failed = args.fail_on.is_some_and(|limit| {
        let limit = outcome(limit);
        let mut settings = migration.verdicts.iter().filter(|one| one.is_setting());
        settings.any(|verdict| verdict.outcome >= limit)
    });
    let differs = proofs.iter().any(ProofReport::has_failed);
    Ok(ExitCode::from(u8::from(
        failed || differs || !manifests.errors.is_empty(),
    )))
}

/// Checks that all documents are YAML, and that all values of ConfigMaps are strings. Otherwise nothing is
/// translated, because the unreadable part may contain restrictions.
///
/// # Errors
/// If a document is not YAML, or a value of a ConfigMap is not a string.
pub(crate) fn check_readable(manifests: &Manifests) -> Result<(), Failure> {
    let errors = manifests.errors.iter();
    let errors = errors.filter(|error| {
        matches!(
            error.kind,
            InputErrorKind::Document | InputErrorKind::InvalidConfigMap
        )
    });
    let texts = errors.map(|error| {
        let place = &error.place;
        format!("{}:{}: {}", place.file, place.line, error.message)
    });
    let texts: Vec<String> = texts.collect();
    match texts.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "{}\\nnothing is translated: correct the file, or pass only the files with the objects of ingress-nginx",
            texts.join("\\n")
        )
        .into()),
    }
}

/// Warns if no Ingress has the class of the controller, and lists the classes in use.
fn warn_of_class(manifests: &Manifests, migration: &Migration) {
    let found = findings(manifests, migration, &migration.class);
    let mut found = found.iter();
    if let Some(finding) = found.find(|one| one.code == FindingCode::NoIngressOfClass) {
        eprintln!(
            "warning: {}; pass the class of the Ingresses with `--nginx-flag ingress-class=NAME`",
            finding.message
        );
    }
}

/// Makes the comparisons that the arguments select, and prints the report with the results. In JSON and HTML,
/// the results are part of the document. Returns the results.
fn report(
    args: &MigrateArgs,
    manifests: &Manifests,
    texts: &[(String, String)],
    migration: &mut Migration,
) -> Result<Vec<ProofReport>, Failure> {
    let mut proofs = Vec::new();
    if args.prove {
        let flags = &args.nginx_flags;
        proofs.push(prove::prove(manifests, texts, flags, migration, None)?);
    }
    if args.format == ReportFormat::Text {
        print(report::text(migration).as_bytes())?;
        for proof in &proofs {
            print(proof.text().as_bytes())?;
        }
    }
    if !args.prove_against.is_empty() {
        let budget = RequestBudget {
            per_second: args.prove_rate,
            total: args.prove_requests,
        };
        let (flags, against) = (&args.nginx_flags, &args.prove_against);
        let known = prove::described_differences(manifests, texts, flags, migration, None)?;
        let methods = &args.prove_methods;
        let proof = prove_against(manifests, flags, &known, against, methods, budget)?;
        if args.format == ReportFormat::Text {
            print(proof.text().as_bytes())?;
        }
        proofs.push(proof);
    }
    match args.format {
        ReportFormat::Text => {}
        ReportFormat::Html => print(report::html(migration, &proofs).as_bytes())?,
        ReportFormat::Json => {
            let text = serde_json::to_string_pretty(&report::json(migration, &proofs))?;
            print(format!("{text}\n").as_bytes())?;
        }
    }
    Ok(proofs)
}

/// The manifests of the arguments, by file name. Files below `--out`, and other files that an earlier run
/// wrote, are skipped.
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
    let mut translated = 0;
    for file in files {
        let ours = out
            .as_ref()
            .is_some_and(|out| fs::canonicalize(&file).is_ok_and(|file| file.starts_with(out)));
        if ours {
            continue;
        }
        let text = fs::read_to_string(&file)
            .map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
        if text.starts_with(MARKER) {
            translated += 1;
            continue;
        }
        texts.push((file.display().to_string(), text));
    }
    if translated > 0 {
        eprintln!("files that `towergate migrate` wrote are not read: {translated}");
    }
    Ok(texts)
}

/// Writes the translation. Reports files of earlier runs that are removed or not needed any more.
fn write(folder: &Path, migration: &Migration) -> Result<(), Failure> {
    for path in write_files(folder, &migration.objects.files())? {
        eprintln!(
            "{}: removed, because nothing is translated to it any more",
            path.display()
        );
    }
    match &migration.default_certificate {
        Some(key) => default_certificate::write_once(folder, key),
        None => {
            if let Some(path) = default_certificate::find(folder) {
                eprintln!(
                    "{}: not needed any more, because `default-ssl-certificate` names a certificate; remove it",
                    path.display()
                );
            }
            Ok(())
        }
    }
}

fn outcome(limit: FailOn) -> MigrationOutcome {
    match limit {
        FailOn::SameWithADifference => MigrationOutcome::SameWithADifference,
        FailOn::NeedsADecision => MigrationOutcome::NeedsADecision,
        FailOn::Impossible => MigrationOutcome::Impossible,
    }
}
