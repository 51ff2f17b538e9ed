use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use data_encoding::BASE64URL_NOPAD;
use http::Request;
use serde_json::{Value, json};

use super::*;

#[path = "attacks.rs"]
mod attacks;

fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}

/// Signs a message.
type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// A signing key with its algorithm and its public key.
struct Signer {
    algorithm: &'static str,
    jwk: Value,
    sign: Sign,
}

impl Signer {
    fn token(&self, header: &Value, claims: &Value) -> String {
        let mut header = header.clone();
        header["alg"] = self.algorithm.into();
        let signed = format!(
            "{}.{}",
            base64(header.to_string()),
            base64(claims.to_string())
        );
        let signature = (self.sign)(signed.as_bytes());
        format!("{signed}.{}", base64(signature))
    }

    fn keys(&self) -> KeySet {
        set([self.jwk.clone()])
    }
}

fn set(keys: impl IntoIterator<Item = Value>) -> KeySet {
    let keys: Vec<Value> = keys.into_iter().collect();
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn rsa() -> Vec<Signer> {
    let pair = Arc::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
    let public = pair.public_key();
    let jwk = json!({
        "kty": "RSA",
        "n": base64(public.modulus().big_endian_without_leading_zero()),
        "e": base64(public.exponent().big_endian_without_leading_zero()),
    });
    let encodings: [(_, &'static dyn RsaEncoding); 6] = [
        ("RS256", &RSA_PKCS1_SHA256),
        ("RS384", &RSA_PKCS1_SHA384),
        ("RS512", &RSA_PKCS1_SHA512),
        ("PS256", &RSA_PSS_SHA256),
        ("PS384", &RSA_PSS_SHA384),
        ("PS512", &RSA_PSS_SHA512),
    ];
    let signer = |(algorithm, encoding): (&'static str, &'static dyn RsaEncoding)| {
        let pair = pair.clone();
        let sign = move |message: &[u8]| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(encoding, &SystemRandom::new(), message, &mut signature)
                .unwrap();
            signature
        };
        Signer {
            algorithm,
            jwk: jwk.clone(),
            sign: Box::new(sign),
        }
    };
    encodings.into_iter().map(signer).collect()
}

fn elliptic() -> Vec<Signer> {
    let curves: [(_, _, &'static EcdsaSigningAlgorithm); 3] = [
        ("ES256", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING),
        ("ES384", "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
        ("ES512", "P-521", &ECDSA_P521_SHA512_FIXED_SIGNING),
    ];
    let signer =
        |(algorithm, curve, signing): (&'static str, &str, &'static EcdsaSigningAlgorithm)| {
            let pair = EcdsaKeyPair::generate(signing).unwrap();
            let point = &pair.public_key().as_ref()[1..];
            let (x, y) = point.split_at(point.len() / 2);
            let jwk = json!({ "kty": "EC", "crv": curve, "x": base64(x), "y": base64(y) });
            let sign = move |message: &[u8]| {
                pair.sign(&SystemRandom::new(), message)
                    .unwrap()
                    .as_ref()
                    .to_vec()
            };
            Signer {
                algorithm,
                jwk,
                sign: Box::new(sign),
            }
        };
    curves.into_iter().map(signer).collect()
}

fn edwards() -> Signer {
    let pair = Ed25519KeyPair::generate().unwrap();
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": base64(pair.public_key()) });
    Signer {
        algorithm: "EdDSA",
        jwk,
        sign: Box::new(move |message| pair.sign(message).as_ref().to_vec()),
    }
}

const SECRET: [u8; 64] = [7; 64];

fn shared() -> Vec<Signer> {
    let hashes = [
        ("HS256", hmac::HMAC_SHA256),
        ("HS384", hmac::HMAC_SHA384),
        ("HS512", hmac::HMAC_SHA512),
    ];
    let signer = |(algorithm, hash)| Signer {
        algorithm,
        jwk: json!({ "kty": "oct", "k": base64(SECRET) }),
        sign: Box::new(move |message| {
            hmac::sign(&hmac::Key::new(hash, &SECRET), message)
                .as_ref()
                .to_vec()
        }),
    };
    hashes.into_iter().map(signer).collect()
}

fn all() -> Vec<Signer> {
    let mut all = rsa();
    all.extend(elliptic());
    all.push(edwards());
    all.extend(shared());
    all
}

fn verify(keys: &KeySet, token: &str) -> Result<(), JwtError> {
    keys.verify(&UnverifiedToken::decode(token)?)
}

#[test]
fn every_algorithm_verifies_its_own_signatures_and_no_changed_text() {
    for signer in all() {
        let token = signer.token(&json!({}), &json!({"sub": "ada"}));
        let other = signer.token(&json!({}), &json!({"sub": "root"}));
        let (signed, _) = other.rsplit_once('.').unwrap();
        let (_, signature) = token.rsplit_once('.').unwrap();

        assert_eq!(
            verify(&signer.keys(), &token),
            Ok(()),
            "{}",
            signer.algorithm
        );
        let forged = format!("{signed}.{signature}");
        let result = verify(&signer.keys(), &forged);
        assert_eq!(result, Err(JwtError::BadSignature), "{}", signer.algorithm);
    }
}

#[test]
fn a_public_key_never_serves_as_a_shared_secret() {
    let rsa = &rsa()[0];
    for secret in [
        rsa.jwk["n"].as_str().unwrap().as_bytes().to_vec(),
        Vec::new(),
    ] {
        let forger = Signer {
            algorithm: "HS256",
            jwk: Value::Null,
            sign: Box::new(move |message| {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message)
                    .as_ref()
                    .to_vec()
            }),
        };
        let token = forger.token(&json!({}), &json!({}));
        assert_eq!(verify(&rsa.keys(), &token), Err(JwtError::BadSignature));
    }
}

#[test]
fn a_key_serves_only_its_id_and_algorithm() {
    let rsa = rsa();
    let with = |extra: Value| {
        let mut jwk = rsa[0].jwk.clone();
        for (name, value) in extra.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        set([jwk])
    };
    let (rs256, ps256) = (&rsa[0], &rsa[3]);
    let named = json!({"kid": "a"});
    for (keys, token, expected) in [
        (with(json!({})), rs256.token(&named, &json!({})), Ok(())),
        (
            with(json!({"kid": "a"})),
            rs256.token(&json!({}), &json!({})),
            Ok(()),
        ),
        (
            with(json!({"kid": "b"})),
            rs256.token(&named, &json!({})),
            Err(JwtError::NoKey),
        ),
        (
            with(json!({"alg": "PS256"})),
            rs256.token(&named, &json!({})),
            Err(JwtError::NoKey),
        ),
        (
            with(json!({"alg": "PS256"})),
            ps256.token(&named, &json!({})),
            Ok(()),
        ),
        (
            with(json!({"use": "sig", "key_ops": ["verify"]})),
            rs256.token(&named, &json!({})),
            Ok(()),
        ),
    ] {
        assert_eq!(verify(&keys, &token), expected);
    }
}

#[test]
fn unusable_keys_are_left_out_and_a_set_of_them_is_refused() {
    let rsa = rsa()[0].jwk.clone();
    let mut encryption = rsa.clone();
    encryption["use"] = "enc".into();
    let mut confused = rsa;
    confused["alg"] = "HS256".into();
    let bad = [
        json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}),
        json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}),
        json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}),
        json!({"kty": "OKP", "crv": "X25519", "x": "AA"}),
        json!({"kty": "oct", "k": base64([1; 16])}),
        json!({"kty": "oct", "k": base64([1; 64]), "alg": "RS256"}),
        json!({"kty": 1}),
        json!("RSA"),
        encryption,
        confused,
    ];
    for jwk in &bad {
        let text = json!({ "keys": [jwk] }).to_string();
        let result = KeySet::parse(text.as_bytes());
        assert!(matches!(result, Err(KeySetError::NoUsableKey(_))), "{jwk}");
    }
    let signer = edwards();
    let mixed = set(bad.into_iter().chain([signer.jwk.clone()]));
    assert_eq!(
        verify(&mixed, &signer.token(&json!({}), &json!({}))),
        Ok(())
    );
    for text in [
        "",
        "[]",
        "{}",
        r#"{"keys": {}}"#,
        "-----BEGIN PUBLIC KEY-----",
    ] {
        assert_eq!(
            KeySet::parse(text.as_bytes()).unwrap_err(),
            KeySetError::NotAKeySet,
            "{text}"
        );
    }
}

