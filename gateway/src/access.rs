//! Who may publish and subscribe to which topics: rules in order, of which the first that applies
//! decides. Without one that applies it is allowed.
//!
//! A publish is compared as a topic with the rule's filter. A subscription is a set of topics: an
//! *allow* applies if its filter covers all of the subscription's, a *deny* if the two have any
//! topic in common. So `deny subscribe secret/#` also refuses `#`, and what a client may subscribe
//! to never shows it a topic that a rule before denies.
//!
//! Unlike in a subscription, a wildcard of a rule takes topics that begin with `$`, too: `#` is
//! everything. A level `%u` stands for the user's name, `%c` for the device's (MQTT's client id);
//! a name that is no single level (it holds `/`, `+` or `#`) never equals one.
//!
//! What it is not: who somebody is ([`crate::auth`]), and what `$hawser/…` means.

use std::fmt;

/// Rules of one configuration: each publish walks them, and 256 short compares are some 5 µs.
pub const RULES_MAX: usize = 256;
/// Longest filter of a rule, bytes.
pub const FILTER_BYTES_MAX: usize = 1024;

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is permitted.
    Allow,
    /// It is refused.
    Deny,
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To publish, a will included.
    Publish,
    /// To subscribe.
    Subscribe,
    /// Both.
    Both,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    effect: Effect,
    action: Action,
    user: Option<String>,
    filter: String,
}

/// A filter that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAFilter;

impl fmt::Display for NotAFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "levels between `/`, up to {FILTER_BYTES_MAX} bytes; a level may be `+` (any), `%u` \
             (the user), `%c` (the client id), and the last one `#` (the rest)"
        )
    }
}

impl Rule {
    /// A rule for `user`, or for everybody.
    ///
    /// # Errors
    /// The filter is none.
    pub fn new(
        effect: Effect,
        action: Action,
        user: Option<String>,
        filter: String,
    ) -> Result<Self, NotAFilter> {
        if filter.is_empty() || filter.len() > FILTER_BYTES_MAX || filter.contains('\0') {
            return Err(NotAFilter);
        }
        let mut levels = filter.split('/').peekable();
        while let Some(level) = levels.next() {
            let is_last = levels.peek().is_none();
            if (level == "#" && !is_last) || (level.len() > 1 && level.contains(['+', '#'])) {
                return Err(NotAFilter);
            }
        }
        Ok(Self { effect, action, user, filter })
    }

