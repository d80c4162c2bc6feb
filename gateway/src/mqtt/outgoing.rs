//! Answers of clients to what they were sent.

use super::{
    window::{Source, Stage},
    *,
};
use hawser_codec::mqtt::packet::Answer;

impl MqttSessions {
    /// A message of QoS 1 is taken.
    pub(super) fn on_puback(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        answer: &Answer<'_>,
        outlet: &mut Outlet<'_>,
    ) {
        self.end_flight(connection, handle, answer.packet_id, &[Stage::Puback], outlet);
    }

    /// A message of QoS 2 has arrived, or is refused, which ends it.
    pub(super) fn on_pubrec(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        answer: &Answer<'_>,
        outlet: &mut Outlet<'_>,
    ) {
        let packet_id = answer.packet_id;
        if answer.reason >= reason::ERROR {
            self.end_flight(connection, handle, packet_id, &[Stage::Pubrec], outlet);
            return;
        }
        let flight = match self.asides.get(connection, handle) {
            Some(aside) => aside.window.find(packet_id),
            None => None,
        };
        let found = match flight {
            Some(flight) if flight.stage == Stage::Pubrec => {
                if let Source::Queue(number) = flight.source {
                    // A crash must not bring the client again what it was told to release.
                    flight.stage = Stage::Mark;
                    mark(connection, handle, number, false, outlet);
                    return;
                }
                flight.stage = Stage::Pubcomp;
                reason::SUCCESS
            }
            Some(flight) if flight.stage == Stage::Mark => return,
            Some(flight) if flight.stage == Stage::Pubcomp => reason::SUCCESS,
            _ => reason::PACKET_IDENTIFIER_NOT_FOUND,
        };
        self.answer(connection, handle, Kind::Pubrel, packet_id, found, outlet);
    }

    /// A message of QoS 2 is done with.
    pub(super) fn on_pubcomp(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        answer: &Answer<'_>,
        outlet: &mut Outlet<'_>,
    ) {
        self.end_flight(connection, handle, answer.packet_id, &[Stage::Pubcomp], outlet);
    }

    fn end_flight(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        packet_id: u16,
        stages: &[Stage],
        outlet: &mut Outlet<'_>,
    ) {
        let Some(terms) = Terms::of(connection) else { return };
        let Some(aside) = self.asides.get(connection, handle) else { return };
        let Some(flight) = aside.window.end(packet_id, stages) else { return };
        let waits = aside.window.has_waiting();
        self.confirm(connection, handle, flight.source, outlet);
        if waits {
            self.send_waiting(connection, handle, &terms, outlet);
        }
        self.asides.tidy(connection, handle);
    }

    /// The client is done with a message: who could give it again hears of it.
    pub(super) fn confirm(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        source: Source,
        outlet: &mut Outlet<'_>,
    ) {
        match source {
            Source::Live => {}
            Source::Queue(number) => mark(connection, handle, number, true, outlet),
            Source::Inbox(number) => self.confirm_inbox(connection, handle, number, outlet),
        }
    }

    /// The home has noted that the client has received this entry, now or before this connection:
    /// it may forget it.
    pub(super) fn on_marked(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        number: u64,
        outlet: &mut Outlet<'_>,
    ) {
        let source = Source::Queue(number);
        let Some(packet_id) = source.packet_id() else { return };
        if connection.state == State::LoggingIn {
            // Said once the client has its CONNACK.
            self.asides.open(connection, handle).window.resume(packet_id, source);
            return;
        }
        let Some(aside) = self.asides.get(connection, handle) else { return };
        let Some(flight) = aside.window.find(packet_id) else { return };
        if flight.stage == Stage::Mark && flight.source == source {
            flight.stage = Stage::Pubcomp;
            self.answer(connection, handle, Kind::Pubrel, packet_id, reason::SUCCESS, outlet);
        }
    }

    /// What a session has in flight from before, once its client has the CONNACK.
    pub(super) fn after_greeting(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        outlet: &mut Outlet<'_>,
    ) {
        let Some(terms) = Terms::of(connection) else { return };
        let Some(aside) = self.asides.get(connection, handle) else { return };
        let mut releases = Vec::new();
        for packet_id in aside.window.received() {
            encode::answer(&mut releases, terms.version, Kind::Pubrel, packet_id, reason::SUCCESS);
        }
        if !releases.is_empty() {
            outlet.say(connection, handle, |queue| queue.extend_from_slice(&releases));
        }
    }

    /// Appends a PUBACK, PUBREC, PUBREL or PUBCOMP.
    pub(super) fn answer(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        kind: Kind,
        packet_id: u16,
        found: u8,
        outlet: &mut Outlet<'_>,
    ) {
        let Some(terms) = Terms::of(connection) else { return };
        outlet.say(connection, handle, |queue| {
            encode::answer(queue, terms.version, kind, packet_id, found);
        });
    }
}

fn mark(connection: &Connection, handle: Handle, number: u64, done: bool, outlet: &mut Outlet<'_>) {
    link::QueueMark {
        connection: handle.to_u64(),
        user: connection.user,
        device: connection.device,
        number,
        done,
    }
    .put(outlet.uplinks.to(&connection.user));
}
