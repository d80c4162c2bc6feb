//! Shared subscriptions of this worker's clients: each message goes to one of them, in turn.

use hashbrown::HashMap;

/// Names one shared filter of one realm.
pub(super) type ShareId = u32;

/// Not shared.
pub(super) const NOT_SHARED: ShareId = 0;

struct Share {
    id: ShareId,
    members: u32,
    /// Slot that was served last.
    last: u32,
}

/// See the module.
#[derive(Default)]
pub(super) struct Shares {
    by_text: HashMap<(u32, Box<[u8]>), Share>,
    texts: HashMap<ShareId, (u32, Box<[u8]>)>,
    drawn: ShareId,
}

impl Shares {
    /// The id of a shared filter (`$share/…`) of `realm`, if this worker has a member.
    pub fn find(&self, realm: u32, text: &[u8]) -> Option<ShareId> {
        self.by_text.get(&(realm, Box::from(text))).map(|share| share.id)
    }

    /// One member more.
    pub fn join(&mut self, realm: u32, text: &[u8]) -> ShareId {
        let key = (realm, Box::from(text));
        if let Some(share) = self.by_text.get_mut(&key) {
            share.members += 1;
            return share.id;
        }
        // Bounded: there are fewer shares than numbers.
        loop {
            self.drawn = self.drawn.wrapping_add(1);
            if self.drawn != NOT_SHARED && !self.texts.contains_key(&self.drawn) {
                break;
            }
        }
        let id = self.drawn;
        self.texts.insert(id, key.clone());
        self.by_text.insert(key, Share { id, members: 1, last: u32::MAX });
        id
    }

    /// One member less.
    pub fn leave(&mut self, id: ShareId) {
        let Some(key) = self.texts.get(&id) else { return };
        let Some(share) = self.by_text.get_mut(key) else { return };
        share.members -= 1;
        if share.members == 0 {
            self.by_text.remove(key);
            self.texts.remove(&id);
        }
    }

    /// The text of a shared filter.
    pub fn text(&self, id: ShareId) -> Option<&[u8]> {
        self.texts.get(&id).map(|(_, text)| &**text)
    }

    /// Slot served last for this filter.
    pub fn last(&self, id: ShareId) -> u32 {
        let share = self.texts.get(&id).and_then(|key| self.by_text.get(key));
        share.map_or(u32::MAX, |share| share.last)
    }

    /// This one was.
    pub fn served(&mut self, id: ShareId, slot: u32) {
        if let Some(share) = self.texts.get(&id).and_then(|key| self.by_text.get_mut(key)) {
            share.last = slot;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_lives_as_long_as_it_has_members() {
        let mut shares = Shares::default();
        let one = shares.join(0, b"$share/g/a");
        assert_eq!(shares.join(0, b"$share/g/a"), one);
        let other = shares.join(1, b"$share/g/a");
        assert_ne!(one, other);
        shares.served(one, 7);
        assert_eq!((shares.last(one), shares.text(one)), (7, Some(&b"$share/g/a"[..])));
        shares.leave(one);
        assert_eq!(shares.find(0, b"$share/g/a"), Some(one));
        shares.leave(one);
        assert_eq!(shares.find(0, b"$share/g/a"), None);
        assert_eq!(shares.find(1, b"$share/g/a"), Some(other));
    }
}
