//! From the rows of a file to the tensors that a model takes: layout,
//! preprocessing, element type, and a look for values that are no numbers.

use super::DataError;
use super::convert::{convert, value_text};
use super::preprocess::{ChannelOrder, Preprocess, PreprocessError};
use crate::tensor::{ElementType, Tensor, Values};

/// What the model wants for one of its inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSpec {
    /// The input's name in the model.
    pub name: String,
    /// The shape of ONE input, without the batch axis.
    pub shape: Vec<usize>,
    /// The type of its elements.
    pub element_type: ElementType,
}

/// What a file offers for one input of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    /// The file's name for messages.
    pub file: String,
    /// The shape of one input.
    pub shape: Vec<usize>,
    /// The type of its elements.
    pub element_type: ElementType,
    /// Whether the first of three axes is known to be colour channels.
    pub is_image: bool,
}

/// How a stored input becomes one of the model's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// In the order in which it is stored.
    AsStored,
    /// Planes, channel by channel, become pixels with neighbouring channels.
    PlanesToPixels,
}

/// How an input of shape `stored` fits `wanted`, if it does: the extents are
/// the same but for ones, or all axes are flattened into one, or an image's
/// channels move from the first axis to the last.
pub(super) fn fit(stored: &[usize], is_image: bool, wanted: &[usize]) -> Option<Layout> {
    let (from, to) = (without_ones(stored), without_ones(wanted));
    if from == to {
        return Some(Layout::AsStored);
    }
    if to.len() <= 1 && product(&from)? == product(&to)? {
        return Some(Layout::AsStored);
    }
    let (&[3, _, _], true) = (stored, is_image) else { return None };
    let mut pixels = from;
    pixels.rotate_left(1);
    (pixels == to).then_some(Layout::PlanesToPixels)
}

fn without_ones(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&extent| extent != 1).collect()
}

/// The number of values of a shape, if it can be counted at all.
pub(super) fn product(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent))
}

/// How channels lie in one input of the model: value `i` belongs to channel
/// `i / stride % n`.
#[derive(Debug, Clone, Copy)]
struct Channels {
    n: usize,
    stride: usize,
}

/// Turns rows of one column into tensors for one input of the model.
pub(super) struct Adapter {
    column: Column,
    spec: InputSpec,
    n_values: usize,
    channels: Channels,
    /// For each value of the model's input, where it is stored; `None` where
    /// everything stays in place.
    source: Option<Vec<usize>>,
    preprocess: Preprocess,
}

impl Adapter {
    /// Checks that the column fits.
    pub fn new(
        column: Column,
        spec: &InputSpec,
        preprocess: &Preprocess,
    ) -> Result<Self, DataError> {
        let layout = fit(&column.shape, column.is_image, &spec.shape);
        // Inputs without values could be announced in any number for nothing.
        let n_values = product(&spec.shape).filter(|&n_values| n_values > 0);
        let (Some(layout), Some(n_values)) = (layout, n_values) else {
            return Err(DataError::Shape {
                file: column.file,
                input: spec.name.clone(),
                found: column.shape.iter().map(|&extent| extent as u64).collect(),
                wanted: spec.shape.clone(),
            });
        };
        let channels = find_channels(&column, layout, spec, preprocess)?;
        let source = source_of_values(n_values, layout, channels, preprocess.channel_order);
        let (spec, preprocess) = (spec.clone(), preprocess.clone());
        Ok(Self { column, spec, n_values, channels, source, preprocess })
    }

    /// The tensor `[n, ...]` of `n` rows, the first of which is input `first`
    /// of the data set.
    pub fn apply(&self, first: u64, n: usize, values: Values) -> Result<Tensor, DataError> {
        let values = self.preprocessed(self.reordered(values));
        let from = values.element_type();
        let values = convert(values, self.spec.element_type).map_err(|(at, value)| {
            let (index, position) = self.place(first, at);
            let (file, input) = (self.column.file.clone(), self.spec.name.clone());
            let to = self.spec.element_type;
            DataError::Conversion { file, input, index, position, value, from, to }
        })?;
        if let Some(at) = first_not_finite(&values) {
            let (index, position) = self.place(first, at);
            let value = value_text(&values, at).parse().unwrap_or(f64::NAN);
            let (file, input) = (self.column.file.clone(), self.spec.name.clone());
            return Err(DataError::NotFinite { file, input, index, position, value });
        }
        let mut shape = vec![n];
        shape.extend(&self.spec.shape);
        Tensor::new(shape, values).ok_or_else(|| DataError::Damaged {
            file: self.column.file.clone(),
            format: "data",
            reason: format!("{n} inputs of {} values each were announced", self.n_values),
        })
    }

