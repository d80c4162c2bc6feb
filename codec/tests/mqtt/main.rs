//! MQTT packets: golden bytes, every split, arbitrary packets and arbitrary bytes, and what each
//! norm forbids.

#![allow(clippy::unwrap_used)] // the lint takes shared test code for ordinary code

mod arbitrary;
mod checks;
mod golden;
mod hostile;

use hawser_codec::mqtt::{PacketLimits, Role};

const SERVER: PacketLimits = PacketLimits { receiver: Role::Server, packet_bytes_max: 1 << 20 };
const CLIENT: PacketLimits = PacketLimits { receiver: Role::Client, packet_bytes_max: 1 << 20 };
