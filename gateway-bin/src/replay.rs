//! `replay`: sends the requests of an access log of ingress-nginx again, and compares the responses.
//!
//! ```text
//! log ──LogReader──> selection ─┬─ no --against ──> model and translation, in this process
//!                               ├─ OLD,NEW ───────> both gateways
//!                               └─ NEW ───────────> one gateway, and the status in the log
//! ```

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::ExitCode;

use towergate_k8s::ingress::comparison::{LiveAnswer, add_live_comparison};
use towergate_k8s::ingress::model::{IngressNginx, ModelRequest};
use towergate_k8s::ingress::proof;
use towergate_k8s::ingress::proof_report::{Difference, ProofReport};
use towergate_k8s::ingress::replay::{LogReader, ReplayOptions, ReplayRequest, ReplaySelection};
use towergate_k8s::ingress::{Manifests, MigrateOptions, translate};

use crate::args::ReplayArgs;
use crate::live_gateway::LiveGateway;
use crate::migrate::{check_readable, read};
use crate::prove::{KnownDifferences, described_differences, prove};
use crate::prove_against::RequestBudget;
use crate::{Failure, Outcome, print};

/// Reads the log, sends its requests, and prints the differences.
///
/// # Errors
/// If a file cannot be read, an address is invalid, or no request can be sent.
pub(crate) fn replay(args: &ReplayArgs) -> Outcome {
    if args.log == Path::new("-") && args.paths.iter().any(|path| path == Path::new("-")) {
        return Err("standard input is the log or the manifests, not both".into());
    }
    let gateways = args
        .against
        .iter()
        .map(|text| LiveGateway::parse(text).map_err(|error| format!("--against: {error}").into()));
    let gateways = gateways.collect::<Result<Vec<LiveGateway>, Failure>>()?;
    let texts = match args.paths.is_empty() {
        true => Vec::new(),
        false => read(&args.paths, None)?,
    };
    let mut manifests = Manifests::default();
    for (file, text) in &texts {
        manifests.add(file, text);
    }
    check_readable(&manifests)?;
    let nginx = (!texts.is_empty()).then(|| IngressNginx::new(&manifests, &args.nginx_flags));
    let selection = select(args, nginx.as_ref())?;
    print(selection.text().as_bytes())?;
    if selection.requests.is_empty() {
        return Err("no request of the log can be sent; if hosts are unknown, pass the folder of the Ingresses, --host, or a log that begins with $host".into());
    }
    let budget = RequestBudget {
        per_second: args.rate,
        total: args.requests,
    };
    let proof = match &*gateways {
        [] => {
            let options = MigrateOptions {
                flags: args.nginx_flags.clone(),
                ..MigrateOptions::default()
            };
            let mut migration = translate(&manifests, &options);
            let requests = selection.requests.iter();
            let requests = requests.map(|kept| decided(nginx.as_ref(), kept));
            prove(
                &manifests,
                &texts,
                &args.nginx_flags,
                &mut migration,
                Some(requests.collect()),
            )?
        }
        [new] => {
            let known = known(args, (&manifests, &texts), &selection, new)?;
            block_on(with_log(&selection.requests, new, budget, &known))?
        }
        [old, new] if old.https == new.https => {
            let known = known(args, (&manifests, &texts), &selection, new)?;
            let proof = with_gateway(&selection.requests, (old, new), budget, &known);
            block_on(proof)?
        }
        [_, _] => return Err("--against: both addresses must have the same scheme".into()),
        _ => return Err("--against: expected one or two addresses".into()),
    };
    print(proof.text().as_bytes())?;
    Ok(ExitCode::from(u8::from(proof.has_failed())))
}

/// The request to send. If an authentication server decides on the request, the status in the log determines
/// its decision.
fn decided(nginx: Option<&IngressNginx<'_>>, kept: &ReplayRequest) -> ModelRequest {
    let mut request = kept.request.clone();
    if nginx.is_some_and(|nginx| nginx.auth_call(&request).is_some()) {
        let mut statuses = kept.statuses.keys();
        request.auth_status = Some(match statuses.next() {
            Some(401 | 302) => 401,
            Some(403) => 403,
            Some(_) | None => 200,
        });
    }
    request
}

/// The verdicts that describe differences of the translation, by request. Empty without manifests.
fn known(
    args: &ReplayArgs,
    (manifests, texts): (&Manifests, &[(String, String)]),
    selection: &ReplaySelection,
    gateway: &LiveGateway,
) -> Result<KnownDifferences, Failure> {
    if texts.is_empty() {
        return Ok(KnownDifferences::new());
    }
    let options = MigrateOptions {
        flags: args.nginx_flags.clone(),
        ..MigrateOptions::default()
    };
    let mut migration = translate(manifests, &options);
    let requests = selection.requests.iter().map(|kept| over(gateway, kept));
    let requests = Some(requests.collect());
    described_differences(
        manifests,
        texts,
        &args.nginx_flags,
        &mut migration,
        requests,
    )
}