#[test]
fn debug_output_has_no_shared_secret() {
    let keys = shared()[0].keys();
    assert!(!format!("{keys:?}").contains(&base64(SECRET)));
}

/// Two providers, each with its own keys. Tokens of the second provider are in the header `x-second`.
struct TwoProviders {
    rule: JwtAuthentication,
    keys: [Option<Arc<KeySet>>; 2],
    signers: [Signer; 2],
}

impl TwoProviders {
    fn new(requirement: TokenRequirement) -> Self {
        let signers = [edwards(), edwards()];
        let provider = |name: &str, sources| TokenProvider {
            issuer: Some(format!("https://{name}.test")),
            sources,
            ..TokenProvider::new(name, "")
        };
        let header = TokenHeader {
            name: http::HeaderName::from_static("x-second").into(),
            prefix: String::new(),
        };
        let second = TokenSources {
            headers: vec![header],
            params: Vec::new(),
            cookies: Vec::new(),
        };
        Self {
            rule: JwtAuthentication {
                providers: vec![
                    provider("one", TokenSources::default()),
                    provider("two", second),
                ],
                requirement,
            },
            keys: signers
                .each_ref()
                .map(|signer| Some(Arc::new(signer.keys()))),
            signers,
        }
    }

    fn verify(&self, headers: &[(&str, String)]) -> Result<Vec<usize>, JwtError> {
        let mut request = Request::get("/");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let tokens = JwtVerifier::new(&self.rule).verify(&head, &self.keys, now)?;
        Ok(tokens.iter().map(|token| token.provider).collect())
    }
}

