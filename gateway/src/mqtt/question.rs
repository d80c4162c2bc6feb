//! What clients have asked for and hosts have not all answered: filters wanted or no longer wanted,
//! and retained messages.
//!
//! A question of a client has a part for each filter and host that must agree; it is answered when
//! the last part is.

use super::*;
use hashbrown::HashMap;
use hawser_codec::mqtt::packet::Options;

/// A SUBSCRIBE or UNSUBSCRIBE.
#[derive(Debug)]
pub(super) struct Question {
    pub handle: Handle,
    pub packet_id: u16,
    pub unsubscribe: bool,
    pub identifier: u32,
    /// One for each filter: the answer as far as it is known.
    pub filters: Vec<Asked>,
    /// Parts not yet answered.
    parts: u32,
}

/// One filter of a question.
#[derive(Debug)]
pub(super) struct Asked {
    pub filter: Box<str>,
    pub options: Options,
    pub reason: u8,
    /// The session had it already.
    pub existed: bool,
}

/// What a part has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The home's answer.
    Subscribed { existed: bool },
}

#[derive(Debug)]
enum Waiting {
    /// Part of a question; hosts that have not answered, a set for routes.
    Filter { question: u32, index: usize, hosts: u64 },
    /// Retained messages for a connection.
    Retained { handle: Handle, options: Options, identifier: u32, hosts: u16 },
}

/// See the module.
#[derive(Default)]
pub(super) struct Questions {
    questions: HashMap<u32, Question>,
    waiting: HashMap<u32, Waiting>,
    /// Routes among the parts.
    routes: usize,
    /// Questions and retained messages under way, by slot, so that the end of a connection that
    /// has none looks no further.
    by_slot: HashMap<u32, u32>,
    drawn: u32,
}

const _: () = assert!(limits::HOSTS_MAX <= u64::BITS);

impl Questions {
    /// Room for a question of so many filters.
    pub fn has_room(&self, filters: usize) -> bool {
        self.waiting.len() + 2 * filters <= limits::MQTT_QUESTIONS_MAX
    }

    /// A route is on its way that some host has not confirmed.
    pub fn has_routes(&self) -> bool {
        self.routes > 0
    }

    /// Numbers a question whose parts follow.
    pub fn begin(
        &mut self,
        handle: Handle,
        packet_id: u16,
        unsubscribe: bool,
        identifier: u32,
        filters: Vec<Asked>,
    ) -> u32 {
        let id = self.draw();
        let question = Question { handle, packet_id, unsubscribe, identifier, filters, parts: 0 };
        self.questions.insert(id, question);
        *self.by_slot.entry(handle.slot).or_default() += 1;
        id
    }

    fn leave(by_slot: &mut HashMap<u32, u32>, slot: u32) {
        if let Some(count) = by_slot.get_mut(&slot) {
            *count -= 1;
            if *count == 0 {
                by_slot.remove(&slot);
            }
        }
    }

    fn remove(&mut self, id: u32) -> Option<Question> {
        let question = self.questions.remove(&id)?;
        Self::leave(&mut self.by_slot, question.handle.slot);
        Some(question)
    }

    /// Was this filter refused already?
    pub fn is_refused(&self, question: u32, index: usize) -> bool {
        let found = self.questions.get(&question);
        found.is_none_or(|question| question.filters[index].reason >= reason::ERROR)
    }

    /// The session has this filter already.
    pub fn existed(&mut self, question: u32, index: usize) {
        if let Some(question) = self.questions.get_mut(&question) {
            question.filters[index].existed = true;
        }
    }

    fn draw(&mut self) -> u32 {
        // Bounded: far fewer are under way than there are numbers.
        loop {
            self.drawn = self.drawn.wrapping_add(1);
            let used = |id: &u32| self.waiting.contains_key(id) || self.questions.contains_key(id);
            if self.drawn != 0 && !used(&self.drawn) {
                return self.drawn;
            }
        }
    }

    /// A part of `question` that `hosts` hosts have to answer each.
    pub fn route(&mut self, question: u32, index: usize, hosts: usize) -> u32 {
        let hosts = u64::MAX >> (u64::BITS as usize - hosts.clamp(1, 64));
        self.routes += 1;
        self.part(question, index, hosts)
    }

