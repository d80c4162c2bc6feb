//! Who may log in under each kind of authentication, and who may not.

#![allow(clippy::unwrap_used)] // the lint takes shared test code for ordinary code

use std::{io, path::Path};

use hawser_codec::code;
use hawser_gateway::{
    auth::{Authenticator, Denied, Identity},
    config::{self, Config, Invocation, Machine, Stop},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

/// Long before the machine's own time, so that a look at its clock would show as an expired token.
const NOW_MS: u64 = 1_000_000_000_000;
const NOW_S: u64 = NOW_MS / 1000;
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn key(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name);
    std::fs::read_to_string(path).unwrap()
}

fn read(path: &Path) -> io::Result<String> {
    match path.to_str().unwrap() {
        "secret" => Ok(format!("{SECRET}\n")),
        "short" => Ok("too short\n".to_owned()),
        "tokens.toml" => Ok("\"file-token-of-bob-0001\" = \"bob\"\n".to_owned()),
        name if name.ends_with(".pem") => Ok(key(name)),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

fn load(settings: &str) -> Result<Config, Stop> {
    let file = format!("[auth]\n{settings}");
    let machine = Machine { cores: 2, descriptors_max: 20_000 };
    let arguments = ["hawser-gateway", "--config", "test.toml"].map(Into::into);
    let read = |path: &Path| match path.to_str() {
        Some("test.toml") => Ok(file.clone()),
        _ => read(path),
    };
    match config::load(arguments, [], machine, &read)? {
        Invocation::Run(config) => Ok(*config),
        other => panic!("{other:?}"),
    }
}

fn authenticator(settings: &str) -> Authenticator {
    Authenticator::new(&load(settings).unwrap().auth, &[7; 32], &read).unwrap()
}

fn jwt(more: &str) -> Authenticator {
    authenticator(&format!("kind = \"jwt\"\njwt_key_file = \"secret\"\n{more}"))
}

/// Signed by us, as HS256.
fn signed(claims: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes()))
        .unwrap()
}

fn login(check: &Authenticator, user: &str, token: &str) -> Result<Identity, Denied> {
    check.authenticate(NOW_MS, 0, user, "phone", token)
}

#[track_caller]
fn assert_denied(result: Result<Identity, Denied>, code: u16) {
    assert_eq!(result.map_err(|denied| denied.code), Err(code));
}

#[test]
fn auth_none_believes_everybody_but_not_every_name() {
    let check = authenticator("kind = \"none\"");
    let identity = login(&check, "ann", "").unwrap();
    assert_eq!((identity.user.as_str(), identity.expires_ms), ("ann", u64::MAX));
    assert_denied(login(&check, "", ""), code::BAD_NAME);
    assert!(login(&check, &"n".repeat(64), "").is_ok());
    assert_denied(login(&check, &"n".repeat(65), ""), code::BAD_NAME);
    assert_denied(check.authenticate(NOW_MS, 0, "ann", "", ""), code::BAD_NAME);
}

#[test]
fn a_static_token_opens_for_its_user_and_realm_only() {
    let check = authenticator(
        "kind = \"token\"\ntoken_file = \"tokens.toml\"\n[auth.tokens]\n\
         \"token-of-ann-00000001\" = \"ann\"\n\
         \"token-of-eve-00000001\" = { user = \"eve\", realm = 7 }\n",
    );
    assert!(login(&check, "ann", "token-of-ann-00000001").is_ok());
    assert!(login(&check, "bob", "file-token-of-bob-0001").is_ok());
    let eve = check.authenticate(NOW_MS, 7, "eve", "phone", "token-of-eve-00000001").unwrap();
    assert_eq!(eve.realm, 7);
    for (user, token) in [
        ("bob", "token-of-ann-00000001"),
        ("ann", "token-of-ann-00000002"),
        ("ann", "token-of-ann-0000000"),
        ("ann", ""),
        ("eve", "token-of-eve-00000001"),
    ] {
        assert_denied(login(&check, user, token), code::UNAUTHENTICATED);
    }
    let elsewhere = check.authenticate(NOW_MS, 1, "ann", "phone", "token-of-ann-00000001");
    assert_denied(elsewhere, code::UNAUTHENTICATED);
}

