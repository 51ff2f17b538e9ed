//! Tokens and keys of known attacks on implementations of JWS (RFC 7515, RFC 7518, RFC 8725), in the classes
//! of Project Wycheproof. Each must be rejected with the expected error.

use super::*;

/// Replaces the signature of a token.
fn with_signature(token: &str, signature: &[u8]) -> String {
    let (signed, _) = token.rsplit_once('.').unwrap();
    format!("{signed}.{}", base64(signature))
}

fn signature_of(token: &str) -> Vec<u8> {
    let (_, signature) = token.rsplit_once('.').unwrap();
    BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap()
}

/// A token that `signer` signs, with this string as header.
fn with_header(signer: &Signer, header: &str) -> String {
    let signed = format!("{}.{}", base64(header), base64("{}"));
    let signature = (signer.sign)(signed.as_bytes());
    format!("{signed}.{}", base64(signature))
}

/// The DER encoding of a signature that consists of two numbers of equal length.
fn der(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    let number = |digits: &[u8]| {
        let zeros = digits.iter().take_while(|byte| **byte == 0).count();
        let mut number = digits[zeros..].to_vec();
        if number.first().is_none_or(|byte| *byte >= 0x80) {
            number.insert(0, 0);
        }
        let length = u8::try_from(number.len()).unwrap();
        [vec![2, length], number].concat()
    };
    let numbers = [number(r), number(s)].concat();
    [vec![0x30, u8::try_from(numbers.len()).unwrap()], numbers].concat()
}

#[test]
fn signatures_of_the_wrong_form_are_refused() {
    for signer in all() {
        let token = signer.token(&json!({}), &json!({}));
        let good = signature_of(&token);
        let keys = signer.keys();
        let changed = |at: usize| {
            let mut signature = good.clone();
            signature[at] ^= 1;
            signature
        };
        let half = good.len() / 2;
        for (what, signature) in [
            ("one byte less", good[..good.len() - 1].to_vec()),
            ("one byte more", [&good[..], &[0]].concat()),
            ("a zero in front", [&[0], &good[..]].concat()),
            ("half of it", good[..half].to_vec()),
            ("twice", [&good[..], &good[..]].concat()),
            ("one byte", vec![0]),
            ("zeros", vec![0; good.len()]),
            ("ones", vec![0xff; good.len()]),
            ("first bit", changed(0)),
            ("last bit", changed(good.len() - 1)),
            ("4 KiB", vec![7; 4096]),
        ] {
            let result = verify(&keys, &with_signature(&token, &signature));
            assert_eq!(
                result,
                Err(JwtError::BadSignature),
                "{} {what}",
                signer.algorithm
            );
        }
        assert_eq!(verify(&keys, &token), Ok(()), "{}", signer.algorithm);
    }
}

#[test]
fn the_numbers_of_an_ecdsa_signature_are_in_range_and_of_fixed_length() {
    for signer in elliptic() {
        let token = signer.token(&json!({}), &json!({}));
        let good = signature_of(&token);
        let half = good.len() / 2;
        let (r, s) = good.split_at(half);
        let (zero, one) = (vec![0; half], [vec![0; half - 1], vec![1]].concat());
        let largest = vec![0xff; half];
        for (what, signature) in [
            ("r = 0", [&zero[..], s].concat()),
            ("s = 0", [r, &zero[..]].concat()),
            ("both 0", [&zero[..], &zero].concat()),
            ("both 1", [&one[..], &one].concat()),
            ("r beyond the order", [&largest[..], s].concat()),
            ("s beyond the order", [r, &largest[..]].concat()),
            ("exchanged", [s, r].concat()),
            ("DER", der(&good)),
            ("r alone", r.to_vec()),
            ("longer numbers", [&[0], r, &[0], s].concat()),
        ] {
            let result = verify(&signer.keys(), &with_signature(&token, &signature));
            assert_eq!(
                result,
                Err(JwtError::BadSignature),
                "{} {what}",
                signer.algorithm
            );
        }
    }
}

