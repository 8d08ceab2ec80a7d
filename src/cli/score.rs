//! Scores of outputs: how often the right class wins, and how far outputs lie
//! from those of another run of the same inputs.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use ohmc::tensor::{Tensor, Values, top_class};

/// A label that is no class of the scores beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongLabel {
    /// Which input of the batch has it.
    pub nth: usize,
    /// The label.
    pub label: u32,
    /// Classes that there are scores for.
    pub n_classes: usize,
}

/// Counts the inputs of a batch of `n` whose label has the largest score.
pub fn n_right(scores: &Tensor, n: usize, labels: &[u32]) -> Result<u64, WrongLabel> {
    let n_classes = scores.values.len() / n.max(1);
    let values = numbers(&scores.values);
    let mut n_right = 0;
    for (nth, (scores, &label)) in values.chunks(n_classes.max(1)).zip(labels).enumerate() {
        if label as usize >= n_classes {
            return Err(WrongLabel { nth, label, n_classes });
        }
        n_right += u64::from(top_class(scores) == Some(label as usize));
    }
    Ok(n_right)
}

/// The values of a tensor as numbers.
pub fn numbers(values: &Values) -> Vec<f64> {
    match values {
        Values::F32(v) => v.iter().copied().map(f64::from).collect(),
        Values::F64(v) => v.clone(),
        Values::U8(v) => v.iter().copied().map(f64::from).collect(),
        Values::I8(v) => v.iter().copied().map(f64::from).collect(),
        Values::I32(v) => v.iter().copied().map(f64::from).collect(),
        // Class numbers and token ids are far below 2^53.
        Values::I64(v) => v.iter().map(|&x| x as f64).collect(),
        Values::Bool(v) => v.iter().copied().map(|x| f64::from(u8::from(x))).collect(),
    }
}

/// Mean, and standard deviation of the sample: 0 for a single value.
pub fn mean_and_sd(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
    let sd = if values.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 };
    (mean, sd)
}

/// How far one output lies from another run's.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Distance {
    /// Values compared.
    pub n_values: u64,
    /// Those whose bits differ.
    pub n_different: u64,
    /// Sum of the squared differences.
    squared_difference: f64,
    /// Sum of the squares of the other run's values.
    squared_size: f64,
}

impl Distance {
    /// Compares one value with the other run's: as numbers, and to the bit.
    fn add(&mut self, value: f64, other: f64) {
        self.n_values += 1;
        self.n_different += u64::from(value.to_bits() != other.to_bits());
        self.squared_difference += (value - other) * (value - other);
        self.squared_size += other * other;
    }

    /// The relative L2 error: 0 where nothing differs, infinite where the
    /// other run gave only zeros.
    pub fn relative(&self) -> f64 {
        if self.squared_difference == 0.0 {
            return 0.0;
        }
        (self.squared_difference / self.squared_size).sqrt()
    }
}

/// Outputs of a run, kept in a file without a name, so that memory does not
/// grow with the number of inputs.
///
/// Values are kept as f64, which holds each of f32 to the bit.
pub struct Recording {
    file: BufWriter<File>,
}

impl Recording {
    /// Nothing recorded yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self { file: BufWriter::new(tempfile::tempfile()?) })
    }

    /// Records the outputs of a batch.
    pub fn add(&mut self, outputs: &[&Tensor]) -> io::Result<()> {
        for output in outputs {
            for number in numbers(&output.values) {
                self.file.write_all(&number.to_le_bytes())?;
            }
        }
        Ok(())
    }

    /// Ends the recording.
    pub fn finish(self) -> io::Result<Recorded> {
        Ok(Recorded { file: self.file.into_inner()? })
    }
}

/// Outputs of a whole run, to compare others with.
pub struct Recorded {
    file: File,
}

impl Recorded {
    /// Starts a comparison with `n_outputs` outputs of another run of the same
    /// inputs.
    pub fn compare(&self, n_outputs: usize) -> io::Result<Comparison> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        let distances = vec![Distance::default(); n_outputs];
        Ok(Comparison { file: BufReader::new(file), distances })
    }
}

/// A comparison under way, batch by batch, cut as the recording was.
pub struct Comparison {
    file: BufReader<File>,
    /// Of each output.
    pub distances: Vec<Distance>,
}

impl Comparison {
    /// Compares the next batch.
    pub fn add(&mut self, outputs: &[&Tensor]) -> io::Result<()> {
        for (output, distance) in outputs.iter().zip(&mut self.distances) {
            for number in numbers(&output.values) {
                let mut recorded = [0; 8];
                self.file.read_exact(&mut recorded)?;
                distance.add(number, f64::from_le_bytes(recorded));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    //! Scores agree with what is computed by hand.
    #![allow(clippy::unwrap_used, reason = "a failed test may panic")]

    use super::*;

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::f32(vec![values.len()], values.to_vec()).unwrap()
    }

    #[test]
    fn the_largest_score_wins_the_first_of_equals_and_nan_never() {
        assert_eq!(top_class(&[0.0, 2.0, 2.0]), Some(1));
        assert_eq!(top_class(&[-1.0]), Some(0));
        assert_eq!(top_class(&[1.0, f64::NAN]), None);
        assert_eq!(top_class::<f64>(&[]), None);
    }

    #[test]
    fn right_ones_are_counted_and_labels_beyond_the_scores_are_told() {
        let scores = Tensor::f32(vec![2, 3], vec![0.0, 2.0, 1.0, 5.0, 4.0, 3.0]).unwrap();
        assert_eq!(n_right(&scores, 2, &[1, 2]), Ok(1));
        assert_eq!(n_right(&scores, 2, &[1, 0]), Ok(2));
        let wrong = WrongLabel { nth: 1, label: 3, n_classes: 3 };
        assert_eq!(n_right(&scores, 2, &[1, 3]), Err(wrong));
    }

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        assert_eq!(mean_and_sd(&[1.0, 3.0]), (2.0, 2f64.sqrt()));
        assert_eq!(mean_and_sd(&[97.0]), (97.0, 0.0));
    }

    #[test]
    fn a_recording_is_compared_value_by_value_as_often_as_wanted() {
        let mut recording = Recording::new().unwrap();
        recording.add(&[&tensor(&[3.0, 4.0]), &tensor(&[1.0])]).unwrap();
        recording.add(&[&tensor(&[0.0, 0.0]), &tensor(&[-0.0])]).unwrap();
        let recorded = recording.finish().unwrap();
        for _ in 0..2 {
            let mut comparison = recorded.compare(2).unwrap();
            comparison.add(&[&tensor(&[3.0, 4.5]), &tensor(&[1.0])]).unwrap();
            comparison.add(&[&tensor(&[0.0, 0.0]), &tensor(&[0.0])]).unwrap();
            let [first, second] = comparison.distances[..] else { panic!() };
            assert_eq!((first.n_values, first.n_different, first.relative()), (4, 1, 0.1));
            // Zero and minus zero are equal as numbers, and not to the bit.
            assert_eq!((second.n_values, second.n_different, second.relative()), (2, 1, 0.0));
        }
    }
}
