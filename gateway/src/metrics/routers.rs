//! What is counted of the way to each router, and what is said of it in `/readyz`.

use super::Cell;
use hawser_router::metrics::page::{Page, counter, gauge};
use prometheus_client::metrics::MetricType;
use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

/// One router. The cells are written by the worker that holds the link, but for `refused`, of
/// which each worker has one.
#[derive(Debug)]
pub struct RouterMetrics {
    address: String,
    /// 1 while the link is up.
    pub up: Cell,
    /// 1 while it takes less than it is offered.
    pub crowded: Cell,
    /// 1 while everything for the router is refused.
    pub refusing: Cell,
    /// Links that came up.
    pub links: Cell,
    /// Batches sent.
    pub batches_out: Cell,
    /// Batches received.
    pub batches_in: Cell,
    /// Level: bytes that wait for it.
    pub queued_bytes: Cell,
    /// Level: latest round trip, µs.
    pub round_trip_us: Cell,
    /// Questions refused where the link is held.
    pub refused_at_link: Cell,
    /// Questions refused by each worker before they got there.
    pub refused: Vec<Cell>,
    /// What is wrong, or who is there. Changes with the link, not with messages.
    status: Mutex<String>,
}

impl RouterMetrics {
    /// All zero.
    #[must_use]
    pub fn new(address: String, workers: u32) -> Self {
        Self {
            address,
            up: Cell::default(),
            crowded: Cell::default(),
            refusing: Cell::default(),
            links: Cell::default(),
            batches_out: Cell::default(),
            batches_in: Cell::default(),
            queued_bytes: Cell::default(),
            round_trip_us: Cell::default(),
            refused_at_link: Cell::default(),
            refused: (0..workers).map(|_| Cell::default()).collect(),
            status: Mutex::new("not connected yet".to_owned()),
        }
    }

    /// Address it is dialled at.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What `/readyz` says of it from now on.
    pub fn set_status(&self, status: String) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    /// What `/readyz` says of it.
    #[must_use]
    pub fn status(&self) -> String {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refused_in_all(&self) -> u64 {
        self.refused_at_link.get() + self.refused.iter().map(Cell::get).sum::<u64>()
    }
}

type Read = fn(&RouterMetrics) -> u64;

const LEVELS: &[(&str, &str, Read)] = &[
    ("up", "1 while the link to the router is up", |m| m.up.get()),
    ("crowded", "1 while the router takes less than it is offered", |m| m.crowded.get()),
    ("refusing", "1 while everything for the router is refused", |m| m.refusing.get()),
    ("queued_bytes", "Bytes that wait for the router", |m| m.queued_bytes.get()),
];

const COUNTERS: &[(&str, &str, Read)] = &[
    ("links", "Links to the router that came up", |m| m.links.get()),
    ("reconnects", "Of these after the first", |m| m.links.get().saturating_sub(1)),
    ("sent_batches", "Batches sent to the router", |m| m.batches_out.get()),
    ("received_batches", "Batches received from the router", |m| m.batches_in.get()),
    ("refused_requests", "Questions refused because the router was away or behind", |m| {
        m.refused_in_all()
    }),
];

/// A series per router and metric.
///
/// # Errors
/// As the page's own.
#[allow(clippy::cast_precision_loss)] // seconds as floats are what the format wants
pub(super) fn encode(page: &mut Page<'_, '_>, routers: &[&RouterMetrics]) -> fmt::Result {
    for (name, help, read) in LEVELS {
        let name = format!("hawser_gateway_router_{name}");
        page.family(&name, help, MetricType::Gauge, |to| {
            for (index, router) in routers.iter().enumerate() {
                gauge(to, &[("router", &index.to_string())], read(router))?;
            }
            Ok(())
        })?;
    }
    let (name, help) = ("hawser_gateway_router_round_trip_seconds", "Latest round trip");
    page.family(name, help, MetricType::Gauge, |to| {
        for (index, router) in routers.iter().enumerate() {
            let labels = [("router", index.to_string())];
            let seconds = router.round_trip_us.get() as f64 * 1e-6;
            to.encode_family(&labels)?.encode_gauge(&seconds)?;
        }
        Ok(())
    })?;
    for (name, help, read) in COUNTERS {
        let name = format!("hawser_gateway_router_{name}");
        page.family(&name, help, MetricType::Counter, |to| {
            for (index, router) in routers.iter().enumerate() {
                counter(to, &[("router", &index.to_string())], read(router))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}
