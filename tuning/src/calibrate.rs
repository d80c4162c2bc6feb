//! What a connection costs this very kernel: from looks at it while probe sockets were opened, bytes
//! for each kind of opening, with their error.
//!
//! [`probe`] opens the sockets, [`observe`] looks, [`fit`] separates. What stands here is pure: it
//! sees counts and samples. The kinds are opened one after the other, never two at a time, so that
//! each stands alone in some rows; looks while nothing is opened tell what grows by itself.

pub mod fit;
pub mod observe;
pub mod probe;

use crate::memory::{CostSource, KernelCost, SOCKET_CACHES};
use fit::{Design, Estimate};
use observe::Sample;

/// What was open when a sample was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Opened {
    /// Connected sockets of clients; the server's end of each exists in the kernel from then on,
    /// though not yet as a file.
    pub clients: u64,
    /// Accepted ones.
    pub servers: u64,
    /// Armed multishot polls.
    pub watches: u64,
    /// Armed multishot receives.
    pub receives: u64,
    /// Messages sent and not read.
    pub messages: u64,
}

impl Opened {
    /// Sockets that are files.
    #[must_use]
    pub fn sockets(&self) -> u64 {
        self.clients + self.servers
    }

    fn columns(&self) -> [f64; KINDS] {
        [self.clients, self.servers, self.watches, self.receives, self.messages]
            .map(|count| count as f64)
    }
}

const KINDS: usize = 5;

/// One look with what was open then.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Number of the round: what else the machine does may differ from one to the next.
    pub round: usize,
    /// Time since the round began, seconds, so that a steady growth elsewhere is not taken for ours.
    pub at_s: f64,
    /// What was open.
    pub opened: Opened,
    /// What was seen.
    pub sample: Sample,
}

/// A slab cache and how many objects of it each kind takes.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct CacheShare {
    /// Name of the cache.
    pub name: String,
    /// What one object takes of its slab's pages, bytes.
    pub object_bytes: f64,
    /// Objects per client socket, server socket, poll, receive, message.
    pub objects: [Estimate; KINDS],
}

/// Where the figures come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sight {
    /// Caches of `/proc/slabinfo`, one by one.
    Caches,
    /// All slab memory of the machine together.
    Slab,
}

/// The figures; JSON of the file that `--calibration` reads.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Calibration {
    /// Version of this form.
    pub version: u32,
    /// `kernel.osrelease` of the machine it was made on.
    pub kernel: String,
    /// Bytes of a page.
    pub page: u64,
    /// Where the figures come from.
    pub sight: Sight,
    /// Most sockets that were open.
    pub sockets_max: u64,
    /// Looks that were taken.
    pub looks: usize,
    /// Idle socket of a client with its file, bytes.
    pub idle_client: Estimate,
    /// Idle socket that was accepted, with its file, bytes.
    pub idle_server: Estimate,
    /// Armed multishot poll, bytes.
    pub armed_watch: Estimate,
    /// Armed multishot receive, bytes.
    pub armed_receive: Estimate,
    /// Message that was sent and not read: slab, bytes.
    pub queued_message: Estimate,
    /// The same, pages of `tcp_mem`.
    pub queued_pages: Estimate,
    /// Bytes of a message.
    pub message_bytes: u64,
    /// What takes them, the largest first.
    pub caches: Vec<CacheShare>,
    /// What could not be seen, with the reason.
    pub unseen: Vec<String>,
}

/// Version of [`Calibration`].
pub const VERSION: u32 = 1;

/// A cache that is not known to belong to sockets counts if its objects follow the openings this
/// clearly: the slope is so many times its error, …
const CLEAR: f64 = 6.0;
/// … and at least so many objects each.
const OBJECTS_LEAST: f64 = 0.1;
/// So many sockets of others come and go on any machine.
const OTHERS_MOVED: f64 = 20.0;
/// Below this a cache is not worth its line.
const OBJECTS_NAMED: f64 = 0.01;

/// Why there are no figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit(pub String);

