//! Records of kept sessions, in words.

use super::{Filter, FilterGone, Session, SessionEnded, SessionLeft, Unreadable};

/// One line about a record of a session; `text` makes names readable.
pub(super) fn describe(
    kind: u8,
    payload: &[u8],
    text: impl Fn(&[u8]) -> String,
) -> Result<String, Unreadable> {
    Ok(match kind {
        Session::KIND => {
            let r = Session::take(payload)?;
            let (user, device) = (text(r.user_name), text(r.device_name));
            let will = if r.will == 0 { "" } else { " with a will" };
            format!("session {} of {user}/{device} kept {} s{will}", r.session, r.expiry_s)
        }
        SessionLeft::KIND => {
            let r = SessionLeft::take(payload)?;
            format!("session {} left at {} kept {} s", r.session, r.at_ms, r.expiry_s)
        }
        SessionEnded::KIND => format!("session {} ended", SessionEnded::take(payload)?.session),
        Filter::KIND => {
            let r = Filter::take(payload)?;
            format!("filter {} of session {} options {}", text(r.filter), r.session, r.options)
        }
        _ => {
            let r = FilterGone::take(payload)?;
            format!("filter {} of session {} gone", text(r.filter), r.session)
        }
    })
}
