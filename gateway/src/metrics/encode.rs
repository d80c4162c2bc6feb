//! Metrics as OpenMetrics text: `hawser_<part>_<what>_<unit>[_total]`, base units.
//!
//! Counters have a series per worker (or host); levels and histograms are summed over the process,
//! so that the number of series does not grow with the square of anything.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use super::{
    CloseReason, FrameKind, HostMetrics, Labelled, Log2Histogram, ProcessMetrics, REFUSAL_CODES,
    Refusals, WorkerMetrics,
};

/// The whole page.
///
/// # Errors
/// Never in practice: it writes into a text.
pub fn encode(metrics: &std::sync::Arc<ProcessMetrics>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(std::sync::Arc::clone(metrics)));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

type Read<M> = fn(&M) -> u64;

/// Levels of workers, but for the connections, which carry their protocol.
const WORKER_LEVELS: &[(&str, &str, Read<WorkerMetrics>)] = &[
    ("connections_hot", "Connections with a receive armed", |m| m.connections_hot.get()),
    ("connections_cold", "Quiet connections with only a watch armed", |m| m.connections_cold.get()),
    ("connections_closing", "Connections waiting for their last completions", |m| {
        m.connections_closing.get()
    }),
    ("connections_slow", "Connections not read from because they do not read", |m| {
        m.connections_slow.get()
    }),
    ("sessions", "Connections logged in", |m| m.sessions.get()),
    ("armed_requests", "Ring requests armed or in flight", |m| m.armed.get()),
    ("outbound_bytes", "Bytes queued towards clients, or received and not yet taken", |m| {
        m.outbound_bytes.get()
    }),
];

const WORKER_COUNTERS: &[(&str, &str, Read<WorkerMetrics>)] = &[
    ("accepted_connections", "Connections accepted", |m| m.accepted.get()),
    ("passed_connections", "Connections passed to another worker", |m| m.passed.get()),
    ("received_bytes", "Bytes from clients", |m| m.bytes_in.get()),
    ("sent_bytes", "Bytes to clients", |m| m.bytes_out.get()),
    ("logins", "Logins that stand", |m| m.logins.get()),
    ("resumes", "Logins by resume token", |m| m.resumes.get()),
    ("denied_logins", "Logins refused", |m| m.logins_denied.get()),
    ("kept_peer_keys", "Requests whose peer's keys were kept from an earlier one", |m| {
        m.peer_keys_kept.get()
    }),
    ("expired_heartbeats", "Connections closed for a missed heartbeat", |m| {
        m.heartbeats_expired.get()
    }),
    ("starved_receives", "Receives that found no buffer", |m| m.starved.get()),
    ("stale_completions", "Completions of a connection that is gone", |m| {
        m.stale_completions.get()
    }),
    ("outbound_stalls", "Times a connection's queue went over its high mark", |m| {
        m.outbound_stalls.get()
    }),
    ("read_pauses", "Times a connection was not read from because it did not read", |m| {
        m.pauses.get()
    }),
    ("mesh_stalls", "Times the mesh was full", |m| m.mesh_stalls.get()),
    ("ring_enters", "Calls of io_uring_enter", |m| m.enters.get()),
    ("ring_completions", "Completions", |m| m.completions.get()),
    ("ring_overflows", "Completion queue overflows", |m| m.overflows.get()),
    ("turns", "Turns of the worker's loop", |m| m.turns.get()),
];