#[test]
fn a_refused_token_table_is_named_without_its_tokens() {
    for (table, part) in [
        ("\"secret-short\" = \"ann\"", "16 to 8192"),
        ("\"secret-token-0000001\" = \"\"", "1 to 64 bytes"),
        ("\"secret-token-0000001\" = { user = \"ann\", relm = 1 }", "relm"),
        ("\"secret-token-0000001\" = { user = \"ann\", realm = -1 }", "0 to 4294967295"),
        ("", "token_file"),
    ] {
        let error = load(&format!("kind = \"token\"\n[auth.tokens]\n{table}\n")).unwrap_err();
        let Stop::Config(error) = error else { panic!("{error:?}") };
        let text = error.to_string();
        assert!(text.contains(part), "{text}");
        assert!(!text.contains("secret-"), "{text}");
    }
    let config = load("kind = \"token\"\ntoken_file = \"tokens.toml\"").unwrap();
    assert!(!format!("{config:?}").contains("file-token"), "tokens do not reach the log");
}

#[test]
fn a_signed_token_opens_until_it_expires_by_the_time_given() {
    let check = jwt("");
    let token = signed(&json!({ "sub": "ann", "exp": NOW_S + 60 }));
    assert_eq!(login(&check, "ann", &token).unwrap().expires_ms, NOW_MS + 60_000);
    let at = |now_ms| check.authenticate(now_ms, 0, "ann", "phone", &token);
    assert!(at(NOW_MS + 59_999).is_ok());
    assert_denied(at(NOW_MS + 60_000), code::TOKEN_EXPIRED);
    assert!(at(0).is_ok(), "the machine's own clock is not asked");

    let check = jwt("jwt_leeway_s = 5");
    let late = |late_ms| check.authenticate(NOW_MS + 60_000 + late_ms, 0, "ann", "phone", &token);
    assert!(late(4_999).is_ok());
    assert_denied(late(5_000), code::TOKEN_EXPIRED);
}

#[test]
fn expiry_is_wanted_and_must_be_a_number() {
    let check = jwt("");
    for claims in [
        json!({ "sub": "ann" }),
        json!({ "sub": "ann", "exp": "2999" }),
        json!({ "sub": "ann", "exp": -1 }),
        json!({ "sub": "ann", "exp": 1e300 }),
        json!({ "sub": "ann", "exp": null }),
    ] {
        assert_denied(login(&check, "ann", &signed(&claims)), code::UNAUTHENTICATED);
    }
    let fraction = json!({ "sub": "ann", "exp": 1_000_000_001.5 });
    assert_eq!(login(&check, "ann", &signed(&fraction)).unwrap().expires_ms, NOW_MS + 1500);
    let huge = json!({ "sub": "ann", "exp": u64::MAX });
    assert_eq!(login(&check, "ann", &signed(&huge)).unwrap().expires_ms, u64::MAX);
}

#[test]
fn a_token_not_yet_valid_or_for_somebody_else_is_refused() {
    let check = jwt("");
    let exp = NOW_S + 60;
    let early = signed(&json!({ "sub": "ann", "exp": exp, "nbf": NOW_S + 1 }));
    assert_denied(login(&check, "ann", &early), code::UNAUTHENTICATED);
    let ann = signed(&json!({ "sub": "ann", "exp": exp, "nbf": NOW_S }));
    assert!(login(&check, "ann", &ann).is_ok());
    assert_denied(login(&check, "bob", &ann), code::UNAUTHENTICATED);
    let in_realm = check.authenticate(NOW_MS, 1, "ann", "phone", &ann);
    assert_denied(in_realm, code::UNAUTHENTICATED);
    let nobody = signed(&json!({ "exp": exp }));
    assert_denied(login(&check, "ann", &nobody), code::UNAUTHENTICATED);
}

#[test]
fn user_and_realm_come_from_the_claims_that_are_configured() {
    let check = jwt("jwt_user_claim = \"name\"\njwt_realm_claim = \"tenant\"");
    let exp = NOW_S + 60;
    let token = signed(&json!({ "sub": "x", "name": "ann", "tenant": 9, "exp": exp }));
    assert_eq!(check.authenticate(NOW_MS, 9, "ann", "phone", &token).unwrap().realm, 9);
    assert_denied(login(&check, "ann", &token), code::UNAUTHENTICATED);
    let without = signed(&json!({ "name": "ann", "exp": exp }));
    assert_denied(login(&check, "ann", &without), code::UNAUTHENTICATED);
}

#[test]
fn audience_and_issuer_are_wanted_when_configured() {
    let check = jwt("jwt_audience = [\"chat\", \"push\"]\njwt_issuer = [\"login.example\"]");
    let exp = NOW_S + 60;
    let good = json!({ "sub": "ann", "exp": exp, "aud": ["web", "chat"], "iss": "login.example" });
    assert!(login(&check, "ann", &signed(&good)).is_ok());
    for (claim, value) in [
        ("aud", json!("web")),
        ("aud", json!([])),
        ("aud", json!(7)),
        ("aud", Value::Null),
        ("iss", json!("other.example")),
        ("iss", Value::Null),
    ] {
        let mut claims = good.clone();
        claims[claim] = value;
        assert_denied(login(&check, "ann", &signed(&claims)), code::UNAUTHENTICATED);
    }
}

