//! An array in a file whose first axis counts the inputs, read a few rows at
//! a time. IDX and `.npy` differ in their headers only, so both end up here.

use super::DataError;
use super::adapt::{Column, product};
use super::convert::{numbers, value_text};
use super::stream::Stream;
use crate::tensor::{ElementType, Values};

/// How elements are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Encoding {
    pub element_type: ElementType,
    pub big_endian: bool,
}

/// An opened array; the stream stands at its first element.
pub(super) struct ArrayFile {
    stream: Stream,
    encoding: Encoding,
    /// The shape that the header announces.
    shape: Vec<u64>,
    /// The shape of one row.
    row: Vec<usize>,
    n_rows: u64,
    n_rows_read: u64,
    header_bytes: u64,
}

impl ArrayFile {
    /// An array whose rows lie along its first axis; a scalar is one row.
    pub fn new(stream: Stream, shape: Vec<u64>, encoding: Encoding) -> Result<Self, DataError> {
        let (n_rows, row) = match shape.split_first() {
            Some((&n_rows, row)) => (n_rows, row),
            None => (1, &[][..]),
        };
        let row: Option<Vec<usize>> =
            row.iter().map(|&extent| usize::try_from(extent).ok()).collect();
        let Some(row) = row.filter(|row| product(row).is_some()) else {
            return Err(DataError::Damaged {
                file: stream.file,
                format: "data",
                reason: format!("its shape {shape:?} has more values than there can be"),
            });
        };
        let header_bytes = stream.position();
        Ok(Self { stream, encoding, shape, row, n_rows, n_rows_read: 0, header_bytes })
    }

    /// The same with the whole array taken as one row.
    pub fn into_one_row(mut self) -> Self {
        if let Ok(first) = usize::try_from(self.n_rows) {
            if !self.shape.is_empty() {
                self.row.insert(0, first);
            }
            self.n_rows = 1;
        }
        self
    }

    /// The file's name for messages.
    pub fn file(&self) -> &str {
        &self.stream.file
    }

    /// The shape that the header announces.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// The shape of one row.
    pub fn row(&self) -> &[usize] {
        &self.row
    }

    /// How many rows there are.
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// The rows as inputs of a model; `may_be_image` says that three axes
    /// that begin with 1 or 3 are planes of pixels in this format.
    pub fn column(&self, may_be_image: bool) -> Column {
        let is_image = may_be_image && matches!(self.row[..], [1 | 3, _, _]);
        Column {
            file: self.stream.file.clone(),
            shape: self.row.clone(),
            element_type: self.encoding.element_type,
            is_image,
        }
    }

    /// How many rows have been read.
    pub fn n_rows_read(&self) -> u64 {
        self.n_rows_read
    }

    /// Bytes of the whole file, as far as the header tells.
    fn expected_bytes(&self) -> u64 {
        self.header_bytes.saturating_add(self.n_rows.saturating_mul(self.row_bytes()))
    }

    fn row_bytes(&self) -> u64 {
        let n_values = product(&self.row).unwrap_or(usize::MAX) as u64;
        n_values.saturating_mul(size_of_element(self.encoding.element_type) as u64)
    }

    /// The next `n` rows, fewer at the end of the array, where the file must
    /// end as well.
    pub fn read(&mut self, n: u64) -> Result<Values, DataError> {
        let n = n.min(self.n_rows - self.n_rows_read);
        let expected = self.expected_bytes();
        let n_bytes = n.saturating_mul(self.row_bytes());
        let bytes = self.stream.read_exactly(n_bytes, expected)?;
        self.n_rows_read += n;
        if self.n_rows_read == self.n_rows {
            self.stream.expect_end()?;
        }
        decode(bytes, self.encoding).ok_or_else(|| DataError::Damaged {
            file: self.stream.file.clone(),
            format: "data",
            reason: "a truth value is neither 0 nor 1".to_owned(),
        })
    }

    /// The next `n` rows as class numbers, fewer at the end.
    pub fn read_labels(&mut self, n: u64) -> Result<Vec<u32>, DataError> {
        let first = self.n_rows_read;
        let values = self.read(n)?;
        let labels = numbers(&values).into_iter().enumerate().map(|(at, number)| {
            number.label().ok_or_else(|| DataError::LabelValue {
                file: self.stream.file.clone(),
                index: first + at as u64,
                value: value_text(&values, at),
                max: u32::MAX,
            })
        });
        labels.collect()
    }

    /// Checks that each row is one number, as class numbers are.
    pub fn expect_labels(self) -> Result<Self, DataError> {
        if product(&self.row) == Some(1) && !self.shape.is_empty() {
            return Ok(self);
        }
        let Self { stream, shape, .. } = self;
        Err(DataError::LabelShape { file: stream.file, shape })
    }
}