    /// The values in the model's order.
    fn reordered(&self, values: Values) -> Values {
        fn pick<T: Copy>(values: &[T], n_values: usize, source: &[usize]) -> Vec<T> {
            let rows = values.chunks_exact(n_values);
            rows.flat_map(|row| source.iter().filter_map(|&at| row.get(at).copied())).collect()
        }
        let Some(source) = &self.source else { return values };
        match values {
            Values::F32(v) => Values::F32(pick(&v, self.n_values, source)),
            Values::F64(v) => Values::F64(pick(&v, self.n_values, source)),
            Values::U8(v) => Values::U8(pick(&v, self.n_values, source)),
            Values::I8(v) => Values::I8(pick(&v, self.n_values, source)),
            Values::I32(v) => Values::I32(pick(&v, self.n_values, source)),
            Values::I64(v) => Values::I64(pick(&v, self.n_values, source)),
            Values::Bool(v) => Values::Bool(pick(&v, self.n_values, source)),
        }
    }

    /// Preprocessing, where the model takes floating point.
    fn preprocessed(&self, values: Values) -> Values {
        if !matches!(self.spec.element_type, ElementType::F32 | ElementType::F64) {
            return values;
        }
        if let Values::U8(bytes) = &values {
            // A byte has 256 values: each is computed once and then looked up.
            let table: Vec<[f32; 256]> = (0..self.channels.n)
                .map(|channel| {
                    let mut row = [0.0; 256];
                    (0..=u8::MAX)
                        .zip(&mut row)
                        .for_each(|(byte, x)| *x = self.preprocess.byte(byte, channel));
                    row
                })
                .collect();
            let channel = |at: usize| (at / self.channels.stride) % self.channels.n;
            let look_up = |(at, &byte): (usize, &u8)| table[channel(at)][usize::from(byte)];
            return Values::F32(bytes.iter().enumerate().map(look_up).collect());
        }
        if !self.preprocess.is_explicit() {
            return values;
        }
        // What cannot be taken to f32 without loss is left alone here and
        // complained about by the conversion that follows.
        match convert(values.clone(), ElementType::F32) {
            Ok(Values::F32(numbers)) => Values::F32(
                numbers
                    .iter()
                    .enumerate()
                    .map(|(at, &x)| {
                        let channel = (at / self.channels.stride) % self.channels.n;
                        self.preprocess.number(x, channel)
                    })
                    .collect(),
            ),
            _ => values,
        }
    }

    /// Which input of the data set a value belongs to, and where in it.
    fn place(&self, first: u64, at: usize) -> (u64, Vec<usize>) {
        let n_values = self.n_values;
        let mut rest = at % n_values;
        let mut position: Vec<usize> = self
            .spec
            .shape
            .iter()
            .rev()
            .map(|&extent| {
                let along = rest % extent;
                rest /= extent;
                along
            })
            .collect();
        position.reverse();
        (first + (at / n_values) as u64, position)
    }
}

/// Where the channels lie. An image says so itself; in an array of numbers
/// the first or else the last axis is taken that has as many places as means
/// or standard deviations were given, or three for a swap of colours.
fn find_channels(
    column: &Column,
    layout: Layout,
    spec: &InputSpec,
    preprocess: &Preprocess,
) -> Result<Channels, DataError> {
    let is_float = matches!(spec.element_type, ElementType::F32 | ElementType::F64);
    let given = preprocess.n_channels().filter(|_| is_float);
    if let (&[channels, height, width], true) = (column.shape.as_slice(), column.is_image) {
        let stride = if layout == Layout::PlanesToPixels { 1 } else { height * width };
        let found = Channels { n: channels.max(1), stride: stride.max(1) };
        return check_channels(found, spec, preprocess, is_float, channels.to_string());
    }
    let swap = (preprocess.channel_order == ChannelOrder::Bgr).then_some(3);
    let wanted = given.map(|(_, n)| n).or(swap);
    let axis = wanted.and_then(|n| {
        let inner = &spec.shape;
        // A vector has no channels to swap, but may have a mean for each value.
        let least = if given.is_some() { 1 } else { 3 };
        if inner.len() < least {
            return None;
        }
        [0, inner.len() - 1].into_iter().find(|&axis| inner[axis] == n)
    });
    let found = match axis {
        Some(axis) => {
            let stride = product(&spec.shape[axis + 1..]).unwrap_or(1);
            Channels { n: spec.shape[axis], stride: stride.max(1) }
        }
        None => Channels { n: 1, stride: 1 },
    };
    let told = if axis.is_some() { found.n.to_string() } else { "no such axis".to_owned() };
    check_channels(found, spec, preprocess, is_float, told)
}

