//! Metrics as OpenMetrics text: `hawser_<part>_<what>_<unit>[_total]`, base units.
//!
//! Counters have a series per host; levels and histograms are summed over the process.

use super::{Cell, HostMetrics, Log2Histogram, REFUSAL_CODES, Refusals};
use prometheus_client::{
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};
use std::fmt;

/// Reads one value of a set of cells.
pub type Read<M> = fn(&M) -> u64;

const HOST_LEVELS: &[(&str, &str, Read<HostMetrics>)] = &[
    ("users", "Users with a record in memory", |m| m.users.get()),
    ("sessions", "Devices on-line", |m| m.sessions.get()),
    ("cursor_sessions", "Devices on-line in cursor mode", |m| m.sessions_cursor_mode.get()),
    ("held_bytes", "Messages and windows in memory", |m| m.held_bytes.get()),
    ("recent_bytes", "Mailbox entries written last, in memory", |m| m.recent_bytes.get()),
    ("topic_routes", "Filters of workers and home shards", |m| m.topics.routes.get()),
    ("topic_route_bytes", "Memory of the filters of workers and home shards", |m| {
        m.topics.route_bytes.get()
    }),
    ("retained_messages", "Retained messages in memory", |m| m.topics.retained.get()),
    ("retained_bytes", "Memory of the retained messages", |m| m.topics.retained_bytes.get()),
    ("topic_packet_ids", "Packet ids of quality 2 received and not released", |m| {
        m.topics.packet_ids.get()
    }),
    ("attached_sessions", "Publish/subscribe sessions attached", |m| m.kept.attached.get()),
    ("kept_sessions", "Sessions that outlive their connection", |m| m.kept.kept.get()),
    ("kept_filters", "Filters of kept sessions", |m| m.kept.filters.get()),
    ("queued_entries", "Entries in queues of kept sessions", |m| m.kept.queued.get()),
    ("will_bytes", "Wills in memory", |m| m.kept.will_bytes.get()),
    ("unnumbered_requests", "Requests without a number that are remembered", |m| {
        m.kept.unnumbered.get()
    }),
    ("lane_waiting_bytes", "Bytes waiting to be written", |m| m.lane_waiting_bytes.get()),
    ("log_bytes", "Log segments on disk", |m| m.log_bytes.get()),
];

const HOST_COUNTERS: &[(&str, &str, Read<HostMetrics>)] = &[
    ("accepted_messages", "Messages made durable and acknowledged", |m| m.accepted.get()),
    ("repeated_messages", "Repeats answered from the window", |m| m.repeats.get()),
    ("delivered_messages", "Mailbox entries pushed to devices", |m| m.delivered.get()),
    ("read_messages", "Mailbox entries read by pages", |m| m.read.get()),
    ("log_reads", "Reads of the log", |m| m.log_reads.get()),
    ("mailbox_blocks", "Blocks of mailbox entries written", |m| m.blocks.get()),
    ("recent_missed_entries", "Mailbox entries that had left memory when wanted", |m| {
        m.recent_missed.get()
    }),
    ("published_messages", "Messages published to topics", |m| m.topics.published.get()),
    ("matched_messages", "Published messages that some filter matched", |m| m.topics.matched.get()),
    ("topic_copies", "Copies of published messages said to workers", |m| m.topics.copies.get()),
    ("topic_entries", "Published messages handed to home shards of kept sessions", |m| {
        m.topics.entries.get()
    }),
    ("topic_dropped_messages", "Published messages of quality 0 dropped under pressure", |m| {
        m.topics.dropped.get()
    }),
    ("topic_limits", "Publishes, filters and questions refused at a limit", |m| {
        m.topics.limits.get()
    }),
    ("queue_entries", "Entries put into queues of kept sessions", |m| m.kept.entries.get()),
    ("queue_pushed_entries", "Entries pushed out of queues, repeats included", |m| {
        m.kept.pushed.get()
    }),
    ("queue_dropped_entries", "Entries dropped from full queues or with their segment", |m| {
        m.kept.dropped.get()
    }),
    ("queue_expired_entries", "Entries that expired in a queue", |m| m.kept.expired.get()),
    ("published_wills", "Wills published", |m| m.kept.wills.get()),
    ("lane_failures", "Writes or flushes that stopped a lane", |m| m.lane_failures.get()),
    ("checkpoints", "Checkpoints written", |m| m.checkpoints.get()),
    ("failed_checkpoints", "Checkpoints that could not be written", |m| {
        m.checkpoint_failures.get()
    }),
    ("damaged_batches", "Batches of link frames that did not parse", |m| m.link_damaged.get()),
];

/// Sum of a level. A connection that moved between workers may have been counted down at one and up
/// at the other, so single cells may stand below zero.
pub fn level<M>(all: &[&M], read: Read<M>) -> u64 {
    all.iter().fold(0, |sum: u64, one| sum.wrapping_add(read(one)))
}

/// One value of a gauge family.
///
/// # Errors
/// As [`Page::hosts`].
pub fn gauge(encoder: &mut MetricEncoder<'_>, labels: &[(&str, &str)], value: u64) -> fmt::Result {
    // A reader between two writes may see even the sum below zero for a moment.
    let value = value.cast_signed().max(0);
    if labels.is_empty() {
        return encoder.encode_gauge(&value);
    }
    encoder.encode_family(&labels)?.encode_gauge(&value)
}

