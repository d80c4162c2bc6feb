//! Messages to a WebSocket echo and back.

use super::{Dialogue, Ground};

/// Any key serves: the mask protects intermediaries from pages, and there are none here.
const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// See the module.
pub struct Echo {
    connections: u32,
    in_flight: u32,
    path: String,
    /// The upgrade was answered.
    open: Vec<bool>,
    /// Number of the last message that came back.
    seen: Vec<u64>,
    /// Number of the last message sent.
    sent: Vec<u64>,
    payload: Vec<u8>,
}

impl Echo {
    /// So many connections that keep so many messages of so many bytes (16 to 125) under way.
    pub fn new(connections: u32, in_flight: u32, bytes: usize, path: String) -> Self {
        let count = connections as usize;
        Self {
            connections,
            in_flight,
            path,
            open: vec![false; count],
            seen: vec![0; count],
            sent: vec![0; count],
            payload: vec![b'x'; bytes.clamp(16, 125)],
        }
    }

    fn send(&mut self, ground: &mut Ground, slot: u32) {
        let number = &mut self.sent[slot as usize];
        *number += 1;
        self.payload[..8].copy_from_slice(&number.to_le_bytes());
        self.payload[8..16].copy_from_slice(&ground.now_us.to_le_bytes());
        let out = ground.out(slot);
        out.extend_from_slice(&[0x82, 0x80 | self.payload.len() as u8]);
        out.extend_from_slice(&MASK);
        out.extend(self.payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }
}

impl Dialogue for Echo {
    fn connections(&self) -> u32 {
        self.connections
    }

    fn on_connected(&mut self, ground: &mut Ground, slot: u32) {
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            self.path
        );
        ground.out(slot).extend_from_slice(request.as_bytes());
    }

    fn on_bytes(&mut self, ground: &mut Ground, slot: u32, bytes: &[u8]) -> Result<usize, String> {
        let mut used = 0;
        if !self.open[slot as usize] {
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                return Ok(0);
            };
            if !bytes.starts_with(b"HTTP/1.1 101 ") {
                return Err(String::from_utf8_lossy(&bytes[..end]).into_owned());
            }
            self.open[slot as usize] = true;
            ground.ready += 1;
            used = end + 4;
        }
        while let Some((&[first, length], rest)) = bytes[used..].split_first_chunk() {
            let Some(payload) = rest.get(..usize::from(length)) else { break };
            if first != 0x82 || payload.len() != self.payload.len() {
                return Err(format!("frame {first:#x} of {length} bytes is not expected"));
            }
            used += 2 + payload.len();
            let word = |at: usize| {
                u64::from_le_bytes(*payload[at..].first_chunk().expect("16 bytes at least"))
            };
            let seen = &mut self.seen[slot as usize];
            ground.disordered += u64::from(word(0) != *seen + 1);
            *seen = word(0);
            ground.deliver(word(8));
            self.send(ground, slot);
        }
        Ok(used)
    }

    fn begin(&mut self, ground: &mut Ground) {
        for slot in 0..self.connections {
            for _ in 0..self.in_flight {
                self.send(ground, slot);
            }
        }
    }
}
