//! Who is refused: a line in the log with the client's address, a bounded number a second.
//!
//! Behind a load balancer it is the address that the PROXY header named; the balancer's own would
//! lead whoever reads the log, or bans by it, to the wrong one.

use super::*;

/// Lines a worker writes in one second; what is beyond is counted and said with the next one.
const LINES_PER_SECOND: u32 = 10;

/// How many lines were written lately.
#[derive(Default)]
pub(super) struct Refusals {
    second: u64,
    said: u32,
    unsaid: u64,
}

impl Refusals {
    /// One more. How many were not said since the last that was, if this one may be said.
    fn note(&mut self, second: u64) -> Option<u64> {
        if self.second != second {
            (self.second, self.said) = (second, 0);
        }
        if self.said == LINES_PER_SECOND {
            self.unsaid += 1;
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

impl<R: Ring> Worker<R> {
    /// The connection is closed for what it is or says it is.
    pub(super) fn note_refusal(&mut self, handle: Handle, farewell: &Farewell) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        // First of all: what is not said costs nothing.
        let Some(unsaid) = self.refusals.note(self.now.wall_ms / 1000) else { return };
        let listener = self.settings.listeners.get(usize::from(connection.door));
        let is_header_missing = connection.flags.has(Flag::Proxy);
        let is_proxied = listener.is_some_and(|listener| listener.proxy) && !is_header_missing;
        let client = match self.cores.client(handle) {
            Some(client) => Some(client),
            // The header named nobody, or it is long since it came.
            None if is_proxied => None,
            None => self.ring.peer_address(Socket(handle.slot)).ok(),
        };
        let client = client.map_or("unknown".to_owned(), |client| client.to_string());
        let (code, text) = (farewell.code, farewell.text());
        tracing::info!(%client, code, %text, unsaid, "refused");
    }

    /// Not one of those who may come through this listener.
    pub(super) fn note_stranger(&mut self, peer: SocketAddr) {
        if let Some(unsaid) = self.refusals.note(self.now.wall_ms / 1000) {
            let text = "no PROXY header is taken from this address (`proxy.from`)";
            tracing::info!(client = %peer, text, unsaid, "refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_lines_of_a_second_is_counted_and_said_later() {
        let mut refusals = Refusals::default();
        for _ in 0..LINES_PER_SECOND {
            assert_eq!(refusals.note(7), Some(0));
        }
        assert_eq!((refusals.note(7), refusals.note(7)), (None, None));
        assert_eq!((refusals.note(8), refusals.note(8)), (Some(2), Some(0)));
    }
}