/// One value of a counter family.
///
/// # Errors
/// As [`Page::hosts`].
pub fn counter(
    encoder: &mut MetricEncoder<'_>,
    labels: &[(&str, &str)],
    value: u64,
) -> fmt::Result {
    encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

/// A page of metrics being written.
pub struct Page<'a, 'b> {
    encoder: &'a mut DescriptorEncoder<'b>,
}

impl<'a, 'b> Page<'a, 'b> {
    /// A page that goes to `encoder`.
    pub fn new(encoder: &'a mut DescriptorEncoder<'b>) -> Self {
        Self { encoder }
    }

    /// All families of the shard hosts of a process.
    ///
    /// # Errors
    /// Never in practice: it writes into a text. The same holds for all methods here.
    pub fn hosts(&mut self, hosts: &[&HostMetrics]) -> fmt::Result {
        self.levels("hawser_router", HOST_LEVELS, hosts)?;
        self.counters("hawser_router", "host", HOST_COUNTERS, hosts)?;
        self.refusals("hawser_router", hosts.iter().map(|one| &one.refused))?;
        self.histogram(
            ("hawser_store_flush_seconds", "Write and flush of a batch"),
            1e-6,
            hosts.iter().map(|one| &one.flush_us),
        )?;
        self.histogram(
            ("hawser_store_batch_bytes", "Bytes of a batch"),
            1.0,
            hosts.iter().map(|one| &one.batch_bytes),
        )
    }

    /// One family, its series written by `body`.
    ///
    /// # Errors
    /// As [`Page::hosts`].
    pub fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        body: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        body(&mut self.encoder.encode_descriptor(name, help, None, kind)?)
    }

    /// Levels, each summed over the process.
    ///
    /// # Errors
    /// As [`Page::hosts`].
    pub fn levels<M>(
        &mut self,
        part: &str,
        table: &[(&str, &str, Read<M>)],
        all: &[&M],
    ) -> fmt::Result {
        for (name, help, read) in table {
            let sum = level(all, *read);
            self.family(&format!("{part}_{name}"), help, MetricType::Gauge, |to| {
                gauge(to, &[], sum)
            })?;
        }
        Ok(())
    }

    /// Counters, a series for each of `all`, told apart by `label`.
    ///
    /// # Errors
    /// As [`Page::hosts`].
    pub fn counters<M>(
        &mut self,
        part: &str,
        label: &str,
        table: &[(&str, &str, Read<M>)],
        all: &[&M],
    ) -> fmt::Result {
        for (name, help, read) in table {
            self.family(&format!("{part}_{name}"), help, MetricType::Counter, |to| {
                for (index, one) in all.iter().enumerate() {
                    counter(to, &[(label, &index.to_string())], read(one))?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// A counter by label, `sum` giving that of each; a series per worker and label would be
    /// thousands.
    ///
    /// # Errors
    /// As [`Page::hosts`].
    pub fn labelled(
        &mut self,
        (name, help, key): (&str, &str, &str),
        labels: impl Iterator<Item = &'static str>,
        sum: impl Fn(usize) -> u64,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, |to| {
            for (index, label) in labels.enumerate() {
                counter(to, &[(key, label)], sum(index))?;
            }
            Ok(())
        })
    }

    /// Refusals by code, summed over the process.
    ///
    /// # Errors
    /// As [`Page::hosts`].
    pub fn refusals<'m>(
        &mut self,
        part: &str,
        all: impl Iterator<Item = &'m Refusals> + Clone,
    ) -> fmt::Result {
        let name = format!("{part}_refused_messages");
        self.family(&name, "Requests refused, by code", MetricType::Counter, |to| {
            for index in 0..=REFUSAL_CODES.len() {
                let code = REFUSAL_CODES.get(index).map_or("other".to_owned(), u16::to_string);
                let one = |one: &Refusals| one.cells().nth(index).map_or(0, Cell::get);
                let sum = all.clone().map(one).sum();
                counter(to, &[("code", &code)], sum)?;
            }
            Ok(())
        })
    }

    /// `unit` times a recorded value is the base unit.
    ///
    /// # Errors
    /// As [`Page::hosts`].
    #[allow(clippy::cast_precision_loss)] // seconds and bytes as floats are what the format wants
    pub fn histogram<'m, const N: usize>(
        &mut self,
        (name, help): (&str, &str),
        unit: f64,
        all: impl Iterator<Item = &'m Log2Histogram<N>>,
    ) -> fmt::Result {
        let mut buckets: Vec<(f64, u64)> =
            (0..N).map(|k| ((1_u64 << k) as f64 * unit, 0)).chain([(f64::INFINITY, 0)]).collect();
        let mut sum = 0.0;
        for one in all {
            for (bucket, count) in buckets.iter_mut().zip(one.counts()) {
                bucket.1 += count;
            }
            sum += one.sum() as f64 * unit;
        }
        let count = buckets.iter().map(|bucket| bucket.1).sum();
        self.family(name, help, MetricType::Histogram, |to| {
            to.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        })
    }
}
