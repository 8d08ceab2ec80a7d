//! What is left of a command that was interrupted: nothing.

#![cfg(target_os = "linux")]

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::Desk;

/// Whether hang-ups are ignored, as under `nohup`: then interrupts end ohmc
/// the plain way, so that it lives on when its terminal goes.
fn under_nohup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    // A set of bits; hang-up is signal 1, the lowest.
    u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 != 0
}

/// Files in the folder that no user made.
fn n_begun(desk: &Desk) -> usize {
    let entries = fs::read_dir(desk.path("")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".ohmc-")).count()
}

#[test]
fn an_interrupted_run_leaves_nothing_and_says_so_in_its_exit_code() {
    if under_nohup() {
        return;
    }
    let desk = Desk::new();
    desk.write("x.npy", "as it was");
    // Data that never come, so that the run is in the midst of its work.
    let made = Command::new("mkfifo").arg(desk.path("never.npy")).status().unwrap();
    assert!(made.success());
    let mut run = Command::new(assert_cmd::cargo::cargo_bin!("ohmc"))
        .current_dir(desk.path(""))
        .args(["run", "good.plan", "--input", "never.npy", "-o", "x.npy"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut n_waits = 0;
    while n_begun(&desk) == 0 {
        n_waits += 1;
        if n_waits == 1000 || run.try_wait().unwrap().is_some() {
            let _ = run.kill();
            panic!("the run did not begin its output: {:?}", run.wait());
        }
        sleep(Duration::from_millis(20));
    }
    let interrupt = ["-INT".to_string(), run.id().to_string()];
    assert!(Command::new("kill").args(interrupt).status().unwrap().success());
    assert_eq!(run.wait().unwrap().code(), Some(130));
    assert_eq!(n_begun(&desk), 0);
    assert_eq!(desk.read("x.npy"), b"as it was");
}
