//! Topic names and topic filters (section 4.7 of both norms), shared ones included (5.0, 4.8.2).
//!
//! What is matched is decided elsewhere; here only whether a text is a name or a filter at all.

use super::malformed::TopicFault;

/// Levels of a name or filter: a tree walks one step for each, and no honest topic has a dozen.
pub const LEVELS_MAX: usize = 128;

/// How a shared filter begins.
pub const SHARE_PREFIX: &str = "$share/";

/// A filter that is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter<'a> {
    /// Group of a shared filter.
    pub share: Option<&'a str>,
    /// What is matched against topics: the filter without `$share/group/`.
    pub pattern: &'a str,
}

/// Is `name` a topic name?
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), TopicFault> {
    if name.is_empty() {
        return Err(TopicFault::Empty);
    }
    let mut levels = 1;
    for &byte in name.as_bytes() {
        match byte {
            b'+' | b'#' => return Err(TopicFault::Wildcard),
            b'/' => levels += 1,
            _ => {}
        }
    }
    if levels > LEVELS_MAX { Err(TopicFault::TooDeep) } else { Ok(()) }
}

impl<'a> Filter<'a> {
    /// Reads `filter`; `shares` says whether `$share/` has its meaning (it has none in 3.1.1 by the
    /// norm, but clients of that version use it too).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(filter: &'a str) -> Result<Self, TopicFault> {
        let Some(shared) = filter.strip_prefix(SHARE_PREFIX) else {
            check_pattern(filter)?;
            return Ok(Self { share: None, pattern: filter });
        };
        let (group, pattern) = shared.split_once('/').ok_or(TopicFault::Share)?;
        if group.is_empty() || pattern.is_empty() || group.contains(['+', '#']) {
            return Err(TopicFault::Share);
        }
        check_pattern(pattern)?;
        Ok(Self { share: Some(group), pattern })
    }

    /// Does it hold a wildcard?
    #[must_use]
    pub fn is_wild(&self) -> bool {
        self.pattern.bytes().any(|byte| matches!(byte, b'+' | b'#'))
    }
}

/// Is `pattern` a filter that is not shared?
fn check_pattern(pattern: &str) -> Result<(), TopicFault> {
    if pattern.is_empty() {
        return Err(TopicFault::Empty);
    }
    let mut levels = 0;
    let mut ended = false;
    for level in pattern.split('/') {
        levels += 1;
        if ended {
            return Err(TopicFault::WildcardPlace);
        }
        ended = level == "#";
        if level.len() > 1 && level.bytes().any(|byte| matches!(byte, b'+' | b'#')) {
            return Err(TopicFault::WildcardPlace);
        }
    }
    if levels > LEVELS_MAX { Err(TopicFault::TooDeep) } else { Ok(()) }
}

/// Does `pattern` (a filter without `$share/…`) match `name`? For rules and tests; the trees that
/// hold many filters walk them together.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    // Wildcards in the first level stay out of what servers keep for themselves.
    if name.starts_with('$') && pattern.starts_with(['+', '#']) {
        return false;
    }
    let mut names = name.split('/');
    for level in pattern.split('/') {
        if level == "#" {
            return true;
        }
        match names.next() {
            Some(found) if level == "+" || level == found => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    // norm: MQTT3-4.7.3-1
    // norm: MQTT5-4.7.3-1
    // norm: MQTT5-3.3.2-2
    // norm: MQTT3-3.3.2-2
    // norm: MQTT5-4.7.0-1
    // norm: MQTT3-4.7.1-1
    #[test]
    fn a_name_has_a_character_and_no_wildcard() {
        assert_eq!(check_name(""), Err(TopicFault::Empty));
        for name in ["#", "+", "a/+", "a/b#", "a+b"] {
            assert_eq!(check_name(name), Err(TopicFault::Wildcard), "{name}");
        }
        for name in ["/", "a", " ", "a//b", "/finance", "$SYS/x", "a b", "$share/g/t"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        assert_eq!(check_name(&"/".repeat(LEVELS_MAX - 1)), Ok(()));
        assert_eq!(check_name(&"/".repeat(LEVELS_MAX)), Err(TopicFault::TooDeep));
    }

    // norm: MQTT3-4.7.1-2
    // norm: MQTT3-4.7.1-3
    // norm: MQTT5-4.7.1-1
    // norm: MQTT5-4.7.1-2
    #[test]
    fn a_wildcard_is_a_level_of_its_own_and_the_multi_level_one_is_last() {
        for filter in ["#", "+", "sport/#", "+/tennis/#", "sport/+/player1", "/+", "a//#"] {
            assert_eq!(Filter::parse(filter), Ok(Filter { share: None, pattern: filter }));
        }
        for filter in ["sport/tennis#", "sport/tennis/#/ranking", "sport+", "#/", "a/+b", "##"] {
            assert_eq!(Filter::parse(filter), Err(TopicFault::WildcardPlace), "{filter}");
        }
        assert_eq!(Filter::parse(""), Err(TopicFault::Empty));
    }

    // norm: MQTT5-4.8.2-1
    // norm: MQTT5-4.8.2-2
    #[test]
    fn a_shared_filter_has_a_group_without_wildcards_and_a_filter_behind_it() {
        let shared = Filter::parse("$share/consumer1/sport/tennis/+").unwrap();
        assert_eq!(shared, Filter { share: Some("consumer1"), pattern: "sport/tennis/+" });
        assert_eq!(Filter::parse("$share/g//finance").unwrap().pattern, "/finance");
        for filter in ["$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/a#/b"]
        {
            assert_eq!(Filter::parse(filter), Err(TopicFault::Share), "{filter}");
        }
        assert_eq!(Filter::parse("$share/g/a#"), Err(TopicFault::WildcardPlace));
        assert_eq!(Filter::parse("$share").unwrap().share, None);
    }

    // norm: MQTT3-4.7.2-1
    // norm: MQTT5-4.7.2-1
    // norm: MQTT3-4.7.3-4
    // norm: MQTT5-4.7.3-4
    #[test]
    fn matching_is_by_levels_and_keeps_wildcards_out_of_dollar_topics() {
        for (pattern, name) in [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
            ("sport/#", "sport"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("sport/+", "sport/"),
            ("$SYS/#", "$SYS/monitor/Clients"),
            ("$SYS/monitor/+", "$SYS/monitor/Clients"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("+", "/finance"),
            ("sport/+", "sport"),
            ("#", "$SYS/monitor"),
            ("+/monitor/Clients", "$SYS/monitor/Clients"),
            ("ACCOUNTS", "Accounts"),
            ("/a", "a"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