fn size_of_element(element_type: ElementType) -> usize {
    match element_type {
        ElementType::F64 | ElementType::I64 => 8,
        ElementType::F32 | ElementType::I32 => 4,
        ElementType::U8 | ElementType::I8 | ElementType::Bool => 1,
    }
}

/// The values of whole elements; `None` for a truth value that is none.
fn decode(bytes: Vec<u8>, encoding: Encoding) -> Option<Values> {
    macro_rules! words {
        ($number:ty, $size:literal) => {{
            let (words, _) = bytes.as_chunks::<$size>();
            let decode = if encoding.big_endian {
                <$number>::from_be_bytes
            } else {
                <$number>::from_le_bytes
            };
            words.iter().map(|&word| decode(word)).collect()
        }};
    }
    Some(match encoding.element_type {
        ElementType::F32 => Values::F32(words!(f32, 4)),
        ElementType::F64 => Values::F64(words!(f64, 8)),
        ElementType::I32 => Values::I32(words!(i32, 4)),
        ElementType::I64 => Values::I64(words!(i64, 8)),
        ElementType::I8 => Values::I8(words!(i8, 1)),
        ElementType::U8 => Values::U8(bytes),
        ElementType::Bool => {
            let truth = |&byte: &u8| match byte {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            };
            Values::Bool(bytes.iter().map(truth).collect::<Option<_>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    //! Rows come in order, in their type, and exactly as many as announced.
    #![allow(clippy::unwrap_used, reason = "a failed test may panic")]

    use std::io::Cursor;

    use super::*;

    fn array(
        bytes: &[u8],
        shape: &[u64],
        element_type: ElementType,
        big_endian: bool,
    ) -> ArrayFile {
        let stream = Stream::new("x".into(), Box::new(Cursor::new(bytes.to_vec())), None).unwrap();
        ArrayFile::new(stream, shape.to_vec(), Encoding { element_type, big_endian }).unwrap()
    }

    #[test]
    fn rows_come_in_order_and_stop_at_the_end() {
        let mut rows = array(&[1, 2, 3, 4, 5, 6], &[3, 2], ElementType::U8, false);
        assert_eq!(rows.read(2).unwrap(), Values::U8(vec![1, 2, 3, 4]));
        assert_eq!(rows.read(2).unwrap(), Values::U8(vec![5, 6]));
        assert!(rows.read(2).unwrap().is_empty());
    }

    #[test]
    fn elements_of_either_byte_order() {
        let mut big = array(&[0, 0, 1, 2], &[1], ElementType::I32, true);
        assert_eq!(big.read(1).unwrap(), Values::I32(vec![258]));
        let mut little = array(&[2, 1, 0, 0], &[1], ElementType::I32, false);
        assert_eq!(little.read(1).unwrap(), Values::I32(vec![258]));
    }

    #[test]
    fn a_file_that_disagrees_with_its_header_is_an_error() {
        let error = array(&[1, 2, 3], &[2, 2], ElementType::U8, false).read(9).unwrap_err();
        assert!(matches!(error, DataError::Truncated { expected: 4, found: 3, .. }), "{error}");
        let error = array(&[1, 2, 3], &[2, 1], ElementType::U8, false).read(9).unwrap_err();
        assert!(matches!(error, DataError::TrailingBytes { expected: 2, found: 3, .. }), "{error}");
        let error = array(&[2], &[1], ElementType::Bool, false).read(1).unwrap_err();
        assert!(matches!(error, DataError::Damaged { .. }), "{error}");
        let huge = [u64::MAX, u64::MAX >> 1];
        let error = array(&[2], &huge, ElementType::F64, false).read(u64::MAX).unwrap_err();
        assert!(matches!(error, DataError::Truncated { found: 1, .. }), "{error}");
    }

    #[test]
    fn labels_are_one_whole_number_each() {
        let mut labels = array(&[7, 9], &[2, 1], ElementType::U8, false).expect_labels().unwrap();
        assert_eq!(labels.read_labels(5).unwrap(), [7, 9]);
        let error = array(&[7, 9], &[1, 2], ElementType::U8, false).expect_labels().err().unwrap();
        assert!(matches!(error, DataError::LabelShape { .. }), "{error}");
        let error = array(&[7, 255], &[2], ElementType::I8, false).read_labels(2).unwrap_err();
        let DataError::LabelValue { index: 1, value, .. } = error else { unreachable!("{error}") };
        assert_eq!(value, "-1");
    }
}
