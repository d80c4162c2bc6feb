//! Files of the log through tokio-uring: the one module that names that crate's files.
//!
//! Every operation is a task of its own on the runtime's thread, and ends in one event in a queue
//! that the shell empties each turn. A lane has one write or sync in flight, and reads are bounded by
//! [`crate::hosting`], so tasks are few.

use crate::hosting::{FileEvent, FileMode, LogFile, LogFiles};
use std::{
    cell::RefCell, collections::VecDeque, fs::OpenOptions, future::Future, io, ops::Range,
    os::unix::fs::OpenOptionsExt, path::Path, rc::Rc,
};
use tokio_uring::{buf::BoundedBuf, fs::File};

/// See the module.
pub struct UringFiles {
    open: Vec<Option<Rc<File>>>,
    done: Rc<RefCell<VecDeque<FileEvent>>>,
    wake: Rc<dyn Fn()>,
}

impl UringFiles {
    /// Files of one lane and its readers; `wake` is called whenever an event has come.
    pub fn new(wake: impl Fn() + 'static) -> Self {
        Self { open: Vec::new(), done: Rc::default(), wake: Rc::new(wake) }
    }

    /// The next operation that has ended.
    pub fn pop_event(&mut self) -> Option<FileEvent> {
        self.done.borrow_mut().pop_front()
    }

    fn file(&self, file: LogFile) -> Rc<File> {
        let open = self.open.get(file.0 as usize).and_then(Option::as_ref);
        open.expect("a file is used between its opening and its closing").clone()
    }

    fn start(&self, operation: impl Future<Output = FileEvent> + 'static) {
        let (done, wake) = (self.done.clone(), self.wake.clone());
        tokio_uring::spawn(async move {
            let event = operation.await;
            done.borrow_mut().push_back(event);
            wake();
        });
    }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

impl LogFiles for UringFiles {
    fn open(&mut self, path: &Path, mode: FileMode) -> io::Result<LogFile> {
        let mut options = OpenOptions::new();
        match mode {
            FileMode::DirectDurable => {
                options.write(true).read(true).custom_flags(libc::O_DIRECT | libc::O_DSYNC)
            }
            FileMode::Buffered => options.write(true).read(true),
            FileMode::ReadOnly => options.read(true),
        };
        let file = options.open(path)?;
        if mode != FileMode::ReadOnly {
            // A write in flight keeps the file open when the process is killed, and with it this
            // lock, so that a successor can wait for it. Without locks there is nothing to be done.
            let _ = file.try_lock_shared();
        }
        let file = Some(Rc::new(File::from_std(file)));
        let place = self.open.iter().position(Option::is_none).unwrap_or_else(|| {
            self.open.push(None);
            self.open.len() - 1
        });
        self.open[place] = file;
        Ok(LogFile(place as u32))
    }

    fn close(&mut self, file: LogFile) {
        self.open[file.0 as usize] = None;
    }

    fn write(&mut self, file: LogFile, offset: u64, bytes: Vec<u8>, range: Range<usize>) {
        let file = self.file(file);
        self.start(async move {
            let (result, slice) = file.write_at(bytes.slice(range), offset).submit().await;
            FileEvent::Written(result.map_err(|error| errno(&error)), slice.into_inner())
        });
    }

    fn sync(&mut self, file: LogFile) {
        let file = self.file(file);
        self.start(async move {
            FileEvent::Synced(file.sync_data().await.map_err(|error| errno(&error)))
        });
    }

    fn read(&mut self, file: LogFile, offset: u64, length: u32, token: u32) {
        let file = self.file(file);
        self.start(async move {
            let buffer = Vec::with_capacity(length as usize);
            let wanted = buffer.slice(..length as usize);
            let (result, slice) = file.read_at(wanted, offset).await;
            let bytes = result.map_err(|error| errno(&error)).map(|_| slice.into_inner());
            FileEvent::Read(token, bytes)
        });
    }
}
