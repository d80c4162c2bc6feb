use super::*;
use std::{fs, os::unix::fs::PermissionsExt as _};

const NOW_MS: u64 = 1_800_000_000_000;

fn claims() -> ResumeClaims {
    ResumeClaims {
        realm: 7,
        user: "ann".to_owned(),
        device: "phone".to_owned(),
        epoch: 3,
        login_expires_ms: u64::MAX,
        expires_ms: NOW_MS + 1000,
    }
}

fn code_of(result: Result<ResumeClaims, Denied>) -> u16 {
    result.unwrap_err().code
}

#[test]
fn a_sealed_token_opens_to_the_same_claims_until_it_expires() {
    let keys = ResumeKeys::from_secrets([1; 32], None);
    let token = keys.seal(&claims());
    assert_eq!(keys.open(NOW_MS, &token), Ok(claims()));
    assert_eq!(keys.open(NOW_MS + 999, &token), Ok(claims()));
    assert_eq!(code_of(keys.open(NOW_MS + 1000, &token)), code::TOKEN_EXPIRED);
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let keys = ResumeKeys::from_secrets([1; 32], None);
    let token = keys.seal(&claims());
    for bit in 0..token.len() * 8 {
        let mut forged = token.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(code_of(keys.open(NOW_MS, &forged)), code::UNAUTHENTICATED, "bit {bit}");
    }
    for length in 0..token.len() {
        assert_eq!(code_of(keys.open(NOW_MS, &token[..length])), code::UNAUTHENTICATED);
    }
    let longer = [token.as_slice(), &[0]].concat();
    assert_eq!(code_of(keys.open(NOW_MS, &longer)), code::UNAUTHENTICATED);
    assert_eq!(code_of(keys.open(NOW_MS, &[1; 4096])), code::UNAUTHENTICATED);
}

#[test]
fn the_previous_key_still_opens_and_the_one_before_does_not() {
    let old = ResumeKeys::from_secrets([1; 32], None);
    let next = ResumeKeys::from_secrets([2; 32], Some([1; 32]));
    let last = ResumeKeys::from_secrets([3; 32], Some([2; 32]));
    let token = old.seal(&claims());
    assert!(next.open(NOW_MS, &token).is_ok());
    assert_eq!(code_of(last.open(NOW_MS, &token)), code::UNAUTHENTICATED);
}

#[test]
fn a_token_never_outlives_the_login() {
    let mut identity =
        Identity { realm: 0, user: "a".into(), device: "b".into(), expires_ms: NOW_MS + 5 };
    assert_eq!(ResumeClaims::of(&identity, 1, NOW_MS, 3600).expires_ms, NOW_MS + 5);
    identity.expires_ms = u64::MAX;
    assert_eq!(ResumeClaims::of(&identity, 1, NOW_MS, 3600).expires_ms, NOW_MS + 3_600_000);
}

#[test]
fn the_longest_names_fit_the_longest_token() {
    let keys = ResumeKeys::from_secrets([1; 32], None);
    let long = "n".repeat(NAME_BYTES_MAX);
    let claims = ResumeClaims { user: long.clone(), device: long, ..claims() };
    let token = keys.seal(&claims);
    assert_eq!(token.len(), RESUME_TOKEN_BYTES_MAX);
    assert_eq!(keys.open(NOW_MS, &token), Ok(claims));
}

#[test]
fn keys_survive_a_restart_and_a_rotation_in_a_private_file() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let first = ResumeKeys::open_or_create(&data).unwrap();
    let token = first.seal(&claims());
    let path = data.join(KEY_FILE);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&data), mode(&path)), (0o700, 0o600));

    let again = ResumeKeys::open_or_create(&data).unwrap();
    assert!(again.open(NOW_MS, &token).is_ok());
    again.rotate(&data).unwrap();
    let rotated = ResumeKeys::open_or_create(&data).unwrap();
    assert!(rotated.open(NOW_MS, &token).is_ok());
    assert_eq!(mode(&path), 0o600);
    rotated.rotate(&data).unwrap();
    let twice = ResumeKeys::open_or_create(&data).unwrap();
    assert_eq!(code_of(twice.open(NOW_MS, &token)), code::UNAUTHENTICATED);
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "no draft is left behind");
}

#[test]
fn a_key_file_that_others_may_read_or_that_is_damaged_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    ResumeKeys::open_or_create(dir.path()).unwrap();
    let path = dir.path().join(KEY_FILE);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = ResumeKeys::open_or_create(dir.path()).unwrap_err().to_string();
    assert!(error.contains("0644") && error.contains(KEY_FILE), "{error}");

    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for text in ["", "hawser resume keys 1\n", "hawser resume keys 1\nabc\n", "other\n"] {
        fs::write(&path, text).unwrap();
        let error = ResumeKeys::open_or_create(dir.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{text:?}");
    }
}
