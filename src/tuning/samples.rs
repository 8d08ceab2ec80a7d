//! Inputs with their labels, in memory, and the order in which they come.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::frontend::ModelInput;
use crate::tensor::{Tensor, Values};

/// Inputs that are seen again and again, in any order.
#[derive(Debug, Clone)]
pub struct Samples {
    /// For each input of the model, all values, `[sample, ...]`.
    inputs: Vec<Tensor>,
    /// The class of each; empty where none is known.
    labels: Vec<u32>,
    n: usize,
}

impl Samples {
    /// `inputs` has for each input of a model a tensor whose first axis counts
    /// samples; there is a label for each of them or for none. `None` where
    /// these numbers differ.
    pub fn new(inputs: Vec<Tensor>, labels: Vec<u32>) -> Option<Self> {
        let n = inputs.first()?.shape.first().copied()?;
        let agree = inputs.iter().all(|tensor| tensor.shape.first() == Some(&n));
        (agree && (labels.is_empty() || labels.len() == n)).then_some(Self { inputs, labels, n })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// The class of each; empty where none is known.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The inputs of a model, all samples of each.
    pub fn inputs(&self) -> &[Tensor] {
        &self.inputs
    }

    /// Some of them, as a model takes them.
    pub(super) fn batch(&self, model: &[ModelInput], chosen: &[usize]) -> Vec<Tensor> {
        let of = |(tensor, input): (&Tensor, &ModelInput)| {
            let each = tensor.values.len() / self.n.max(1);
            let mut shape = tensor.shape.clone();
            match shape.first_mut() {
                Some(first) if input.has_batch => *first = chosen.len(),
                _ => drop(shape.drain(..1.min(tensor.shape.len()))),
            }
            Tensor { shape, values: picked(&tensor.values, each, chosen) }
        };
        self.inputs.iter().zip(model).map(of).collect()
    }
}

fn picked(values: &Values, each: usize, chosen: &[usize]) -> Values {
    fn pick<T: Copy>(values: &[T], each: usize, chosen: &[usize]) -> Vec<T> {
        let sample = |&nth: &usize| values[nth * each..(nth + 1) * each].iter().copied();
        chosen.iter().flat_map(sample).collect()
    }
    match values {
        Values::F32(v) => Values::F32(pick(v, each, chosen)),
        Values::F64(v) => Values::F64(pick(v, each, chosen)),
        Values::U8(v) => Values::U8(pick(v, each, chosen)),
        Values::I8(v) => Values::I8(pick(v, each, chosen)),
        Values::I32(v) => Values::I32(pick(v, each, chosen)),
        Values::I64(v) => Values::I64(pick(v, each, chosen)),
        Values::Bool(v) => Values::Bool(pick(v, each, chosen)),
    }
}

/// Samples that come batch by batch, of which some are kept.
#[derive(Debug, Clone)]
pub struct Gathering {
    /// Numbers of those that are kept, ascending; `None` for all.
    chosen: Option<Vec<u64>>,
    inputs: Vec<Tensor>,
    labels: Vec<u32>,
    n_seen: u64,
}

impl Gathering {
    /// Keeps the samples of these numbers, ascending, or all.
    pub fn new(chosen: Option<Vec<u64>>) -> Self {
        Self { chosen, inputs: Vec::new(), labels: Vec::new(), n_seen: 0 }
    }

