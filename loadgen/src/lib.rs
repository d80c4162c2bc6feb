//! Load generator with a message oracle for Hawser.
//!
//! A run holds many connections from few threads, sends by a schedule that is fixed before it
//! starts and never waits for the server, measures every latency from the *intended* time of a
//! message, and proves for each single message that it arrived once, in order, unchanged and at
//! the right user. The way of a message through the modules: [`schedule`] intends it,
//! [`connection`] sends it, [`oracle`] judges it, [`report`] tells; [`worker`] is the shell that
//! moves the bytes and [`run`] starts and ends it all.

pub mod arguments;
pub mod capacity;
pub mod compare;
pub mod connection;
pub mod identity;
pub mod judge;
pub mod live;
pub mod measure;
pub mod oracle;
pub mod page;
pub mod payload;
pub mod plan;
pub mod record;
pub mod report;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod source;
pub mod tally;
pub mod wheel;
pub mod wire;
pub mod worker;
