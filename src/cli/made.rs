//! What is known of a model that was compiled just now, and how it is told.

use std::fmt;

use ohmc::fit;
use ohmc::mapping::Mapping;
use ohmc::optimize::Filled;
use ohmc::quantize::{Calibration, QuantizedLayers};
use ohmc::refine::{self, LayerGain};
use serde_json::{Value, json};

use super::filling;
use super::output::counted;

/// What a compilation leaves beside its plan.
#[derive(Debug)]
pub struct Made {
    /// What it was calibrated on.
    pub calibration: Source,
    /// The integers.
    pub quantized: QuantizedLayers,
    /// What rounding by errors gained, by layer.
    pub gains: Vec<LayerGain>,
    /// How `--fit` came to its choice.
    pub fit: Option<fit::Summary>,
    /// Where each sits.
    pub mapping: Mapping,
    /// How replicas were chosen, if they were.
    pub filled: Option<Filled>,
}

/// What a calibration was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The data's name, or that it was synthetic.
    pub name: String,
    /// How many inputs.
    pub n_inputs: u64,
}

impl Made {
    /// What was chosen and gained, a line each for people; empty without.
    pub fn choices_text(&self) -> String {
        let fit = self.fit.as_ref().map_or(String::new(), |fit| format!("fit             {fit}\n"));
        fit + &self.rounding_text()
    }

    fn rounding_text(&self) -> String {
        refine::mean_gains(&self.gains).map_or(String::new(), |means| {
            let layers = counted(self.gains.len() as u64, "layer");
            let parts = refine::parts(&means);
            format!("rounding        outputs off by {parts}; mean of {layers}\n")
        })
    }

    /// What `--fit` chose, for scripts.
    pub fn fit_json(&self) -> Option<Value> {
        let fit = self.fit.as_ref()?;
        Some(json!({
            "goal": fit.goal.to_string(),
            "loss": fit.loss,
            "slices": fit.slices,
            "input_bits": fit.input_bits,
            "inputs": fit.n_inputs,
            "compilations": fit.n_tried,
        }))
    }

    /// How replicas were chosen, lines for people; empty where they were not.
    pub fn filled_text(&self) -> String {
        self.filled.as_ref().map_or(String::new(), filling::text)
    }

    /// The same for scripts.
    pub fn filled_json(&self) -> Option<Value> {
        self.filled.as_ref().map(filling::json)
    }

    /// What rounding gained, for scripts.
    pub fn rounding_json(&self) -> Option<Value> {
        let means = refine::mean_gains(&self.gains)?;
        Some(means.iter().map(|(part, error)| (part.to_string(), json!(error))).collect())
    }
}

impl Source {
    /// Of a calibration.
    pub fn of(calibration: &Calibration) -> Self {
        Self { name: calibration.source.clone(), n_inputs: calibration.n_inputs }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.n_inputs > 0 {
            write!(f, "{}, ", counted(self.n_inputs, "input"))?;
        }
        f.write_str(&self.name)
    }
}