#[test]
fn every_algorithm_refuses_the_signature_of_every_other() {
    let all = all();
    for signer in &all {
        for other in &all {
            // The header names the algorithm of `signer`, but `other` signs the token.
            let header = json!({ "alg": signer.algorithm }).to_string();
            let token = with_header(other, &header);

            let result = verify(&signer.keys(), &token);

            let expected = match signer.algorithm == other.algorithm {
                true => Ok(()),
                false => Err(JwtError::BadSignature),
            };
            assert_eq!(
                result, expected,
                "{} by {}",
                signer.algorithm, other.algorithm
            );
        }
    }
}

#[test]
fn headers_that_weaken_a_signature_are_refused() {
    let signer = edwards();
    let keys = signer.keys();
    for (header, expected) in [
        (r#"{"alg":"EdDSA"}"#, Ok(())),
        (r#"{"alg":"none"}"#, Err(JwtError::UnsupportedAlgorithm)),
        (r#"{"alg":"NONE"}"#, Err(JwtError::UnsupportedAlgorithm)),
        (r#"{"alg":""}"#, Err(JwtError::UnsupportedAlgorithm)),
        (r#"{"alg":"eddsa"}"#, Err(JwtError::UnsupportedAlgorithm)),
        (
            r#"{"alg":"EdDSA\u0000"}"#,
            Err(JwtError::UnsupportedAlgorithm),
        ),
        (r#"{"alg":["EdDSA"]}"#, Err(JwtError::NoAlgorithm)),
        (r#"{"alg":null}"#, Err(JwtError::NoAlgorithm)),
        (r#"{"typ":"JWT"}"#, Err(JwtError::NoAlgorithm)),
        (r#"{"alg":"none","alg":"EdDSA"}"#, Err(JwtError::BadHeader)),
        (
            r#"{"alg":"EdDSA","kid":"a","kid":"b"}"#,
            Err(JwtError::BadHeader),
        ),
        (
            r#"{"alg":"EdDSA","x":{"a":1,"a":2}}"#,
            Err(JwtError::BadHeader),
        ),
        (r#"{"alg":"EdDSA"} "#, Ok(())),
        (r#"{"alg":"EdDSA"}x"#, Err(JwtError::BadHeader)),
        (
            r#"{"alg":"EdDSA","crit":[]}"#,
            Err(JwtError::CriticalHeader),
        ),
        (
            r#"{"alg":"EdDSA","crit":["exp"],"exp":0}"#,
            Err(JwtError::CriticalHeader),
        ),
        (
            r#"{"alg":"EdDSA","crit":["b64"],"b64":false}"#,
            Err(JwtError::CriticalHeader),
        ),
        (r#"{"alg":"EdDSA","b64":false}"#, Ok(())),
    ] {
        assert_eq!(
            verify(&keys, &with_header(&signer, header)),
            expected,
            "{header}"
        );
    }
}

/// The header of a token may contain a key or the URL of a key. Neither is used.
#[test]
fn a_key_in_the_header_is_not_used() {
    let (signer, attacker) = (edwards(), edwards());
    for (name, value) in [
        ("jwk", attacker.jwk.clone()),
        ("jku", json!("https://attacker.test/jwks")),
        ("x5u", json!("https://attacker.test/cert")),
        ("x5c", json!(["AAAA"])),
    ] {
        let token = attacker.token(&json!({ name: value }), &json!({}));
        assert_eq!(
            verify(&signer.keys(), &token),
            Err(JwtError::BadSignature),
            "{name}"
        );
    }
}

#[test]
fn encodings_that_two_readers_decode_differently_are_refused() {
    let signer = edwards();
    let token = signer.token(&json!({}), &json!({"sub": "ada"}));
    let keys = signer.keys();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    // 64 bytes are encoded in 86 characters, so the last character has 4 unused bits.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (head, last) = signature.split_at(signature.len() - 1);
    let position = alphabet.find(last).unwrap();
    let same_bytes = &alphabet[position + 1..position + 2];
    for (what, signature) in [
        ("unused bits", format!("{head}{same_bytes}")),
        ("a line end", format!("{signature}\n")),
        ("a space", format!("{head} {last}")),
        ("another alphabet", format!("{}+/", &signature[..84])),
        ("too much padding", format!("{signature}===")),
        ("padding within", format!("{head}={last}")),
        ("one character", "A".to_owned()),
    ] {
        let result = verify(&keys, &format!("{signed}.{signature}"));
        assert_eq!(result, Err(JwtError::BadSignatureEncoding), "{what}");
    }
    for (what, text) in [
        ("four parts", format!("{token}.")),
        ("five parts of JWE", format!("{token}.a.b")),
        ("no signature", format!("{signed}.")),
        (
            "JSON serialization",
            json!({"payload": "e30", "signatures": []}).to_string(),
        ),
    ] {
        assert_eq!(verify(&keys, &text), Err(JwtError::BadFormat), "{what}");
    }
}

#[test]
fn keys_that_verify_too_much_are_left_out() {
    let rsa = rsa().remove(0).jwk;
    let elliptic = elliptic().remove(0).jwk;
    let changed = |jwk: &Value, name: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        jwk
    };
    let modulus = |bytes: usize| {
        let mut modulus = vec![0xff; bytes];
        modulus[0] = 0xc0;
        base64(modulus)
    };
    let [x, y] = ["x", "y"].map(|name| elliptic[name].clone());
    for (what, jwk) in [
        ("exponent 1", changed(&rsa, "e", json!("AQ"))),
        ("exponent 0", changed(&rsa, "e", json!("AA"))),
        ("even exponent", changed(&rsa, "e", json!("AQAA"))),
        ("1024 bits", changed(&rsa, "n", json!(modulus(128)))),
        ("2040 bits", changed(&rsa, "n", json!(modulus(255)))),
        ("16 Kibit", changed(&rsa, "n", json!(modulus(2048)))),
        ("no modulus", changed(&rsa, "n", json!(""))),
        ("RSA for HMAC", changed(&rsa, "alg", json!("HS256"))),
        ("RSA for ECDSA", changed(&rsa, "alg", json!("ES256"))),
        ("RSA as oct", changed(&rsa, "kty", json!("oct"))),
        ("RSA for none", changed(&rsa, "alg", json!("none"))),
        ("for encryption", changed(&rsa, "use", json!("enc"))),
        ("to sign only", changed(&rsa, "key_ops", json!(["sign"]))),
        ("off the curve", changed(&elliptic, "y", x)),
        ("another curve", changed(&elliptic, "crv", json!("P-384"))),
        ("ES384 on P-256", changed(&elliptic, "alg", json!("ES384"))),
        ("HS256 on P-256", changed(&elliptic, "alg", json!("HS256"))),
        (
            "infinity",
            json!({"kty": "EC", "crv": "P-256", "x": base64([0; 32]), "y": base64([0; 32])}),
        ),
        (
            "long coordinate",
            changed(&elliptic, "x", json!(base64([1; 33]))),
        ),
        ("no coordinate", changed(&elliptic, "y", Value::Null)),
        ("kty in lower case", changed(&elliptic, "kty", json!("ec"))),
        ("EC as OKP", json!({"kty": "OKP", "crv": "Ed25519", "y": y})),
        (
            "X25519",
            json!({"kty": "OKP", "crv": "X25519", "x": base64([9; 32])}),
        ),
        (
            "31 bytes",
            json!({"kty": "OKP", "crv": "Ed25519", "x": base64([9; 31])}),
        ),
        ("short secret", json!({"kty": "oct", "k": base64([1; 31])})),
        ("empty secret", json!({"kty": "oct", "k": ""})),
        (
            "HS512, 32 bytes",
            json!({"kty": "oct", "k": base64([1; 32]), "alg": "HS512"}),
        ),
    ] {
        let text = json!({ "keys": [jwk] }).to_string();
        let result = KeySet::parse(text.as_bytes());
        assert!(
            matches!(result, Err(KeySetError::NoUsableKey(_))),
            "{what}: {result:?}"
        );
    }
}