fn check_channels(
    found: Channels,
    spec: &InputSpec,
    preprocess: &Preprocess,
    is_float: bool,
    told: String,
) -> Result<Channels, DataError> {
    for (what, numbers) in [("mean", &preprocess.mean), ("std", &preprocess.std)] {
        if is_float && numbers.len() > 1 && numbers.len() != found.n {
            let (input, shape) = (spec.name.clone(), spec.shape.clone());
            let given = numbers.len();
            let error = PreprocessError::Channels { what, given, input, shape, channels: told };
            return Err(error.into());
        }
    }
    Ok(found)
}

/// For each value of the model's input the place where it is stored.
fn source_of_values(
    n_values: usize,
    layout: Layout,
    channels: Channels,
    order: ChannelOrder,
) -> Option<Vec<usize>> {
    let swaps = order == ChannelOrder::Bgr && channels.n == 3;
    if layout == Layout::AsStored && !swaps {
        return None;
    }
    let n_pixels = n_values / channels.n;
    let place = |at: usize| {
        let channel = (at / channels.stride) % channels.n;
        let stored = if swaps { 2 - channel } else { channel };
        match layout {
            Layout::AsStored => at - channel * channels.stride + stored * channels.stride,
            Layout::PlanesToPixels => stored * n_pixels + at / channels.n,
        }
    };
    Some((0..n_values).map(place).collect())
}

