//! `calibrate`: rounds of probe sockets, the fit, and its validation by many more of them.

use crate::{Failure, count, page_bytes, print, print_json};
use hawser_ring::{RingSettings, setup, uring::RingGroup};
use hawser_tune::{
    calibrate::{
        Calibration, Opened, Sight, calibrate,
        observe::Sample,
        others,
        probe::{MESSAGE_BYTES, PRIMED, Prober},
    },
    plan,
    system::Root,
};
use std::{fmt::Write as _, path::PathBuf, time::Duration};

#[derive(clap::Args)]
pub struct Options {
    /// Sockets in the largest step, both ends counted.
    #[arg(long, default_value_t = 5000, value_name = "N",
          value_parser = clap::value_parser!(u64).range(500..=100_000))]
    sockets: u64,
    /// Rounds; the spread between them shows in the errors.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=50))]
    rounds: u8,
    /// Opens so many sockets and lays what they take beside what was predicted, as 200k.
    #[arg(long, value_name = "N", value_parser = count)]
    validate: Option<u64>,
    /// Writes the figures, for `--calibration` of `plan` and `check`.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Figures as JSON.
    #[arg(long)]
    json: bool,
}

/// Predicted and observed may differ by so much.
const TOLERANCE: f64 = 0.05;
/// An error beyond this share of the figure, or so many sockets of others against ours, and there is
/// no figure: other work was measured.
const DISTURBED: f64 = 0.02;
/// Sockets of a validation at most: both ends of what the largest source range holds.
const VALIDATE_MAX: u64 = 4_000_000;
/// Slots of a table: the usual limit of open files.
const TABLE_SLOTS_MAX: u64 = 20_000;
/// Slots kept free in each table, below which a group opens sockets in the next one.
const TABLE_RESERVE: u64 = 200;
/// Looks whose mean is one figure of the validation.
const MEAN_LOOKS: u32 = 5;
/// Between rounds the sockets of the last one are freed; looked at so often, …
const FREED_LOOKS: u32 = 100;
/// … at most so long each.
const FREED_WAIT: Duration = Duration::from_millis(50);

/// What a validation came to.
#[derive(serde::Serialize)]
struct Validation {
    sockets: u64,
    watches: u64,
    /// Sockets that others opened meanwhile; what they take is taken off what was observed.
    others: f64,
    predicted_bytes: f64,
    /// Growth of `Slab` in /proc/meminfo: not what the fit was made from.
    observed_bytes: f64,
    /// Growth of the caches that the fit names.
    caches_bytes: Option<f64>,
    /// Growth of `MemAvailable`, other way round; everything else on the machine shows in it.
    available_bytes: Option<f64>,
    /// Kernel memory charged to the control group.
    group_bytes: Option<f64>,
    difference: f64,
}

pub fn run(options: &Options) -> Result<(), Failure> {
    let validate = options.validate.filter(|sockets| *sockets > 0);
    if let Some(sockets) = validate.filter(|sockets| *sockets > VALIDATE_MAX) {
        let text = format!("--validate is {sockets}: allowed are 1 to {VALIDATE_MAX}");
        return Err(Failure::Arguments(text));
    }
    let root = Root::new("/");
    let page = page_bytes();
    let backlog = root.number("proc/sys/net/core/somaxconn").unwrap_or(4096).min(65_535);
    let pairs = options.sockets / 2;
    let mut looks = Vec::new();
    for round in 0..usize::from(options.rounds) {
        let before = sockets_in_use(&root);
        let most = options.sockets + options.sockets / PRIMED;
        let mut prober = prober(most, pairs, backlog)?;
        let look = || Sample::read(&root, page);
        looks.extend(prober.round(round, pairs, look).map_err(Failure::Environment)?);
        prober.close().map_err(Failure::Environment)?;
        drop(prober);
        wait_until_freed(&root, before);
    }
    let kernel = root.text("proc/sys/kernel/osrelease").unwrap_or_default();
    let calibration = calibrate(&looks, &kernel, page, MESSAGE_BYTES as u64)
        .map_err(|unfit| Failure::Environment(unfit.0))?;
    let disturbed = [calibration.idle_server, calibration.idle_client]
        .iter()
        .any(|bytes| bytes.error > DISTURBED * bytes.value.abs());
    if disturbed {
        return Err(invalid(&format!(
            "an idle socket came to {:.0} B +- {:.0}",
            calibration.idle_server.value, calibration.idle_server.error
        )));
    }
    if let Some(path) = &options.out {
        let text = serde_json::to_string_pretty(&calibration).expect("it is plain data");
        std::fs::write(path, text + "\n")
            .map_err(|error| Failure::Environment(format!("{}: {error}", path.display())))?;
    }
    let validation =
        validate.map(|sockets| validated(&calibration, sockets, backlog, &root)).transpose()?;
    if options.json {
        print_json(&serde_json::json!({ "version": 1, "calibration": calibration,
            "validation": validation }));
    } else {
        print(&text(&calibration, validation.as_ref()));
    }
    match validation {
        Some(Validation { others, sockets, .. }) if others.abs() > DISTURBED * sockets as f64 => {
            Err(invalid(&format!("others opened {others:.0} sockets")))
        }
        Some(Validation { difference, .. }) if difference.abs() > TOLERANCE => {
            Err(Failure::Judged(format!(
                "predicted and observed differ by more than {:.0} %",
                TOLERANCE * 100.0
            )))
        }
        _ => Ok(()),
    }
}