const HOST_LEVELS: &[(&str, &str, Read<HostMetrics>)] = &[
    ("users", "Users with a record in memory", |m| m.users.get()),
    ("sessions", "Devices on-line", |m| m.sessions.get()),
    ("cursor_sessions", "Devices on-line in cursor mode", |m| m.sessions_cursor_mode.get()),
    ("held_bytes", "Messages and windows in memory", |m| m.held_bytes.get()),
    ("recent_bytes", "Mailbox entries written last, in memory", |m| m.recent_bytes.get()),
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
    ("lane_failures", "Writes or flushes that stopped a lane", |m| m.lane_failures.get()),
    ("checkpoints", "Checkpoints written", |m| m.checkpoints.get()),
    ("failed_checkpoints", "Checkpoints that could not be written", |m| {
        m.checkpoint_failures.get()
    }),
    ("damaged_batches", "Batches of link frames that did not parse", |m| m.link_damaged.get()),
];

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page { encoder: &mut encoder };
        let workers: Vec<&WorkerMetrics> = self.workers.iter().map(|one| &**one).collect();
        let hosts: Vec<&HostMetrics> = self.hosts.iter().map(|one| &**one).collect();

        let open = level(&workers, |one| one.connections.get());
        page.family("hawser_gateway_connections", "Connections open", MetricType::Gauge, |to| {
            gauge(to, &[("protocol", "native")], open)
        })?;
        page.levels("hawser_gateway", WORKER_LEVELS, &workers)?;
        page.counters("hawser_gateway", "worker", WORKER_COUNTERS, &workers)?;
        page.labelled(
            ("hawser_gateway_closed_connections", "Connections ended", "reason"),
            CloseReason::ALL.iter().map(|reason| reason.label()),
            workers.iter().map(|one| &one.closed),
        )?;
        let kinds = || FrameKind::ALL.iter().map(|kind| kind.label());
        page.labelled(
            ("hawser_gateway_received_frames", "Frames from clients", "kind"),
            kinds(),
            workers.iter().map(|one| &one.frames_in),
        )?;
        page.labelled(
            ("hawser_gateway_sent_frames", "Frames to clients", "kind"),
            kinds(),
            workers.iter().map(|one| &one.frames_out),
        )?;
        page.refusals("hawser_gateway", workers.iter().map(|one| &one.refused))?;
        page.histogram(
            ("hawser_gateway_turn_seconds", "Work of a turn, waiting not included"),
            1e-6,
            workers.iter().map(|one| &one.turn_us),
        )?;
        page.histogram(
            ("hawser_gateway_turn_completions", "Completions of a turn"),
            1.0,
            workers.iter().map(|one| &one.batch),
        )?;

        page.levels("hawser_router", HOST_LEVELS, &hosts)?;
        page.counters("hawser_router", "host", HOST_COUNTERS, &hosts)?;
        page.refusals("hawser_router", hosts.iter().map(|one| &one.refused))?;
        page.histogram(
            ("hawser_store_flush_seconds", "Write and flush of a batch"),
            1e-6,
            hosts.iter().map(|one| &one.flush_us),
        )?;
        page.histogram(
            ("hawser_store_batch_bytes", "Bytes of a batch"),
            1.0,
            hosts.iter().map(|one| &one.batch_bytes),
        )
    }
}

/// Sum of a level. A connection that moved between workers may have been counted down at one and up
/// at the other, so single cells may stand below zero.
fn level<M>(all: &[&M], read: Read<M>) -> u64 {
    all.iter().fold(0, |sum: u64, one| sum.wrapping_add(read(one)))
}

fn gauge(encoder: &mut MetricEncoder<'_>, labels: &[(&str, &str)], value: u64) -> fmt::Result {
    // A reader between two writes may see even the sum below zero for a moment.
    let value = value.cast_signed().max(0);
    if labels.is_empty() {
        return encoder.encode_gauge(&value);
    }
    encoder.encode_family(&labels)?.encode_gauge(&value)
}

fn counter(encoder: &mut MetricEncoder<'_>, labels: &[(&str, &str)], value: u64) -> fmt::Result {
    encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

struct Page<'a, 'b> {
    encoder: &'a mut DescriptorEncoder<'b>,
}

impl Page<'_, '_> {
    fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        body: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        body(&mut self.encoder.encode_descriptor(name, help, None, kind)?)
    }

    fn levels<M>(
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

    fn counters<M>(
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

    /// Summed over the process: a series per worker and label would be thousands.
    fn labelled<'m, const N: usize>(
        &mut self,
        (name, help, key): (&str, &str, &str),
        labels: impl Iterator<Item = &'static str>,
        all: impl Iterator<Item = &'m Labelled<N>> + Clone,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, |to| {
            for (index, label) in labels.enumerate() {
                let sum = all.clone().map(|one| one.0[index].get()).sum();
                counter(to, &[(key, label)], sum)?;
            }
            Ok(())
        })
    }

    fn refusals<'m>(
        &mut self,
        part: &str,
        all: impl Iterator<Item = &'m Refusals> + Clone,
    ) -> fmt::Result {
        let name = format!("{part}_refused_messages");
        self.family(&name, "Requests refused, by code", MetricType::Counter, |to| {
            for index in 0..=REFUSAL_CODES.len() {
                let code = REFUSAL_CODES.get(index).map_or("other".to_owned(), u16::to_string);
                let sum = all.clone().map(|one| one.0[index].get()).sum();
                counter(to, &[("code", &code)], sum)?;
            }
            Ok(())
        })
    }

    /// `unit` times a recorded value is the base unit.
    #[allow(clippy::cast_precision_loss)] // seconds and bytes as floats are what the format wants
    fn histogram<'m, const N: usize>(
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
