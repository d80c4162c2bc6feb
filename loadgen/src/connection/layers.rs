//! A connection's way through its layers: opening them one after the other, and carrying bytes up
//! and what is said down.
//!
//! ```text
//!  bytes --> unseal (TLS) --> receive (WebSocket) --> the client's take
//!  the client says --> tell: into messages (streams only) --> sealed --> outbound
//! ```
//!
//! A layer that is not there costs nothing. Buffers are the world's, so that only what is
//! unfinished stays with a connection.

use hawser_codec::{
    time::Now,
    websocket::{Event, write},
};

use super::{Client, Connection, Fault, World, client::Speak, with_client};
use crate::{
    scenario::Protocol,
    wire::{
        fault,
        websocket::{Door, Found, Framing, Unfinished, Websocket, wrap},
    },
};

impl Connection {
    /// Opens the outermost layer.
    pub(super) fn open(&mut self, world: &mut World, index: u32, now: Now) {
        let Some(tls) = &world.ground.wire.tls else {
            let mut outbound = std::mem::take(&mut self.outbound);
            self.open_inner(world, index, now, &mut outbound);
            self.outbound = outbound;
            return;
        };
        match tls.open(self.was_open) {
            Ok(mut tls) => {
                tls.begin(&mut self.outbound);
                self.tls = Some(Box::new(tls));
            }
            Err(code) => self.leaving = Some(Fault::new(code)),
        }
    }

    /// TLS is open, or there is none.
    fn open_inner(&mut self, world: &mut World, index: u32, now: Now, outbound: &mut Vec<u8>) {
        let Some(door) = &world.ground.wire.websocket else {
            return self.enter(world, index, now, outbound);
        };
        let key = world.speaker.handshake_key(index);
        self.websocket = Some(Box::new(Websocket::open(door, key, outbound)));
    }

    /// All layers are open.
    fn enter(&mut self, world: &mut World, index: u32, now: Now, outbound: &mut Vec<u8>) {
        self.opening_us = 0;
        self.was_open = true;
        self.say(world, outbound, |client, world, outbound| {
            with_client!(in client, client => client.greet(world, index, now, outbound));
        });
    }

    /// The layers are gone with the transport.
    pub(super) fn close(&mut self, world: &mut World) {
        let counters = &mut world.tally.counters;
        if self.opening_us != 0 && counters.last_code == 0 {
            // Whoever leaves a connection for a better reason overwrites this one.
            let in_upgrade = self.websocket.is_some();
            let code = if in_upgrade { fault::UPGRADE_UNANSWERED } else { fault::TLS_UNANSWERED };
            counters.last_code = code.into();
        }
        self.opening_us = 0;
        self.leaving = None;
        self.tls = None;
        self.websocket = None;
    }

    /// Bytes of TLS records came.
    pub(super) fn unseal(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        let mut plain = std::mem::take(&mut world.plain);
        let mut unsealed = std::mem::take(&mut world.unsealed);
        let done = self.receive_records(world, index, now, bytes, &mut plain, &mut unsealed);
        if let Some(tls) = &mut self.tls
            && !unsealed.is_empty()
        {
            tls.send(&unsealed, &mut self.outbound);
        }
        plain.clear();
        unsealed.clear();
        (world.plain, world.unsealed) = (plain, unsealed);
        done
    }

    fn receive_records(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        bytes: &[u8],
        plain: &mut Vec<u8>,
        unsealed: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        let was_open = tls.is_open();
        tls.receive(bytes, plain, &mut self.outbound).map_err(Fault::new)?;
        if tls.is_open() && !was_open {
            self.open_inner(world, index, now, unsealed);
        }
        if plain.is_empty() { Ok(()) } else { self.receive(world, index, now, plain, unsealed) }
    }

    /// Plain bytes came.
    pub(super) fn receive(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        bytes: &[u8],
        outbound: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let Some(websocket) = &mut self.websocket else {
            return self.take(world, index, now, bytes, outbound);
        };
        let (mut unfinished, joined) = websocket.begin(bytes, &mut world.spare);
        let bytes = joined.as_deref().unwrap_or(bytes);
        let used = self.receive_frames(world, index, now, bytes, &mut unfinished, outbound)?;
        if let Some(websocket) = &mut self.websocket {
            websocket.end(unfinished, &bytes[used..], &mut world.spare);
        }
        Ok(())
    }

