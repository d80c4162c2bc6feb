//! The simulated world by itself: its faults are survivable and all occur, it repeats by seed, its
//! disk forgets what a disk may forget and nothing else.

mod disk;
mod echo;
mod rules;

use hawser_ring::{RingSettings, SocketOptions, Wait};

const OPTIONS: SocketOptions = SocketOptions {
    no_delay: true,
    send_buffer_bytes: None,
    receive_buffer_bytes: None,
    not_sent_low_bytes: None,
    user_timeout_ms: 0,
    keepalive_s: 0,
};

const SETTINGS: RingSettings = RingSettings {
    descriptors: 8,
    completion_entries: 256,
    submission_entries: 64,
    buffers: 4,
    buffer_bytes: 64,
};

const WAIT: Wait = Wait { until_us: None, batch: 1, gather_us: 0 };