/// Figures from looks; `message_bytes` is the length of the messages that were queued.
///
/// # Errors
/// The looks do not tell the kinds apart, or neither slab view could be read.
pub fn calibrate(
    looks: &[Look],
    kernel: &str,
    page: u64,
    message_bytes: u64,
) -> Result<Calibration, Unfit> {
    let first = looks.first().ok_or_else(|| Unfit("no look was taken".to_owned()))?;
    let design = design(looks)
        .ok_or_else(|| Unfit("too few looks to tell the kinds of openings apart".to_owned()))?;
    let caches = caches(looks, &design);
    let (sight, bytes) = match &caches {
        Some(caches) => (Sight::Caches, summed(caches)),
        None => (Sight::Slab, of_slab(looks, &design)?),
    };
    let pages: Option<Vec<f64>> =
        looks.iter().map(|look| look.sample.tcp_pages.clone().ok()).collect();
    let queued_pages = pages.map_or(Estimate::default(), |pages| rounded(design.solve(&pages)[4]));
    let [idle_client, idle_server, armed_watch, armed_receive, queued_message] = bytes.map(rounded);
    Ok(Calibration {
        version: VERSION,
        kernel: kernel.to_owned(),
        page,
        sight,
        sockets_max: looks.iter().map(|look| look.opened.sockets()).max().unwrap_or(0),
        looks: looks.len(),
        idle_client,
        idle_server,
        armed_watch,
        armed_receive,
        queued_message,
        queued_pages,
        message_bytes,
        caches: caches.unwrap_or_default(),
        unseen: first.sample.unseen(),
    })
}

/// Sockets of others that were open, as far as that is known: what they take is not ours.
#[must_use]
pub fn others(opened: Opened, sample: &Sample) -> f64 {
    // The server's end of a connection is there before it is accepted.
    sample.tcp_sockets.as_ref().map_or(0.0, |all| all - 2.0 * opened.clients as f64)
}

/// Columns: the kinds, others' sockets if their number moved, then for each round its own start and
/// its own steady growth.
fn design(looks: &[Look]) -> Option<Design> {
    let rounds = looks.iter().map(|look| look.round).max()? + 1;
    let first = looks.first().map(|look| others(look.opened, &look.sample))?;
    let moved = |look: &Look| (others(look.opened, &look.sample) - first).abs() > OTHERS_MOVED;
    let others_move = looks.iter().any(moved);
    let rows = looks
        .iter()
        .map(|look| {
            let mut row = look.opened.columns().to_vec();
            if others_move {
                row.push(others(look.opened, &look.sample));
            }
            for round in 0..rounds {
                let own = f64::from(u8::from(round == look.round));
                row.extend([own, own * look.at_s]);
            }
            row
        })
        .collect();
    Design::new(rows)
}

/// Further digits say nothing, and a file is read back as it was written.
fn rounded(estimate: Estimate) -> Estimate {
    let round = |value: f64| (value * 1e4).round() / 1e4;
    Estimate { value: round(estimate.value), error: round(estimate.error) }
}

fn kinds(estimates: &[Estimate]) -> [Estimate; KINDS] {
    std::array::from_fn(|at| estimates[at])
}

/// The server's socket is there before it is accepted: half of what a connect takes of these is the
/// server's.
fn is_socket_itself(name: &str) -> bool {
    matches!(name, "TCP" | "TCPv6")
}

fn caches(looks: &[Look], design: &Design) -> Option<Vec<CacheShare>> {
    let tables: Vec<_> =
        looks.iter().map(|look| look.sample.caches.as_ref().ok()).collect::<Option<_>>()?;
    let known = |name: &str| {
        SOCKET_CACHES.iter().any(|(known, _)| *known == name) || is_socket_itself(name)
    };
    let mut shares: Vec<CacheShare> = Vec::new();
    for (name, cache) in tables.first()?.iter() {
        let seen: Option<Vec<f64>> =
            tables.iter().map(|table| table.get(name).map(|cache| cache.objects)).collect();
        let Some(seen) = seen else { continue };
        let mut objects = kinds(&design.solve(&seen));
        if !known(name) {
            for estimate in &mut objects {
                let size = estimate.value.abs();
                if size < CLEAR * estimate.error || size < OBJECTS_LEAST {
                    *estimate = Estimate::default();
                }
            }
        }
        if is_socket_itself(name) {
            let half = Estimate { value: objects[0].value / 2.0, error: objects[0].error / 2.0 };
            objects[0] = half;
            objects[1].value += half.value;
        }
        if name.starts_with("request_sock_") {
            // Stands for a connection until it is accepted, and is the server's.
            objects[1].value += objects[0].value;
            objects[1].error = objects[1].error.hypot(objects[0].error);
            objects[0] = Estimate::default();
        }
        if objects.iter().any(|estimate| estimate.value.abs() >= OBJECTS_NAMED) {
            let object_bytes = rounded(Estimate { value: cache.object_bytes, error: 0.0 }).value;
            shares.push(CacheShare {
                name: name.clone(),
                object_bytes,
                objects: objects.map(rounded),
            });
        }
    }
    let weight = |share: &CacheShare| {
        share.object_bytes * share.objects.iter().map(|estimate| estimate.value).sum::<f64>()
    };
    shares.sort_by(|one, other| weight(other).total_cmp(&weight(one)));
    Some(shares)
}

