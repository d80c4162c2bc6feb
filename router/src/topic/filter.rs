//! What a topic and a filter may look like (MQTT 5.0 and 3.1.1, section 4.7; shared ones 4.8.2).

/// Longest topic or filter: its length travels as 16 bits (MQTT 5.0, 1.5.4).
pub const TOPIC_BYTES_MAX: usize = 65_535;
/// Levels of a filter with a wildcard. Bounds the depth of a tree and so the work of a match;
/// ten times what naming schemes in use have. A topic may have more, and is then found by filters
/// without a wildcard and by those that end in `#`.
pub const LEVELS_MAX: usize = 128;

const SHARED: &[u8] = b"$share/";

/// A filter as a client wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written<'a> {
    /// Name of the group, for a shared one.
    pub share: Option<&'a [u8]>,
    /// What topics are compared with.
    pub filter: &'a [u8],
}

impl<'a> Written<'a> {
    /// Takes `$share/group/filter` apart; `None` if it is not well formed.
    #[must_use]
    pub fn read(text: &'a [u8]) -> Option<Written<'a>> {
        let Some(rest) = text.strip_prefix(SHARED) else {
            let bare = text == SHARED.split_last().map_or(text, |(_, name)| name);
            return (!bare && is_filter(text)).then_some(Written { share: None, filter: text });
        };
        let slash = rest.iter().position(|byte| *byte == b'/')?;
        let (group, filter) = (&rest[..slash], &rest[slash + 1..]);
        let named = !group.is_empty() && !group.iter().any(|byte| matches!(byte, b'+' | b'#' | 0));
        (named && is_filter(filter)).then_some(Written { share: Some(group), filter })
    }
}

/// Whether a message may be published to it.
#[must_use]
pub fn is_topic(topic: &[u8]) -> bool {
    let fits = !topic.is_empty() && topic.len() <= TOPIC_BYTES_MAX;
    fits && !topic.iter().any(|byte| matches!(byte, b'+' | b'#' | 0))
}

/// Whether it may be subscribed to, a share's name taken off.
#[must_use]
pub fn is_filter(filter: &[u8]) -> bool {
    if filter.is_empty() || filter.len() > TOPIC_BYTES_MAX {
        return false;
    }
    let (mut count, mut ended) = (0, false);
    for level in levels(filter) {
        let wild = level.iter().any(|byte| matches!(byte, b'+' | b'#' | 0));
        if ended || wild && level != b"+" && level != b"#" {
            return false;
        }
        ended = level == b"#";
        count += 1;
    }
    count <= LEVELS_MAX || !has_wildcard(filter)
}

/// Whether a filter matches other topics than the one it names.
#[must_use]
pub fn has_wildcard(filter: &[u8]) -> bool {
    filter.iter().any(|byte| matches!(byte, b'+' | b'#'))
}

/// Topics that start so are not matched by a wildcard in the first level (MQTT 5.0, 4.7.2).
#[must_use]
pub fn is_reserved(topic: &[u8]) -> bool {
    topic.first() == Some(&b'$')
}

/// Levels, empty ones included.
pub fn levels(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'/')
}

/// Whether `filter` matches `topic`. Looks at both from the front: for single questions, and as
/// what tables are compared with in tests.
#[must_use]
pub fn is_match(filter: &[u8], topic: &[u8]) -> bool {
    let mut topics = levels(topic);
    let mut reserved = is_reserved(topic);
    for level in levels(filter) {
        let first = std::mem::take(&mut reserved);
        match (level, topics.next()) {
            (b"#", _) => return !first,
            (_, None) => return false,
            (b"+", Some(_)) if !first => {}
            (level, Some(wanted)) if level == wanted => {}
            _ => return false,
        }
    }
    topics.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_alone_in_their_level_and_a_rest_stands_last() {
        for good in ["a", "/", "+", "#", "a/+/b", "+/+", "a/#", "/#", "$SYS/#", "a//b"] {
            assert!(is_filter(good.as_bytes()), "{good}");
        }
        for bad in ["", "a+", "a/b#", "#/a", "a/#/b", "a\0b", "+a/b"] {
            assert!(!is_filter(bad.as_bytes()), "{bad}");
        }
        assert!(is_filter(&[b'/'; 1000]) && is_filter("+/".repeat(127).as_bytes()));
        assert!(!is_filter("+/".repeat(128).as_bytes()));
        assert!(!is_filter(&vec![b'a'; TOPIC_BYTES_MAX + 1]));
    }

    #[test]
    fn a_shared_filter_has_a_group_and_a_filter() {
        let read = |text: &'static str| Written::read(text.as_bytes());
        let shared = Written { share: Some(b"g"), filter: b"a/+" };
        assert_eq!(read("$share/g/a/+"), Some(shared));
        assert_eq!(read("$shared/g"), Some(Written { share: None, filter: b"$shared/g" }));
        for bad in ["$share", "$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    // norm: MQTT5-4.7.2-1
    // norm: MQTT3-4.7.2-1
    #[test]
    fn filters_match_as_the_norm_says() {
        let matches = |filter: &str, topic: &str| is_match(filter.as_bytes(), topic.as_bytes());
        for (filter, topic) in [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking"),
            ("#", "a"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("sport/+", "sport/"),
            ("$SYS/#", "$SYS/a"),
            ("$SYS/#", "$SYS"),
            ("a//b", "a//b"),
        ] {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in [
            ("sport/+", "sport"),
            ("+", "/finance"),
            ("#", "$SYS/a"),
            ("+/a", "$SYS/a"),
            ("a", "a/b"),
            ("a/b", "a"),
            ("a/+", "a/b/c"),
        ] {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }
}