fn invalid(why: &str) -> Failure {
    Failure::Invalid(format!(
        "{why}: other sockets came and went meanwhile; repeat it on a quiet machine"
    ))
}

/// A prober with tables for so many sockets.
fn prober(sockets: u64, unaccepted: u64, backlog: u64) -> Result<Prober<RingGroup>, Failure> {
    let slots = setup::gather().descriptor_limit.min(TABLE_SLOTS_MAX);
    let settings = RingSettings {
        descriptors: slots as u32,
        completion_entries: 16_384,
        submission_entries: 256,
        buffers: 16,
        buffer_bytes: 1024,
    };
    let tables = sockets.div_ceil(slots.saturating_sub(TABLE_RESERVE).max(1)) + 1;
    let group = RingGroup::new(settings, tables as u32)
        .map_err(|refusal| Failure::Environment(refusal.0))?;
    // The process's own number: another calibration at the same time has other addresses.
    Prober::new(group, std::process::id(), unaccepted, backlog).map_err(Failure::Environment)
}

fn sockets_in_use(root: &Root) -> u64 {
    let text = root.text("proc/net/sockstat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("TCP: inuse "));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The kernel frees what a ring held after the ring has gone. Others may open sockets meanwhile, so
/// the wait is bounded.
fn wait_until_freed(root: &Root, before: u64) {
    for _ in 0..FREED_LOOKS {
        if sockets_in_use(root) <= before + before / 10 + 10 {
            break;
        }
        std::thread::sleep(FREED_WAIT);
    }
    std::thread::sleep(FREED_WAIT);
}

fn validated(
    calibration: &Calibration,
    sockets: u64,
    backlog: u64,
    root: &Root,
) -> Result<Validation, Failure> {
    let mut prober = prober(sockets, backlog, backlog)?;
    let none = prober.opened();
    let before = mean(&mut prober, root, calibration, none)?;
    let pairs = sockets.div_ceil(2);
    prober.open_pairs(pairs).map_err(Failure::Environment)?;
    prober.watch(pairs).map_err(Failure::Environment)?;
    let opened = prober.opened();
    let after = mean(&mut prober, root, calibration, opened)?;
    prober.close().map_err(Failure::Environment)?;
    let predicted_bytes = calibration.predicted_bytes(opened);
    let others = after.others - before.others;
    let theirs = others * (calibration.idle_server.value + calibration.idle_client.value) / 2.0;
    let observed_bytes = after.slab - before.slab - theirs;
    Ok(Validation {
        sockets: opened.sockets(),
        watches: opened.watches,
        others,
        predicted_bytes,
        observed_bytes,
        caches_bytes: before
            .caches
            .zip(after.caches)
            .map(|(before, after)| after - before - theirs),
        available_bytes: before
            .available
            .zip(after.available)
            .map(|(before, after)| before - after),
        group_bytes: before.group.zip(after.group).map(|(before, after)| after - before),
        difference: predicted_bytes / observed_bytes - 1.0,
    })
}

struct Mean {
    slab: f64,
    caches: Option<f64>,
    others: f64,
    available: Option<f64>,
    group: Option<f64>,
}

fn mean(
    prober: &mut Prober<RingGroup>,
    root: &Root,
    calibration: &Calibration,
    opened: Opened,
) -> Result<Mean, Failure> {
    let mut samples = Vec::new();
    for _ in 0..MEAN_LOOKS {
        prober.settle().map_err(Failure::Environment)?;
        samples.push(Sample::read(root, calibration.page));
    }
    let of = |value: &dyn Fn(&Sample) -> Option<f64>| {
        let values: Option<Vec<f64>> = samples.iter().map(value).collect();
        values.map(|values| values.iter().sum::<f64>() / f64::from(MEAN_LOOKS))
    };
    let slab = of(&|sample| sample.slab_bytes.clone().ok())
        .ok_or_else(|| Failure::Environment("/proc/meminfo cannot be read".to_owned()))?;
    let available = of(&|sample| sample.available_bytes.clone().ok());
    let others = of(&|sample| Some(others(opened, sample))).unwrap_or(0.0);
    let caches = of(&|sample| calibration.caches_bytes(sample));
    Ok(Mean {
        slab,
        caches,
        others,
        available,
        group: of(&|sample| sample.group_bytes.clone().ok()),
    })
}

fn text(calibration: &Calibration, validation: Option<&Validation>) -> String {
    let sight = match calibration.sight {
        Sight::Caches => "caches of /proc/slabinfo",
        Sight::Slab => "all slab memory together, as /proc/slabinfo may not be read",
    };
    let mut text = format!(
        "Linux {}: {} looks at up to {} sockets ({sight})\n\n",
        calibration.kernel, calibration.looks, calibration.sockets_max
    );
    let queued = format!("queued message of {} bytes", calibration.message_bytes);
    for (what, bytes) in [
        ("idle socket, accepted", calibration.idle_server),
        ("idle socket, client's", calibration.idle_client),
        ("armed multishot poll", calibration.armed_watch),
        ("armed multishot receive", calibration.armed_receive),
        (&queued, calibration.queued_message),
    ] {
        let _ = writeln!(text, "{what:<32}{:>8.0} B  +- {:.0}", bytes.value, bytes.error);
    }
    let pages = calibration.queued_pages;
    let _ = writeln!(
        text,
        "{:<32}{:>8.2} pages of tcp_mem  +- {:.2}",
        "  and", pages.value, pages.error
    );
    if !calibration.caches.is_empty() {
        let _ = writeln!(
            text,
            "\nobjects of each cache (bytes an object): client's socket, accepted, poll, receive, message"
        );
    }
    for cache in &calibration.caches {
        let _ = write!(text, "  {:<24}{:>7.0}", cache.name, cache.object_bytes);
        for objects in &cache.objects {
            let _ = write!(text, "{:>8.2}", objects.value);
        }
        text.push('\n');
    }
    for line in &calibration.unseen {
        let _ = writeln!(text, "not seen: {line}");
    }
    if let Some(validation) = validation {
        validation_text(&mut text, validation);
    }
    text
}

fn validation_text(text: &mut String, validation: &Validation) {
    let _ = writeln!(
        text,
        "\n{} sockets, {} polls armed: predicted {}, observed {} (Slab of /proc/meminfo), {:+.1} %",
        validation.sockets,
        validation.watches,
        plan::size(validation.predicted_bytes as u64),
        plan::size(validation.observed_bytes.max(0.0) as u64),
        validation.difference * 100.0
    );
    if validation.others.abs() >= 1.0 {
        let _ = writeln!(text, "  others opened {:.0} sockets meanwhile", validation.others);
    }
    for (what, bytes) in [
        ("less MemAvailable, all other work included", validation.available_bytes),
        ("charged to the control group", validation.group_bytes),
    ] {
        if let Some(bytes) = bytes {
            let _ = writeln!(text, "  {what}: {}", plan::size(bytes.max(0.0) as u64));
        }
    }
}
