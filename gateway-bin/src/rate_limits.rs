//! `towergate rate-limits`: the configuration of the service that counts requests for global rate
//! limits.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use towergate_k8s::yaml;
use towergate_policy::global_rate_limit::{RateLimitService, ServiceConfig};

use crate::args::RateLimitsArgs;
use crate::check::{NO_ECHO, loader, read_stdin};
use crate::{Failure, Outcome, print};

/// Reads and resolves the manifests, and prints or writes one YAML document per domain.
///
/// # Errors
/// If a file cannot be read or written.
pub(crate) fn rate_limits(args: &RateLimitsArgs) -> Outcome {
    let mut manifests = args.manifests.clone();
    // The limits do not depend on the address of the service.
    let service = &mut manifests.rate_limit.service;
    service.get_or_insert_with(|| RateLimitService::new("ratelimit", 8081));
    let mut loader = loader(&manifests, read_stdin(&manifests.paths)?);
    let Some(reading) = loader.read(true, |_| Some(NO_ECHO)) else {
        return Ok(ExitCode::SUCCESS);
    };
    for diagnostic in &reading.unreadable {
        eprintln!("towergate: {}", crate::render::brief(diagnostic));
    }
    let configs = ServiceConfig::of_plan(&reading.resolution.plan);
    match &args.out {
        Some(folder) => write(folder, &configs)?,
        None => {
            let documents: Vec<String> = configs.iter().map(document).collect::<Result<_, _>>()?;
            print(documents.join("---\n").as_bytes())?;
        }
    }
    Ok(ExitCode::from(u8::from(!reading.unreadable.is_empty())))
}

fn document(config: &ServiceConfig) -> Result<String, Failure> {
    Ok(yaml::write(&serde_json::to_value(config)?))
}

/// Writes a file for each domain, and removes the files of removed domains.
fn write(folder: &Path, configs: &[ServiceConfig]) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    let name =
        |config: &ServiceConfig| format!("towergate_{}.yaml", config.domain.replace('/', "_"));
    for config in configs {
        // The service may read a file at any time, so files are replaced atomically.
        let hidden = folder.join(format!(".{}.new", name(config)));
        fs::write(&hidden, document(config)?)?;
        fs::rename(&hidden, folder.join(name(config)))?;
    }
    let names: Vec<String> = configs.iter().map(name).collect();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.file_name();
        let found = found.to_string_lossy();
        if found.starts_with("towergate_")
            && found.ends_with(".yaml")
            && !names.iter().any(|name| *name == found)
        {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
