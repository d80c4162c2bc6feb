//! The separate router's files pass the list of the log's backends.

mod log_backend_list;

use hawser_router::{
    hosting::{FileEvent, FileMode, LogFile, LogFiles},
    process::files::UringFiles,
};
use std::{io, ops::Range, path::Path, rc::Rc};
use tokio::sync::Notify;

struct Waited {
    files: UringFiles,
    wake: Rc<Notify>,
}

impl LogFiles for Waited {
    fn open(&mut self, path: &Path, mode: FileMode) -> io::Result<LogFile> {
        self.files.open(path, mode)
    }

    fn close(&mut self, file: LogFile) {
        self.files.close(file);
    }

    fn write(&mut self, file: LogFile, offset: u64, bytes: Vec<u8>, range: Range<usize>) {
        self.files.write(file, offset, bytes, range);
    }

    fn sync(&mut self, file: LogFile) {
        self.files.sync(file);
    }

    fn read(&mut self, file: LogFile, offset: u64, length: u32, token: u32) {
        self.files.read(file, offset, length, token);
    }
}

impl log_backend_list::Backend for Waited {
    async fn event(&mut self) -> FileEvent {
        loop {
            if let Some(event) = self.files.pop_event() {
                return event;
            }
            self.wake.notified().await;
        }
    }
}

#[test]
fn files_through_tokio_uring_pass_the_list_of_backends() {
    tokio_uring::start(async {
        let wake = Rc::new(Notify::new());
        let woken = wake.clone();
        let files = UringFiles::new(move || woken.notify_one());
        log_backend_list::all(&mut Waited { files, wake }).await;
    });
}
