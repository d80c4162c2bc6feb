//! The table of settings that matter to many long connections: where each stands, what it must be,
//! which counters prove or disprove that it hurts, and why.

/// How urgent it is that a setting is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Urgency {
    /// Connections are refused or cut beyond it.
    Limit,
    /// Hurts under load.
    Load,
    /// Makes a difference that has to be measured.
    Advice,
}

/// What the value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// As high as the plan's figure of the same name, or higher.
    Planned,
    /// As high as this, or higher.
    AtLeast(u64),
    /// Not higher than this.
    AtMost(u64),
    /// The third of three numbers at least the plan's, the others in proportion.
    PlannedThird,
    /// The third of three numbers at most the plan's: it bounds what one peer may hold.
    PlannedThirdAtMost,
    /// Exactly one of these.
    OneOf(&'static [&'static str]),
}

/// One setting of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Name as sysctl has it.
    pub id: &'static str,
    /// What it must be.
    pub rule: Rule,
    /// How urgent it is.
    pub urgency: Urgency,
    /// Counters that move when it is too small.
    pub evidence: &'static [&'static str],
    /// Why, in one sentence or two.
    pub why: &'static str,
    /// A network namespace has its own, so it may be set in a container.
    pub per_namespace: bool,
}

const fn setting(
    id: &'static str,
    rule: Rule,
    urgency: Urgency,
    evidence: &'static [&'static str],
    per_namespace: bool,
    why: &'static str,
) -> Setting {
    Setting { id, rule, urgency, evidence, why, per_namespace }
}

