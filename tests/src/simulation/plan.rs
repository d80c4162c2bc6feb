//! What a seed does: sizes, speeds, faults, and when which trouble comes.

use super::nodes::{self, NodeTrouble};
use hawser_ring::sim::{Conditions, Fault, Faults, Random};
use hawser_router::store::log::LanePolicy;

/// Most shard hosts of a process: with three, hosts that own no lane talk to one another.
pub const HOSTS_MAX: usize = 3;

/// How many of what a process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Workers, 1 to 4.
    pub workers: u16,
    /// Shard hosts, 1 to 3, at most as many as workers.
    pub hosts: u16,
    /// Lanes, 1 or 2, at most as many as hosts.
    pub lanes: u16,
}

/// When exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// At once.
    Any,
    /// As soon as a write is in flight.
    Writing,
}

/// How a process comes to its end, or what else happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// `kill -9`.
    Kill(Moment),
    /// The power fails.
    PowerCut(Moment),
    /// The process is asked to leave, and started again.
    Drain,
    /// The disk is full for so long, microseconds.
    DiskFull(u64),
    /// The wall clock jumps by so much, milliseconds.
    ClockJump(i64),
    /// Something happens to a gateway, a router or a link.
    Node(NodeTrouble),
}

/// What the system consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One process.
    Embedded,
    /// Gateways and routers, each on a machine of its own.
    Separate {
        /// Workers of each gateway.
        gateways: [u16; nodes::GATEWAYS],
        /// Routers.
        routers: u16,
    },
}

/// A run, drawn from a seed before it begins.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// What the system consists of.
    pub form: Form,
    /// Users.
    pub users: usize,
    /// Devices each, and at the end one more that reads everything from the start.
    pub devices: Vec<usize>,
    /// Messages every device sends at most.
    pub messages: u32,
    /// Longest body, bytes.
    pub body_bytes_max: u64,
    /// Longest pause between two messages of a device, microseconds.
    pub pause_us_max: u64,
    /// Virtual time with trouble, microseconds.
    pub trouble_us: u64,
    /// Virtual time a round of turns takes, microseconds.
    pub round_us: u64,
    /// Of so many turns a worker misses one; 0: none.
    pub missed_turns: u64,
    /// Faults of the ring meanwhile.
    pub faults: Faults,
    /// What happens when, by time since the start.
    pub troubles: Vec<(u64, Trouble)>,
    /// Mean time between two troubles of one device's connection, microseconds.
    pub device_trouble_us: u64,
    /// When a write is durable.
    pub policy: LanePolicy,
    /// Records after which a host makes a checkpoint, bytes.
    pub checkpoint_bytes: u64,
    /// Time jobs of the disk thread take, microseconds.
    pub job_us: (u64, u64),
    /// Receive buffers of a worker.
    pub buffers: u16,
    /// Bytes of each.
    pub buffer_bytes: u32,
    /// Outbound bytes of a connection above which nothing is pushed.
    pub outbound_bytes_high: usize,
    /// Memory of the dedup windows of a shard, bytes.
    pub dedup_bytes_max: usize,
    /// Entries pushed and not acknowledged.
    pub unacknowledged_max: u64,
    /// Time an entry may stay unacknowledged before the head is told, microseconds.
    pub notify_timeout_us: u64,
    /// Entries that a router of the separate form keeps for one that has not confirmed them.
    pub unconfirmed_max: usize,
    /// Bytes of messages said to another router and not confirmed.
    pub stream_window_bytes: u64,
    /// Devices meet no trouble of their own and are patient.
    pub calm_devices: bool,
    /// Heartbeat of all classes, seconds.
    pub heartbeat_s: u16,
    /// Connections a worker holds before it passes new ones on; more where all workers together
    /// would not hold the devices.
    pub share: u32,
    random: Random,
}

fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[random.below(from.len() as u64) as usize]
}