    /// Looks at the next `n` samples, `[n, ...]` for each input of the model,
    /// with their labels if there are any.
    pub fn add(&mut self, n: usize, inputs: &[Tensor], labels: &[u32]) {
        let numbers = self.n_seen..self.n_seen + n as u64;
        self.n_seen = numbers.end;
        let is_chosen = |number: &u64| {
            self.chosen.as_ref().is_none_or(|chosen| chosen.binary_search(number).is_ok())
        };
        let rows: Vec<usize> =
            (0..n).filter(|&row| is_chosen(&(numbers.start + row as u64))).collect();
        if self.inputs.is_empty() {
            let none = |tensor: &Tensor| {
                let mut shape = tensor.shape.clone();
                shape.first_mut().into_iter().for_each(|first| *first = 0);
                Tensor { shape, values: picked(&tensor.values, 0, &[]) }
            };
            self.inputs = inputs.iter().map(none).collect();
        }
        for (all, tensor) in self.inputs.iter_mut().zip(inputs) {
            let each = tensor.values.len() / n.max(1);
            append(&mut all.values, picked(&tensor.values, each, &rows));
            all.shape.first_mut().into_iter().for_each(|first| *first += rows.len());
        }
        self.labels.extend(rows.iter().filter_map(|&row| labels.get(row)));
    }

    /// What was kept; `None` if that is nothing, or if some had labels and
    /// others not.
    pub fn finish(self) -> Option<Samples> {
        Samples::new(self.inputs, self.labels).filter(|samples| !samples.is_empty())
    }
}

/// Values of one kind, one after the other.
fn append(values: &mut Values, more: Values) {
    match (values, more) {
        (Values::F32(a), Values::F32(b)) => a.extend(b),
        (Values::F64(a), Values::F64(b)) => a.extend(b),
        (Values::U8(a), Values::U8(b)) => a.extend(b),
        (Values::I8(a), Values::I8(b)) => a.extend(b),
        (Values::I32(a), Values::I32(b)) => a.extend(b),
        (Values::I64(a), Values::I64(b)) => a.extend(b),
        (Values::Bool(a), Values::Bool(b)) => a.extend(b),
        // A data set gives one type for each input.
        (values, more) => *values = more,
    }
}

/// Which samples are chosen, shuffled or held out.
#[derive(Debug, Clone, Copy)]
enum Draw {
    Choice = 0,
    HeldOut = 1,
    /// And every number after it, an epoch each.
    Epochs = 2,
}

/// So many of `n` things, each as likely as any other, in ascending order: the
/// same for the same seed.
pub fn choose(n: u64, n_chosen: u64, seed: u64) -> Vec<u64> {
    selected(n, n_chosen, seed, Draw::Choice)
}

fn selected(n: u64, n_chosen: u64, seed: u64, draw: Draw) -> Vec<u64> {
    let mut random = stream(seed, draw as u64);
    let mut left = n_chosen.min(n);
    // One after the other, each with the chance that fills what is left
    // (Knuth's algorithm S).
    (0..n)
        .filter(|nth| {
            let chosen = random.random_range(0..n - nth) < left;
            left -= u64::from(chosen);
            chosen
        })
        .collect()
}

fn stream(seed: u64, number: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(number);
    random
}

/// In which order samples are tuned on, and which are held out.
#[derive(Debug, Clone)]
pub(super) struct Order {
    tuned: Vec<usize>,
    held_out: Vec<usize>,
    n_batch: usize,
    seed: u64,
    /// The order of one epoch, once it was asked for.
    epoch: Option<(u64, Vec<usize>)>,
}

impl Order {
    /// Holds out so many of `n` samples.
    pub fn new(n: usize, n_held_out: usize, n_batch: usize, seed: u64) -> Self {
        let held = selected(n as u64, n_held_out as u64, seed, Draw::HeldOut);
        let held_out: Vec<usize> = held.into_iter().map(|nth| nth as usize).collect();
        let tuned: Vec<usize> = (0..n).filter(|nth| held_out.binary_search(nth).is_err()).collect();
        let n_batch = n_batch.clamp(1, tuned.len().max(1));
        Self { tuned, held_out, n_batch, seed, epoch: None }
    }

    /// Samples that are tuned on, ascending.
    pub fn tuned(&self) -> &[usize] {
        &self.tuned
    }

    /// Samples that are held out, ascending.
    pub fn held_out(&self) -> &[usize] {
        &self.held_out
    }

