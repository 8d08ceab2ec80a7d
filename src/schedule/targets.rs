//! What the cells of a PE shall hold.

use std::ops::{Index, IndexMut};

/// Target of every cell of one PE, in levels: `[input line][output line]`,
/// row-major; NaN where no cell is used. A weight is the difference of its
/// pair.
#[derive(Debug, Clone, PartialEq)]
pub struct PeTargets {
    /// `inputs x outputs` values.
    pub levels: Levels,
}

/// Levels of cells, read as `f32`: a byte each as long as all are whole and
/// small, which they are until somebody makes up for cells that err.
///
/// A large model has two cells a weight, so four bytes a cell would be twice
/// the model.
#[derive(Debug, Clone)]
pub struct Levels(Form);

#[derive(Debug, Clone)]
enum Form {
    /// Whole levels below [`UNUSED`].
    Whole(Vec<u8>),
    /// Any.
    Exact(Vec<f32>),
}

/// The byte of a cell that is not used.
const UNUSED: u8 = u8::MAX;

/// What each byte stands for.
static WHOLE: [f32; 256] = {
    let mut levels = [f32::NAN; 256];
    let mut byte = 0;
    while byte < UNUSED {
        levels[byte as usize] = byte as f32;
        byte += 1;
    }
    levels
};

impl Levels {
    /// So many cells that are not used.
    pub fn unused(n_cells: usize) -> Self {
        Self(Form::Whole(vec![UNUSED; n_cells]))
    }

    /// Number of cells.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Whole(bytes) => bytes.len(),
            Form::Exact(levels) => levels.len(),
        }
    }

    /// Whether there is no cell.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A cell's level, NaN if it is not used; `None` beyond the last.
    pub fn get(&self, index: usize) -> Option<&f32> {
        match &self.0 {
            Form::Whole(bytes) => bytes.get(index).map(|&byte| &WHOLE[usize::from(byte)]),
            Form::Exact(levels) => levels.get(index),
        }
    }

    /// All in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &f32> {
        (0..self.len()).map(|index| &self[index])
    }

    /// All in order, in memory of their own.
    pub fn to_vec(&self) -> Vec<f32> {
        self.iter().copied().collect()
    }

    /// Sets a cell's level.
    ///
    /// # Panics
    ///
    /// There is no such cell.
    pub fn set(&mut self, index: usize, level: f32) {
        match (&mut self.0, byte(level)) {
            (Form::Whole(bytes), Some(byte)) => bytes[index] = byte,
            _ => self.to_mut()[index] = level,
        }
    }

    /// All, to be changed in any way.
    pub fn to_mut(&mut self) -> &mut Vec<f32> {
        if let Form::Whole(_) = self.0 {
            self.0 = Form::Exact(self.to_vec());
        }
        match &mut self.0 {
            Form::Exact(levels) => levels,
            Form::Whole(_) => unreachable!("it was made exact"),
        }
    }
}

/// The byte of a level, if it has one.
fn byte(level: f32) -> Option<u8> {
    let byte = if level.is_nan() { UNUSED } else { level as u8 };
    (level.is_nan() || byte < UNUSED && f32::from(byte).to_bits() == level.to_bits())
        .then_some(byte)
}

impl From<Vec<f32>> for Levels {
    fn from(levels: Vec<f32>) -> Self {
        match levels.iter().map(|&level| byte(level)).collect() {
            Some(bytes) => Self(Form::Whole(bytes)),
            None => Self(Form::Exact(levels)),
        }
    }
}

impl FromIterator<f32> for Levels {
    fn from_iter<I: IntoIterator<Item = f32>>(levels: I) -> Self {
        levels.into_iter().collect::<Vec<_>>().into()
    }
}

impl Index<usize> for Levels {
    type Output = f32;

    fn index(&self, index: usize) -> &f32 {
        match &self.0 {
            Form::Whole(bytes) => &WHOLE[usize::from(bytes[index])],
            Form::Exact(levels) => &levels[index],
        }
    }
}

impl IndexMut<usize> for Levels {
    fn index_mut(&mut self, index: usize) -> &mut f32 {
        &mut self.to_mut()[index]
    }
}

/// NaN marks unused cells, so equality is that of bits, whichever the NaN.
impl PartialEq for Levels {
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
        self.len() == other.len() && self.iter().zip(other.iter()).all(same)
    }
}

#[cfg(test)]
mod tests {
    //! Levels read as they were set, in either form.

    use super::*;

    #[test]
    fn levels_are_what_they_were_set_to() {
        let whole = [0.0, 7.0, f32::NAN, 254.0];
        let exact = [0.0, 7.0, f32::NAN, 254.0, 255.0, 3.5, -1.0, -0.0, 1e9, f32::INFINITY];
        for (given, is_whole) in [(&whole[..], true), (&exact[..], false)] {
            let mut levels = Levels::unused(given.len());
            assert!(levels.iter().all(|level| level.is_nan()));
            for (index, &level) in given.iter().enumerate() {
                levels.set(index, level);
            }
            assert_eq!(matches!(levels.0, Form::Whole(_)), is_whole);
            assert_eq!(levels, Levels::from(given.to_vec()));
            assert_eq!(levels.len(), given.len());
            for (index, (found, level)) in levels.iter().zip(given).enumerate() {
                assert_eq!(levels[index].is_nan(), level.is_nan());
                assert!(level.is_nan() || found.to_bits() == level.to_bits());
            }
            assert!(levels.get(given.len()).is_none());
        }
    }

    #[test]
    fn a_changed_level_makes_a_difference() {
        let levels = Levels::from(vec![1.0, f32::NAN, 3.0]);
        let mut changed = levels.clone();
        changed[2] += 0.5;
        assert_eq!(changed[2], 3.5);
        assert_ne!(levels, changed);
        changed[2] -= 0.5;
        assert_eq!(levels, changed);
    }
}