fn first_not_finite(values: &Values) -> Option<usize> {
    match values {
        Values::F32(v) => v.iter().position(|x| !x.is_finite()),
        Values::F64(v) => v.iter().position(|x| !x.is_finite()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    //! What fits what, and that a value ends where the model looks for it.
    #![allow(clippy::unwrap_used, reason = "a failed test may panic")]

    use super::*;

    fn spec(shape: &[usize], element_type: ElementType) -> InputSpec {
        InputSpec { name: "x".into(), shape: shape.to_vec(), element_type }
    }

    fn column(shape: &[usize], element_type: ElementType, is_image: bool) -> Column {
        Column { file: "file".into(), shape: shape.to_vec(), element_type, is_image }
    }

    fn adapt(
        column: Column,
        spec: &InputSpec,
        preprocess: &Preprocess,
        values: Values,
    ) -> Result<Tensor, DataError> {
        let n = values.len() / product(&column.shape).unwrap();
        Adapter::new(column, spec, preprocess)?.apply(0, n, values)
    }

    #[test]
    fn shapes_fit_where_no_value_changes_its_meaning() {
        for wanted in [&[28, 28][..], &[1, 28, 28], &[28, 28, 1], &[784], &[1, 784], &[784, 1, 1]] {
            assert_eq!(fit(&[28, 28], false, wanted), Some(Layout::AsStored), "{wanted:?}");
        }
        for wanted in [&[28, 27][..], &[14, 56], &[2, 392], &[785], &[]] {
            assert_eq!(fit(&[28, 28], false, wanted), None, "{wanted:?}");
        }
        assert_eq!(fit(&[3, 32, 30], true, &[3, 32, 30]), Some(Layout::AsStored));
        assert_eq!(fit(&[3, 32, 30], true, &[32, 30, 3]), Some(Layout::PlanesToPixels));
        assert_eq!(fit(&[3, 32, 30], true, &[1, 32, 30, 3]), Some(Layout::PlanesToPixels));
        assert_eq!(fit(&[3, 32, 30], true, &[2880]), Some(Layout::AsStored));
        assert_eq!(fit(&[3, 32, 30], true, &[3, 30, 32]), None);
        assert_eq!(fit(&[3, 32, 30], false, &[32, 30, 3]), None);
        assert_eq!(fit(&[784], false, &[28, 28]), None);
        assert_eq!(fit(&[usize::MAX, 2], false, &[7]), None);
    }

    #[test]
    fn planes_become_pixels() {
        let stored = Values::U8(vec![1, 2, 11, 12, 21, 22]);
        let wanted = spec(&[1, 2, 3], ElementType::U8);
        let image = column(&[3, 1, 2], ElementType::U8, true);
        let tensor = adapt(image, &wanted, &Preprocess::default(), stored).unwrap();
        assert_eq!(tensor.shape, [1, 1, 2, 3]);
        assert_eq!(tensor.values, Values::U8(vec![1, 11, 21, 2, 12, 22]));
    }

    #[test]
    fn bgr_swaps_channels_in_either_layout() {
        let bgr = Preprocess {
            scale: Some(1.0),
            mean: vec![100.0, 10.0, 0.0],
            channel_order: ChannelOrder::Bgr,
            ..Preprocess::default()
        };
        let stored = || Values::U8(vec![1, 2, 11, 12, 21, 22]);
        let image = || column(&[3, 1, 2], ElementType::U8, true);
        let planes = adapt(image(), &spec(&[3, 1, 2], ElementType::F32), &bgr, stored()).unwrap();
        // Means are given in the model's order: the first belongs to blue.
        assert_eq!(planes.values, Values::F32(vec![-79.0, -78.0, 1.0, 2.0, 1.0, 2.0]));
        let pixels = adapt(image(), &spec(&[1, 2, 3], ElementType::F32), &bgr, stored()).unwrap();
        assert_eq!(pixels.values, Values::F32(vec![-79.0, 1.0, 1.0, -78.0, 2.0, 2.0]));
    }

    #[test]
    fn floats_stay_as_they_are_unless_told_otherwise() {
        let stored = || Values::F32(vec![1.0, 2.0]);
        let wanted = spec(&[2], ElementType::F32);
        let from = || column(&[2], ElementType::F32, false);
        let same = adapt(from(), &wanted, &Preprocess::default(), stored()).unwrap();
        assert_eq!(same.values, stored());
        let by_value = Preprocess { mean: vec![1.0, 5.0], ..Preprocess::default() };
        let moved = adapt(from(), &wanted, &by_value, stored()).unwrap();
        assert_eq!(moved.values, Values::F32(vec![0.0, -3.0]));
    }

    #[test]
    fn integers_for_an_integer_input_are_cast_only() {
        let tensor = adapt(
            column(&[2], ElementType::U8, false),
            &spec(&[2], ElementType::I64),
            &Preprocess::default(),
            Values::U8(vec![0, 255]),
        );
        assert_eq!(tensor.unwrap().values, Values::I64(vec![0, 255]));
    }

    #[test]
    fn a_value_that_does_not_convert_is_named_with_its_place() {
        let error = adapt(
            column(&[2, 2], ElementType::I64, false),
            &spec(&[2, 2], ElementType::I8),
            &Preprocess::default(),
            Values::I64(vec![0, 1, 2, 3, 4, 5, 300, 7]),
        );
        let Err(DataError::Conversion { index, position, value, .. }) = error else {
            unreachable!("{error:?}")
        };
        assert_eq!((index, position, value), (1, vec![1, 0], "300".to_owned()));
    }

    #[test]
    fn nan_and_infinity_are_named_with_their_place() {
        let wanted = spec(&[3], ElementType::F32);
        for bad in [f32::NAN, f32::INFINITY] {
            let from = column(&[3], ElementType::F32, false);
            let adapter = Adapter::new(from, &wanted, &Preprocess::default()).unwrap();
            let values = Values::F32(vec![0.0, 0.0, 0.0, 0.0, bad, 0.0]);
            let error = adapter.apply(40, 2, values).unwrap_err();
            let DataError::NotFinite { index, position, value, .. } = error else {
                unreachable!("{error:?}")
            };
            assert_eq!((index, position), (41, vec![1]));
            assert_eq!(value.is_nan(), bad.is_nan());
        }
    }

    #[test]
    fn means_must_match_the_channels() {
        let three = Preprocess { mean: vec![0.1, 0.2, 0.3], ..Preprocess::default() };
        let grey = column(&[1, 28, 28], ElementType::U8, true);
        let error = Adapter::new(grey, &spec(&[1, 28, 28], ElementType::F32), &three).err();
        let Some(DataError::Preprocess(PreprocessError::Channels { given, channels, .. })) = error
        else {
            unreachable!("{error:?}")
        };
        assert_eq!((given, channels.as_str()), (3, "1"));
        let vector = column(&[784], ElementType::F32, false);
        assert!(Adapter::new(vector, &spec(&[784], ElementType::F32), &three).is_err());
    }
}
