//! Dense arrays as they come in from data files and go out as results.
//!
//! The digital side computes with tract's tensors; this type keeps tract out
//! of every other module.

use std::fmt;

/// The values of a [`Tensor`], one variant per element type that ONNX models
/// take as inputs or give as outputs.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// 32-bit floating point, by far the most common.
    F32(Vec<f32>),
    /// 64-bit floating point.
    F64(Vec<f64>),
    /// Unsigned bytes, for example characters or raw pixels.
    U8(Vec<u8>),
    /// Signed bytes.
    I8(Vec<i8>),
    /// 32-bit integers.
    I32(Vec<i32>),
    /// 64-bit integers, for example token ids.
    I64(Vec<i64>),
    /// Truth values.
    Bool(Vec<bool>),
}

/// The element type of a [`Tensor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// See [`Values::F32`].
    F32,
    /// See [`Values::F64`].
    F64,
    /// See [`Values::U8`].
    U8,
    /// See [`Values::I8`].
    I8,
    /// See [`Values::I32`].
    I32,
    /// See [`Values::I64`].
    I64,
    /// See [`Values::Bool`].
    Bool,
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::Bool => "bool",
        })
    }
}

impl Values {
    /// How many values there are.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::U8(v) => v.len(),
            Self::I8(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::Bool(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their type.
    pub fn element_type(&self) -> ElementType {
        match self {
            Self::F32(_) => ElementType::F32,
            Self::F64(_) => ElementType::F64,
            Self::U8(_) => ElementType::U8,
            Self::I8(_) => ElementType::I8,
            Self::I32(_) => ElementType::I32,
            Self::I64(_) => ElementType::I64,
            Self::Bool(_) => ElementType::Bool,
        }
    }
}

/// A dense array in row-major order (the last axis runs fastest).
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Extents, outermost axis first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Exactly `shape.iter().product()` values.
    pub values: Values,
}

impl Tensor {
    /// An f32 tensor; `None` if the number of values does not fit the shape.
    pub fn f32(shape: Vec<usize>, values: Vec<f32>) -> Option<Self> {
        Self::new(shape, Values::F32(values))
    }

    /// A tensor of any type; `None` if the number of values does not fit the
    /// shape.
    pub fn new(shape: Vec<usize>, values: Values) -> Option<Self> {
        let wanted = shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent))?;
        (wanted == values.len()).then_some(Self { shape, values })
    }

    /// The values as f32 if that is what they are.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.values {
            Values::F32(v) => Some(v),
            _ => None,
        }
    }
}

/// Whether one item of this shape can be the scores of classes: a single axis
/// that has more than one place.
pub fn are_scores(item: &[usize]) -> bool {
    item.iter().filter(|&&extent| extent != 1).count() == 1 && !item.contains(&0)
}

/// The class with the largest score; the first of equals, none among scores
/// that are no numbers.
pub fn top_class<T: PartialOrd>(scores: &[T]) -> Option<usize> {
    let mut best = 0;
    for (class, score) in scores.iter().enumerate() {
        // Only what is no number has no order with itself.
        score.partial_cmp(score)?;
        if score > &scores[best] {
            best = class;
        }
    }
    (!scores.is_empty()).then_some(best)
}
