//! Trainings that are killed.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::Desk;

/// Runs a training to its end on one thread; kills another after its first
/// batch, lets the same command go on, and holds both chips to be the same.
/// Gives that command, which writes `part.chip` and keeps `part.state`.
pub fn goes_on_to_the_same_bytes(desk: &Desk, training: &str) -> String {
    assert!(desk.ohmc(&format!("{training} --threads 1 -o whole.chip")).status.success());
    let part = format!("{training} --state part.state -o part.chip");
    let mut killed = Command::new(assert_cmd::cargo::cargo_bin!("ohmc"))
        .current_dir(desk.path(""))
        .args(part.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut n_waits = 0;
    while !desk.path("part.state").exists() && n_waits < 3000 {
        n_waits += 1;
        sleep(Duration::from_millis(10));
    }
    let _ = killed.kill();
    killed.wait().unwrap();
    assert!(desk.path("part.state").exists());
    let again = desk.ohmc(&part);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert!(String::from_utf8_lossy(&again.stderr).contains("going on after"));
    assert!(desk.read("part.chip") == desk.read("whole.chip"));
    part
}