#[test]
fn one_of_several_providers_is_enough() {
    let both = TwoProviders::new(TokenRequirement::Required);
    let [one, two] = [0, 1].map(|i| {
        let issuer = both.rule.providers[i].issuer.clone();
        both.signers[i].token(&json!({}), &json!({ "iss": issuer }))
    });
    let bearer = |token: &str| ("authorization", format!("Bearer {token}"));
    let second = |token: &str| ("x-second", token.to_owned());
    for (headers, expected) in [
        (vec![], Err(JwtError::Missing)),
        (vec![bearer(&one)], Ok(vec![0])),
        (vec![second(&two)], Ok(vec![1])),
        (vec![bearer(&one), second("nonsense")], Ok(vec![0])),
        (vec![bearer("nonsense"), second(&two)], Ok(vec![1])),
        (vec![bearer(&two)], Err(JwtError::UnknownIssuer)),
        (vec![second("nonsense")], Err(JwtError::BadFormat)),
    ] {
        assert_eq!(both.verify(&headers), expected, "{headers:?}");
    }
}

#[test]
fn optional_lets_requests_without_a_token_pass_and_fail_open_all() {
    let bad = [("authorization", "Bearer nonsense".to_owned())];
    for (requirement, none, invalid) in [
        (
            TokenRequirement::Required,
            Err(JwtError::Missing),
            Err(JwtError::BadFormat),
        ),
        (
            TokenRequirement::Optional,
            Ok(vec![]),
            Err(JwtError::BadFormat),
        ),
        (TokenRequirement::FailOpen, Ok(vec![]), Ok(vec![])),
    ] {
        let both = TwoProviders::new(requirement);
        assert_eq!(both.verify(&[]), none, "{requirement:?}");
        assert_eq!(both.verify(&bad), invalid, "{requirement:?}");
    }
}

