//! Who may publish and subscribe to what: rules in order, the first that speaks decides.
//!
//! A rule names an action, users and a filter in which `%u` stands for the user's name and `%c` for
//! the client identifier. A name that could change what a filter means (it holds `/`, `+` or `#`)
//! matches no rule that uses it.
//!
//! Asked for a filter, an allowing rule speaks only if it covers all that the filter matches, a
//! denying one as soon as the filter matches anything of it: a wildcard is no way around a denial.

use hawser_codec::mqtt::topic;

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publishing, wills included.
    Publish,
    /// Subscribing.
    Subscribe,
    /// Both.
    Both,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRule {
    /// It allows; else it denies.
    pub allow: bool,
    /// What.
    pub action: Action,
    /// The user it is for; `None`: all.
    pub user: Option<String>,
    /// Topics, a filter with `%u` and `%c`; without `$share/…`.
    pub filter: String,
}

/// All rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRules {
    /// In order.
    pub rules: Vec<TopicRule>,
    /// What holds if no rule speaks.
    pub otherwise_allow: bool,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// User's name.
    pub user: &'a str,
    /// Client identifier.
    pub client: &'a str,
}

impl TopicRules {
    /// Everything is allowed.
    #[must_use]
    pub const fn open() -> Self {
        Self { rules: Vec::new(), otherwise_allow: true }
    }

    /// May `asker` publish to `name`?
    #[must_use]
    pub fn may_publish(&self, asker: Asker<'_>, name: &str) -> bool {
        self.decide(asker, Action::Publish, |filter, _| topic::matches(filter, name))
    }

    /// May `asker` subscribe to `pattern` (without `$share/…`)?
    #[must_use]
    pub fn may_subscribe(&self, asker: Asker<'_>, pattern: &str) -> bool {
        self.decide(asker, Action::Subscribe, |filter, allow| match allow {
            true => covers(filter, pattern),
            false => overlaps(filter, pattern),
        })
    }

    fn decide(
        &self,
        asker: Asker<'_>,
        action: Action,
        speaks: impl Fn(&str, bool) -> bool,
    ) -> bool {
        self.rules
            .iter()
            .filter(|rule| rule.action == Action::Both || rule.action == action)
            .filter(|rule| rule.user.as_deref().is_none_or(|user| user == asker.user))
            .find(|rule| match filled(&rule.filter, asker) {
                Some(Filled::As(filter)) => speaks(filter, rule.allow),
                Some(Filled::New(filter)) => speaks(&filter, rule.allow),
                None => false,
            })
            .map_or(self.otherwise_allow, |rule| rule.allow)
    }
}

enum Filled<'a> {
    As(&'a str),
    New(String),
}

/// The filter with names in it; `None` if one of them would change its meaning.
fn filled<'a>(filter: &'a str, asker: Asker<'_>) -> Option<Filled<'a>> {
    if !filter.contains('%') {
        return Some(Filled::As(filter));
    }
    let harmless = |name: &str| !name.is_empty() && !name.contains(['/', '+', '#']);
    if filter.contains("%u") && !harmless(asker.user)
        || filter.contains("%c") && !harmless(asker.client)
    {
        return None;
    }
    // One pass, so that a name with a percent sign is not filled in again.
    let mut out = String::with_capacity(filter.len() + 32);
    let mut rest = filter;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (name, taken) = match rest.as_bytes().get(1) {
            Some(b'u') => (asker.user, 2),
            Some(b'c') => (asker.client, 2),
            _ => ("%", 1),
        };
        out.push_str(name);
        rest = &rest[taken..];
    }
    out.push_str(rest);
    Some(Filled::New(out))
}

/// Wildcards in the first level stay out of `$` topics; so a filter that begins with a wildcard and
/// one that begins with `$` have nothing in common.
fn kept_apart(one: &str, other: &str) -> bool {
    let wild = |filter: &str| filter.starts_with(['+', '#']);
    one.starts_with('$') && wild(other) || other.starts_with('$') && wild(one)
}

