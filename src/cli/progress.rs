//! Bars for work that takes longer than a second, for people only: on standard
//! error, if that is a terminal.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that is shorter needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a bar moves by itself, so that it is seen to live.
const TICK: Duration = Duration::from_millis(120);

/// Work under way. Dropped, its bar goes.
pub struct Progress {
    bar: ProgressBar,
    /// Dropping the sender wakes the thread that waits to show the bar.
    waits: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Begins work that does `what`, in so many parts if that is known.
    pub fn start(what: &str, n_parts: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(n_parts, ProgressDrawTarget::hidden());
        let style = match n_parts {
            Some(_) => "{msg} [{bar:30}] {human_pos}/{human_len} {eta}",
            None => "{msg} {spinner} {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.to_string());
        let waits = io::stderr().is_terminal().then(|| show_late(bar.clone()));
        Self { bar, waits }
    }

    /// So many parts more are done.
    pub fn advance(&self, n_parts: u64) {
        self.bar.inc(n_parts);
    }
}

fn show_late(bar: ProgressBar) -> (Sender<()>, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel();
    let waiting = thread::spawn(move || {
        if receiver.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.enable_steady_tick(TICK);
        }
    });
    (sender, waiting)
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((sender, waiting)) = self.waits.take() {
            drop(sender);
            // It ends at once; not to show the bar after it was cleared.
            let _ = waiting.join();
        }
        self.bar.finish_and_clear();
    }
}