#[test]
fn every_token_of_a_provider_must_be_valid() {
    let both = TwoProviders::new(TokenRequirement::Required);
    let token = both.signers[0].token(&json!({}), &json!({"iss": "https://one.test"}));
    let headers = [
        ("authorization", format!("Bearer {token}")),
        ("authorization", "Bearer nonsense".to_owned()),
    ];

    assert_eq!(both.verify(&headers), Err(JwtError::BadFormat));
}

#[test]
fn keys_that_are_not_available_refuse_every_token() {
    let mut both = TwoProviders::new(TokenRequirement::Optional);
    let token = both.signers[0].token(&json!({}), &json!({"iss": "https://one.test"}));
    both.keys = [None, None];

    let result = both.verify(&[("authorization", format!("Bearer {token}"))]);

    assert_eq!(result, Err(JwtError::KeysUnavailable));
}

#[test]
fn a_token_has_a_longest_length() {
    let both = TwoProviders::new(TokenRequirement::Required);
    let long = format!("Bearer {}", "a".repeat(MAX_TOKEN_LENGTH + 1));

    assert_eq!(
        both.verify(&[("authorization", long)]),
        Err(JwtError::TooLong)
    );
}

#[test]
fn a_verified_token_is_still_refused_once_expired_or_when_its_key_is_gone() {
    let (signer, other) = (edwards(), edwards());
    let rule = JwtAuthentication::of(TokenProvider::new("a", ""));
    let token = signer.token(&json!({}), &json!({"exp": 1_000}));
    let (head, ()) = Request::get("/")
        .header("authorization", format!("Bearer {token}"))
        .body(())
        .unwrap()
        .into_parts();
    let verify = |keys: &Arc<KeySet>, second: u64| {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let verified = JwtVerifier::new(&rule).verify(&head, &[Some(keys.clone())], now);
        verified.map(|tokens| tokens.len())
    };
    let (keys, rotated) = (Arc::new(signer.keys()), Arc::new(other.keys()));

    assert_eq!(verify(&keys, 900), Ok(1));
    assert_eq!(verify(&keys, 1_000 + CLOCK_SKEW.as_secs()), Ok(1));
    assert_eq!(
        verify(&keys, 1_001 + CLOCK_SKEW.as_secs()),
        Err(JwtError::Expired)
    );
    assert_eq!(verify(&rotated, 900), Err(JwtError::BadSignature));
    assert_eq!(verify(&keys, 900), Ok(1));
}

#[test]
fn rules_with_the_same_key_set_share_it_and_the_tokens_that_it_has_verified() {
    let signer = edwards();
    let text = json!({ "keys": [signer.jwk] }).to_string();
    let live = towergate_core::policy::Live::default();
    let shared = || KeySet::shared(text.as_bytes(), &live).unwrap();
    let token = signer.token(&json!({}), &json!({"sub": "ada"}));
    let (head, ()) = Request::get("/")
        .header("authorization", format!("Bearer {token}"))
        .body(())
        .unwrap()
        .into_parts();
    let rule = JwtAuthentication::of(TokenProvider::new("a", ""));

    let keys = shared();
    let verified = JwtVerifier::new(&rule).verify(&head, &[Some(keys.clone())], SystemTime::now());

    assert_eq!(verified.unwrap().len(), 1);
    assert!(Arc::ptr_eq(&keys, &shared()));
    let apart = KeySet::parse(text.as_bytes()).unwrap();
    assert!(verified_cache::find(apart.id, &token).is_some());
    let other = set([edwards().jwk]);
    assert!(verified_cache::find(other.id, &token).is_none());
    assert!(KeySet::shared(b"{}", &live).is_err());
}
