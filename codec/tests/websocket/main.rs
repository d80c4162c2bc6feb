//! Properties of WebSocket frames over arbitrary messages and arbitrary bytes.

mod checks;

use checks::Said;
use hawser_codec::websocket::{Limits, Opcode, Role, Rules, write};
use proptest::prelude::*;

const LIMITS: Limits = Limits { frame_bytes_max: 200_000, message_bytes_max: 200_000 };

/// A message in fragments, with pings in between.
#[derive(Clone, Debug)]
struct Fragments {
    text: Option<String>,
    bytes: Vec<u8>,
    cuts: Vec<usize>,
    key: [u8; 4],
}

prop_compose! {
    fn fragments()(
        text in prop::option::of("\\PC{0,200}"),
        bytes in prop_oneof![
            4 => prop::collection::vec(any::<u8>(), 0..300),
            1 => prop::collection::vec(any::<u8>(), 65_000..70_000),
        ],
        cuts in prop::collection::vec(0usize..400, 0..6),
        key in any::<[u8; 4]>(),
    ) -> Fragments {
        Fragments { text, bytes, cuts, key }
    }
}

impl Fragments {
    fn put(&self, role: Role, out: &mut Vec<u8>, said: &mut Vec<Said>) {
        let key = (role == Role::Server).then_some(self.key);
        let payload = self.text.as_ref().map_or(&self.bytes[..], |text| text.as_bytes());
        let mut rest = payload;
        let mut opcode = if self.text.is_some() { Opcode::Text } else { Opcode::Binary };
        for (at, cut) in self.cuts.iter().enumerate() {
            // Characters are cut, too.
            let (fragment, behind) = rest.split_at((*cut).min(rest.len()));
            write::frame(out, opcode, false, false, fragment, key);
            write::ping(out, &[at as u8], key);
            said.push(Said::Ping(vec![at as u8]));
            (rest, opcode) = (behind, Opcode::Continuation);
        }
        write::frame(out, opcode, true, false, rest, key);
        let text = self.text.is_some();
        said.push(Said::Message { text, compressed: false, payload: payload.to_vec() });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    // norm: RFC6455-5.4-2
    // norm: RFC6455-5.4-4
    // norm: RFC6455-5.4-5
    #[test]
    fn messages_in_fragments_arrive_whole_whatever_the_cuts(
        messages in prop::collection::vec(fragments(), 1..4),
        piece in 1usize..5000,
        is_server in any::<bool>(),
    ) {
        let role = if is_server { Role::Server } else { Role::Client };
        let (mut stream, mut said) = (Vec::new(), Vec::new());
        for message in &messages {
            message.put(role, &mut stream, &mut said);
        }
        let rules = Rules { role, deflate: false, limits: LIMITS };
        prop_assert_eq!(checks::read(&rules, stream.chunks(piece)), (said, None));
    }

    #[test]
    fn whatever_a_peer_sends_is_read_the_same_in_any_pieces(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        checks::peer(&bytes);
    }

    /// Bytes that look like frames, so that more of them are.
    #[test]
    fn frames_with_any_header_are_read_the_same_in_any_pieces(
        choices in any::<[u8; 3]>(),
        frames in prop::collection::vec(
            (any::<u8>(), 0u8..127, any::<[u8; 4]>(), prop::collection::vec(any::<u8>(), 0..126)),
            0..6,
        ),
    ) {
        let mut bytes = choices.to_vec();
        for (first, length, key, payload) in frames {
            bytes.push(first & 0xcf);
            bytes.push(length | if choices[0] & 1 == 0 { 0x80 } else { 0 });
            bytes.extend(key);
            bytes.extend(payload);
        }
        checks::peer(&bytes);
    }

    #[test]
    fn any_fields_open_a_connection_or_are_refused(
        values in prop::collection::vec("[ -~]{0,40}", 0..4),
    ) {
        let names = ["Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol", "Origin", "Host"];
        let mut text = String::from(
            "Upgrade: websocket\nConnection: upgrade\nSec-WebSocket-Version: 13\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n",
        );
        for (name, value) in names.into_iter().zip(values) {
            text.push_str(&format!("{name}: {value}\n"));
        }
        checks::head(text.as_bytes());
    }
}
