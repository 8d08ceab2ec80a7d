//! Runs a stream of batches on all threads, with results in order and memory
//! flat in the number of inputs.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::digital::{Cut, Value};
use super::{RunError, n_batch};
use crate::frontend;
use crate::tensor::Tensor;

/// Anything that turns the inputs of a batch into outputs.
pub trait Runs: Sync {
    /// Runs one batch whose first input has this number.
    ///
    /// # Errors
    ///
    /// As the thing that runs says.
    fn run(&self, inputs: &[Tensor], first_input: u64) -> Result<Vec<Tensor>, RunError>;
}

impl Runs for super::Executor<'_> {
    fn run(&self, inputs: &[Tensor], first_input: u64) -> Result<Vec<Tensor>, RunError> {
        Self::run(self, inputs, first_input)
    }
}

impl Runs for super::Reference<'_> {
    fn run(&self, inputs: &[Tensor], _: u64) -> Result<Vec<Tensor>, RunError> {
        Self::run(self, inputs)
    }
}

/// The model in floating point, run by tract: what accuracy is compared with.
#[derive(Debug)]
pub struct Model {
    cut: Cut,
    inputs: Vec<frontend::ModelInput>,
}

impl Model {
    /// Prepares the whole model.
    ///
    /// # Errors
    ///
    /// tract cannot prepare it.
    pub fn new(model: &frontend::Model) -> Result<Self, RunError> {
        let cut = Cut::new(model, model.graph.inputs(), model.graph.outputs())?;
        Ok(Self { cut, inputs: model.inputs.clone() })
    }
}

impl Runs for Model {
    fn run(&self, inputs: &[Tensor], _: u64) -> Result<Vec<Tensor>, RunError> {
        let n_batch = n_batch(&self.inputs, inputs)?;
        let values = inputs.iter().map(Value::from_array).collect::<Result<_, _>>()?;
        Ok(self.cut.run(values, n_batch)?.iter().map(Value::to_array).collect::<Result<_, _>>()?)
    }
}

/// One batch on its way through: its inputs and the number of the first.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// Number of the first input.
    pub first: u64,
    /// One tensor per input of the model, as [`super::Executor::run`] takes
    /// them.
    pub tensors: Vec<Tensor>,
}

/// Takes batches from `next` until it gives none, runs them in parallel, and
/// hands each with its outputs to `done`, in order.
///
/// At most two batches a thread are in memory.
///
/// # Errors
///
/// The first error of `next`, of a run, or of `done`; later batches are
/// dropped.
pub fn for_each_batch<B, E>(
    runs: &dyn Runs,
    mut next: impl FnMut() -> Result<Option<(Inputs, B)>, E>,
    mut done: impl FnMut(B, Vec<Tensor>) -> Result<(), E>,
) -> Result<(), E>
where
    B: Send,
    E: From<RunError> + Send,
{
    let at_once = 2 * rayon::current_num_threads();
    loop {
        let mut batches = Vec::with_capacity(at_once);
        while batches.len() < at_once {
            match next()? {
                Some(batch) => batches.push(batch),
                None => break,
            }
        }
        if batches.is_empty() {
            return Ok(());
        }
        let run = |(inputs, batch): (Inputs, B)| (batch, runs.run(&inputs.tensors, inputs.first));
        let n_idle = rayon::current_num_threads().saturating_sub(batches.len());
        let outputs: Vec<(B, Result<Vec<Tensor>, RunError>)> =
            with_awake(n_idle, || batches.into_par_iter().map(run).collect());
        for (batch, outputs) in outputs {
            done(batch, outputs?)?;
        }
    }
}

/// Runs this in the pool, with so many other threads of it awake.
///
/// A thread without work falls asleep sooner than one image gets through a
/// layer's digital stage, and to wake it for the next layer takes about as
/// long as its half of that layer.
fn with_awake<T: Send>(n_threads: usize, work: impl FnOnce() -> T + Send) -> T {
    /// Set when the work has ended, also by a panic.
    struct Ended<'a>(&'a AtomicBool);
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }

    let has_ended = AtomicBool::new(false);
    rayon::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(|_| {
                while !has_ended.load(Ordering::Acquire) {
                    if rayon::yield_now() != Some(rayon::Yield::Executed) {
                        std::hint::spin_loop();
                    }
                }
            });
        }
        let _ended = Ended(&has_ended);
        work()
    })
}
