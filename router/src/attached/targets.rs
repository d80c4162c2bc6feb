//! Who gets an entry, as its record says it: for each session its name, its number and what is
//! said to it. Numbers of seven bits a byte, because there may be very many.

use super::kept::Waiting;

/// One session that gets an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Slot of the session; not written.
    pub slot: u32,
    pub name: u64,
    /// Number of the entry in the session's queue.
    pub number: u64,
    /// [`Waiting::TWICE`], [`Waiting::RETAIN`].
    pub flags: u8,
}

fn put_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Appends a target.
pub(crate) fn put(target: &Target, out: &mut Vec<u8>) {
    put_number(target.name, out);
    put_number(target.number << 2 | u64::from(target.flags >> Waiting::FLAGS_SHIFT), out);
}

/// The targets of a record, without slots; a torn last one is left out.
pub(crate) fn all(mut rest: &[u8]) -> impl Iterator<Item = Target> + '_ {
    std::iter::from_fn(move || {
        let name = take_number(&mut rest)?;
        let number = take_number(&mut rest)?;
        let flags = ((number & 3) as u8) << Waiting::FLAGS_SHIFT;
        Some(Target { slot: 0, name, number: number >> 2, flags })
    })
}

/// Texts of a list, each behind its length as u16.
pub(crate) fn shares(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, behind) = rest.split_first_chunk()?;
        let (text, behind) = behind.split_at_checked(u16::from_le_bytes(*length).into())?;
        rest = behind;
        Some(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_come_back_whatever_their_numbers() {
        let flags = [0, Waiting::TWICE, Waiting::RETAIN, Waiting::TWICE | Waiting::RETAIN];
        let numbers = [1, 127, 128, 16_383, 16_384, (1 << 62) - 1];
        let mut bytes = Vec::new();
        let mut put_in = Vec::new();
        for (at, number) in numbers.into_iter().enumerate() {
            let target = Target { slot: 0, name: number * 3, number, flags: flags[at % 4] };
            put(&target, &mut bytes);
            put_in.push(target);
        }
        assert_eq!(all(&bytes).collect::<Vec<_>>(), put_in);
        assert_eq!(all(&bytes[..bytes.len() - 1]).count(), numbers.len() - 1);
    }

    #[test]
    fn a_list_of_shares_is_read_and_a_torn_one_ends() {
        let list = [&[1, 0, b'a', 2, 0][..], b"bc"].concat();
        assert_eq!(shares(&list).collect::<Vec<_>>(), [&b"a"[..], b"bc"]);
        assert_eq!(shares(&list[..6]).collect::<Vec<_>>(), [b"a"]);
    }
}
