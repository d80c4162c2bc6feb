//! What a message for a topic says beside its fields: where it goes, and whether it clears.

use super::Publish;

/// Appends one home shard to the list of a [`Publish`]. `shares` as in
/// `hawser_codec::link::TopicEntry`.
pub(crate) fn put_home(home: u8, shares: &[u8], out: &mut Vec<u8>) {
    // Cut to what the length can say: filters of one home for one topic are never so many.
    let length = u16::try_from(shares.len()).unwrap_or(0);
    out.push(home);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&shares[..usize::from(length)]);
}

/// Home shards and the shared filters they serve. Ends at what does not parse.
#[derive(Clone)]
pub(crate) struct Homes<'a>(pub &'a [u8]);

impl<'a> Iterator for Homes<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let ([home, low, high], rest) = self.0.split_first_chunk()?;
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let (shares, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*home, shares))
    }
}

impl<'a> Publish<'a> {
    /// Home shards it goes to.
    pub(crate) fn homes(&self) -> Homes<'a> {
        Homes(self.homes)
    }

    /// Its payload is empty: as a retained message it clears the topic (MQTT 5.0, 3.3.1.3).
    pub(crate) fn clears(&self) -> bool {
        is_empty(self.content)
    }
}

/// Whether a content is well formed, and then whether its payload is empty.
pub(crate) fn payload_of(content: &[u8]) -> Option<&[u8]> {
    let (length, rest) = content.split_first_chunk()?;
    rest.get(u32::from_le_bytes(*length) as usize..)
}

fn is_empty(content: &[u8]) -> bool {
    payload_of(content).is_none_or(<[u8]>::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_are_read_back_and_a_cut_list_ends() {
        let mut list = Vec::new();
        put_home(3, b"", &mut list);
        put_home(200, b"\x08\0$share/g", &mut list);
        let read: Vec<_> = Homes(&list).collect();
        assert_eq!(read, [(3, &b""[..]), (200, &b"\x08\0$share/g"[..])]);
        assert_eq!(Homes(&list[..list.len() - 1]).count(), 1);
    }

    #[test]
    fn a_payload_stands_behind_the_properties() {
        assert_eq!(payload_of(b"\x02\0\0\0ab"), Some(&b""[..]));
        assert_eq!(payload_of(b"\x02\0\0\0abc"), Some(&b"c"[..]));
        assert_eq!(payload_of(b"\x03\0\0\0ab"), None);
        assert_eq!(payload_of(b"\x03\0"), None);
        assert!(is_empty(b"\0\0\0\0") && !is_empty(b"\0\0\0\0x"));
    }
}
