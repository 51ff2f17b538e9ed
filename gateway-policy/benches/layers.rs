//! Time of a request through each policy of a SecurityPolicy as a Layer: `cargo bench -p towergate-policy --bench layers`.
//!
//! The service behind the Layer replies at once. The benchmark `none` measures this service alone. In `same`,
//! all tokens are in the cache of verified tokens. In `other`, there are more tokens than the cache holds, so
//! each signature is verified.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by a panic")]

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use data_encoding::BASE64URL_NOPAD;
use divan::Bencher;
use http::{HeaderName, HeaderValue, Request, Response};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower::util::BoxCloneService;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use towergate_core::Body;
use towergate_core::http::client_ip::ClientIp;
use towergate_core::policy::PolicyLayer;

#[allow(dead_code)]
#[path = "../examples/security/mod.rs"]
mod security;

/// Number of tokens in the benchmark `other`. It exceeds two generations of the cache, each of 256 tokens.
const TOKENS: usize = 1024;

fn main() {
    divan::main();
}

/// A signature algorithm with a new key.
enum Signer {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
}

impl Signer {
    fn new(algorithm: &str) -> Self {
        match algorithm {
            "ES256" => {
                Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
            }
            _ => Self::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
        }
    }

    fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        match self {
            Self::Es256(key) => {
                // An uncompressed point consists of the byte 4, x and y.
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..])})
            }
            Self::Rs256(key) => {
                let modulus = key.public_key().modulus();
                let exponent = key.public_key().exponent();
                json!({
                    "kty": "RSA", "n": text(modulus.big_endian_without_leading_zero()),
                    "e": text(exponent.big_endian_without_leading_zero()),
                })
            }
        }
    }

    fn token(&self, user: usize) -> String {
        let (name, random) = (self.name(), SystemRandom::new());
        let part = |value: Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let claims = json!({
            "iss": "https://issuer.example", "aud": "bench", "sub": user.to_string(), "exp": 4_070_908_800_u64,
        });
        let text = format!(
            "{}.{}",
            part(json!({"alg": name, "typ": "JWT"})),
            part(claims)
        );
        let signature = match self {
            Self::Es256(key) => key
                .sign(&random, text.as_bytes())
                .unwrap()
                .as_ref()
                .to_vec(),
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature)
                    .unwrap();
                signature
            }
        };
        format!("{text}.{}", BASE64URL_NOPAD.encode(&signature))
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Es256(_) => "ES256",
            Self::Rs256(_) => "RS256",
        }
    }
}

/// Measures requests through `layer`, which must admit them. The requests of `requests` are sent in turn.
fn measure(bencher: Bencher<'_, '_>, layer: Option<PolicyLayer>, requests: &[Vec<(&str, String)>]) {
    let runtime = Runtime::new().unwrap();
    let service =
        service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
    let service: BoxCloneService<Request<Body>, Response<Body>, Infallible> = match layer {
        Some(layer) => layer.layer(service).boxed_clone(),
        None => service.boxed_clone(),
    };
    let next = AtomicUsize::new(0);
    let make = || {
        let fields = &requests[next.fetch_add(1, Ordering::Relaxed) % requests.len()];
        let mut request = Request::get("/").body(Body::empty()).unwrap();
        let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
        request.extensions_mut().insert(ClientIp(client));
        for (name, value) in fields {
            let name: HeaderName = name.parse().unwrap();
            let value = HeaderValue::from_str(value).unwrap();
            request.headers_mut().insert(name, value);
        }
        request
    };
    bencher.with_inputs(make).bench_local_values(|request| {
        let response = runtime.block_on(service.clone().oneshot(request)).unwrap();
        assert!(response.status().is_success(), "{}", response.status());
    });
}

/// Measures the policy of the SecurityPolicy section `name`, as in the example `security`.
#[divan::bench(args = ["none", "basic-auth", "api-key", "authorization", "cors"])]
fn section(bencher: Bencher<'_, '_>, name: &str) {
    let field = match name {
        "basic-auth" => ("authorization", "Basic YWxpY2U6d29uZGVybGFuZA=="),
        "api-key" => ("x-api-key", "key-of-billing"),
        "cors" => ("origin", "https://app.example.com"),
        _ => ("accept", "*/*"),
    };
    let layer = (name != "none").then(|| security::layer(name).unwrap());
    measure(bencher, layer, &[vec![(field.0, field.1.to_owned())]]);
}

/// Measures JWT authentication with local keys.
#[divan::bench(args = ["ES256 same", "ES256 other", "RS256 same", "RS256 other"])]
fn jwt(bencher: Bencher<'_, '_>, name: &str) {
    let (algorithm, tokens) = name.split_once(' ').unwrap();
    let signer = Signer::new(algorithm);
    let keys = json!({"keys": [signer.jwk()]}).to_string();
    let provider = json!({
        "name": "bench", "issuer": "https://issuer.example", "audiences": ["bench"],
        "localJWKS": {"type": "Inline", "inline": keys},
    });
    let layer = security::of_spec(&json!({"jwt": {"providers": [provider]}}).to_string());
    let count = if tokens == "same" { 1 } else { TOKENS };
    let requests = (0..count).map(|user| {
        let value = format!("Bearer {}", signer.token(user));
        vec![("authorization", value)]
    });
    let requests: Vec<_> = requests.collect();
    measure(bencher, Some(layer.unwrap()), &requests);
}
