//! What is digital of a tuned layer: the registers whose values are added to
//! its columns' results, its biases.
//!
//! They are no cells. A step down their gradient is made at once and in full,
//! with the rate and the momentum of the weights, and takes no pulse. Where
//! inputs have a zero point, they follow what is written to the cells, so that
//! inputs that are 0 go on to add nothing.

use crate::schedule::PlanLayer;

/// Registers of a layer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Registers {
    /// What they hold, `[group][column]`.
    pub bias: Vec<f64>,
    /// Steps so far, the older the less; empty without momentum.
    pub velocity: Vec<f64>,
}

impl Registers {
    /// Those of a layer, as the plan has them.
    pub(super) fn new(layer: &PlanLayer) -> Self {
        Self { bias: layer.bias.iter().map(|&b| b.into()).collect(), velocity: Vec::new() }
    }

    /// Steps down a gradient.
    pub(super) fn descend(&mut self, gradient: &[f64], rate: f64, momentum: f64) {
        if momentum > 0.0 && self.velocity.is_empty() {
            self.velocity = vec![0.0; self.bias.len()];
        }
        for (nth, (bias, gradient)) in self.bias.iter_mut().zip(gradient).enumerate() {
            let mut step = -rate * gradient;
            if let Some(velocity) = self.velocity.get_mut(nth) {
                step += momentum * *velocity;
                *velocity = step;
            }
            *bias += step;
        }
    }

    /// Makes up for what results have fallen by.
    pub(super) fn raise(&mut self, fallen: &[f64]) {
        self.bias.iter_mut().zip(fallen).for_each(|(bias, by)| *bias += by);
    }
}

#[cfg(test)]
mod tests {
    //! Steps add up, with momentum those of before too.

    use super::*;

    #[test]
    fn registers_go_down_at_once() {
        let mut own = Registers { bias: vec![1.0, -2.0], velocity: Vec::new() };
        own.descend(&[0.5, -1.0], 0.1, 0.0);
        assert_eq!(own.bias, [1.0 - 0.05, -2.0 + 0.1]);
        assert!(own.velocity.is_empty());
        let mut own = Registers { bias: vec![0.0], velocity: Vec::new() };
        (0..3).for_each(|_| own.descend(&[-1.0], 1.0, 0.5));
        assert_eq!(own.bias, [1.0 + 1.5 + 1.75]);
    }
}
