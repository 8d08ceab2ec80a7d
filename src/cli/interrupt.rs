//! Ctrl-C, and the polite signals that end a process.

use std::process;

use super::output;

/// As a shell reports a command that Ctrl-C ended: 128 and the signal's
/// number.
const INTERRUPTED: i32 = 130;

/// From now on an interrupt removes unfinished files before it ends ohmc.
pub fn install() {
    // Under `nohup` the wish is to live on when the terminal goes; the handler
    // could not tell that signal from the others.
    if hangups_are_ignored() {
        return;
    }
    // Where no handler can be had, the worst is a file that is left over.
    let _ = ctrlc::set_handler(|| {
        // Held to the end, so that no file is begun or finished meanwhile.
        let _unfinished = output::remove_unfinished();
        process::exit(INTERRUPTED);
    });
}

/// Whether whoever started ohmc had hang-ups ignored, where the system tells.
fn hangups_are_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // A set of bits; hang-up is signal 1, the lowest.
    ignored.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).is_some_and(|set| set & 1 != 0)
}
