//! Metrics and health over HTTP, on a thread of its own; of the gateway and of the separate router.
//!
//! Ordinary tokio and axum: nothing here runs on a worker, and nothing a scrape does can delay
//! one; what it shows are [`Pages`] made of atomics.
//!
//! What it is not: the control and server API (`/v1/`), which a process adds if it has one.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    thread,
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::Sleep,
};

/// Connections open at a time: a scraper or two, a prober and a person; more wait in the kernel.
const CONNECTIONS_MAX: usize = 64;
/// Longest a connection lives, whatever it does: one that says nothing, or says it byte by byte,
/// gives its place back. A scraper that keeps its connection opens a new one.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(30);
/// Pause after a failed accept, which mostly means that descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Shortest admin key, bytes.
pub const KEY_BYTES_MIN: usize = 16;
/// What a page of metrics is, as Prometheus asks for it.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a process shows.
pub trait Pages: Send + Sync + 'static {
    /// The page `/metrics`, as OpenMetrics text.
    ///
    /// # Errors
    /// Never in practice: it writes into a text.
    fn metrics(self: Arc<Self>) -> Result<String, fmt::Error>;

    /// Whether it serves, and what `/readyz` says of that.
    fn readiness(&self) -> (bool, String);
}

/// What those who ask have to show; compared as hashes, in constant time.
#[derive(Clone, Copy)]
pub struct AdminKey(blake3::Hash);

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminKey")
    }
}

impl AdminKey {
    /// The first line of a text.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let key = text.lines().next()?.trim();
        (key.len() >= KEY_BYTES_MIN).then(|| Self(blake3::hash(key.as_bytes())))
    }

    /// Do these headers of a request hold it, as bearer token?
    #[must_use]
    pub fn opens(&self, headers: &HeaderMap) -> bool {
        headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
            .is_some_and(|key| blake3::hash(key) == self.0)
    }
}

/// The running thread. Ends when dropped.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Admin {
    /// Binds, then serves from a new thread: the pages, which want `key` where they are not for
    /// everybody, and whatever `api` has.
    ///
    /// # Errors
    /// As `bind` (the address in the text), or when a thread cannot be made.
    pub fn start(
        address: SocketAddr,
        key: Option<AdminKey>,
        pages: Arc<dyn Pages>,
        api: Router,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).map_err(|error| {
            io::Error::new(error.kind(), format!("admin.address {address}: {error}"))
        })?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let thread = thread::Builder::new().name("admin".to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(serve(listener, key, pages, api, stopped)) {
                tracing::error!(%error, "the admin listener ended");
            }
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens (port 0 asked for any).
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread may have ended already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[derive(Clone)]
struct Shared {
    key: Option<AdminKey>,
    pages: Arc<dyn Pages>,
}

async fn serve(
    listener: TcpListener,
    key: Option<AdminKey>,
    pages: Arc<dyn Pages>,
    api: Router,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = Bounded {
        listener: tokio::net::TcpListener::from_std(listener)?,
        free: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
    };
    let shared = Shared { key, pages };
    let router = Router::new()
        .route("/metrics", get(page))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .with_state(shared)
        .merge(api);
    tokio::select! {
        result = axum::serve(listener, router).into_future() => result,
        // Dropping the server cuts questions short: nobody waits for a scrape at the end.
        _ = stopped => Ok(()),
    }
}

async fn page(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    if shared.key.is_some_and(|key| !key.opens(&headers)) {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response();
    }
    match shared.pages.clone().metrics() {
        Ok(text) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn readiness(State(shared): State<Shared>) -> (StatusCode, String) {
    let (ready, text) = shared.pages.readiness();
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
}

/// What `/readyz` says of a process that has nothing to add.
#[must_use]
pub fn plain_readiness(ready: bool) -> (bool, String) {
    (ready, if ready { "ready\n" } else { "not ready\n" }.to_owned())
}

/// A listener that holds a bounded number of connections for a bounded time.
struct Bounded {
    listener: tokio::net::TcpListener,
    free: Arc<Semaphore>,
}

impl axum::serve::Listener for Bounded {
    type Io = Held;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Held, SocketAddr) {
        let place = Arc::clone(&self.free).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let end = Box::pin(tokio::time::sleep(CONNECTION_LIFETIME));
                    return (Held { stream, end, _place: place }, peer);
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that has a place, and fails when its time is over.
struct Held {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Held {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Held {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
