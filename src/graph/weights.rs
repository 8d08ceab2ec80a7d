//! The matrix of a layer.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Values of a matrix, `[group][row][column]` row-major. They may lie in the
/// memory of whoever read the model: a large one should not be there twice.
#[derive(Clone)]
pub struct Weights(Arc<dyn AsRef<[f32]> + Send + Sync>);

impl Weights {
    /// Values that somebody else has, too.
    pub fn shared(values: impl AsRef<[f32]> + Send + Sync + 'static) -> Self {
        Self(Arc::new(values))
    }
}

impl From<Vec<f32>> for Weights {
    fn from(values: Vec<f32>) -> Self {
        Self::shared(values)
    }
}

impl Deref for Weights {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        (*self.0).as_ref()
    }
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} weights", self.len())
    }
}

impl PartialEq for Weights {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}