/// Does `filter` match all that `pattern` matches?
fn covers(filter: &str, pattern: &str) -> bool {
    if kept_apart(filter, pattern) {
        return false;
    }
    let mut wanted = pattern.split('/');
    for level in filter.split('/') {
        if level == "#" {
            return true;
        }
        match wanted.next() {
            Some(found) if level == found && found != "#" => {}
            Some(found) if level == "+" && found != "#" => {}
            _ => return false,
        }
    }
    wanted.next().is_none()
}

/// Is there a topic that both match?
fn overlaps(filter: &str, pattern: &str) -> bool {
    if kept_apart(filter, pattern) {
        return false;
    }
    let (mut one, mut other) = (filter.split('/'), pattern.split('/'));
    loop {
        match (one.next(), other.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(level), Some(found)) if level == found || level == "+" || found == "+" => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, action: Action, user: Option<&str>, filter: &str) -> TopicRule {
        TopicRule { allow, action, user: user.map(str::to_owned), filter: filter.to_owned() }
    }

    const ANN: Asker<'_> = Asker { user: "ann", client: "phone" };

    #[test]
    fn the_first_rule_that_speaks_decides() {
        let rules = TopicRules {
            rules: vec![
                rule(true, Action::Publish, Some("ann"), "secret/ann"),
                rule(false, Action::Both, None, "secret/#"),
                rule(true, Action::Both, None, "#"),
            ],
            otherwise_allow: false,
        };
        assert!(rules.may_publish(ANN, "secret/ann") && !rules.may_publish(ANN, "secret/bob"));
        assert!(!rules.may_publish(Asker { user: "bob", ..ANN }, "secret/ann"));
        assert!(rules.may_publish(ANN, "open") && !rules.may_publish(ANN, "$open"));
        assert!(!rules.may_subscribe(ANN, "secret/ann"));
    }

    #[test]
    fn a_wildcard_is_no_way_around_a_denial() {
        let rules = TopicRules {
            rules: vec![rule(false, Action::Subscribe, None, "a/secret/#")],
            otherwise_allow: true,
        };
        for denied in ["#", "a/#", "a/+/x", "+/secret", "a/secret", "a/secret/x", "a/+"] {
            assert!(!rules.may_subscribe(ANN, denied), "{denied}");
        }
        for allowed in ["b/#", "a", "+", "a/open/#", "$SYS/#", "a/open"] {
            assert!(rules.may_subscribe(ANN, allowed), "{allowed}");
        }
    }

    #[test]
    fn an_allowed_filter_is_covered_whole() {
        let rules = TopicRules {
            rules: vec![rule(true, Action::Subscribe, None, "devices/+/state")],
            otherwise_allow: false,
        };
        for allowed in ["devices/+/state", "devices/7/state"] {
            assert!(rules.may_subscribe(ANN, allowed), "{allowed}");
        }
        for denied in ["#", "devices/#", "devices/+/+", "devices/7/state/#", "devices/7"] {
            assert!(!rules.may_subscribe(ANN, denied), "{denied}");
        }
    }

    #[test]
    fn names_stand_in_filters_unless_they_would_change_them() {
        let rules = TopicRules {
            rules: vec![rule(true, Action::Both, None, "own/%u/%c/100%/#")],
            otherwise_allow: false,
        };
        assert!(rules.may_publish(ANN, "own/ann/phone/100%/x"));
        assert!(!rules.may_publish(ANN, "own/bob/phone/100%/x"));
        let sly = Asker { user: "+", client: "phone" };
        assert!(!rules.may_subscribe(sly, "own/+/phone/100%/#"));
        let odd = Asker { user: "%c", client: "x" };
        assert!(rules.may_publish(odd, "own/%c/x/100%/y"));
        assert!(!rules.may_publish(odd, "own/x/x/100%/y"));
    }
}
