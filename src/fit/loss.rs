//! What a choice loses against floating point, on the calibration's inputs.

use rayon::prelude::*;

use super::{FitError, Goal};
use crate::frontend::Model;
use crate::quantize::Calibration;
use crate::runtime::{FloatModel, Runs, n_batch};
use crate::tensor::{Tensor, top_class};

/// What the model gives in floating point.
pub(super) struct Wanted<'a> {
    calibration: &'a Calibration,
    goal: Goal,
    /// The output whose largest score counts.
    scores: usize,
    /// Inputs of each batch, and number of the first.
    batches: Vec<(usize, u64)>,
    /// `[batch][output]`.
    outputs: Vec<Vec<Tensor>>,
}

impl<'a> Wanted<'a> {
    /// Runs the calibration's inputs.
    pub(super) fn new(
        model: &Model,
        calibration: &'a Calibration,
        goal: Goal,
    ) -> Result<Self, FitError> {
        if calibration.batches.is_empty() {
            return Err(FitError::NoInputs);
        }
        let scores = (0..model.outputs.len()).find(|&output| model.gives_scores(output));
        if scores.is_none() && matches!(goal, Goal::Accuracy(_)) {
            return Err(FitError::NoScores { outputs: model.outputs.clone() });
        }
        let mut first = 0;
        let mut batches = Vec::new();
        for inputs in &calibration.batches {
            let n = n_batch(&model.inputs, inputs)?;
            batches.push((n, first));
            first += n as u64;
        }
        let scores = scores.unwrap_or_default();
        let mut wanted = Self { calibration, goal, scores, batches, outputs: Vec::new() };
        wanted.outputs = wanted.run(&FloatModel::new(model)?)?;
        Ok(wanted)
    }

    /// Inputs that are run.
    pub(super) fn n_inputs(&self) -> usize {
        self.batches.iter().map(|(n, _)| n).sum()
    }

    /// What is lost, as a share.
    pub(super) fn loss(&self, runs: &dyn Runs) -> Result<f64, FitError> {
        let found = self.run(runs)?;
        Ok(match self.goal {
            Goal::Accuracy(_) => self.changed(&found),
            Goal::Error(_) => self.distance(&found),
        })
    }

    fn run(&self, runs: &dyn Runs) -> Result<Vec<Vec<Tensor>>, FitError> {
        let batches = self.calibration.batches.par_iter().zip(&self.batches);
        batches.map(|(inputs, &(_, first))| Ok(runs.run(inputs, first)?)).collect()
    }

    /// Share of inputs whose largest score is another.
    fn changed(&self, found: &[Vec<Tensor>]) -> f64 {
        let mut n_changed = 0;
        for ((found, wanted), (n, _)) in found.iter().zip(&self.outputs).zip(&self.batches) {
            let scores = |outputs: &[Tensor]| -> Vec<f32> {
                outputs.get(self.scores).and_then(Tensor::as_f32).unwrap_or_default().to_vec()
            };
            let (found, wanted) = (scores(found), scores(wanted));
            let n_classes = (wanted.len() / n.max(&1)).max(1);
            let pairs = found.chunks_exact(n_classes).zip(wanted.chunks_exact(n_classes));
            n_changed +=
                pairs.filter(|(found, wanted)| top_class(found) != top_class(wanted)).count();
        }
        n_changed as f64 / self.n_inputs().max(1) as f64
    }

    /// Relative L2 error of all outputs.
    fn distance(&self, found: &[Vec<Tensor>]) -> f64 {
        let (mut error, mut power) = (0.0, 0.0);
        let outputs = found.iter().flatten().zip(self.outputs.iter().flatten());
        for (found, wanted) in outputs.filter_map(|(f, w)| f.as_f32().zip(w.as_f32())) {
            for (&found, &wanted) in found.iter().zip(wanted) {
                let (off, wanted) = (f64::from(found - wanted), f64::from(wanted));
                error += off * off;
                power += wanted * wanted;
            }
        }
        if power > 0.0 { (error / power).sqrt() } else { 0.0 }
    }
}
