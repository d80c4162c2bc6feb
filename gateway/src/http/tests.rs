//! The face alone: what the session core says, and what becomes of it.

use super::{
    exchange::{Events, Exchange, Exchanges, Poll, Stage, What},
    *,
};
use hawser_codec::{
    frame::FLAG_PAGE,
    http::request,
    message::{Encoder, Head as HeadOf, Message, Notify, Page},
};

const HANDLE: Handle = Handle { slot: 3, generation: 1 };

/// One request under way, and what was written for it.
struct Under {
    exchanges: Exchanges,
    encoder: Encoder,
    out: Vec<u8>,
}

impl Under {
    fn way(what: What) -> Self {
        let text = b"GET /poll HTTP/1.1\r\nHost: h\r\n\r\n";
        let Ok(Step::Head { head, .. }) = request::step(text) else { panic!("no head") };
        let mut exchanges = Exchanges::default();
        exchanges.begin(HANDLE, Exchange::of(&head, Verdict::Allowed, what, 0));
        Self { exchanges, encoder: Encoder::new(), out: Vec::new() }
    }

    fn poll(stage: Stage, cursor: u64, wait_s: u64) -> Self {
        let asked = PollAsked { cursor, wait_s, limit: 10 };
        Self::way(What::Poll(Poll { asked, stage, cursor, head: 0, count: 0, missed: false }))
    }

    fn events(stage: Stage, last: u64) -> Self {
        let mut under =
            Self::way(What::Events(Events { stage, last, confirmed: last, head: last, beat: 0 }));
        under.exchange().is_begun = true;
        under
    }

    fn exchange(&mut self) -> &mut Exchange {
        self.exchanges.find(HANDLE).expect("it is under way")
    }

    fn hear(&mut self, flags: u8, message: &Message<'_>) -> &mut Self {
        let at = self.out.len();
        self.encoder.message(&mut self.out, 0, flags, message);
        self.exchanges.wrap(HANDLE, &mut self.out, at);
        self
    }

    fn entry(&mut self, flags: u8, number: u64) -> &mut Self {
        self.hear(flags, &Message::Notify(notify(number)))
    }

    fn page(&mut self, count: u16, head: u64, more: bool) -> &mut Self {
        let page = Page { request: 0, count, head, cursor: 0, floor: 0, more };
        self.hear(0, &Message::Page(page))
    }

    fn is_done(&mut self) -> bool {
        self.exchange().is_done
    }

    fn stage(&mut self) -> Stage {
        match &self.exchange().what {
            What::Poll(poll) => poll.stage,
            What::Events(events) => events.stage,
            _ => panic!("it has no stage"),
        }
    }

    /// Numbers of the entries written, and what the answer ends with.
    fn told(&self) -> (Vec<u64>, &str) {
        let text = std::str::from_utf8(&self.out).expect("answers are UTF-8");
        let numbers = text.split("\"number\":").skip(1);
        let numbers = numbers.map(|rest| rest.split(',').next().expect("a number"));
        let end = text.rfind("\"cursor\"").map_or("", |at| text[at..].trim_end());
        (numbers.map(|number| number.parse().expect("a number")).collect(), end)
    }
}

fn notify(number: u64) -> Notify<'static> {
    Notify {
        number,
        conversation: "bob",
        sequence: number,
        sender: "bob",
        device: "phone",
        incarnation: 1,
        client_seq: number,
        uuid: [1; 16],
        time_ms: 1,
        content: 1,
        receipts: 0,
        own: false,
        body: b"hi",
    }
}

#[test]
fn a_page_is_the_answer_to_a_poll() {
    let mut under = Under::poll(Stage::Reading, 4, 30);
    under.entry(FLAG_PAGE, 5).entry(FLAG_PAGE, 6).page(2, 9, true);
    assert!(under.is_done());
    assert_eq!(under.told(), (vec![5, 6], "\"cursor\":6,\"head\":9}\n\r\n0"));
}

#[test]
fn an_empty_page_lets_the_poll_wait_for_the_next_entry() {
    let mut under = Under::poll(Stage::Reading, 4, 30);
    under.page(0, 4, false);
    assert!(!under.is_done() && under.stage() == Stage::Live && under.out.is_empty());
    // One that was shown before is none.
    assert!(!under.entry(0, 4).is_done());
    assert!(under.entry(0, 5).is_done());
    assert_eq!(under.told().0, [5]);
}

