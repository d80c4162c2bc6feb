//! Messages of clients: PUBLISH to the topic's shard, its answer, and the second half of QoS 2.

use super::{
    aside::{Incoming, IncomingStage},
    *,
};
use hawser_codec::mqtt::{
    Properties,
    packet::{Answer, Publish},
    property::{self, Value},
};

/// Topics of direct chats.
const CHAT: &str = "$hawser/u/";

/// Publishes of QoS 2 a client of the older version may leave unreleased, which cannot be told a
/// maximum: more than any keeps under way.
const UNRELEASED_MAX: usize = 4096;

impl MqttSessions {
    pub(super) fn on_publish(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        terms: &Terms,
        publish: &Publish<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<Heard, Farewell> {
        if publish.qos != Qos::AtMostOnce && !self.may_publish_more(connection, handle, terms)? {
            return Ok(Heard::Later);
        }
        let alias = if terms.version == Version::V5 { publish.alias() } else { None };
        let Some(alias) = alias else {
            return self.take(connection, handle, terms, publish, publish.topic, outlet);
        };
        if alias > self.settings.mqtt.aliases_max {
            return Err(ending(reason::TOPIC_ALIAS_INVALID, "more aliases than were agreed"));
        }
        if !publish.topic.is_empty() {
            self.set_alias(connection, handle, alias, publish.topic)?;
            return self.take(connection, handle, terms, publish, publish.topic, outlet);
        }
        let aliases = self.asides.get(connection, handle).and_then(|at| at.aliases_in.take());
        let Some(aliases) = aliases else {
            return Err(ending(reason::PROTOCOL_ERROR, "an alias that stands for nothing"));
        };
        let heard = match aliases.get(alias) {
            Some(topic) => self.take(connection, handle, terms, publish, topic, outlet),
            None => Err(ending(reason::PROTOCOL_ERROR, "an alias that stands for nothing")),
        };
        self.asides.open(connection, handle).aliases_in = Some(aliases);
        heard
    }

    /// Does the client keep to its receive maximum? In the older version, which has none, what is
    /// beyond waits.
    fn may_publish_more(
        &mut self,
        connection: &Connection,
        handle: Handle,
        terms: &Terms,
    ) -> Result<bool, Farewell> {
        let max = usize::from(self.settings.mqtt.receive_max);
        let asked = usize::from(connection.requests);
        let received = self.asides.get(connection, handle).map_or(0, |aside| {
            let received = |one: &&Incoming| one.stage != IncomingStage::Publishing;
            aside.incoming.iter().filter(received).count()
        });
        if terms.version == Version::V5 && asked + received >= max {
            let text = "more publishes unanswered than the receive maximum";
            return Err(ending(reason::RECEIVE_MAXIMUM_EXCEEDED, text));
        }
        if received >= UNRELEASED_MAX {
            return Err(ending(reason::QUOTA_EXCEEDED, "too many publishes not released"));
        }
        Ok(asked < max)
    }

    fn set_alias(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        alias: u16,
        topic: &str,
    ) -> Result<(), Farewell> {
        let room = self.asides.alias_bytes + topic.len() <= limits::MQTT_ALIAS_BYTES_PER_WORKER;
        let aliases = self.asides.open(connection, handle).aliases_in.get_or_insert_default();
        let before = aliases.bytes();
        let set = room && aliases.set(alias, topic);
        let after = aliases.bytes();
        self.asides.alias_bytes = self.asides.alias_bytes + after - before;
        match set {
            true => Ok(()),
            false => Err(ending(reason::QUOTA_EXCEEDED, "topics behind aliases take too much")),
        }
    }

    /// A publish whose topic is known.
    fn take(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        terms: &Terms,
        publish: &Publish<'_>,
        topic: &str,
        outlet: &mut Outlet<'_>,
    ) -> Result<Heard, Farewell> {
        outlet.metrics.mqtt_published.add(1);
        if topic.starts_with('$') {
            let chat = topic.strip_prefix(CHAT).filter(|peer| !peer.is_empty());
            let refusal = match chat {
                Some(peer) => self.chat(connection, handle, publish, peer, outlet),
                // Groups have no topic yet; the rest of the name space is the server's own.
                None => Some(reason::NOT_AUTHORIZED),
            };
            return self.refuse_or_go_on(connection, handle, terms, publish, refusal, outlet);
        }
        let settings = Arc::clone(&self.settings);
        if !settings.mqtt.rules.is_empty() {
            let asker =
                Who { user: self.user_name(connection), device: self.client_id(connection) };
            if !settings.mqtt.rules.may_publish(asker, topic) {
                let refusal = Some(reason::NOT_AUTHORIZED);
                return self.refuse_or_go_on(connection, handle, terms, publish, refusal, outlet);
            }
        }
        let Some(keys) = settings.keys.space() else { return Ok(Heard::Taken) };
        let key = self.topics.find(keys, connection.realm, topic.as_bytes());
        let refused = outlet.marks.crowded || !outlet.uplinks.has_room();
        if refused || outlet.uplinks.refuse_request(&key).is_some() {
            let refusal = Some(reason::QUOTA_EXCEEDED);
            return self.refuse_or_go_on(connection, handle, terms, publish, refusal, outlet);
        }
        self.pass_on(connection, handle, publish, topic, key, outlet);
        Ok(Heard::Taken)
    }

    /// Hands the message to the shard of its topic.
    fn pass_on(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        publish: &Publish<'_>,
        topic: &str,
        key: Key,
        outlet: &mut Outlet<'_>,
    ) {
        if publish.qos != Qos::AtMostOnce {
            connection.requests += 1;
        }
        if publish.qos == Qos::ExactlyOnce {
            if terms::take_fresh(connection) {
                self.release_all(connection, handle, outlet);
            }
            let aside = self.asides.open(connection, handle);
            let packet_id = publish.packet_id;
            let stage = IncomingStage::Publishing;
            let incoming = Incoming { packet_id, topic_key: key, stage };
            // Sent again on a connection that knows it: the host will say once more what it said.
            match aside.incoming.iter_mut().find(|one| one.packet_id == packet_id) {
                Some(known) => *known = incoming,
                None => aside.incoming.push(incoming),
            }
        }
        let mut scratch = Vec::new();
        let passed = publish.properties.passed_on(&mut scratch);
        self.content.clear();
        self.content.extend_from_slice(&(passed.len() as u32).to_le_bytes());
        self.content.extend_from_slice(passed);
        self.content.extend_from_slice(publish.payload);
        link::Publish {
            connection: handle.to_u64(),
            user: connection.user,
            device: connection.device,
            topic_key: key,
            realm: connection.realm,
            request: publish.packet_id,
            qos: publish.qos as u8,
            retain: publish.retain,
            expiry_s: publish.expiry_s().map_or(0, |expiry_s| expiry_s.max(1)),
            topic: topic.as_bytes(),
            content: &self.content,
        }
        .put(outlet.uplinks.to(&key));
    }

    /// Tells a client of a publish that was not passed on, with the words it has for it.
    fn refuse_or_go_on(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        terms: &Terms,
        publish: &Publish<'_>,
        refusal: Option<u8>,
        outlet: &mut Outlet<'_>,
    ) -> Result<Heard, Farewell> {
        let Some(found) = refusal else { return Ok(Heard::Taken) };
        outlet.metrics.mqtt_refused.add(1);
        if publish.qos == Qos::AtMostOnce {
            return Ok(Heard::Taken);
        }
        let kind = if publish.qos == Qos::AtLeastOnce { Kind::Puback } else { Kind::Pubrec };
        self.refuse(connection, handle, terms, kind, publish.packet_id, found, outlet)?;
        Ok(Heard::Taken)
    }

    /// An acknowledgement that says no. The older version has none, and an acknowledgement would be
    /// a lie: the connection ends, and the client may send the message again on the next one.
    #[allow(clippy::too_many_arguments)] // one refusal has so many facts
    pub(super) fn refuse(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        terms: &Terms,
        kind: Kind,
        packet_id: u16,
        found: u8,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Farewell> {
        if terms.version == Version::V311 {
            return Err(ending(found, "a publish was refused"));
        }
        if !terms.problem_information {
            self.answer(connection, handle, kind, packet_id, found, outlet);
            return Ok(());
        }
        let mut why = Vec::new();
        property::put(&mut why, property::REASON_STRING, Value::Text(reason::text(found)));
        let answer = Answer { packet_id, reason: found, properties: Properties::of(&why) };
        let packet = match kind {
            Kind::Pubrec => Packet::Pubrec(answer),
            _ => Packet::Puback(answer),
        };
        if why.len() + 8 > terms.packet_bytes_max as usize {
            self.answer(connection, handle, kind, packet_id, found, outlet);
            return Ok(());
        }
        outlet.say(connection, handle, |queue| say::put(queue, Version::V5, &packet));
        Ok(())
    }

    /// The host has answered a publish: it is durable, or refused.
    pub(super) fn on_published(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        terms: &Terms,
        published: &link::Published,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Farewell> {
        let packet_id = published.request;
        let found = match published.code {
            0 if published.matched => reason::SUCCESS,
            0 => reason::NO_MATCHING_SUBSCRIBERS,
            code => refusal_of(code),
        };
        connection.requests = connection.requests.saturating_sub(1);
        let kind = self.settle(connection, handle, packet_id, found);
        if found >= reason::ERROR {
            outlet.metrics.mqtt_refused.add(1);
            return self.refuse(connection, handle, terms, kind, packet_id, found, outlet);
        }
        self.answer(connection, handle, kind, packet_id, found, outlet);
        Ok(())
    }

    /// Notes the answer to a publish, and says which packet tells it.
    pub(super) fn settle(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        packet_id: u16,
        found: u8,
    ) -> Kind {
        let Some(aside) = self.asides.get(connection, handle) else { return Kind::Puback };
        let Some(at) = aside.incoming.iter().position(|one| one.packet_id == packet_id) else {
            return Kind::Puback;
        };
        if found >= reason::ERROR {
            aside.incoming.swap_remove(at);
            self.asides.tidy(connection, handle);
        } else {
            aside.incoming[at].stage = IncomingStage::Received;
        }
        Kind::Pubrec
    }

    /// The client will not repeat a publish of QoS 2: who keeps its identifier may forget it.
    pub(super) fn on_pubrel(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        answer: &Answer<'_>,
        outlet: &mut Outlet<'_>,
    ) {
        let packet_id = answer.packet_id;
        let hosts = outlet.uplinks.hosts() as u16;
        let aside = self.asides.open(connection, handle);
        let at = aside.incoming.iter().position(|one| one.packet_id == packet_id);
        let known = at.map(|at| aside.incoming[at]);
        if known.is_some_and(|known| known.topic_key == inbox::CHAT_KEY) {
            // No shard keeps it: the message has a number of its own.
            aside.incoming.retain(|one| one.packet_id != packet_id);
            self.asides.tidy(connection, handle);
            self.answer(connection, handle, Kind::Pubcomp, packet_id, reason::SUCCESS, outlet);
            return;
        }
        // Published on an earlier connection: which shard keeps it is not known here.
        let topic_key = known.map_or([0; 16], |known| known.topic_key);
        let hosts = if known.is_some() { 1 } else { hosts };
        let stage = IncomingStage::Releasing { hosts, found: false };
        match at {
            Some(at) if matches!(aside.incoming[at].stage, IncomingStage::Releasing { .. }) => {
                return;
            }
            Some(at) => aside.incoming[at].stage = stage,
            None => aside.incoming.push(Incoming { packet_id, topic_key, stage }),
        }
        let release = link::Release {
            connection: handle.to_u64(),
            user: connection.user,
            device: connection.device,
            topic_key,
            request: packet_id,
        };
        match known {
            Some(_) => release.put(outlet.uplinks.to(&topic_key)),
            None => outlet.uplinks.to_each().for_each(|batch| release.put(batch)),
        }
    }

    pub(super) fn on_released(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        released: &link::Released,
        outlet: &mut Outlet<'_>,
    ) {
        let packet_id = released.request;
        let Some(aside) = self.asides.get(connection, handle) else { return };
        let Some(at) = aside.incoming.iter().position(|one| one.packet_id == packet_id) else {
            return;
        };
        let IncomingStage::Releasing { hosts, found } = &mut aside.incoming[at].stage else {
            return;
        };
        *hosts -= 1;
        *found |= released.found;
        if *hosts > 0 {
            return;
        }
        let known = *found || aside.incoming[at].topic_key != [0; 16];
        aside.incoming.swap_remove(at);
        self.asides.tidy(connection, handle);
        let found = if known { reason::SUCCESS } else { reason::PACKET_IDENTIFIER_NOT_FOUND };
        self.answer(connection, handle, Kind::Pubcomp, packet_id, found, outlet);
    }

    /// A session that begins anew knows no packet identifier of an earlier one.
    fn release_all(&mut self, connection: &Connection, handle: Handle, outlet: &mut Outlet<'_>) {
        let release = link::Release {
            connection: handle.to_u64(),
            user: connection.user,
            device: connection.device,
            topic_key: [0; 16],
            request: 0,
        };
        outlet.uplinks.to_each().for_each(|batch| release.put(batch));
    }

    /// Does the client wait for answers that a host which lost its state will not give?
    #[must_use]
    pub fn has_unanswered(&mut self, connection: &Connection, handle: Handle) -> bool {
        connection.requests > 0
            || self.asides.get(connection, handle).is_some_and(|aside| {
                let asked = |one: &Incoming| one.stage != IncomingStage::Received;
                aside.questions > 0 || aside.incoming.iter().any(asked)
            })
    }
}

/// Reason code in an acknowledgement for a code of [`hawser_codec::code`].
pub(super) const fn refusal_of(code: u16) -> u8 {
    match code {
        code::UNAUTHENTICATED | code::KICKED => reason::NOT_AUTHORIZED,
        code::BAD_NAME => reason::TOPIC_NAME_INVALID,
        code::OVERLOADED | code::RATE_LIMITED => reason::QUOTA_EXCEEDED,
        _ => reason::IMPLEMENTATION_SPECIFIC,
    }
}
