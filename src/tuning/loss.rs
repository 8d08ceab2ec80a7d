//! Softmax and cross-entropy: how wrong scores are, and what would make them
//! less so.

use crate::chip::{exp, ln};
use crate::tensor::top_class;

/// What came of some inputs with labels.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Score {
    /// Inputs.
    pub n: u64,
    /// Those whose label had the largest score.
    pub n_right: u64,
    /// Sum of their cross-entropies, in nats.
    pub loss: f64,
}

impl Score {
    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.n += other.n;
        self.n_right += other.n_right;
        self.loss += other.loss;
    }

    /// Share of right ones in percent.
    pub fn accuracy(&self) -> f64 {
        100.0 * self.n_right as f64 / self.n.max(1) as f64
    }

    /// Mean cross-entropy.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.n.max(1) as f64
    }
}

/// The score of one input, and the gradient of its cross-entropy with respect
/// to its scores; `label` is one of them.
pub(super) fn cross_entropy(scores: &[f32], label: usize) -> (Score, Vec<f64>) {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let above = |score: f32| f64::from(score) - f64::from(largest);
    let mut shares: Vec<f64> = scores.iter().map(|&score| exp(above(score))).collect();
    let sum: f64 = shares.iter().sum();
    let loss = ln(sum) - above(scores[label]);
    shares.iter_mut().for_each(|share| *share /= sum);
    shares[label] -= 1.0;
    let n_right = u64::from(top_class(scores) == Some(label));
    (Score { n: 1, n_right, loss }, shares)
}

#[cfg(test)]
mod tests {
    //! The gradient is that of the loss.

    use super::*;

    #[test]
    fn the_gradient_is_what_the_loss_changes_by() {
        let scores = [0.3f32, -1.2, 2.0, 0.7];
        let (score, gradient) = cross_entropy(&scores, 3);
        assert_eq!((score.n, score.n_right), (1, 0));
        for nth in 0..4 {
            let at = |step: f32| {
                let mut moved = scores;
                moved[nth] += step;
                cross_entropy(&moved, 3).0.loss
            };
            let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((slope - gradient[nth]).abs() < 1e-4, "{nth}: {slope} {}", gradient[nth]);
        }
        assert!(gradient.iter().sum::<f64>().abs() < 1e-12);
    }

    #[test]
    fn scores_far_apart_are_no_trouble() {
        let (score, gradient) = cross_entropy(&[1e30, -1e30], 0);
        assert_eq!((score.n_right, score.loss), (1, 0.0));
        assert!(gradient.iter().all(|g| g.is_finite()));
        assert!(cross_entropy(&[1e30, -1e30], 1).0.loss > 1e30);
    }
}