impl Plan {
    /// What `seed` does.
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5151_c0de_0b0e_57a7);
        let r = &mut random;
        let users = r.between(2, 4) as usize;
        let devices = (0..users).map(|_| r.between(1, 3) as usize).collect();
        let trouble_us = pick(r, &[3_000_000, 10_000_000, 30_000_000]);
        let faults = draw_faults(seed, r);
        let troubles = draw_troubles(r, trouble_us);
        Self {
            seed,
            form: Form::Embedded,
            users,
            devices,
            messages: pick(r, &[10, 30, 60]),
            body_bytes_max: pick(r, &[40, 700, 3000, 3000]),
            pause_us_max: pick(r, &[2_000, 50_000, 500_000, 2_000_000]),
            trouble_us,
            round_us: pick(r, &[3, 300, 3_000]),
            missed_turns: pick(r, &[0, 2, 16]),
            faults,
            troubles,
            device_trouble_us: pick(r, &[500_000, 2_000_000, 10_000_000]),
            policy: pick(r, &[LanePolicy::DirectDurable, LanePolicy::WriteThenSync]),
            checkpoint_bytes: pick(r, &[2_000, 10_000, 100_000]),
            job_us: pick(r, &[(0, 50), (100, 5_000), (1_000, 200_000)]),
            buffers: pick(r, &[1, 2, 16]),
            buffer_bytes: pick(r, &[128, 512, 4096]),
            outbound_bytes_high: pick(r, &[256, 2048, 65_536]),
            dedup_bytes_max: pick(r, &[300, 2_000, 1 << 20]),
            unacknowledged_max: pick(r, &[4, 32, 256]),
            notify_timeout_us: pick(r, &[50_000, 500_000, 10_000_000]),
            unconfirmed_max: usize::MAX,
            stream_window_bytes: u64::MAX,
            calm_devices: false,
            heartbeat_s: pick(r, &[2, 5, 15]),
            share: pick(r, &[2, 4, 1000]),
            random,
        }
    }

    /// What `seed` does to gateways and routers that are processes of their own.
    pub fn draw_separate(seed: u64) -> Self {
        let mut plan = Self::draw(seed);
        let mut random = Random::new(seed ^ 0x2a7e_5e9a_7a7e_0001);
        let r = &mut random;
        let gateways = [(); nodes::GATEWAYS].map(|()| r.between(1, 2) as u16);
        let routers = r.between(2, 3) as u16;
        plan.form = Form::Separate { gateways, routers };
        // Users enough that every router is home to some and most pairs live on two.
        plan.users = r.between(3, 6) as usize;
        plan.devices = (0..plan.users).map(|_| r.between(1, 2) as usize).collect();
        // A page comes over a link in a few receives, as in the product, not in a thousand.
        plan.buffers = pick(r, &[4, 16]);
        plan.buffer_bytes = pick(r, &[4096, 32_768]);
        // More processes take part in an answer, and the least patient client waits a second for a page
        // whose entries are read one after the other, some turns each. Nor is a round shorter than
        // this: what waits for a process that is stopped is looked at in every one.
        plan.round_us = pick(r, &[20, 100, 1_000]);
        plan.unconfirmed_max = pick(r, &[3, 20, 1 << 19]);
        plan.stream_window_bytes = pick(r, &[2_000, 20_000, 8 << 20]);
        plan.troubles = nodes::draw_troubles(r, plan.trouble_us, routers);
        plan
    }

    /// Of the separate form, but all that goes wrong is that routers are away now and then.
    pub fn draw_absences(seed: u64) -> Self {
        let mut plan = Self::draw_separate(seed);
        let mut random = Random::new(seed ^ 0x0ab5_e27c_e000_0001);
        if let Form::Separate { routers, .. } = plan.form {
            plan.troubles = nodes::draw_absences(&mut random, plan.trouble_us, routers);
        }
        plan.faults = Faults::none();
        plan.calm_devices = true;
        plan.heartbeat_s = 5;
        // Room for every device on one gateway: that one is full is no matter of this plan.
        plan.share = 1000;
        plan
    }

    /// The kind of plan that the number of the seed says: every fourth is of the separate form.
    pub fn draw_any(seed: u64) -> Self {
        if seed % 4 == 3 { Self::draw_separate(seed) } else { Self::draw(seed) }
    }

    /// Draws the counts of the next process.
    pub fn next_counts(&mut self) -> Counts {
        let workers = self.random.between(1, 4) as u16;
        let hosts = (self.random.between(1, HOSTS_MAX as u64) as u16).min(workers);
        let lanes = (self.random.between(1, 2) as u16).min(hosts);
        Counts { workers, hosts, lanes }
    }
}

/// The ring's own draw, with what a short run would hardly meet made likelier.
fn draw_faults(seed: u64, random: &mut Random) -> Faults {
    let mut faults = Faults::draw(seed);
    let deadly_for_a_lane =
        [Fault::WriteFailed, Fault::SyncFailed, Fault::DiskFull, Fault::ReadFailed];
    for fault in deadly_for_a_lane {
        let probability = pick(random, &[0.0, 0.0, 0.005, 0.02]);
        faults = faults.with(fault, probability);
    }
    faults = faults.with(Fault::CancelTooLate, pick(random, &[0.0, 1.0]));
    for fault in [Fault::CancelAlready, Fault::CancelledFirst] {
        faults = faults.with(fault, pick(random, &[0.0, 0.1, 0.4]));
    }
    for fault in [Fault::TableFull, Fault::AcceptFailed] {
        faults = faults.with(fault, pick(random, &[0.0, 0.05]));
    }
    let Conditions { latency_us, disk_us, late_us, .. } = faults.conditions;
    // A run has to end: the slowest disk and network of the ring's draw would only wait.
    faults.conditions.latency_us = (latency_us.0.min(20_000), latency_us.1.min(100_000));
    faults.conditions.disk_us = (disk_us.0.min(5_000), disk_us.1.min(50_000));
    faults.conditions.late_us = (late_us.0, late_us.1.min(100_000));
    faults
}

fn draw_troubles(random: &mut Random, trouble_us: u64) -> Vec<(u64, Trouble)> {
    let count = random.between(1, 7);
    let mut troubles: Vec<(u64, Trouble)> = (0..count)
        .map(|_| {
            let trouble = match random.below(12) {
                0 => Trouble::Kill(Moment::Any),
                1 => Trouble::Kill(Moment::Writing),
                2 => Trouble::PowerCut(Moment::Any),
                3..7 => Trouble::PowerCut(Moment::Writing),
                7..9 => Trouble::Drain,
                9..11 => Trouble::DiskFull(random.between(100_000, 5_000_000)),
                _ => Trouble::ClockJump(random.below(7_200_000) as i64 - 3_600_000),
            };
            (random.below(trouble_us), trouble)
        })
        .collect();
    troubles.sort_by_key(|(at, _)| *at);
    troubles
}
