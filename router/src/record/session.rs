//! Records of kept sessions, in words.

use super::{
    Filter, FilterGone, HEADER_BYTES, Marks, Queued, Received, Session, SessionEnded, SessionLeft,
    Unreadable, VERSION,
};
use crate::attached::targets;
use hawser_codec::field::Field;

/// What a client hears of a [`Queued`].
pub(crate) struct Content<'a> {
    pub topic: &'a [u8],
    pub content: &'a [u8],
}

impl Queued<'_> {
    /// Bytes of the framed record before its targets.
    pub(crate) fn content_end(topic: &[u8], content: &[u8]) -> usize {
        HEADER_BYTES + 1 + Self::FIXED_BYTES + topic.text_bytes() + content.text_bytes()
    }

    /// Reads a payload that may end behind the content, of `weight` bytes of topic and content.
    pub(crate) fn take_content(payload: &[u8], weight: u32) -> Option<Content<'_>> {
        let block = payload.strip_prefix(&[VERSION])?;
        let mut texts = block.get(Self::FIXED_BYTES..)?;
        let topic: &[u8] = Field::take(&mut texts).ok()?;
        let content: &[u8] = Field::take(&mut texts).ok()?;
        (topic.len() + content.len() == weight as usize).then_some(Content { topic, content })
    }
}

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
        Queued::KIND => {
            let r = Queued::take(payload)?;
            let (topic, bytes) = (text(r.topic), r.content.len());
            let count = targets::all(r.targets).count();
            format!(
                "queued {topic} for {count} sessions stream {}:{} {bytes} bytes",
                r.source, r.streamed
            )
        }
        Received::KIND => {
            let r = Received::take(payload)?;
            format!("received {} by session {}", r.number, r.session)
        }
        Marks::KIND => {
            let r = Marks::take(payload)?;
            format!("marks of session {}: done below {}", r.session, r.first)
        }
        _ => {
            let r = FilterGone::take(payload)?;
            format!("filter {} of session {} gone", text(r.filter), r.session)
        }
    })
}
