//! Answers to uplinks that no host will ever see.

use hawser_codec::{
    code,
    link::{self, Uplink},
};

/// Appends an answer that says when to ask again for every question of a batch of uplinks; to the
/// rest none is due. How many questions there were.
pub fn refuse(batch: &[u8], retry_after_ms: u32, answers: &mut Vec<u8>) -> u64 {
    let mut refused = 0;
    let mut rest = batch;
    while let Ok(Some(uplink)) = Uplink::take(&mut rest) {
        match uplink {
            Uplink::Login(login) if !login.announce => link::LoginRefused {
                connection: login.connection,
                code: code::RECOVERING,
                retry_after_ms,
            }
            .put(answers),
            Uplink::Send(send) => link::Refused {
                connection: send.connection,
                channel: send.channel,
                client_seq: send.client_seq,
                code: code::STORAGE_UNAVAILABLE,
                retry_after_ms,
            }
            .put(answers),
            Uplink::Read(read) => {
                let connection = read.connection;
                let (channel, request) = (read.channel, read.request);
                link::PageStart { connection, channel, request }.put(answers);
                link::PageEnd {
                    connection,
                    head: 0,
                    cursor: 0,
                    floor: 0,
                    more: false,
                    code: code::RECOVERING,
                    retry_after_ms,
                }
                .put(answers);
            }
            // A session is announced again, a cursor is named again, a receipt is repeated.
            _ => continue,
        }
        refused += 1;
    }
    refused
}
