//! What rustls asks for and tells in the middle of a call: the wall time, and the traffic secrets.
//!
//! Both go through trait objects of a configuration that all workers share, while time and secrets
//! belong to the one handshake that the thread is at. So they lie on a desk of the thread: the time
//! is put there before a call, the secrets are taken away after it. Nothing stays on it.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use rustls::{KeyLog, pki_types::UnixTime, time_provider::TimeProvider};
use zeroize::Zeroize;

use crate::keys::{SECRET_BYTES_MAX, Secret};

/// First traffic secrets of a connection of TLS 1.3.
#[derive(Default)]
pub(crate) struct Secrets {
    pub(crate) client: Option<Secret>,
    pub(crate) server: Option<Secret>,
}

impl Drop for Secrets {
    fn drop(&mut self) {
        self.client.zeroize();
        self.server.zeroize();
    }
}

thread_local! {
    static NOW_S: Cell<u64> = const { Cell::new(0) };
    static SECRETS: RefCell<Secrets> = const { RefCell::new(Secrets { client: None, server: None }) };
}

/// Puts the wall time (seconds since 1970) down for the next call.
pub(crate) fn put_time(now_s: u64) {
    NOW_S.set(now_s);
}

/// The time put down last.
pub(crate) fn now_s() -> u64 {
    NOW_S.get()
}

/// Takes the secrets that the last call told.
pub(crate) fn take_secrets() -> Secrets {
    SECRETS.take()
}

/// The time of the desk, for rustls.
#[derive(Debug)]
pub(crate) struct DeskTime;

impl TimeProvider for DeskTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(now_s())))
    }
}

/// Lays traffic secrets on the desk, and no others.
#[derive(Debug)]
pub(crate) struct DeskSecrets;

const CLIENT: &str = "CLIENT_TRAFFIC_SECRET_0";
const SERVER: &str = "SERVER_TRAFFIC_SECRET_0";

impl KeyLog for DeskSecrets {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        let mut padded = [0; SECRET_BYTES_MAX];
        let Some(place) = padded.get_mut(..secret.len()) else { return };
        place.copy_from_slice(secret);
        SECRETS.with_borrow_mut(|secrets| match label {
            CLIENT => secrets.client = Some(padded),
            SERVER => secrets.server = Some(padded),
            _ => {}
        });
        padded.zeroize();
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, CLIENT | SERVER)
    }
}
