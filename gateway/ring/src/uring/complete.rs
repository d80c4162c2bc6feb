//! From the kernel's completions to events.

use io_uring::cqueue;

use super::{NO_TOKEN, SIGNAL_TOKEN, Stage, UringRing, flight::Lent, is_last_of_ours, made};
use crate::{Completion, Errno, Event, Lease, Operation, Socket, Token};

impl UringRing {
    /// Handles one completion: appends its event, or takes the next step of its operation.
    pub(super) fn complete(&mut self, entry: &cqueue::Entry, completions: &mut Vec<Completion>) {
        if is_last_of_ours(entry) {
            self.armed -= 1;
        }
        let (raw, result) = (entry.user_data(), entry.result());
        if let Some(stage) = Stage::from_user_data(raw) {
            return self.complete_stage(stage, entry, completions);
        }
        let Some(token) = Token::from_u64(raw) else {
            debug_assert!(false, "user_data {raw:#x} was never submitted");
            return;
        };
        let more = cqueue::more(entry.flags());
        let event = match token.operation {
            Operation::Accept => self.accepted(token, result),
            Operation::Connect => return self.connect_ended(token, result, completions),
            Operation::Receive => self.received(entry),
            Operation::Watch => Event::Readable(succeeded(result)),
            Operation::Send => Event::Sent(count(result), self.in_flight.end_bytes(token)),
            Operation::Cancel => Event::Cancelled(succeeded(result)),
            Operation::Close => {
                self.used -= u32::from(result >= 0);
                Event::Closed(succeeded(result))
            }
            Operation::Pass if result == -libc::ECANCELED => {
                // The descriptor did not go, which the first half has reported.
                return;
            }
            Operation::Pass => {
                self.used -= u32::from(result >= 0);
                Event::Passed(succeeded(result))
            }
            Operation::Arrive => {
                self.used += u32::from(result >= 0);
                Event::Arrived(socket(result))
            }
            Operation::Write => Event::Written(count(result), self.in_flight.end_bytes(token)),
            Operation::Sync => Event::Synced(succeeded(result)),
            Operation::Read => {
                let mut bytes = self.in_flight.end_bytes(token);
                Event::Read(count(result).map(|length| {
                    bytes.truncate(length);
                    bytes
                }))
            }
            Operation::Wake => Event::Woken,
        };
        completions.push(Completion { token, more, event });
    }

    fn complete_stage(
        &mut self,
        stage: Stage,
        entry: &cqueue::Entry,
        completions: &mut Vec<Completion>,
    ) {
        let (raw, result) = (entry.user_data(), entry.result());
        let token = |operation| Token::new(operation, raw as u32, (raw >> 32) as u32);
        match stage {
            Stage::ConnectTable => {
                self.connect_in_table(token(Operation::Connect), result, completions);
            }
            Stage::ConnectClose => self.connect_closed(token(Operation::Connect), completions),
            Stage::PassSend => {
                // Only failures come here: success is silent and the close speaks.
                let event = Event::Passed(Err(Errno(-result)));
                completions.push(made(token(Operation::Pass), event));
            }
            Stage::Doorbell => {
                if !cqueue::more(entry.flags()) {
                    self.arm_doorbell();
                }
                completions.push(made(NO_TOKEN, Event::Woken));
            }
            Stage::Signal => {
                self.in_flight.end_bytes(SIGNAL_TOKEN);
                self.signalled = true;
            }
            // A reset that could not be prepared ends in a FIN, which is all that can be done; a
            // wake that failed had no ring to wake; the others answer nobody.
            Stage::CloseAbort | Stage::WakeSent | Stage::PeerName | Stage::Teardown => {}
        }
    }

    fn accepted(&mut self, token: Token, result: i32) -> Event {
        let Some(Lent::Address(address)) = self.in_flight.end(token) else {
            unreachable!("an accept owns its address until it completes")
        };
        let peer = address.decode();
        self.in_flight.keep(address);
        self.used += u32::from(result >= 0);
        Event::Accepted(socket(result).map(|socket| {
            (socket, peer.expect("listeners are of internet families, and so are their peers"))
        }))
    }

    fn received(&mut self, entry: &cqueue::Entry) -> Event {
        let result = entry.result();
        let buffer = cqueue::buffer_select(entry.flags());
        match (result, buffer) {
            (1.., Some(buffer)) => {
                Event::Received(Ok(Some(self.buffers.lend(buffer, result as u32))))
            }
            (_, Some(buffer)) => {
                // Nothing received, yet a buffer taken: it goes straight back.
                let lease: Lease = self.buffers.lend(buffer, 0);
                self.buffers.give_back(lease);
                self.nothing_received(result)
            }
            (_, None) => self.nothing_received(result),
        }
    }

    fn nothing_received(&mut self, result: i32) -> Event {
        self.counters.starved += u64::from(result == -libc::ENOBUFS);
        Event::Received(succeeded(result).map(|()| None))
    }
}

fn succeeded(result: i32) -> Result<(), Errno> {
    count(result).map(|_| ())
}

fn socket(result: i32) -> Result<Socket, Errno> {
    if result < 0 { Err(Errno(-result)) } else { Ok(Socket(result as u32)) }
}

fn count(result: i32) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| Errno(-result))
}
