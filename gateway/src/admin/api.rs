//! The server API, `/v1/`: what an operator or a server of the owner may ask of the process.
//!
//! A browser on the same machine must not become its remote control: whatever is asked wants the
//! key, a `Host` that names this port by address (a name may be bound to it by a stranger's name
//! server), and no `Origin` but its own.

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::post,
};
use serde_json::json;
use std::{net::IpAddr, sync::Arc};
use tokio::sync::{mpsc, oneshot};

use super::AdminKey;

/// Questions waiting for the process at one time; each takes milliseconds, and nobody asks often.
const ASKS_MAX: usize = 4;

/// A question to the process.
#[derive(Debug)]
pub enum Ask {
    /// Read the configuration and what it names again.
    Reload(oneshot::Sender<Reloaded>),
}

/// What came of a reload.
pub type Reloaded = Result<Outcome, String>;

/// A reload that was taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Something else differs from what is in force, too.
    pub restart_needed: bool,
}

/// Where questions are put.
pub type Asks = mpsc::Receiver<Ask>;

struct Guard {
    key: AdminKey,
    /// Names under which the port may be called, besides addresses and `localhost`.
    hosts: Vec<String>,
    asks: mpsc::Sender<Ask>,
}

/// The API, and the questions that come by it.
pub fn api(key: AdminKey, hosts: Vec<String>) -> (Router, Asks) {
    let (asks, questions) = mpsc::channel(ASKS_MAX);
    let guard = Arc::new(Guard { key, hosts, asks });
    let inner = Router::new()
        .route("/reload", post(reload))
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "nothing is here") })
        .layer(middleware::from_fn_with_state(guard.clone(), check))
        .with_state(guard);
    (Router::new().nest("/v1", inner), questions)
}

fn refusal(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let Some(host) = text(headers, header::HOST).filter(|host| guard.is_named(host)) else {
        let error = "the Host of the request is no address, not localhost and not in `admin.hosts`";
        return refusal(StatusCode::FORBIDDEN, error);
    };
    if headers.contains_key(header::ORIGIN) {
        let origin = text(headers, header::ORIGIN).unwrap_or_default();
        let plain = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if plain != Some(host) {
            return refusal(StatusCode::FORBIDDEN, "pages of other origins are not answered");
        }
    }
    if !guard.key.opens(headers) {
        let error = "the key is missing or wrong: Authorization: Bearer KEY";
        let mut answer = refusal(StatusCode::UNAUTHORIZED, error);
        let bearer = header::HeaderValue::from_static("Bearer");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        return answer;
    }
    next.run(request).await
}

impl Guard {
    fn is_named(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map_or("", |(name, _)| name),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        name.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|known| name.eq_ignore_ascii_case(known))
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

async fn reload(State(guard): State<Arc<Guard>>) -> Response {
    let (answer, answered) = oneshot::channel();
    if guard.asks.send(Ask::Reload(answer)).await.is_err() {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "the process is ending");
    }
    match answered.await {
        Ok(Ok(Outcome { restart_needed })) => {
            Json(json!({ "reloaded": true, "restart_needed": restart_needed })).into_response()
        }
        Ok(Err(error)) => {
            let body = Json(json!({ "reloaded": false, "error": error }));
            (StatusCode::UNPROCESSABLE_ENTITY, body).into_response()
        }
        Err(_) => refusal(StatusCode::SERVICE_UNAVAILABLE, "the process is ending"),
    }
}
