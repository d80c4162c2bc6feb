//! Who a login is: nobody asked, a static token, or a signed one.
//!
//! Pure, given the wall time: keys are read when the [`Authenticator`] is built, never on a login,
//! so that a worker may call it. It answers about names too: what it lets through fits a key.
//!
//! Invariant: an [`Identity`] names a user its token speaks for. What a token does not say (the
//! device) is the client's word, and lives inside that user alone.

mod jwt;
mod token;

pub use token::TokenTable;

use hawser_codec::code;

use crate::{
    config::{AuthConfig, AuthKind, ConfigError, ReadFile},
    limits::{NAME_BYTES_MAX, TOKEN_BYTES_MAX},
};

/// A login that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Tenant.
    pub realm: u32,
    /// User's name, 1 to 64 bytes.
    pub user: String,
    /// Device's name, 1 to 64 bytes.
    pub device: String,
    /// Wall time at which the login ends, ms; `u64::MAX`: never.
    pub expires_ms: u64,
}

/// A login that does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// One of [`hawser_codec::code`].
    pub code: u16,
    /// For people. The same for every forgery: it must not tell a guesser how near he is.
    pub text: &'static str,
}

impl Denied {
    pub(crate) const fn of(code: u16) -> Self {
        Self { code, text: code::text(code) }
    }
}

#[derive(Debug)]
enum Check {
    None,
    Token(token::Tokens),
    Jwt(Box<jwt::Jwt>),
}

/// Checks logins.
#[derive(Debug)]
pub struct Authenticator {
    check: Check,
}

impl Authenticator {
    /// Reads the keys the configuration names. `secret` is random, drawn by the caller: it keys the
    /// hash under which static tokens are kept.
    ///
    /// # Errors
    /// A key file that cannot be read or holds no key of the algorithm.
    pub fn new(
        config: &AuthConfig,
        secret: &[u8; 32],
        read: ReadFile<'_>,
    ) -> Result<Self, ConfigError> {
        let check = match &config.kind {
            AuthKind::None => Check::None,
            AuthKind::Token(table) => Check::Token(token::Tokens::new(table, secret)),
            AuthKind::Jwt(jwt) => Check::Jwt(Box::new(jwt::Jwt::new(jwt, read)?)),
        };
        Ok(Self { check })
    }

    /// Is this client who it says?
    ///
    /// # Errors
    /// `BAD_NAME`, `UNAUTHENTICATED` or `TOKEN_EXPIRED`.
    pub fn authenticate(
        &self,
        now_wall_ms: u64,
        realm: u32,
        user: &str,
        device: &str,
        token: &str,
    ) -> Result<Identity, Denied> {
        for name in [user, device] {
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                return Err(Denied::of(code::BAD_NAME));
            }
        }
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Denied::of(code::UNAUTHENTICATED));
        }
        let expires_ms = match &self.check {
            Check::None => u64::MAX,
            Check::Token(tokens) => tokens.check(realm, user, token)?,
            Check::Jwt(jwt) => jwt.check(now_wall_ms, realm, user, token)?,
        };
        Ok(Identity { realm, user: user.to_owned(), device: device.to_owned(), expires_ms })
    }
}

/// Workers share one by reference.
const _: fn() = || {
    const fn shared<T: Send + Sync>() {}
    shared::<Authenticator>();
    shared::<crate::resume::ResumeKeys>();
};
