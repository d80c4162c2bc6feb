//! The whole system from one seed.
//!
//! ```text
//!  plan (what this seed does) ──▶ run ──▶ verdict (what went wrong, how often each fault was hit)
//!
//!  devices ◀── virtual TCP ──▶ workers ◀── mesh ──▶ hosts ──▶ lanes ──▶ virtual disk
//!     │ events                                        └── disk jobs, late and failing
//!     ▼
//!  oracle: what each application sent, heard acknowledged, and was shown
//! ```
//!
//! Everything between the devices' applications and the disk is the product's own code: sessions
//! of the client library, workers, hosts, shards, lane writers, checkpoints, recovery. What is
//! simulated is below ([`hawser_ring::sim`]) and around them: processes that are killed, machines
//! that lose power, disks that fill up. A run has two phases: trouble, then fair weather in which
//! everything owed has to arrive within a bound.
//!
//! In the separate form gateways and routers are processes of their own, each on a machine with its
//! own disk, and links between them go over the same virtual network, where ways can be slow or dead
//! in one direction. A router is the product's tier with its board and links; what the product's
//! tasks do with sockets is done on a simulated ring instead.
//!
//! Same seed, same run, bit for bit; [`Verdict::trace`] proves it.

mod cluster;
mod device;
mod disk;
mod nodes;
mod oracle;
mod plan;
mod plant;
mod process;
mod report;
mod router;
mod run;
mod seam;

pub use oracle::Violation;
pub use plan::{Form, Plan};
pub use plant::{EntryPlant, LinkPlant, Plants, RingPlant, lose_windows};
pub use report::Totals;
pub use run::{Tell, Verdict, run};