/// All of them.
pub const SETTINGS: &[Setting] = &[
    setting(
        "fs.file-max",
        Rule::Planned,
        Urgency::Limit,
        &[],
        false,
        "every socket is a file, also those in io_uring's own tables; beyond it accept and connect \
         fail with ENFILE",
    ),
    setting(
        "fs.nr_open",
        Rule::Planned,
        Urgency::Advice,
        &[],
        false,
        "the most that RLIMIT_NOFILE can be; LimitNOFILE=infinity means this number",
    ),
    setting(
        "net.netfilter.nf_conntrack_max",
        Rule::Planned,
        Urgency::Limit,
        &["conntrack.count"],
        true,
        "each tracked connection is an entry; a full table drops the packets of new ones. Better \
         still: do not track the server's ports (nftables: `notrack`)",
    ),
    setting(
        "net.netfilter.nf_conntrack_buckets",
        Rule::Planned,
        Urgency::Load,
        &["conntrack.count"],
        false,
        "chains of the tracking table are walked for every packet",
    ),
    setting(
        "net.netfilter.nf_conntrack_tcp_timeout_established",
        Rule::Planned,
        Urgency::Limit,
        &[],
        true,
        "a tracked connection that is quiet for longer is forgotten, and its next packet dropped",
    ),
    setting(
        "net.ipv4.tcp_mem",
        Rule::PlannedThird,
        Urgency::Limit,
        &["sockstat.TCP.mem", "TcpExt.TCPMemoryPressures", "TcpExt.TCPAbortOnMemory"],
        true,
        "each queued message takes a whole page; above the third number connections are aborted",
    ),
    setting(
        "net.core.somaxconn",
        Rule::Planned,
        Urgency::Load,
        &["TcpExt.ListenOverflows", "TcpExt.ListenDrops"],
        true,
        "accept queue of a listener; in a storm of reconnects what does not fit is dropped and tried \
         again after a second",
    ),
    setting(
        "net.ipv4.tcp_max_syn_backlog",
        Rule::Planned,
        Urgency::Load,
        &["TcpExt.TCPReqQFullDrop", "TcpExt.TCPReqQFullDoCookies"],
        true,
        "connections that are half open, per listener",
    ),
    setting(
        "net.ipv4.tcp_ehash_entries",
        Rule::Planned,
        Urgency::Load,
        &[],
        true,
        "hash of established connections, set at boot (thash_entries=) or for a network namespace \
         (tcp_child_ehash_entries); long chains cost every packet",
    ),
    setting(
        "net.ipv4.tcp_rmem",
        Rule::PlannedThirdAtMost,
        Urgency::Advice,
        &["TcpExt.PruneCalled", "TcpExt.RcvPruned"],
        true,
        "the third number bounds what one peer can make the kernel keep; the megabytes of throughput \
         guides are for few connections",
    ),
    setting(
        "net.ipv4.tcp_wmem",
        Rule::PlannedThirdAtMost,
        Urgency::Advice,
        &["sockstat.TCP.mem"],
        true,
        "the third number bounds what a slow reader holds of the kernel's memory",
    ),
    setting(
        "net.ipv4.tcp_max_orphans",
        Rule::Planned,
        Urgency::Load,
        &["sockstat.TCP.orphan", "TcpExt.TCPAbortOnMemory"],
        false,
        "closed connections whose last bytes are on their way; beyond it they are reset",
    ),
    setting(
        "net.ipv4.tcp_max_tw_buckets",
        Rule::Planned,
        Urgency::Load,
        &["TcpExt.TCPTimeWaitOverflow", "sockstat.TCP.tw"],
        true,
        "connections in TIME_WAIT; beyond it they are forgotten early",
    ),
    setting(
        "net.ipv4.tcp_syncookies",
        Rule::OneOf(&["1"]),
        Urgency::Load,
        &["TcpExt.SyncookiesSent"],
        true,
        "keeps listeners reachable in a flood; 2 uses cookies always and loses options",
    ),
    setting(
        "net.ipv4.tcp_abort_on_overflow",
        Rule::OneOf(&["0"]),
        Urgency::Load,
        &["TcpExt.ListenOverflows"],
        true,
        "with 1 a burst that overflows the accept queue is reset instead of tried again",
    ),
    setting(
        "net.ipv4.tcp_slow_start_after_idle",
        Rule::OneOf(&["0"]),
        Urgency::Advice,
        &[],
        true,
        "a connection that was quiet need not begin slowly when it gets its backlog",
    ),
    setting(
        "net.ipv4.tcp_synack_retries",
        Rule::AtMost(3),
        Urgency::Advice,
        &["TcpExt.TCPTimeouts"],
        true,
        "half-open connections are given up after 15 s instead of a minute",
    ),
    setting(
        "net.ipv4.tcp_fin_timeout",
        Rule::AtMost(30),
        Urgency::Advice,
        &["sockstat.TCP.orphan"],
        true,
        "how long a closed connection waits for the other side's FIN",
    ),
    setting(
        "net.ipv4.tcp_retries2",
        Rule::AtMost(10),
        Urgency::Advice,
        &["TcpExt.TCPAbortOnTimeout"],
        true,
        "a dead peer with data under way is noticed after minutes instead of a quarter of an hour; \
         hawser-gateway sets TCP_USER_TIMEOUT, which goes before it",
    ),
    setting(
        "net.ipv4.tcp_mtu_probing",
        Rule::OneOf(&["1", "2"]),
        Urgency::Advice,
        &[],
        true,
        "mobile networks swallow packets that are too long without saying so",
    ),
    setting(
        "net.ipv4.tcp_timestamps",
        Rule::OneOf(&["1", "2"]),
        Urgency::Advice,
        &[],
        true,
        "needed to take ports out of TIME_WAIT early and to survive sequence wrap; never off",
    ),
    setting(
        "net.ipv4.tcp_sack",
        Rule::OneOf(&["1"]),
        Urgency::Advice,
        &["TcpExt.TCPTimeouts"],
        true,
        "without it each lost packet on a bad network costs a time-out",
    ),
    setting(
        "net.ipv4.tcp_moderate_rcvbuf",
        Rule::OneOf(&["1"]),
        Urgency::Advice,
        &[],
        true,
        "buffers grow with what a connection needs, within tcp_rmem",
    ),
    setting(
        "net.core.netdev_max_backlog",
        Rule::Planned,
        Urgency::Load,
        &["softnet.dropped"],
        false,
        "packets of loopback, veth and steered queues wait here; what does not fit is dropped",
    ),
    setting(
        "net.core.netdev_budget",
        Rule::AtLeast(300),
        Urgency::Advice,
        &["softnet.time_squeeze"],
        false,
        "packets taken in one round of the network interrupt",
    ),
    setting(
        "net.core.busy_poll",
        Rule::AtMost(0),
        Urgency::Advice,
        &[],
        false,
        "spinning for packets pays on cores that are dedicated to few busy connections, not for a \
         fleet that is quiet most of the time",
    ),
    setting(
        "net.ipv4.tcp_notsent_lowat",
        Rule::AtMost(131_072),
        Urgency::Advice,
        &["sockstat.TCP.mem"],
        true,
        "what a slow reader has not been sent waits in the server, where it is bounded and seen, \
         instead of in the kernel; hawser-gateway sets it on its own sockets",
    ),
    setting(
        "net.ipv4.tcp_no_metrics_save",
        Rule::OneOf(&["1"]),
        Urgency::Advice,
        &[],
        true,
        "keeps the last connection of each peer in memory; a phone's last network says nothing of its \
         next one",
    ),
    setting(
        "net.ipv4.tcp_thin_linear_timeouts",
        Rule::OneOf(&["1"]),
        Urgency::Advice,
        &["TcpExt.TCPTimeouts"],
        true,
        "a connection with one or two packets under way repeats them at a steady pace instead of ever \
         later: that is what chat is",
    ),
    setting(
        "net.ipv4.tcp_rto_max_ms",
        Rule::AtMost(30_000),
        Urgency::Advice,
        &["TcpExt.TCPTimeouts"],
        true,
        "a phone that comes out of a tunnel gets what waits after half a minute at the latest, not \
         after two (Linux 6.15 and later)",
    ),
    setting(
        "net.ipv4.tcp_migrate_req",
        Rule::OneOf(&["1"]),
        Urgency::Advice,
        &["TcpExt.ListenDrops"],
        true,
        "with a listener per worker, handshakes of one that closes go on at another instead of being \
         dropped",
    ),
    setting(
        "vm.min_free_kbytes",
        Rule::Planned,
        Urgency::Advice,
        &["TcpExt.TCPAbortOnMemory"],
        false,
        "packets that arrive in a burst are stored from this reserve; without it they are dropped while \
         the kernel looks for memory",
    ),
    setting(
        "vm.swappiness",
        Rule::AtMost(10),
        Urgency::Advice,
        &[],
        false,
        "state of quiet connections is the first to be swapped out, and each comes back slowly",
    ),
    setting(
        "vm.overcommit_memory",
        Rule::OneOf(&["0", "1"]),
        Urgency::Load,
        &[],
        false,
        "with 2 large maps of buffers and io_uring's rings may be refused",
    ),
    setting(
        "kernel.io_uring_disabled",
        Rule::OneOf(&["0"]),
        Urgency::Limit,
        &[],
        false,
        "hawser-gateway needs io_uring; 1 allows it to a group, 2 to nobody",
    ),
    setting(
        "kernel.numa_balancing",
        Rule::OneOf(&["0"]),
        Urgency::Advice,
        &[],
        false,
        "pages that are moved between nodes stop the worker that uses them",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_stands_once_and_says_why() {
        let mut seen = std::collections::BTreeSet::new();
        for setting in SETTINGS {
            assert!(seen.insert(setting.id), "{} stands twice", setting.id);
            assert!(setting.why.len() > 20, "{}", setting.id);
        }
    }
}