#[test]
fn every_changed_character_of_a_token_is_refused() {
    let check = jwt("");
    let token = signed(&json!({ "sub": "ann", "exp": NOW_S + 60 }));
    for at in 0..token.len() {
        let mut forged = token.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        assert_denied(login(&check, "ann", &forged), code::UNAUTHENTICATED);
        assert_denied(login(&check, "ann", &token[..at]), code::UNAUTHENTICATED);
    }
    assert_denied(login(&check, "ann", &"a.".repeat(5000)), code::UNAUTHENTICATED);
    let other = EncodingKey::from_secret(b"another secret of thirty-two bytes");
    let claims = json!({ "sub": "ann", "exp": NOW_S + 60 });
    let forged = encode(&Header::new(Algorithm::HS256), &claims, &other).unwrap();
    assert_denied(login(&check, "ann", &forged), code::UNAUTHENTICATED);
}

#[test]
fn the_token_does_not_choose_the_algorithm() {
    let claims = json!({ "sub": "ann", "exp": NOW_S + 60 });
    // The public key, which everybody may know, taken as the secret of a MAC.
    let check = authenticator(
        "kind = \"jwt\"\njwt_algorithm = \"RS256\"\njwt_key_file = \"rsa.public.pem\"",
    );
    let public = EncodingKey::from_secret(key("rsa.public.pem").as_bytes());
    let confused = encode(&Header::new(Algorithm::HS256), &claims, &public).unwrap();
    assert_denied(login(&check, "ann", &confused), code::UNAUTHENTICATED);
    // No signature at all: {"alg":"none"}.
    let parts = signed(&claims);
    let payload = parts.split('.').nth(1).unwrap();
    for head in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJOT05FIn0"] {
        assert_denied(login(&check, "ann", &format!("{head}.{payload}.")), code::UNAUTHENTICATED);
        let token = format!("{head}.{payload}.");
        assert_denied(login(&jwt(""), "ann", &token), code::UNAUTHENTICATED);
    }
    // The right secret, but another hash than the one configured.
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    let longer = encode(&Header::new(Algorithm::HS512), &claims, &secret).unwrap();
    assert_denied(login(&jwt(""), "ann", &longer), code::UNAUTHENTICATED);
}

#[test]
fn every_family_of_keys_opens_its_own_tokens_and_no_others() {
    let pem = |name: &str| key(&format!("{name}.private.pem"));
    let signers = [
        ("RS256", Algorithm::RS256, "rsa", EncodingKey::from_rsa_pem(pem("rsa").as_bytes())),
        ("RS512", Algorithm::RS512, "rsa", EncodingKey::from_rsa_pem(pem("rsa").as_bytes())),
        ("ES256", Algorithm::ES256, "ec", EncodingKey::from_ec_pem(pem("ec").as_bytes())),
        ("EdDSA", Algorithm::EdDSA, "ed", EncodingKey::from_ed_pem(pem("ed").as_bytes())),
    ];
    let claims = json!({ "sub": "ann", "exp": NOW_S + 60 });
    let tokens: Vec<(&str, String)> = signers
        .iter()
        .map(|(name, algorithm, _, key)| {
            (*name, encode(&Header::new(*algorithm), &claims, key.as_ref().unwrap()).unwrap())
        })
        .collect();
    for (name, _, file, _) in &signers {
        let check = authenticator(&format!(
            "kind = \"jwt\"\njwt_algorithm = \"{name}\"\njwt_key_file = \"{file}.public.pem\""
        ));
        for (signer, token) in &tokens {
            assert_eq!(login(&check, "ann", token).is_ok(), signer == name, "{signer} at {name}");
        }
    }
}

#[test]
fn a_key_file_that_holds_no_fitting_key_is_refused_at_start() {
    for (algorithm, file, part) in [
        ("HS256", "missing", "auth.jwt_key_file"),
        ("HS256", "short", "32 or more"),
        ("HS256", "rsa.public.pem", "PEM"),
        ("RS256", "secret", "RS256"),
        ("RS256", "ed.public.pem", "RS256"),
        ("EdDSA", "rsa.public.pem", "EdDSA"),
        ("ES256", "ed.public.pem", "ES256"),
    ] {
        let refused = load(&format!(
            "kind = \"jwt\"\njwt_algorithm = \"{algorithm}\"\njwt_key_file = \"{file}\""
        ));
        let Err(Stop::Config(error)) = refused else { panic!("{algorithm} {file}: {refused:?}") };
        let error = error.to_string();
        assert!(error.contains(part) && error.contains(file), "{error}");
    }
}
