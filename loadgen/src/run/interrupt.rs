//! SIGINT and SIGTERM as a flag: the first lets the run drain and report, a second one ends the
//! process at once, as if nobody had listened.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use signal_hook::{
    SigId,
    consts::{SIGINT, SIGTERM},
    flag, low_level,
};

/// Listens while it lives.
#[derive(Debug)]
pub(super) struct Interrupt {
    asked: Arc<AtomicBool>,
    listeners: Vec<SigId>,
}

impl Interrupt {
    /// Begins to listen.
    pub(super) fn listen() -> io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let mut listeners = Vec::new();
        for signal in [SIGINT, SIGTERM] {
            // In this order: a signal that finds the flag set ends the process.
            listeners.push(flag::register_conditional_default(signal, Arc::clone(&asked))?);
            listeners.push(flag::register(signal, Arc::clone(&asked))?);
        }
        Ok(Self { asked, listeners })
    }

    /// A signal came.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Relaxed)
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        for listener in self.listeners.drain(..) {
            low_level::unregister(listener);
        }
    }
}
