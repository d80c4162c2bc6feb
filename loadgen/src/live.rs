//! The live view of a run, on a terminal.
//!
//! It is called by the coordinator four times a second and draws what it is given; it is no part
//! of any message's way. Between [`Live::open`] and its drop the terminal is in raw mode on its
//! other screen, and it is brought back whatever happens: at the end, on an error, and before
//! the text of a panic of any thread.

pub mod screen;

use std::{
    io::{self, IsTerminal, Stderr},
    panic,
    sync::{
        Once,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor,
        event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
        execute,
        terminal::{self, EnterAlternateScreen, LeaveAlternateScreen},
    },
};

use crate::run::{Observer, Snapshot, Wish};
use screen::History;

/// Keys taken at one look at most: a key that is held down shall not hold up the coordinator.
const KEYS_MAX: usize = 64;

/// The terminal is ours and has to be given back.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The view.
pub struct Live {
    terminal: Terminal<CrosstermBackend<Stderr>>,
    history: History,
    stopping: bool,
}

impl Live {
    /// Whether a person can see and steer the view: standard error and input are a terminal.
    pub fn is_possible() -> bool {
        io::stderr().is_terminal() && io::stdin().is_terminal()
    }

    /// Takes the terminal.
    ///
    /// # Errors
    /// The terminal cannot do what is needed, or is gone.
    pub fn open() -> io::Result<Self> {
        restore_before_panics();
        TAKEN.store(true, SeqCst);
        let opened = terminal::enable_raw_mode()
            .and_then(|()| execute!(io::stderr(), EnterAlternateScreen, cursor::Hide))
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stderr())));
        match opened {
            Ok(terminal) => Ok(Self { terminal, history: History::default(), stopping: false }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    /// Takes the keys that were pressed; whether one of them ends the run.
    fn is_asked_to_stop() -> bool {
        let mut stop = false;
        for _ in 0..KEYS_MAX {
            if !event::poll(Duration::ZERO).unwrap_or(false) {
                break;
            }
            match event::read() {
                Ok(Event::Key(key)) => stop |= is_stop(key),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        stop
    }
}

/// `q`, or ctrl-c, which in raw mode is a key like any other.
fn is_stop(key: KeyEvent) -> bool {
    let pressed = key.kind != KeyEventKind::Release;
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    pressed
        && match key.code {
            KeyCode::Char('q' | 'Q') => !control,
            KeyCode::Char('c' | 'C') => control,
            _ => false,
        }
}

impl Observer for Live {
    fn show(&mut self, snapshot: &Snapshot) -> Wish {
        self.stopping |= Self::is_asked_to_stop();
        self.history.note(snapshot);
        let (history, stopping) = (&self.history, self.stopping);
        // A terminal that went away is no reason to lose the run.
        let _ = self.terminal.draw(|frame| screen::draw(frame, snapshot, history, stopping));
        if self.stopping { Wish::Stop } else { Wish::GoOn }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back, once.
fn restore() {
    if TAKEN.swap(false, SeqCst) {
        // Nothing is left to do about a terminal that does not take it.
        let _ = execute!(io::stderr(), LeaveAlternateScreen, cursor::Show);
        let _ = terminal::disable_raw_mode();
    }
}

/// A panic's text must not go to the other screen, where nobody would see it.
fn restore_before_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let told = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            restore();
            told(info);
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_and_control_c_end_the_run_and_nothing_else_does() {
        let key = |code, modifiers| is_stop(KeyEvent::new(code, modifiers));
        assert!(key(KeyCode::Char('q'), KeyModifiers::NONE));
        assert!(key(KeyCode::Char('Q'), KeyModifiers::SHIFT));
        assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!key(KeyCode::Char('c'), KeyModifiers::NONE));
        assert!(!key(KeyCode::Enter, KeyModifiers::NONE));
    }
}