    fn concerns(&self, action: Action, user: &str) -> bool {
        (self.action == Action::Both || self.action == action)
            && self.user.as_deref().is_none_or(|own| own == user)
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who<'a> {
    /// The user's name.
    pub user: &'a str,
    /// The device's name, MQTT's client id.
    pub device: &'a str,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// No rule: everything is allowed.
    pub const NONE: Self = Self(Vec::new());

    /// Everything is allowed, whoever asks.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These rules, in this order.
    #[must_use]
    pub const fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// May `who` publish to `topic`, which is a topic's name?
    #[must_use]
    pub fn may_publish(&self, who: Who<'_>, topic: &str) -> bool {
        self.decide(Action::Publish, who, |rule| covers(&rule.filter, who, topic))
    }

    /// May `who` subscribe to `filter`, which is a valid one without its `$share/group/`?
    #[must_use]
    pub fn may_subscribe(&self, who: Who<'_>, filter: &str) -> bool {
        self.decide(Action::Subscribe, who, |rule| match rule.effect {
            Effect::Allow => covers(&rule.filter, who, filter),
            Effect::Deny => overlaps(&rule.filter, who, filter),
        })
    }

    fn decide(&self, action: Action, who: Who<'_>, applies: impl Fn(&Rule) -> bool) -> bool {
        let mut concerned = self.0.iter().filter(|rule| rule.concerns(action, who.user));
        concerned.find(|rule| applies(rule)).is_none_or(|rule| rule.effect == Effect::Allow)
    }
}

/// Does the rule's level stand for this one and no other? Not asked for wildcards of the rule.
fn is_same(rule: &str, who: Who<'_>, level: &str) -> bool {
    let name = match rule {
        "%u" => who.user,
        "%c" => who.device,
        text => return text == level,
    };
    // `+` as a client id must not reach what `+` reaches. One with a slash is no level at all.
    name == level && !matches!(name, "+" | "#")
}

/// Is every topic of `filter` one of the rule's? A topic's name is a filter of that topic alone.
fn covers(rule: &str, who: Who<'_>, filter: &str) -> bool {
    let mut levels = filter.split('/');
    for own in rule.split('/') {
        if own == "#" {
            return true;
        }
        match (own, levels.next()) {
            (_, None | Some("#")) => return false,
            ("+", Some(_)) => {}
            (_, Some("+")) => return false,
            (_, Some(level)) if is_same(own, who, level) => {}
            (_, Some(_)) => return false,
        }
    }
    levels.next().is_none()
}

/// Is there a topic of both?
fn overlaps(rule: &str, who: Who<'_>, filter: &str) -> bool {
    let (mut owns, mut levels) = (rule.split('/'), filter.split('/'));
    loop {
        match (owns.next(), levels.next()) {
            // `a/#` has the topic `a`, too.
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (None, Some(_)) | (Some(_), None) => return false,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(own), Some(level)) if is_same(own, who, level) => {}
            (Some(_), Some(_)) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANN: Who<'static> = Who { user: "ann", device: "phone" };

    fn rule(effect: Effect, action: Action, user: &str, filter: &str) -> Rule {
        let user = (!user.is_empty()).then(|| user.to_owned());
        Rule::new(effect, action, user, filter.to_owned()).unwrap()
    }

    #[test]
    fn without_a_rule_that_applies_it_is_allowed() {
        assert!(Rules::NONE.may_publish(ANN, "a") && Rules::NONE.may_subscribe(ANN, "#"));
        let others = Rules::new(vec![rule(Effect::Deny, Action::Both, "bob", "#")]);
        assert!(others.may_publish(ANN, "a") && others.may_subscribe(ANN, "#"));
    }

    #[test]
    fn the_first_rule_that_applies_decides() {
        let rules = Rules::new(vec![
            rule(Effect::Allow, Action::Publish, "ann", "lamp/hall"),
            rule(Effect::Deny, Action::Publish, "", "lamp/#"),
            rule(Effect::Allow, Action::Both, "", "lamp/kitchen"),
        ]);
        assert!(rules.may_publish(ANN, "lamp/hall"));
        assert!(!rules.may_publish(Who { user: "bob", ..ANN }, "lamp/hall"));
        assert!(!rules.may_publish(ANN, "lamp/kitchen") && !rules.may_publish(ANN, "lamp"));
        assert!(rules.may_publish(ANN, "door") && rules.may_subscribe(ANN, "lamp/#"));
    }

    #[test]
    fn a_denied_topic_cannot_be_had_through_a_wider_filter() {
        let rules = Rules::new(vec![
            rule(Effect::Deny, Action::Subscribe, "", "secret/#"),
            rule(Effect::Allow, Action::Subscribe, "", "#"),
        ]);
        for filter in ["#", "+", "+/a", "secret", "secret/#", "secret/a/+", "+/#"] {
            assert!(!rules.may_subscribe(ANN, filter), "{filter}");
        }
        for filter in ["public/#", "public", "secrets/#"] {
            assert!(rules.may_subscribe(ANN, filter), "{filter}");
        }
    }

    #[test]
    fn an_allowed_topic_does_not_open_a_wider_filter() {
        let rules = Rules::new(vec![
            rule(Effect::Allow, Action::Subscribe, "", "own/%u/+"),
            rule(Effect::Deny, Action::Subscribe, "", "#"),
        ]);
        assert!(rules.may_subscribe(ANN, "own/ann/a") && rules.may_subscribe(ANN, "own/ann/+"));
        for filter in ["own/ann/#", "own/+/a", "own/bob/a", "own/%u/a", "own/ann", "#"] {
            assert!(!rules.may_subscribe(ANN, filter), "{filter}");
        }
    }

    #[test]
    fn a_name_that_is_a_wildcard_or_several_levels_reaches_nothing() {
        let rules = Rules::new(vec![
            rule(Effect::Allow, Action::Both, "", "own/%c"),
            rule(Effect::Deny, Action::Both, "", "#"),
        ]);
        for device in ["+", "#", "a/b"] {
            let who = Who { user: "ann", device };
            assert!(!rules.may_subscribe(who, &format!("own/{device}")), "{device}");
            assert!(!rules.may_publish(who, &format!("own/{device}")), "{device}");
        }
        assert!(rules.may_publish(ANN, "own/phone"));
    }

    #[test]
    fn a_rule_for_everything_takes_topics_of_the_server_too() {
        let rules = Rules::new(vec![rule(Effect::Deny, Action::Both, "", "#")]);
        assert!(!rules.may_publish(ANN, "$hawser/u/bob"));
        assert!(!rules.may_subscribe(ANN, "$hawser/inbox"));
    }

    #[test]
    fn what_is_no_filter_makes_no_rule() {
        let long = "a".repeat(FILTER_BYTES_MAX + 1);
        for filter in ["", "a/#/b", "a+", "+a/b", "a#", "##", "a\0", long.as_str()] {
            let made = Rule::new(Effect::Allow, Action::Both, None, filter.to_owned());
            assert_eq!(made, Err(NotAFilter), "{filter}");
        }
        for filter in ["#", "+", "/", "a//b", "+/+/#", "$hawser/inbox"] {
            assert!(Rule::new(Effect::Allow, Action::Both, None, filter.to_owned()).is_ok());
        }
    }

    /// All topics of up to three levels over two letters and an empty level.
    fn topics() -> Vec<String> {
        let mut topics: Vec<String> = ["", "a", "b"].map(str::to_owned).into();
        let mut last = topics.clone();
        for _ in 0..3 {
            last = last
                .iter()
                .flat_map(|t| ["", "a", "b"].map(|level| format!("{t}/{level}")))
                .collect();
            topics.extend(last.iter().cloned());
        }
        topics
    }

    proptest! {
        #[test]
        fn covering_and_overlapping_are_what_the_topics_of_both_say(
            rule in "(a|b|\\+|)(/(a|b|\\+|)){0,2}(/#)?",
            filter in "(a|b|\\+|)(/(a|b|\\+|)){0,2}(/#)?",
        ) {
            // A name is a filter of itself alone, so `covers` is also how one is matched.
            let all = topics();
            let of = |filter: &str| -> Vec<&String> {
                all.iter().filter(|topic| covers(filter, ANN, topic)).collect()
            };
            let (own, asked) = (of(&rule), of(&filter));
            prop_assert_eq!(overlaps(&rule, ANN, &filter), asked.iter().any(|t| own.contains(t)));
            prop_assert_eq!(covers(&rule, ANN, &filter), asked.iter().all(|t| own.contains(t)));
        }
    }
}
