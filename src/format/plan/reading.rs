//! How sums are read, as `plan.json` has it: which become codes, and what is
//! done with them before.

use serde::{Deserialize, Serialize};

use crate::schedule::{AnalogStage, WindowAxis};
use crate::target::Conversion;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ConversionForm {
    Significant(u8),
    Accumulated,
}

impl ConversionForm {
    /// Nothing where every plane is converted.
    pub fn of(conversion: Conversion) -> Option<Self> {
        match conversion {
            Conversion::EveryPlane => None,
            Conversion::Significant(n_planes) => Some(Self::Significant(n_planes)),
            Conversion::Accumulated => Some(Self::Accumulated),
        }
    }

    pub fn conversion(form: Option<Self>) -> Conversion {
        match form {
            None => Conversion::EveryPlane,
            Some(Self::Significant(n_planes)) => Conversion::Significant(n_planes),
            Some(Self::Accumulated) => Conversion::Accumulated,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StageForm {
    rectifies: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    windows: Vec<WindowForm>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowForm {
    axis: usize,
    extent: usize,
    stride: usize,
    padding: usize,
    n_windows: usize,
}

impl StageForm {
    pub fn of(stage: &AnalogStage) -> Self {
        let window = |window: &WindowAxis| {
            let WindowAxis { axis, extent, stride, padding, n_windows } = *window;
            WindowForm { axis, extent, stride, padding, n_windows }
        };
        Self { rectifies: stage.rectifies, windows: stage.windows.iter().map(window).collect() }
    }

    pub fn stage(&self) -> AnalogStage {
        let window = |window: &WindowForm| {
            let WindowForm { axis, extent, stride, padding, n_windows } = *window;
            WindowAxis { axis, extent, stride, padding, n_windows }
        };
        AnalogStage {
            rectifies: self.rectifies,
            windows: self.windows.iter().map(window).collect(),
        }
    }
}

/// Halvings up to the last that is none.
pub(super) fn halvings_form(halvings: &[u8]) -> Vec<u8> {
    let n_given = halvings.iter().rposition(|&n| n > 0).map_or(0, |last| last + 1);
    halvings[..n_given].to_vec()
}
