//! What a connection costs the kernel, and where that figure comes from.

/// Bytes per unit; of this kernel where it could be read, else as measured on Linux 6.18, x86-64.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KernelCost {
    /// One idle TCP socket that was accepted, with its inode and file: slab bytes.
    pub idle_socket: f64,
    /// One of a client, which also holds its port: slab bytes.
    pub idle_client: f64,
    /// One armed request of io_uring on it.
    pub armed_request: f64,
    /// One short message queued in a socket: `tcp_mem` pages.
    pub queued_pages: f64,
    /// One entry of the connection tracking table.
    pub conntrack_entry: f64,
    /// Bytes of a page.
    pub page: u64,
    /// How they were come by.
    pub source: CostSource,
}

/// Where a [`KernelCost`] comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CostSource {
    /// Object sizes of `/proc/slabinfo` of this kernel.
    Slab,
    /// Measured with probe sockets on this kernel.
    Calibrated,
    /// Kept figures of Linux 6.18 on x86-64.
    Kept,
}

impl CostSource {
    /// For people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Slab => "slab sizes of this kernel",
            Self::Calibrated => "measured on this kernel",
            Self::Kept => "measured on Linux 6.18, x86-64",
        }
    }
}

/// Slab caches that one idle TCP socket takes an object of, and the bytes an object takes of its
/// slab's pages on Linux 6.18 (slab pages x page size / objects).
pub const SOCKET_CACHES: [(&str, f64); 4] =
    [("TCP", 2521.0), ("sock_inode_cache", 862.0), ("dentry", 195.0), ("filp", 195.0)];
/// Small allocations beside them (`kmalloc-32`, blobs of security modules).
pub const SOCKET_SMALL: f64 = 88.0;
/// Cache of io_uring's requests.
pub const REQUEST_CACHE: (&str, f64) = ("io_kiocb", 256.0);
/// Cache of connection tracking.
pub const CONNTRACK_CACHE: (&str, f64) = ("nf_conntrack", 256.0);

impl KernelCost {
    /// The kept figures.
    #[must_use]
    pub fn kept(page: u64) -> Self {
        let caches: f64 = SOCKET_CACHES.iter().map(|(_, bytes)| bytes).sum();
        Self {
            idle_socket: caches + SOCKET_SMALL,
            idle_client: caches + SOCKET_SMALL,
            armed_request: REQUEST_CACHE.1,
            queued_pages: 1.0,
            conntrack_entry: CONNTRACK_CACHE.1,
            page,
            source: CostSource::Kept,
        }
    }

    /// From the text of `/proc/slabinfo`: what an object takes of its slab's pages. `None` if the
    /// socket's own caches are not named there.
    #[must_use]
    pub fn from_slabinfo(text: &str, page: u64) -> Option<Self> {
        let of = |name: &str| {
            let line = text.lines().find(|line| line.split_whitespace().next() == Some(name))?;
            let mut columns = line.split_whitespace().skip(4);
            let per_slab: f64 = columns.next()?.parse().ok()?;
            let pages: f64 = columns.next()?.parse().ok()?;
            (per_slab > 0.0).then(|| pages * page as f64 / per_slab)
        };
        let tcp = of("TCP")?;
        let inode = of("sock_inode_cache")?;
        let or = |(name, kept): (&str, f64)| of(name).unwrap_or(kept);
        let [_, _, dentry, filp] = SOCKET_CACHES;
        let idle_socket = tcp + inode + or(dentry) + or(filp) + SOCKET_SMALL;
        Some(Self {
            idle_socket,
            idle_client: idle_socket,
            armed_request: or(REQUEST_CACHE),
            conntrack_entry: or(CONNTRACK_CACHE),
            source: CostSource::Slab,
            ..Self::kept(page)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kept_figures_are_those_measured() {
        let kept = KernelCost::kept(4096);
        assert_eq!(kept.idle_socket, 3861.0);
        assert_eq!(kept.armed_request, 256.0);
    }

    #[test]
    fn slab_sizes_count_what_a_slab_wastes() {
        let text = "slabinfo - version: 2.1\n\
             # name <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>\n\
             TCP 100 130 2368 13 8 : tunables 0 0 0\n\
             sock_inode_cache 9 9 832 19 4 : tunables\n";
        let cost = KernelCost::from_slabinfo(text, 4096).unwrap();
        let tcp = 8.0 * 4096.0 / 13.0;
        let inode = 4.0 * 4096.0 / 19.0;
        assert_eq!(cost.idle_socket, tcp + inode + 195.0 + 195.0 + 88.0);
        assert_eq!(cost.source, CostSource::Slab);
        assert_eq!(KernelCost::from_slabinfo("nothing", 4096), None);
    }
}
