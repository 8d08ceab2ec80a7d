//! What the benches share: timing in turn, tables, and networks ready to run.
//!
//! Every figure is meant to be read as a ratio to something that ran in the
//! same rounds of the same process. A machine that is slow today, or busy, is
//! so for both.

// Each bench is a crate of its own and uses a part of this.
#![allow(dead_code, reason = "no bench uses all that is shared")]

pub mod networks;
#[path = "../../tests/suite/pipeline.rs"]
pub mod pipeline;

use std::time::{Duration, Instant};

use ohmc::chip::{self, Chip};
use ohmc::compiler::{CompileOptions, Compiled, compile};
use ohmc::frontend::Model;
use ohmc::quantize::Calibration;
use ohmc::target::Target;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// The `--set` that reads cells without noise.
pub const NO_READ_NOISE: &str = "cell.read_noise_fraction=0";

/// Rounds that are always taken; the first also fills the caches.
const LEAST_ROUNDS: usize = 3;

/// Seconds that each of several things takes: the minimum of all rounds, of
/// which there are as many as fit into `time`, and at least three. In every
/// round each has its turn, so that what disturbs the machine disturbs all.
pub fn in_turn<const N: usize>(time: Duration, mut things: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut seconds = [f64::INFINITY; N];
    let started = Instant::now();
    for round in 0.. {
        if round >= LEAST_ROUNDS && started.elapsed() >= time {
            break;
        }
        for (thing, seconds) in things.iter_mut().zip(&mut seconds) {
            let started = Instant::now();
            thing();
            *seconds = seconds.min(started.elapsed().as_secs_f64());
        }
    }
    seconds
}

/// A pool in which one thread does all.
pub fn one_thread() -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(1).build().unwrap()
}

/// A model compiled for a target, and a chip programmed with it.
pub struct Programmed {
    pub compiled: Compiled,
    pub chip: Chip,
}

impl Programmed {
    pub fn new(model: &Model, calibration: &Calibration, target: &Target) -> Self {
        let options = CompileOptions::default();
        let compiled = compile(model, target, calibration, &options).unwrap();
        let chip = chip::program(&compiled.plan, target, 0);
        Self { compiled, chip }
    }
}

/// Whether a case is wanted: `cargo bench --bench layer -- depthwise` takes
/// the cases with that word in their name, and all are taken without a word.
pub fn is_wanted(name: &str) -> bool {
    let is_name = |word: &String| !word.starts_with("--") && word != SCALING;
    let words = || std::env::args().skip(1).filter(is_name);
    words().next().is_none() || words().any(|word| name.contains(&word))
}

/// The word that asks for time against size, in place of the usual cases.
const SCALING: &str = "scaling";

/// Whether time against size is wanted.
pub fn is_scaling() -> bool {
    std::env::args().any(|word| word == SCALING)
}

/// Says on what machine the figures were taken.
pub fn print_machine() {
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = about.lines().find_map(|line| line.strip_prefix("model name"));
    let processor = line.map_or("a processor of unknown name", |line| {
        line.trim_start_matches(|c: char| c == ':' || c.is_whitespace())
    });
    println!("{processor}, {} threads\n", rayon::current_num_threads());
}

/// Begins a table in Markdown.
pub fn print_heading(columns: &[&str]) {
    println!("| {} |", columns.join(" | "));
    println!("|{}", "---|".repeat(columns.len()));
}

/// A line of a table.
pub fn print_row(cells: &[String]) {
    println!("| {} |", cells.join(" | "));
}

/// A number with about three digits that count.
pub fn three_digits(number: f64) -> String {
    let n_decimals = match number {
        n if n >= 100.0 => 0,
        n if n >= 10.0 => 1,
        n if n >= 1.0 => 2,
        n if n >= 0.1 => 3,
        _ => 4,
    };
    format!("{number:.n_decimals$}")
}

/// Milliseconds that each of `n` takes, of the seconds of all.
pub fn milliseconds_each(seconds: f64, n: usize) -> String {
    three_digits(1e3 * seconds / n as f64)
}
