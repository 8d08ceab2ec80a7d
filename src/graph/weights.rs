//! The matrix of a layer.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// Values of a matrix, `[group][row][column]` row-major. They may lie in the
/// memory of whoever read the model: a large one should not be there twice, nor
/// be put in order as long as nobody looks at it.
#[derive(Clone)]
pub struct Weights(Arc<Matrix>);

type Values = dyn AsRef<[f32]> + Send + Sync;

struct Matrix {
    /// In some order.
    values: Box<Values>,
    /// What puts them in order where they lie in another, and what it made.
    order: Option<Order>,
}

type Arrange = dyn Fn(&[f32]) -> Vec<f32> + Send + Sync;

struct Order {
    arrange: Box<Arrange>,
    arranged: OnceLock<Vec<f32>>,
}

impl Weights {
    /// Values that somebody else has, too.
    pub fn shared(values: impl AsRef<[f32]> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Matrix { values: Box::new(values), order: None }))
    }

    /// Values that somebody else has in another order, which are arranged when
    /// they are asked for; as many as there were.
    pub fn arranged(
        values: impl AsRef<[f32]> + Send + Sync + 'static,
        arrange: impl Fn(&[f32]) -> Vec<f32> + Send + Sync + 'static,
    ) -> Self {
        let order = Order { arrange: Box::new(arrange), arranged: OnceLock::new() };
        Self(Arc::new(Matrix { values: Box::new(values), order: Some(order) }))
    }

    /// All of them in whatever order they lie, which takes no time.
    pub fn in_any_order(&self) -> &[f32] {
        (*self.0.values).as_ref()
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.in_any_order().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.in_any_order().is_empty()
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
        let values = self.in_any_order();
        match &self.0.order {
            Some(order) => order.arranged.get_or_init(|| (order.arrange)(values)),
            None => values,
        }
    }
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} weights", self.len())
    }
}

impl PartialEq for Weights {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self[..] == other[..]
    }
}
