//! Signed tokens (RFC 7519) checked with one local key and one algorithm.
//!
//! The algorithm is the configuration's, never the token's: a token that names another is refused
//! before its signature is looked at, so a public key cannot be passed off as a shared secret.

use hawser_codec::code;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

use super::Denied;
use crate::config::{ConfigError, JwtConfig, ReadFile};

/// Shortest shared secret, bytes (RFC 7518 section 3.2 asks for the hash's size; 32 for HS256).
const SECRET_BYTES_MIN: usize = 32;

/// Largest `exp` taken as it stands, s: above it the sum in milliseconds is cut.
const SECONDS_MAX: f64 = 9.0e15;

pub(super) struct Jwt {
    key: DecodingKey,
    validation: Validation,
    user_claim: String,
    realm_claim: Option<String>,
    leeway_ms: u64,
}

impl std::fmt::Debug for Jwt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Jwt({:?})", self.validation.algorithms)
    }
}

impl Jwt {
    pub fn new(config: &JwtConfig, read: ReadFile<'_>) -> Result<Self, ConfigError> {
        let refused = |reason: String| ConfigError {
            key: "auth.jwt_key_file".to_owned(),
            value: Some(config.key_file.display().to_string()),
            from: None,
            reason,
        };
        let text = read(&config.key_file).map_err(|error| refused(error.to_string()))?;
        let algorithm: Algorithm =
            config.algorithm.parse().expect("the table of settings names only known algorithms");
        let key = key(algorithm, &text)
            .map_err(|reason| refused(format!("no key for {}: {reason}", config.algorithm)))?;
        let mut validation = Validation::new(algorithm);
        // The library would ask the system's clock; expiry is checked here with the time given.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.required_spec_claims.clear();
        // Without an audience of ours, tokens for any audience are taken.
        validation.validate_aud = !config.audience.is_empty();
        if !config.audience.is_empty() {
            validation.set_audience(&config.audience);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        if !config.issuer.is_empty() {
            validation.set_issuer(&config.issuer);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        Ok(Self {
            key,
            validation,
            user_claim: config.user_claim.clone(),
            realm_claim: config.realm_claim.clone(),
            leeway_ms: u64::from(config.leeway_s) * 1000,
        })
    }

    /// Wall time at which the login ends, ms.
    pub fn check(&self, now_ms: u64, realm: u32, user: &str, token: &str) -> Result<u64, Denied> {
        let forged = Denied::of(code::UNAUTHENTICATED);
        let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &self.key, &self.validation)
            .map_err(|_| forged)?
            .claims;
        let expires_ms = milliseconds(&claims, "exp").ok_or(forged)?.saturating_add(self.leeway_ms);
        if expires_ms <= now_ms {
            return Err(Denied::of(code::TOKEN_EXPIRED));
        }
        if claims.contains_key("nbf") {
            let from_ms = milliseconds(&claims, "nbf").ok_or(forged)?;
            if from_ms > now_ms.saturating_add(self.leeway_ms) {
                return Err(forged);
            }
        }
        let named = claims.get(&self.user_claim).and_then(Value::as_str);
        let tenant = match &self.realm_claim {
            None => Some(0),
            Some(claim) => claims.get(claim).and_then(Value::as_u64),
        };
        if named != Some(user) || tenant != Some(u64::from(realm)) {
            return Err(forged);
        }
        Ok(expires_ms)
    }
}

/// A NumericDate (RFC 7519 section 2), which may have a fraction.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // range checked
fn milliseconds(claims: &Map<String, Value>, name: &str) -> Option<u64> {
    let value = claims.get(name)?;
    if let Some(seconds) = value.as_u64() {
        return Some(seconds.saturating_mul(1000));
    }
    let seconds = value.as_f64()?;
    (0.0..=SECONDS_MAX).contains(&seconds).then_some((seconds * 1000.0) as u64)
}

fn key(algorithm: Algorithm, text: &str) -> Result<DecodingKey, String> {
    let parsed = match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
            let secret = text.trim_end_matches(['\r', '\n']);
            // A key pair's PEM here is a mistake that would make the public key a secret.
            if secret.contains("-----BEGIN") {
                return Err("a PEM key, but the algorithm wants a shared secret".to_owned());
            }
            if secret.len() < SECRET_BYTES_MIN {
                let length = secret.len();
                return Err(format!("{length} bytes; allowed: {SECRET_BYTES_MIN} or more"));
            }
            return Ok(DecodingKey::from_secret(secret.as_bytes()));
        }
        Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(text.as_bytes()),
        Algorithm::EdDSA => DecodingKey::from_ed_pem(text.as_bytes()),
        _ => DecodingKey::from_rsa_pem(text.as_bytes()),
    };
    parsed.map_err(|error| error.to_string())
}