    /// Samples of a batch.
    pub fn n_batch(&self) -> usize {
        self.n_batch
    }

    /// Whole batches of an epoch.
    pub fn batches_per_epoch(&self) -> u64 {
        (self.tuned.len() / self.n_batch) as u64
    }

    /// The samples of a batch, counted from the first of all epochs. Each epoch
    /// has an order of its own.
    pub fn batch(&mut self, number: u64) -> Vec<usize> {
        let per_epoch = self.batches_per_epoch().max(1);
        let epoch = number / per_epoch;
        if self.epoch.as_ref().is_none_or(|(known, _)| *known != epoch) {
            let mut random = stream(self.seed, Draw::Epochs as u64 + epoch);
            let mut order = self.tuned.clone();
            for last in (1..order.len()).rev() {
                order.swap(last, random.random_range(0..=last as u64) as usize);
            }
            self.epoch = Some((epoch, order));
        }
        let start = (number % per_epoch) as usize * self.n_batch;
        let order = self.epoch.as_ref().map_or(&[][..], |(_, order)| order);
        order.iter().skip(start).take(self.n_batch).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    //! Every sample comes once an epoch, and none that is held out.
    #![allow(clippy::unwrap_used, reason = "a failed test may panic")]

    use super::*;

    #[test]
    fn an_epoch_has_every_sample_once_and_none_that_is_held_out() {
        let mut order = Order::new(53, 13, 8, 5);
        assert_eq!((order.tuned().len(), order.held_out().len()), (40, 13));
        let epoch = |order: &mut Order, nth: u64| -> Vec<usize> {
            (5 * nth..5 * nth + 5).flat_map(|batch| order.batch(batch)).collect()
        };
        let (first, second) = (epoch(&mut order, 0), epoch(&mut order, 1));
        assert_ne!(first, second);
        for mut seen in [first, second] {
            seen.sort_unstable();
            assert_eq!(seen, order.tuned());
        }
        // Asked for out of turn, a batch is the same.
        let third = order.batch(3);
        assert_eq!(third, Order::new(53, 13, 8, 5).batch(3));
        assert_ne!(third, Order::new(53, 13, 8, 6).batch(3));
    }

    #[test]
    fn a_batch_larger_than_the_data_is_all_of_it() {
        let mut order = Order::new(5, 0, 100, 0);
        assert_eq!((order.n_batch(), order.batches_per_epoch()), (5, 1));
        assert_eq!(order.batch(0).len(), 5);
    }

    #[test]
    fn choices_are_ascending_and_of_the_size_that_is_asked_for() {
        let chosen = choose(1000, 100, 3);
        assert_eq!(chosen.len(), 100);
        assert!(chosen.windows(2).all(|two| two[0] < two[1]) && chosen[99] < 1000);
        assert_ne!(chosen, choose(1000, 100, 4));
        assert_eq!(choose(3, 10, 0), [0, 1, 2]);
    }

    #[test]
    fn samples_are_picked_by_number() {
        let tensor = Tensor::f32(vec![3, 2], vec![0., 1., 2., 3., 4., 5.]).unwrap();
        let samples = Samples::new(vec![tensor], vec![7, 8, 9]).unwrap();
        let input = |has_batch| ModelInput {
            name: "x".to_string(),
            shape: vec![2],
            has_batch,
            element_type: crate::tensor::ElementType::F32,
        };
        let two = samples.batch(&[input(true)], &[2, 0]);
        assert_eq!(
            (&two[0].shape[..], two[0].as_f32().unwrap()),
            (&[2, 2][..], &[4., 5., 0., 1.][..])
        );
        let one = samples.batch(&[input(false)], &[1]);
        assert_eq!((&one[0].shape[..], one[0].as_f32().unwrap()), (&[2][..], &[2., 3.][..]));
        assert!(Samples::new(samples.inputs().to_vec(), vec![1]).is_none());
    }
}