/// Selects the requests of the log.
fn select(args: &ReplayArgs, nginx: Option<&IngressNginx<'_>>) -> Result<ReplaySelection, Failure> {
    let mut options = ReplayOptions {
        host: args.host.as_ref().map(|host| host.to_ascii_lowercase()),
        keep_client: args.against.is_empty(),
        limit: args.requests,
        ..ReplayOptions::default()
    };
    options.methods.extend(args.methods.iter().cloned());
    let mut log: Box<dyn BufRead> = match args.log == Path::new("-") {
        true => Box::new(io::stdin().lock()),
        false => {
            let file = File::open(&args.log)
                .map_err(|error| format!("{} cannot be read: {error}", args.log.display()))?;
            Box::new(BufReader::new(file))
        }
    };
    let mut reader = LogReader::new(nginx, options);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = log.read_until(b'\n', &mut line);
        let read =
            read.map_err(|error| format!("{} cannot be read: {error}", args.log.display()))?;
        if read == 0 {
            return Ok(reader.select());
        }
        reader.add(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
    }
}

fn block_on(proof: impl Future<Output = ProofReport>) -> Result<ProofReport, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(proof))
}

/// The request, with the scheme of the gateway's address.
fn over(gateway: &LiveGateway, kept: &ReplayRequest) -> ModelRequest {
    ModelRequest {
        https: gateway.https,
        ..kept.request.clone()
    }
}

/// Why a request over the other scheme is not compared.
const OTHER_SCHEME: &str = "the request arrived over a scheme other than that of the addresses";

/// Whether the log or the Ingresses show that the request arrived over a scheme other than that of `gateway`.
fn has_other_scheme(gateway: &LiveGateway, kept: &ReplayRequest) -> bool {
    kept.knows_scheme && kept.request.https != gateway.https
}

/// Sends the requests to both gateways.
async fn with_gateway(
    requests: &[ReplayRequest],
    (old, new): (&LiveGateway, &LiveGateway),
    budget: RequestBudget,
    known: &KnownDifferences,
) -> ProofReport {
    let mut proof = ProofReport::new("Replay");
    let mut pace = budget.pace();
    for kept in requests {
        if has_other_scheme(new, kept) {
            proof.skip(OTHER_SCHEME);
            continue;
        }
        pace.tick().await;
        let request = over(new, kept);
        let (expected, found) = tokio::join!(old.send(&request), new.send(&request));
        add_live_comparison(&mut proof, &request, (&expected, &found), known);
    }
    proof.sort();
    proof
}

/// Sends the requests to the new gateway and compares the status with the log. Requests with a user name are
/// not compared, because the log does not contain their password.
async fn with_log(
    requests: &[ReplayRequest],
    new: &LiveGateway,
    budget: RequestBudget,
    known: &KnownDifferences,
) -> ProofReport {
    let mut proof = ProofReport::new("Replay");
    let mut pace = budget.pace();
    for kept in requests {
        if has_other_scheme(new, kept) {
            proof.skip(OTHER_SCHEME);
            continue;
        }
        if kept.has_user {
            proof.skip("the log does not contain the password of the user");
            continue;
        }
        pace.tick().await;
        let request = over(new, kept);
        let found = new.send(&request).await;
        add_log_comparison(&mut proof, &request, kept, found, known);
    }
    proof.sort();
    proof
}

/// Compares a response with the log. A request without a response is not compared, and makes the proof fail.
fn add_log_comparison(
    proof: &mut ProofReport,
    request: &ModelRequest,
    kept: &ReplayRequest,
    found: Result<LiveAnswer, String>,
    known: &KnownDifferences,
) {
    let statuses: Vec<String> = kept.statuses.keys().map(u16::to_string).collect();
    let difference = |found: String| Difference {
        request: proof::describe(request),
        expected: format!(
            "{} in the log, line {}",
            statuses.join(" or "),
            kept.first_line
        ),
        found,
        ..Difference::default()
    };
    match found {
        Ok(answer) => {
            proof.compared += 1;
            if !kept.statuses.contains_key(&answer.status) {
                let mut difference = difference(answer.status.to_string());
                let mut statuses = kept.statuses.keys();
                let is_weaker = statuses.all(|status| matches!(status, 401 | 403));
                if let Some(names) = known.get(&difference.request).filter(|_| !is_weaker) {
                    difference.explained_by.clone_from(names);
                }
                proof.differences.push(difference);
            }
        }
        Err(error) => proof.unanswered.push(difference(error)),
    }
}