#[test]
fn an_entry_that_does_not_follow_is_left_to_the_next_poll() {
    let mut under = Under::poll(Stage::Live, 4, 30);
    assert!(under.entry(0, 6).is_done());
    assert_eq!(under.told(), (vec![], "\"cursor\":4,\"head\":4}"));
    let mut under = Under::poll(Stage::Live, 4, 30);
    assert!(!under.hear(0, &Message::Head(HeadOf { head: 4 })).is_done());
    assert!(under.hear(0, &Message::Head(HeadOf { head: 6 })).is_done());
    assert_eq!(under.told(), (vec![], "\"cursor\":4,\"head\":6}"));
}

#[test]
fn what_is_pushed_while_a_page_comes_is_not_waited_for_again() {
    let mut under = Under::poll(Stage::Reading, 4, 30);
    under.entry(0, 5).page(0, 4, false);
    assert!(under.is_done());
    assert_eq!(under.told(), (vec![], "\"cursor\":4,\"head\":4}"));
}

#[test]
fn a_cursor_below_what_is_kept_does_not_turn_in_circles() {
    let mut under = Under::poll(Stage::Reading, 4, 30);
    under.page(0, 20, false);
    assert!(under.entry(0, 21).is_done(), "the next one after the head follows");
    assert_eq!(under.told(), (vec![21], "\"cursor\":21,\"head\":21}\n\r\n0"));
}

#[test]
fn an_ephemeral_message_answers_a_poll_and_moves_no_cursor() {
    let mut under = Under::poll(Stage::Live, 4, 30);
    assert!(under.entry(0, 0).is_done());
    assert_eq!(under.told(), (vec![0], "\"cursor\":4,\"head\":4}\n\r\n0"));
}

#[test]
fn an_answer_that_fails_after_it_has_begun_is_cut_off() {
    let error = Error { code: 403, text: "", retry_after_ms: 9, client_seq: 0, fatal: false };
    let mut under = Under::poll(Stage::Reading, 4, 30);
    under.entry(FLAG_PAGE, 5).hear(0, &Message::Error(error));
    assert!(under.is_done() && !under.exchange().asked.keep_alive);
    assert!(!under.out.ends_with(b"0\r\n\r\n"), "its last chunk does not come");
    let mut under = Under::poll(Stage::Reading, 4, 30);
    under.hear(0, &Message::Error(error));
    assert!(under.is_done() && under.exchange().asked.keep_alive);
    assert!(under.out.starts_with(b"HTTP/1.1 503"));
}

#[test]
fn events_have_their_numbers_and_read_where_there_is_a_gap() {
    let mut under = Under::events(Stage::Live, 4);
    under.entry(0, 5).entry(0, 5).entry(0, 0).entry(0, 7);
    assert_eq!(under.stage(), Stage::ToRead);
    assert_eq!(under.told().0, [5, 0]);
    let text = String::from_utf8(under.out.clone()).expect("UTF-8");
    assert_eq!(text.matches("id: ").count(), 1, "{text}");

    under.out.clear();
    let What::Events(events) = &mut under.exchange().what else { panic!("events") };
    events.stage = Stage::Reading;
    under.entry(FLAG_PAGE, 6).entry(0, 8).entry(FLAG_PAGE, 7).page(2, 7, false);
    assert_eq!(under.told().0, [6, 7]);
    assert_eq!(under.stage(), Stage::ToRead, "what was pushed meanwhile is read");
}

#[test]
fn a_stream_of_events_ends_with_its_reason() {
    let error = Error { code: 203, text: "", retry_after_ms: 0, client_seq: 0, fatal: true };
    let mut under = Under::events(Stage::Live, 4);
    under.hear(0, &Message::Error(error));
    assert!(under.is_done() && !under.exchange().asked.keep_alive);
    let text = String::from_utf8(under.out.clone()).expect("UTF-8");
    assert!(text.contains("\"code\":203") && text.ends_with("0\r\n\r\n"), "{text}");
    // Nothing is said behind the end.
    let bytes = under.out.len();
    under.entry(0, 5);
    assert_eq!(under.out.len(), bytes);
}
