//! Files through the gateway's ring pass the list of the log's backends.

#[path = "../../router/tests/log_backend_list/mod.rs"]
mod log_backend_list;

use hawser_gateway::hosting::{RingFiles, file_event};
use hawser_ring::{Ring, RingSettings, Wait, uring::UringRing};
use hawser_router::hosting::{FileEvent, FileMode, LogFile, LogFiles};
use std::{
    collections::VecDeque, future::Future as _, io, ops::Range, path::Path, pin::pin, task::Poll,
};

struct Waited {
    ring: UringRing,
    events: VecDeque<FileEvent>,
}

impl LogFiles for Waited {
    fn open(&mut self, path: &Path, mode: FileMode) -> io::Result<LogFile> {
        RingFiles(&mut self.ring).open(path, mode)
    }

    fn close(&mut self, file: LogFile) {
        RingFiles(&mut self.ring).close(file);
    }

    fn write(&mut self, file: LogFile, offset: u64, bytes: Vec<u8>, range: Range<usize>) {
        RingFiles(&mut self.ring).write(file, offset, bytes, range);
    }

    fn sync(&mut self, file: LogFile) {
        RingFiles(&mut self.ring).sync(file);
    }

    fn read(&mut self, file: LogFile, offset: u64, length: u32, token: u32) {
        RingFiles(&mut self.ring).read(file, offset, length, token);
    }
}

impl log_backend_list::Backend for Waited {
    async fn event(&mut self) -> FileEvent {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            let mut completions = Vec::new();
            let wait = Wait { until_us: None, batch: 1, gather_us: 0 };
            self.ring.turn(wait, &mut completions).expect("the ring works");
            let events = completions.into_iter();
            self.events.extend(events.filter_map(|one| file_event(one.token, one.event)));
        }
    }
}

#[test]
fn files_through_the_ring_pass_the_list_of_backends() {
    let settings = RingSettings {
        descriptors: 16,
        completion_entries: 1024,
        submission_entries: 256,
        buffers: 16,
        buffer_bytes: 4096,
    };
    let ring = UringRing::new(settings).expect("this machine has io_uring");
    let mut backend = Waited { ring, events: VecDeque::new() };
    // The ring waits in its turn, so that the list never does.
    let mut list = pin!(log_backend_list::all(&mut backend));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert_eq!(list.as_mut().poll(&mut context), Poll::Ready(()));
}
