//! Panics, ours and those of tract: a user sees a diagnostic, never a
//! backtrace.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::CliError;

/// What the last panic said, wherever it was: those before it were caught by
/// whoever expected them, as the front-end does with tract's.
static LAST: Mutex<Option<Crash>> = Mutex::new(None);

/// A panic: what it said, where, and how it came there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// Its message, on one line.
    pub message: String,
    /// File and line of the source.
    pub place: String,
    /// The calls, if `RUST_BACKTRACE` asks for them.
    pub backtrace: Option<String>,
}

/// Does the work; a panic anywhere in it, worker threads included, becomes an
/// error.
pub fn guard<T>(work: impl FnOnce() -> T) -> Result<T, CliError> {
    panic::set_hook(Box::new(|info| {
        *last() = Some(crash(info));
    }));
    // Nothing that the work changes is looked at after a panic.
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    drop(panic::take_hook());
    done.map_err(|_| {
        let unknown = || Crash {
            message: "it left no message".to_string(),
            place: String::new(),
            backtrace: None,
        };
        CliError::Crash(Box::new(last().take().unwrap_or_else(unknown)))
    })
}

fn last() -> MutexGuard<'static, Option<Crash>> {
    LAST.lock().unwrap_or_else(PoisonError::into_inner)
}

fn crash(info: &PanicHookInfo<'_>) -> Crash {
    let message = info.payload_as_str().unwrap_or("it left no message");
    let place = info.location().map_or(String::new(), |location| {
        format!("{}:{}", source_name(location.file()), location.line())
    });
    let trace = Backtrace::capture();
    let backtrace = (trace.status() == BacktraceStatus::Captured)
        .then(|| format!("{trace}").trim().to_string());
    Crash { message: message.replace('\n', " "), place, backtrace }
}

/// A source file without the folders of the machine that built it.
fn source_name(file: &str) -> &str {
    match file.split_once("/registry/src/") {
        Some((_, rest)) => rest.split_once('/').map_or(rest, |(_, name)| name),
        None => file,
    }
}

#[cfg(test)]
mod tests {
    //! Panics become errors with what they said.

    use super::*;

    #[test]
    fn a_panic_of_a_worker_becomes_an_error_that_says_where_and_what() {
        let done = guard(|| rayon::join(|| panic!("levels\nran out"), || 1).1);
        let Err(CliError::Crash(crash)) = done else { panic!("{done:?}") };
        assert_eq!(crash.message, "levels ran out");
        assert!(crash.place.contains("cli/crash.rs:"), "{}", crash.place);
        assert_eq!(guard(|| 3).ok(), Some(3));
    }

    #[test]
    fn folders_of_the_machine_that_built_are_not_shown() {
        let file = "/home/me/.cargo/registry/src/index-1f/tract-core-0.23/src/ops.rs";
        assert_eq!(source_name(file), "tract-core-0.23/src/ops.rs");
        assert_eq!(source_name("src/cli/mod.rs"), "src/cli/mod.rs");
    }
}