fn summed(caches: &[CacheShare]) -> [Estimate; KINDS] {
    std::array::from_fn(|kind| {
        let of = |share: &CacheShare| share.object_bytes * share.objects[kind].value;
        let error = |share: &CacheShare| (share.object_bytes * share.objects[kind].error).powi(2);
        Estimate {
            value: caches.iter().map(of).sum(),
            error: caches.iter().map(error).sum::<f64>().sqrt(),
        }
    })
}

/// Without the caches the two ends of a connection cannot be told apart before the accept: what it
/// takes is halved.
fn of_slab(looks: &[Look], design: &Design) -> Result<[Estimate; KINDS], Unfit> {
    let seen: Result<Vec<f64>, _> =
        looks.iter().map(|look| look.sample.slab_bytes.clone()).collect();
    let seen = seen.map_err(|unseen| {
        Unfit(format!("neither /proc/slabinfo nor /proc/meminfo: {}", unseen.text()))
    })?;
    let mut bytes = kinds(&design.solve(&seen));
    let pair = bytes[0].value + bytes[1].value;
    let error = bytes[0].error.hypot(bytes[1].error) / 2.0;
    bytes[0] = Estimate { value: pair / 2.0, error };
    bytes[1] = bytes[0];
    Ok(bytes)
}

impl Calibration {
    /// Bytes of slab that so much takes.
    #[must_use]
    pub fn predicted_bytes(&self, opened: Opened) -> f64 {
        let each = [
            self.idle_client,
            self.idle_server,
            self.armed_watch,
            self.armed_receive,
            self.queued_message,
        ];
        opened.columns().iter().zip(each).map(|(count, each)| count * each.value).sum()
    }

    /// What the caches that the figures are made of hold in `sample`, bytes; `None` if it shows none.
    #[must_use]
    pub fn caches_bytes(&self, sample: &Sample) -> Option<f64> {
        let table = sample.caches.as_ref().ok().filter(|_| self.sight == Sight::Caches)?;
        let named = self.caches.iter().filter_map(|share| table.get(&share.name));
        Some(named.map(|cache| cache.objects * cache.object_bytes).sum())
    }

    /// What a plan reckons with; what was not measured stays as `kept`.
    #[must_use]
    pub fn cost(&self, kept: KernelCost) -> KernelCost {
        KernelCost {
            idle_socket: self.idle_server.value,
            idle_client: self.idle_client.value,
            armed_request: self.armed_watch.value,
            // Accounting is by whole pages, and never less than one.
            queued_pages: self.queued_pages.value.max(1.0),
            source: CostSource::Calibrated,
            ..kept
        }
    }

    /// From the text of a file that `calibrate` wrote.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let calibration: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if calibration.version > VERSION {
            let newer = calibration.version;
            return Err(format!("version {newer} is newer than this program's {VERSION}"));
        }
        let plausible = |value: f64| value.is_finite() && (0.0..1e6).contains(&value);
        let figures = [
            ("idle_client", calibration.idle_client.value),
            ("idle_server", calibration.idle_server.value),
            ("armed_watch", calibration.armed_watch.value),
        ];
        match figures.iter().find(|(_, value)| !plausible(*value)) {
            Some((name, value)) => Err(format!("{name} is {value} bytes, which cannot be")),
            None => Ok(calibration),
        }
    }
}

#[cfg(test)]
mod tests;
