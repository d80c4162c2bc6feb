//! Which of this worker's clients wants what: SUBSCRIBE, UNSUBSCRIBE, and the tree of their
//! filters.
//!
//! Hosts are told the first and the last of each filter, of a shared one each member; homes of kept
//! sessions each filter. A client is answered when all of them have agreed.

use super::{
    question::{Asked, Part, Question},
    share::{NOT_SHARED, ShareId, Shares},
    *,
};
use hashbrown::HashMap;
use hawser_codec::mqtt::{
    Properties,
    packet::{Options, Suback, Subscribe, Unsubscribe},
    topic::Filter,
};
use hawser_router::topic::FilterId;
use std::cmp::Ordering;

/// A client at a filter; its identity is the share and the slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub slot: u32,
    pub share: ShareId,
    pub identifier: u32,
    pub options: Options,
}

impl Ord for Member {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.share, self.slot).cmp(&(other.share, other.slot))
    }
}

impl PartialOrd for Member {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Member {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Member {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    id: FilterId,
    share: ShareId,
}

/// Filters of this worker's clients.
pub(super) struct Subscriptions {
    pub tree: FilterTree<Member>,
    pub shares: Shares,
    held: HashMap<u32, Vec<Held>>,
    /// Where a walk for a host stands, by host.
    walks: HashMap<u16, u64>,
}

/// What became of a filter that was put in.
struct Put {
    existed: bool,
    /// Hosts have to be told.
    route: bool,
}

impl Subscriptions {
    pub fn new(tree: FilterTree<Member>) -> Self {
        Self { tree, shares: Shares::default(), held: HashMap::new(), walks: HashMap::new() }
    }

    fn count(&self, slot: u32) -> usize {
        self.held.get(&slot).map_or(0, Vec::len)
    }

    /// Does the connection have this filter?
    fn has(&self, realm: u32, slot: u32, text: &str, filter: &Filter<'_>) -> bool {
        let share = match filter.share {
            None => Some(NOT_SHARED),
            Some(_) => self.shares.find(realm, text.as_bytes()),
        };
        let options = Options::default();
        share.is_some_and(|share| {
            let member = Member { slot, share, identifier: 0, options };
            self.tree.get(realm, filter.pattern.as_bytes(), &member).is_some()
        })
    }

    fn put(
        &mut self,
        realm: u32,
        slot: u32,
        text: &str,
        options: Options,
        identifier: u32,
    ) -> Option<Put> {
        let filter = Filter::parse(text).ok()?;
        let existed = self.has(realm, slot, text, &filter);
        let share = match filter.share {
            None => NOT_SHARED,
            Some(_) if existed => self.shares.find(realm, text.as_bytes())?,
            Some(_) => self.shares.join(realm, text.as_bytes()),
        };
        let member = Member { slot, share, identifier, options };
        let Ok(inserted) = self.tree.insert(realm, filter.pattern.as_bytes(), member) else {
            if share != NOT_SHARED && !existed {
                self.shares.leave(share);
            }
            return None;
        };
        if existed {
            return Some(Put { existed, route: false });
        }
        self.held.entry(slot).or_default().push(Held { id: inserted.id, share });
        // Of the members of ordinary filters the first is told; the tree mixes both kinds.
        let route = share != NOT_SHARED
            || self.tree.subscribers(inserted.id).filter(|at| at.share == NOT_SHARED).count() == 1;
        Some(Put { existed, route })
    }

    /// Takes a filter away; says whether hosts have to be told, or that there was none.
    fn take(&mut self, realm: u32, slot: u32, text: &str) -> Option<bool> {
        let filter = Filter::parse(text).ok()?;
        let share = match filter.share {
            None => NOT_SHARED,
            Some(_) => self.shares.find(realm, text.as_bytes())?,
        };
        let id = self.tree.find(realm, filter.pattern.as_bytes())?;
        let held = self.held.get_mut(&slot)?;
        let at = held.iter().position(|held| *held == Held { id, share })?;
        held.swap_remove(at);
        if held.is_empty() {
            self.held.remove(&slot);
        }
        Some(self.drop_member(slot, Held { id, share }))
    }

