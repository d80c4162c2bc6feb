//! Metrics as OpenMetrics text: `hawser_<part>_<what>_<unit>[_total]`, base units.
//!
//! Counters have a series per worker (or host); levels and histograms are summed over the process,
//! so that the number of series does not grow with the square of anything.

use std::fmt;

use hawser_router::metrics::page::{Page, Read, gauge};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text},
    metrics::MetricType,
    registry::Registry,
};

use super::{
    CloseReason, FrameKind, HostMetrics, ProcessMetrics, RouterMetrics, Spoken, WorkerMetrics,
    routers,
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

/// Levels of workers, but for the connections, which carry their protocol.
const WORKER_LEVELS: &[(&str, &str, Read<WorkerMetrics>)] = &[
    ("connections_hot", "Connections with a receive armed", |m| m.connections_hot.get()),
    ("connections_cold", "Quiet connections with only a watch armed", |m| m.connections_cold.get()),
    ("connections_closing", "Connections waiting for their last completions", |m| {
        m.connections_closing.get()
    }),
    ("websocket_unfinished_connections", "WebSocket connections within a message", |m| {
        m.websocket_unfinished.get()
    }),
    ("websocket_deflate_bytes", "Compressors of WebSocket messages", |m| {
        m.websocket_deflate_bytes.get()
    }),
    ("connections_slow", "Connections not read from because they do not read", |m| {
        m.connections_slow.get()
    }),
    ("sessions", "Connections logged in", |m| m.sessions.get()),
    ("tls_handshakes", "TLS handshakes under way", |m| m.tls_handshakes.get()),
    ("tls_waiting_handshakes", "TLS handshakes that wait for their turn", |m| m.tls_waiting.get()),
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
    ("mqtt_published_messages", "Messages of MQTT clients taken", |m| m.mqtt_published.get()),
    ("mqtt_refused_messages", "Messages of MQTT clients refused", |m| m.mqtt_refused.get()),
    ("mqtt_delivered_messages", "Messages sent to MQTT clients", |m| m.mqtt_delivered.get()),
    ("mqtt_dropped_messages", "Messages not sent to MQTT clients for want of room", |m| {
        m.mqtt_dropped.get()
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
    ("tls_full_handshakes", "TLS handshakes done with a new key", |m| m.tls_full.get()),
    ("tls_resumed_handshakes", "TLS handshakes done from a ticket", |m| m.tls_resumed.get()),
    ("tls_broken_connections", "Connections ended by a record that does not open", |m| {
        m.tls_broken.get()
    }),
    ("tls_key_updates", "Key updates of clients", |m| m.tls_key_updates.get()),
    ("tls_renegotiations", "Renegotiations refused", |m| m.tls_renegotiations.get()),
    ("tls_expanded_keys", "Keys expanded from their secrets", |m| m.tls_keys_expanded.get()),
    ("turns", "Turns of the worker's loop", |m| m.turns.get()),
];

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page::new(&mut encoder);
        let workers: Vec<&WorkerMetrics> = self.workers.iter().map(|one| &**one).collect();
        let hosts: Vec<&HostMetrics> = self.hosts.iter().map(|one| &**one).collect();

        page.family("hawser_gateway_connections", "Connections open", MetricType::Gauge, |to| {
            for (index, spoken) in Spoken::ALL.iter().enumerate() {
                // A connection may be counted up by one worker and down by another.
                let cells = workers.iter().map(|one| one.connections.cell(index).get());
                let open = cells.fold(0, u64::wrapping_add);
                gauge(to, &[("protocol", spoken.label())], open)?;
            }
            Ok(())
        })?;
        page.levels("hawser_gateway", WORKER_LEVELS, &workers)?;
        page.counters("hawser_gateway", "worker", WORKER_COUNTERS, &workers)?;
        page.labelled(
            ("hawser_gateway_closed_connections", "Connections ended", "reason"),
            CloseReason::ALL.iter().map(|reason| reason.label()),
            |label| workers.iter().map(|one| one.closed.cell(label).get()).sum(),
        )?;
        let kinds = || FrameKind::ALL.iter().map(|kind| kind.label());
        page.labelled(
            ("hawser_gateway_received_frames", "Frames from clients", "kind"),
            kinds(),
            |label| workers.iter().map(|one| one.frames_in.cell(label).get()).sum(),
        )?;
        page.labelled(
            ("hawser_gateway_sent_frames", "Frames to clients", "kind"),
            kinds(),
            |label| workers.iter().map(|one| one.frames_out.cell(label).get()).sum(),
        )?;
        page.labelled(
            ("hawser_gateway_tls_failed_handshakes", "TLS handshakes that failed", "reason"),
            hawser_tls::Reason::ALL.iter().map(|reason| reason.label()),
            |label| workers.iter().map(|one| one.tls_failed.cell(label).get()).sum(),
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

        if !self.routers.is_empty() {
            let routers: Vec<&RouterMetrics> = self.routers.iter().map(|one| &**one).collect();
            return routers::encode(&mut page, &routers);
        }
        page.hosts(&hosts)
    }
}