    /// Takes whole frames off the start of `bytes` and tells how many bytes they had.
    fn receive_frames(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        bytes: &[u8],
        unfinished: &mut Unfinished,
        outbound: &mut Vec<u8>,
    ) -> Result<usize, Fault> {
        let mut used = 0;
        // Bounded: each round takes bytes, or is the last.
        loop {
            let ground = &world.ground;
            let (Some(websocket), Some(door)) = (&mut self.websocket, &ground.wire.websocket)
            else {
                return Ok(bytes.len());
            };
            let step = websocket.step(door, unfinished, &bytes[used..]);
            let (consumed, found) = step.map_err(Fault::new)?;
            used += consumed;
            match found {
                Found::Nothing => return Ok(used),
                Found::Opened => self.enter(world, index, now, outbound),
                Found::Event(Event::Message { text, .. }) => {
                    if text != (ground.wire.protocol == Protocol::WebsocketJson) {
                        return Err(Fault::new(fault::MESSAGE));
                    }
                    self.take(world, index, now, &unfinished.payload, outbound)?;
                }
                Found::Event(Event::Ping(ping)) => {
                    write::pong(outbound, ping.as_bytes(), Some(world.speaker.mask()));
                }
                Found::Event(Event::Pong(_)) => {
                    if let Client::Echo(echo) = &mut self.client {
                        echo.on_pong(world, now);
                    }
                }
                Found::Event(Event::Close(close)) => {
                    // Left once the answer has gone: the deadline is now.
                    write::close(outbound, close.code, "", Some(world.speaker.mask()));
                    let fault = Fault::new(fault::of_close(close.code));
                    world.tally.counters.last_code = fault.code.into();
                    self.leaving = Some(fault);
                }
            }
        }
    }

    /// Bytes for the client, of a stream or a whole message.
    fn take(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        bytes: &[u8],
        outbound: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let mut joined = std::mem::take(&mut self.inbound);
        let bytes = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &joined
        };
        let used = self.say(world, outbound, |client, world, outbound| {
            with_client!(in client, client => client.take(world, index, now, bytes, outbound))
        })?;
        if joined.is_empty() {
            self.inbound.extend_from_slice(&bytes[used..]);
        } else if used < joined.len() {
            joined.drain(..used);
            self.inbound = joined;
        }
        Ok(())
    }

    /// Lets the client say something of its own accord, and sends it through all layers.
    pub(super) fn tell<T>(
        &mut self,
        world: &mut World,
        work: impl FnOnce(&mut Client, &mut World, &mut Vec<u8>) -> T,
    ) -> T {
        if self.tls.is_none() {
            let mut outbound = std::mem::take(&mut self.outbound);
            let done = self.say(world, &mut outbound, work);
            self.outbound = outbound;
            return done;
        }
        let mut unsealed = std::mem::take(&mut world.unsealed);
        let done = self.say(world, &mut unsealed, work);
        if let Some(tls) = &mut self.tls
            && !unsealed.is_empty()
        {
            tls.send(&unsealed, &mut self.outbound);
        }
        unsealed.clear();
        world.unsealed = unsealed;
        done
    }

    /// Lets the client say something; a stream is put into messages if there is a WebSocket.
    fn say<T>(
        &mut self,
        world: &mut World,
        outbound: &mut Vec<u8>,
        work: impl FnOnce(&mut Client, &mut World, &mut Vec<u8>) -> T,
    ) -> T {
        let is_stream = |door: &Door| door.framing == Framing::Stream;
        if !world.ground.wire.websocket.as_ref().is_some_and(is_stream) {
            return work(&mut self.client, world, outbound);
        }
        let mut said = std::mem::take(&mut world.said);
        let done = work(&mut self.client, world, &mut said);
        wrap(&said, || world.speaker.mask(), outbound);
        said.clear();
        world.said = said;
        done
    }
}

#[cfg(test)]
mod tests;
