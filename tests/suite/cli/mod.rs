//! The command line as a user drives it, on what ships in the repository:
//! results, and what is said of bad input.
//!
//! Every command runs in a folder of its own and names files relative to it,
//! so no message depends on where that folder is.

mod chips;
mod explored;
mod fast;
mod interrupted;
mod killed;
mod numbers;
mod refused_data;
mod refused_files;
mod refused_options;
mod results;
mod trained;
mod tuned;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;

use assert_cmd::cargo::cargo_bin_cmd;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with `mcnn.onnx`, its `floorplan.yaml`, `digits`, and a `stored`
/// calibration and a plan, `good.plan`, made from them for the ideal target.
pub struct Desk {
    folder: TempDir,
}

/// A plan and the calibration it was compiled with; one compilation is enough
/// for all tests that only need some plan.
struct Compiled {
    plan: Vec<u8>,
    calibration: Vec<u8>,
}

impl Desk {
    pub fn new() -> Self {
        static COMPILED: OnceLock<Compiled> = OnceLock::new();
        let compiled = COMPILED.get_or_init(|| {
            let desk = Self::without_plan();
            desk.prints(
                "compile mcnn.onnx --target ideal --calibrate digits -o x --save-calibration y",
            );
            Compiled { plan: desk.read("x"), calibration: desk.read("y") }
        });
        let desk = Self::without_plan();
        desk.write("good.plan", &compiled.plan);
        desk.write("stored", &compiled.calibration);
        desk
    }

    fn without_plan() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let copy = |from: &str, to: &str| fs::copy(models.join(from), desk.path(to)).unwrap();
        copy("mcnn.onnx", "mcnn.onnx");
        copy("mcnn-yao2020.floorplan.yaml", "floorplan.yaml");
        fs::create_dir(desk.path("digits")).unwrap();
        for entry in fs::read_dir(models.join("digits")).unwrap() {
            let name = format!("digits/{}", entry.unwrap().file_name().to_str().unwrap());
            copy(&name, &name);
        }
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// Files with their content, folders with nothing.
    fn content(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().path()).map(|p| (p.clone(), fs::read(p).ok())).collect()
    }

    /// Runs `ohmc` with these arguments, between which there are spaces.
    pub fn ohmc(&self, arguments: &str) -> Output {
        let mut command = cargo_bin_cmd!("ohmc");
        command.current_dir(self.folder.path()).args(arguments.split_whitespace());
        // Help and usage errors are as wide as the terminal is said to be.
        command.env_remove("COLUMNS").env_remove("RUST_BACKTRACE");
        command.output().unwrap()
    }

    /// What a command prints that has nothing to complain of.
    pub fn prints(&self, arguments: &str) -> String {
        let output = self.ohmc(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "ohmc {arguments}\n{stderr}");
        assert!(!stderr.contains("error:") && !stderr.contains("warning:"), "{stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same, as JSON.
    pub fn json(&self, arguments: &str) -> Value {
        serde_json::from_str(&self.prints(&format!("{arguments} --format json"))).unwrap()
    }

    /// Holds what is said of a command against `snapshots/errors/cli-CASE.snap`.
    /// It prints no result, complains of one thing, and leaves the folder as it
    /// was.
    #[track_caller]
    pub fn refuses(&self, case: &str, arguments: &str) {
        self.refuses_times(1, case, arguments);
    }

    /// The same of a command with several things wrong, all told at once.
    #[track_caller]
    pub fn refuses_times(&self, n_complaints: usize, case: &str, arguments: &str) {
        let before = self.content();
        let output = self.ohmc(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(stdout, "", "{case}: a result beside an error");
        let n_errors = stderr.lines().filter(|line| line.starts_with("error:")).count();
        assert_eq!(n_errors, n_complaints, "{case}: complaints\n{stderr}");
        assert!(before == self.content(), "{case}: files were changed or left behind");
        let code = output.status.code().unwrap();
        assert!(code == 1 || code == 2, "{case}: exit code {code}\n{stderr}");
        let text = format!("$ ohmc {arguments}\n{}exit code {code}", portable(&stderr));
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots/errors"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(format!("cli-{case}"), text));
    }
}

/// A message without what differs between systems: the words and the number of
/// an error of the system's own.
fn portable(stderr: &str) -> String {
    let line = |line: &str| match line.split_once(" (os error ") {
        Some((words, _)) => {
            let words = words.rsplit_once(": ").map_or(words, |(ours, _)| ours);
            format!("{words}: [what the system says]\n")
        }
        None => format!("{line}\n"),
    };
    stderr.trim_end().lines().map(line).collect::<String>().replace("ohmc.exe", "ohmc")
}
