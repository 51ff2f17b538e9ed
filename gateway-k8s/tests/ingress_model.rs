//! Compares the model of ingress-nginx with recorded responses, if `NGINX_CASES` names their folder.
//!
//! The folder has `worlds/ID.yaml`, the objects of an installation, and `cases/*.jsonl`, one case per line
//! with requests and responses. `.ci/nginx` sets the variable.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::{env, fs};

use serde_json::Value;
use towergate_k8s::ingress::Manifests;
use towergate_k8s::ingress::model::{IngressNginx, ModelAnswer, ModelCertificate, ModelRequest};

/// Minimum share of requests for which the model returns the recorded response, in percent.
const FLOOR: f64 = 97.0;

fn folder() -> Option<PathBuf> {
    env::var_os("NGINX_CASES").map(PathBuf::from)
}

fn cases(folder: &Path) -> Vec<Value> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder.join("cases"))
        .expect("cases")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let lines = files.iter().flat_map(|file| {
        let text = fs::read_to_string(file).expect("a file");
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    lines
        .map(|line| serde_json::from_str(&line).expect("a case"))
        .collect()
}

/// The request of a case. `None`: the case is not HTTP, or sends several requests at once.
fn request(of: &Value) -> Option<ModelRequest> {
    let scheme = of["scheme"].as_str()?;
    if !matches!(scheme, "http" | "https") || of["times"].is_u64() || of["parallel"].is_u64() {
        return None;
    }
    let headers = of["headers"].as_array()?.iter().map(|pair| {
        let text = |index: usize| pair[index].as_str().unwrap_or_default().to_owned();
        (text(0), text(1))
    });
    let body = &of["body"];
    let body_len = body["size"]
        .as_u64()
        .or(body.as_str().map(|text| text.len() as u64));
    let proxied = of["proxy"]["src"].as_str();
    let proxied = proxied.and_then(|text| Some(text.parse::<SocketAddr>().ok()?.ip()));
    let client = of["source"]
        .as_str()
        .and_then(|text| text.parse::<IpAddr>().ok());
    let client = proxied.or(client);
    let certificate = of["client_cert"].as_str().map(|name| ModelCertificate {
        subject: format!("CN={name}"),
        valid: !name.contains("other") && !name.contains("self"),
    });
    // With the PROXY protocol, the port in the PROXY header determines the scheme.
    let by_proxy = of["proxy"]["dst"]
        .as_str()
        .map(|address| address.ends_with(":443"));
    Some(ModelRequest {
        https: by_proxy.unwrap_or(scheme == "https"),
        http10: of["version"] == "1.0",
        certificate,
        method: of["method"].as_str().unwrap_or("GET").to_owned(),
        target: of["target"].as_str()?.to_owned(),
        headers: headers.collect(),
        client: client.unwrap_or(IpAddr::from([127, 0, 0, 1])),
        body_len: body_len.unwrap_or(0),
        auth_status: None,
    })
}

/// The difference between the model's response and the recorded one.
fn difference(model: &ModelAnswer, recorded: &Value) -> Option<String> {
    let calls: Vec<&Value> = recorded["calls"].as_array().into_iter().flatten().collect();
    let upstream = |call: &&Value| call["upstream"].as_str().unwrap_or_default().to_owned();
    match model {
        ModelAnswer::Reply { status, location } => {
            let headers = recorded["headers"].as_array().into_iter().flatten();
            let found = headers
                .filter(|pair| pair[0] == "Location")
                .find_map(|pair| pair[1].as_str());
            let same = recorded["status"] == u64::from(*status)
                && (location.is_none() || location.as_deref() == found)
                && (*status == 503 || calls.is_empty());
            (!same).then(|| format!("{model:?}, recorded {} {found:?}", recorded["status"]))
        }
        ModelAnswer::Proxy { asks: true, .. }
            if matches!(recorded["status"].as_u64(), Some(401 | 403 | 500 | 302)) =>
        {
            None
        }
        ModelAnswer::Proxy {
            backends, target, ..
        } => {
            let names: Vec<String> = backends
                .iter()
                .map(|port| port.service.to_string())
                .collect();
            let call = calls.iter().find(|call| names.contains(&upstream(call)));
            let same = call.is_some_and(|call| call["target"] == target.as_str());
            if !same && recorded["body"]["from"] == "gateway" {
                // The recorded backend failed, which the model does not predict.
                let failed = matches!(recorded["status"].as_u64(), Some(502 | 504 | 500 | 503));
                return (!failed).then(|| format!("{model:?}, recorded {}", recorded["status"]));
            }
            (!same).then(|| {
                let calls: Vec<_> = calls
                    .iter()
                    .map(|call| (upstream(call), &call["target"]))
                    .collect();
                format!("{model:?}, recorded {} {calls:?}", recorded["status"])
            })
        }
    }
}

#[test]
fn the_model_answers_as_recorded() {
    let Some(folder) = folder() else {
        return;
    };
    let mut worlds: BTreeMap<String, Manifests> = BTreeMap::new();
    let (mut same, mut all) = (0_u32, 0_u32);
    let mut wrong = Vec::new();
    for case in cases(&folder) {
        let world = case["world"].as_str().expect("a world").to_owned();
        let manifests = worlds.entry(world).or_insert_with_key(|world| {
            let mut manifests = Manifests::default();
            let file = folder.join("worlds").join(format!("{world}.yaml"));
            manifests.add(world, &fs::read_to_string(file).expect("a world"));
            manifests
        });
        let model = IngressNginx::new(manifests, &[]);
        for exchange in case["exchanges"].as_array().into_iter().flatten() {
            let answer = &exchange["answer"];
            let Some(request) = request(&exchange["request"]) else {
                continue;
            };
            if answer["failed"].is_string() {
                continue;
            }

            let found = difference(&model.answer(&request), answer);

            all += 1;
            match found {
                None => same += 1,
                Some(found) => wrong.push(format!(
                    "{}: {} {} {:?}: {found}",
                    case["id"].as_str().unwrap_or_default(),
                    request.method,
                    request.target,
                    request.header("host").unwrap_or_default(),
                )),
            }
        }
    }
    let share = 100.0 * f64::from(same) / f64::from(all);
    println!("{}", wrong.join("\n"));
    println!("{same} of {all} requests ({share:.1} %)");
    assert!(share >= FLOOR, "{share:.1} %");
}