    /// Takes a member out of tree and share; true if hosts have to be told.
    fn drop_member(&mut self, slot: u32, held: Held) -> bool {
        let options = Options::default();
        let member = Member { slot, share: held.share, identifier: 0, options };
        let removed = self.tree.remove_from(held.id, &member);
        if held.share != NOT_SHARED {
            self.shares.leave(held.share);
            return true;
        }
        let last = removed.is_some_and(|removed| removed.last);
        last || self.tree.subscribers(held.id).all(|at| at.share != NOT_SHARED)
    }

    /// The connection is gone: its filters too.
    pub fn forget(&mut self, realm: u32, slot: u32, uplinks: &mut Uplinks) {
        let Some(all) = self.held.remove(&slot) else { return };
        let mut text = Vec::new();
        for held in all {
            text.clear();
            match self.shares.text(held.share) {
                Some(shared) => text.extend_from_slice(shared),
                None => {
                    self.tree.text(held.id, &mut text);
                }
            }
            if self.drop_member(slot, held) {
                route(uplinks, false, 0, realm, &text);
            }
        }
    }

    /// Tells `host` filters of this worker again; true while more are to follow.
    fn tell_again(&mut self, host: u16, uplinks: &mut Uplinks) -> bool {
        let mut place = self.walks.get(&host).copied().unwrap_or(0);
        let mut text = Vec::new();
        for _ in 0..limits::MQTT_ROUTES_PER_TURN {
            let Some((found, next)) = self.tree.walk(place, limits::MQTT_ROUTES_PER_TURN) else {
                self.walks.remove(&host);
                return false;
            };
            place = next;
            let Some(id) = found else { continue };
            text.clear();
            let realm = self.tree.text(id, &mut text);
            let mut tell = |filter: &[u8]| {
                link::Route { add: true, request: 0, realm, filter }.put(uplinks.to_host(host));
            };
            let mut ordinary = false;
            for member in self.tree.subscribers(id) {
                match self.shares.text(member.share) {
                    Some(shared) => tell(shared),
                    None => ordinary = true,
                }
            }
            if ordinary {
                tell(&text);
            }
        }
        self.walks.insert(host, place);
        true
    }
}

/// Tells every host.
fn route(uplinks: &mut Uplinks, add: bool, request: u32, realm: u32, filter: &[u8]) {
    let frame = link::Route { add, request, realm, filter };
    uplinks.to_each().for_each(|batch| frame.put(batch));
}

fn unsubscribe_at_home(
    connection: &Connection,
    handle: Handle,
    request: u32,
    filter: &str,
    outlet: &mut Outlet<'_>,
) {
    link::Unsubscribe {
        connection: handle.to_u64(),
        user: connection.user,
        device: connection.device,
        request,
        filter: filter.as_bytes(),
    }
    .put(outlet.uplinks.to(&connection.user));
}

/// The mailbox as a topic.
pub(super) const INBOX: &str = "$hawser/inbox";
/// What servers of this kind keep for themselves.
pub(super) const RESERVED: &str = "$hawser";

impl MqttSessions {
    pub(super) fn on_subscribe(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        terms: &Terms,
        subscribe: &Subscribe<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<Heard, Farewell> {
        let count = subscribe.filters.iter().count();
        if !self.may_ask(connection, handle, count)? {
            return Ok(Heard::Later);
        }
        let identifier = subscribe.identifier();
        let asked = subscribe
            .filters
            .iter()
            .map(|(filter, options)| {
                let reason = self.judge(connection, handle, filter);
                let reason = if reason == 0 { options.qos() as u8 } else { reason };
                Asked { filter: filter.into(), options, reason, existed: false }
            })
            .collect();
        self.asides.open(connection, handle).questions += 1;
        let id = self.questions.begin(handle, subscribe.packet_id, false, identifier, asked);
        for (index, (filter, options)) in subscribe.filters.iter().enumerate() {
            self.subscribe_one(
                connection, handle, terms, id, index, filter, options, identifier, outlet,
            );
        }
        if let Some(question) = self.questions.ready(id) {
            self.finish(connection, question, outlet);
        }
        Ok(Heard::Taken)
    }

    /// Is there room for a question? Too many filters at once end the connection.
    fn may_ask(
        &mut self,
        connection: &Connection,
        handle: Handle,
        filters: usize,
    ) -> Result<bool, Farewell> {
        if filters > limits::MQTT_FILTERS_PER_PACKET_MAX || !self.questions.has_room(filters) {
            return Err(ending(reason::QUOTA_EXCEEDED, "too many filters at once"));
        }
        let asked = self.asides.get(connection, handle).map_or(0, |aside| aside.questions);
        Ok(asked < limits::MQTT_QUESTIONS_PER_CLIENT_MAX)
    }

    /// Reason for which a filter is refused, 0 if it is not.
    fn judge(&self, connection: &Connection, handle: Handle, text: &str) -> u8 {
        let Ok(filter) = Filter::parse(text) else { return reason::TOPIC_FILTER_INVALID };
        let pattern = filter.pattern;
        let reserved = pattern
            .strip_prefix(RESERVED)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if reserved && (pattern != INBOX || filter.share.is_some()) {
            return reason::NOT_AUTHORIZED;
        }
        let mqtt = &self.settings.mqtt;
        let asker = Who { user: self.user_name(connection), device: self.client_id(connection) };
        if !reserved && !mqtt.rules.may_subscribe(asker, pattern) {
            return reason::NOT_AUTHORIZED;
        }
        let full = self.subscriptions.count(handle.slot) >= mqtt.subscriptions_max as usize;
        if full && !self.subscriptions.has(connection.realm, handle.slot, text, &filter) {
            return reason::QUOTA_EXCEEDED;
        }
        0
    }

    #[allow(clippy::too_many_arguments)] // one filter of one question
    fn subscribe_one(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        terms: &Terms,
        id: u32,
        index: usize,
        text: &str,
        options: Options,
        identifier: u32,
        outlet: &mut Outlet<'_>,
    ) {
        if self.questions.is_refused(id, index) {
            return;
        }
        let realm = connection.realm;
        // What stood before in the same packet counts too.
        let full =
            self.subscriptions.count(handle.slot) >= self.settings.mqtt.subscriptions_max as usize;
        let known = Filter::parse(text)
            .is_ok_and(|filter| self.subscriptions.has(realm, handle.slot, text, &filter));
        let put = match full && !known {
            true => None,
            false => self.subscriptions.put(realm, handle.slot, text, options, identifier),
        };
        let Some(put) = put else {
            self.questions.fail(id, index);
            return;
        };
        if put.existed {
            self.questions.existed(id, index);
        }
        // A route is told again while an earlier one may not have arrived: the client is answered
        // only when it has, and an ordinary one is no more than a member of a set.
        let shared = Filter::parse(text).is_ok_and(|filter| filter.share.is_some());
        if text == INBOX {
            self.open_inbox(connection, handle, options, outlet);
        } else if put.route || self.questions.has_routes() && !shared {
            let request = self.questions.route(id, index, outlet.uplinks.hosts());
            route(outlet.uplinks, true, request, realm, text.as_bytes());
        }
        if terms.kept {
            let request = self.questions.home(id, index);
            link::Subscribe {
                connection: handle.to_u64(),
                user: connection.user,
                device: connection.device,
                request,
                identifier,
                options: options.bits(),
                filter: text.as_bytes(),
            }
            .put(outlet.uplinks.to(&connection.user));
        }
    }

    pub(super) fn on_unsubscribe(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        terms: &Terms,
        unsubscribe: &Unsubscribe<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<Heard, Farewell> {
        let count = unsubscribe.filters.iter().count();
        if !self.may_ask(connection, handle, count)? {
            return Ok(Heard::Later);
        }
        let realm = connection.realm;
        let mut asked = Vec::with_capacity(count);
        for (filter, options) in unsubscribe.filters.iter() {
            let taken = self.subscriptions.take(realm, handle.slot, filter);
            let reason = match taken {
                Some(_) => reason::SUCCESS,
                None => reason::NO_SUBSCRIPTION_EXISTED,
            };
            if filter == INBOX && taken.is_some() {
                self.close_inbox(connection, handle, outlet);
            } else if taken == Some(true) {
                route(outlet.uplinks, false, 0, realm, filter.as_bytes());
            }
            let existed = taken.is_some();
            asked.push(Asked { filter: filter.into(), options, reason, existed });
        }
        self.asides.open(connection, handle).questions += 1;
        let id = self.questions.begin(handle, unsubscribe.packet_id, true, 0, asked);
        for (index, (filter, _)) in unsubscribe.filters.iter().enumerate() {
            if terms.kept {
                let request = self.questions.home(id, index);
                unsubscribe_at_home(connection, handle, request, filter, outlet);
            }
        }
        if let Some(question) = self.questions.ready(id) {
            self.finish(connection, question, outlet);
        }
        Ok(Heard::Taken)
    }

    /// A filter the session had before this connection.
    pub(super) fn on_restored(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        restored: &link::Restored<'_>,
        outlet: &mut Outlet<'_>,
    ) {
        let Ok(text) = std::str::from_utf8(restored.filter) else { return };
        let Some(options) = Options::from_bits(restored.options) else { return };
        let realm = connection.realm;
        let identifier = restored.identifier;
        let put = self.subscriptions.put(realm, handle.slot, text, options, identifier);
        if text == INBOX {
            self.open_inbox(connection, handle, options, outlet);
        } else if put.is_some_and(|put| put.route) {
            route(outlet.uplinks, true, 0, realm, restored.filter);
        }
    }

    /// The home has answered a part of a question.
    pub(super) fn on_part(
        &mut self,
        connection: &mut Connection,
        request: u32,
        code: u16,
        found: Part,
        outlet: &mut Outlet<'_>,
    ) {
        if let Some(question) = self.questions.answered(request, code, found) {
            self.finish(connection, question, outlet);
        }
    }

    /// Answers a question.
    pub(super) fn finish(
        &mut self,
        connection: &mut Connection,
        question: Question,
        outlet: &mut Outlet<'_>,
    ) {
        let Some(terms) = Terms::of(connection) else { return };
        let Question { handle, packet_id, unsubscribe, identifier, filters, .. } = question;
        if let Some(aside) = self.asides.get(connection, handle) {
            aside.questions = aside.questions.saturating_sub(1);
            self.asides.tidy(connection, handle);
        }
        let reasons: Vec<u8> = filters
            .iter()
            .map(|asked| match terms.version {
                Version::V311 if asked.reason >= reason::ERROR => reason::FAILURE_311,
                _ => asked.reason,
            })
            .collect();
        let answer = Suback { packet_id, properties: Properties::NONE, reasons: &reasons };
        let packet = if unsubscribe { Packet::Unsuback(answer) } else { Packet::Suback(answer) };
        outlet.say(connection, handle, |queue| say::put(queue, terms.version, &packet));
        if unsubscribe {
            return;
        }
        for asked in &filters {
            if asked.reason >= reason::ERROR {
                let taken = self.subscriptions.take(connection.realm, handle.slot, &asked.filter);
                if taken == Some(true) && asked.filter.as_ref() != INBOX {
                    route(outlet.uplinks, false, 0, connection.realm, asked.filter.as_bytes());
                }
                if taken.is_some() && terms.kept {
                    unsubscribe_at_home(connection, handle, 0, &asked.filter, outlet);
                }
                continue;
            }
            self.ask_retained(connection, handle, asked, identifier, outlet);
        }
    }

    fn ask_retained(
        &mut self,
        connection: &Connection,
        handle: Handle,
        asked: &Asked,
        identifier: u32,
        outlet: &mut Outlet<'_>,
    ) {
        let Ok(filter) = Filter::parse(&asked.filter) else { return };
        let wanted = match asked.options.retain_handling() {
            Options::RETAIN_ALWAYS => true,
            Options::RETAIN_IF_NEW => !asked.existed,
            _ => false,
        };
        if !wanted || filter.share.is_some() || *asked.filter == *INBOX {
            return;
        }
        let settings = Arc::clone(&self.settings);
        let Some(keys) = settings.keys.space() else { return };
        let wild = filter.is_wild();
        let hosts = if wild { outlet.uplinks.hosts() as u16 } else { 1 };
        let request = self.questions.retained(handle, asked.options, identifier, hosts);
        let frame = link::Retained {
            connection: handle.to_u64(),
            request,
            realm: connection.realm,
            filter: filter.pattern.as_bytes(),
        };
        if wild {
            outlet.uplinks.to_each().for_each(|batch| frame.put(batch));
        } else {
            let topic = filter.pattern.as_bytes();
            let key = self.topics.find(keys, connection.realm, topic);
            frame.put(outlet.uplinks.to(&key));
        }
    }

    pub(super) fn on_retained_end(&mut self, request: u32) {
        self.questions.retained_end(request);
    }

    /// A host has lost its state: tells it what this worker's clients want, a bounded number of
    /// filters at a time. True while more are to follow.
    pub fn announce_routes(&mut self, host: u16, uplinks: &mut Uplinks) -> bool {
        self.subscriptions.tell_again(host, uplinks)
    }
}