    /// A part of `question` for the session's home.
    pub fn home(&mut self, question: u32, index: usize) -> u32 {
        self.part(question, index, 0)
    }

    fn part(&mut self, question: u32, index: usize, hosts: u64) -> u32 {
        if let Some(question) = self.questions.get_mut(&question) {
            question.parts += 1;
        }
        let id = self.draw();
        self.waiting.insert(id, Waiting::Filter { question, index, hosts });
        id
    }

    /// Asks `hosts` hosts for retained messages.
    pub fn retained(
        &mut self,
        handle: Handle,
        options: Options,
        identifier: u32,
        hosts: u16,
    ) -> u32 {
        let id = self.draw();
        self.waiting.insert(id, Waiting::Retained { handle, options, identifier, hosts });
        *self.by_slot.entry(handle.slot).or_default() += 1;
        id
    }

    /// The retained messages asked for under `request`: options and identifier of the subscription.
    pub fn find_retained(&self, request: u32, handle: Handle) -> Option<(Options, u32)> {
        match self.waiting.get(&request)? {
            Waiting::Retained { handle: of, options, identifier, .. } if *of == handle => {
                Some((*options, *identifier))
            }
            _ => None,
        }
    }

    /// One host has given all it had.
    pub fn retained_end(&mut self, request: u32) {
        if let Some(Waiting::Retained { hosts, handle, .. }) = self.waiting.get_mut(&request) {
            let slot = handle.slot;
            *hosts -= 1;
            if *hosts == 0 {
                self.waiting.remove(&request);
                Self::leave(&mut self.by_slot, slot);
            }
        }
    }

    /// `host` has answered a route. Gives the question whose last part this was.
    pub fn routed(&mut self, request: u32, host: u16, code: u16) -> Option<Question> {
        let Waiting::Filter { question, index, hosts } = self.waiting.get_mut(&request)? else {
            return None;
        };
        let before = *hosts;
        *hosts &= !1u64.checked_shl(host.into()).unwrap_or(0);
        let (question, index, left) = (*question, *index, *hosts);
        if code != 0 {
            self.fail(question, index);
        }
        if left != 0 || before == 0 {
            return None;
        }
        self.waiting.remove(&request);
        self.routes -= 1;
        self.done(question)
    }

    /// The home has answered. Gives the question whose last part this was.
    pub fn answered(&mut self, request: u32, code: u16, found: Part) -> Option<Question> {
        let Some(Waiting::Filter { question, index, hosts: 0 }) = self.waiting.get(&request) else {
            return None;
        };
        let (question, index) = (*question, *index);
        self.waiting.remove(&request);
        if code != 0 {
            self.fail(question, index);
        }
        let Part::Subscribed { existed } = found;
        if let Some(question) = self.questions.get_mut(&question) {
            question.filters[index].existed |= existed;
        }
        self.done(question)
    }

    /// This filter is refused for want of room.
    pub fn fail(&mut self, question: u32, index: usize) {
        if let Some(question) = self.questions.get_mut(&question) {
            question.filters[index].reason = reason::QUOTA_EXCEEDED;
        }
    }

    fn done(&mut self, id: u32) -> Option<Question> {
        let question = self.questions.get_mut(&id)?;
        question.parts -= 1;
        if question.parts > 0 { None } else { self.remove(id) }
    }

    /// The question, if it has no parts left.
    pub fn ready(&mut self, id: u32) -> Option<Question> {
        match self.questions.get(&id)?.parts {
            0 => self.remove(id),
            _ => None,
        }
    }

    /// The connection is gone: its questions are nobody's.
    pub fn forget(&mut self, handle: Handle) {
        if self.by_slot.remove(&handle.slot).is_none() {
            return;
        }
        let questions = &mut self.questions;
        questions.retain(|_, question| question.handle != handle);
        let routes = &mut self.routes;
        self.waiting.retain(|_, waiting| match waiting {
            Waiting::Filter { question, hosts, .. } => {
                let stays = questions.contains_key(question);
                if !stays && *hosts != 0 {
                    *routes -= 1;
                }
                stays
            }
            Waiting::Retained { handle: of, .. } => *of != handle,
        });
    }
}
