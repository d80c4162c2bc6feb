//! What the separate process counts beyond its host: links. Written by the tier's thread alone.

use crate::metrics::{Cell, HostMetrics, Log2Histogram, WRITE_BUCKETS, page::Page};
use prometheus_client::{
    collector::Collector, encoding::DescriptorEncoder, encoding::text, registry::Registry,
};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// Links of the process.
#[derive(Debug, Default)]
pub struct LinkMetrics {
    /// Level: links to gateways that are up.
    pub gateways: Cell,
    /// Level: links to other routers that are up.
    pub routers: Cell,
    /// Level: longest of the latest round trips, µs.
    pub round_trip_us: Cell,
    /// Batches received.
    pub received_batches: Cell,
    /// Bytes of frames in them.
    pub received_bytes: Cell,
    /// Batches queued for links.
    pub sent_batches: Cell,
    /// Bytes given to sockets, headers and heartbeats included.
    pub sent_bytes: Cell,
    /// Batches for somebody who had gone.
    pub undeliverable: Cell,
    /// Links refused by either side.
    pub refused: Cell,
    /// Links ended because nothing was heard.
    pub silent: Cell,
    /// Links ended because the other side broke the protocol or never finished the handshake.
    pub broken: Cell,
    /// Links ended because too much waited for them.
    pub slow: Cell,
    /// Connections lost.
    pub lost: Cell,
    /// Turns of the tier's loop.
    pub turns: Cell,
    /// Bytes of a batch for a link.
    pub batch_bytes: Log2Histogram<WRITE_BUCKETS>,
}

/// All of a process; shared with the admin thread.
#[derive(Debug, Default)]
pub struct RouterMetrics {
    /// Of its host.
    pub host: Arc<HostMetrics>,
    /// Of its links.
    pub links: Arc<LinkMetrics>,
    ready: AtomicBool,
}

impl RouterMetrics {
    /// Serving, or not: what `/readyz` says.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Relaxed);
    }

    /// Is it serving?
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Relaxed)
    }

    /// The page that `/metrics` shows.
    ///
    /// # Errors
    /// Never in practice: it writes into a text.
    pub fn encode(self: &Arc<Self>) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Series(self.clone())));
        let mut page = String::new();
        text::encode(&mut page, &registry)?;
        Ok(page)
    }
}

#[derive(Debug)]
struct Series(Arc<RouterMetrics>);

type Table = &'static [(&'static str, &'static str, fn(&LinkMetrics) -> u64)];

const LEVELS: Table = &[
    ("gateway_links", "Links to gateways that are up", |m| m.gateways.get()),
    ("router_links", "Links to other routers that are up", |m| m.routers.get()),
    ("link_round_trip_microseconds", "Longest of the latest round trips", |m| {
        m.round_trip_us.get()
    }),
];

const COUNTERS: Table = &[
    ("link_received_batches", "Batches received over links", |m| m.received_batches.get()),
    ("link_received_bytes", "Bytes of frames received over links", |m| m.received_bytes.get()),
    ("link_sent_batches", "Batches queued for links", |m| m.sent_batches.get()),
    ("link_sent_bytes", "Bytes given to the sockets of links", |m| m.sent_bytes.get()),
    ("link_undeliverable_batches", "Batches for somebody who had gone", |m| m.undeliverable.get()),
    ("refused_links", "Links refused by either side", |m| m.refused.get()),
    ("silent_links", "Links ended because nothing was heard", |m| m.silent.get()),
    ("broken_links", "Links ended for a broken protocol or handshake", |m| m.broken.get()),
    ("slow_links", "Links ended because too much waited for them", |m| m.slow.get()),
    ("lost_links", "Connections lost", |m| m.lost.get()),
    ("turns", "Turns of the tier's loop", |m| m.turns.get()),
];

impl Collector for Series {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let links = [&*self.0.links];
        let mut page = Page::new(&mut encoder);
        page.hosts(&[&*self.0.host])?;
        page.levels("hawser_router", LEVELS, &links)?;
        page.counters("hawser_router", "router", COUNTERS, &links)?;
        page.histogram(
            ("hawser_router_link_batch_bytes", "Bytes of a batch for a link"),
            1.0,
            links.iter().map(|links| &links.batch_bytes),
        )
    }
}
