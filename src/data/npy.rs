//! NumPy's `.npy`: a header that is a Python dictionary, then the elements.
//! This file reads; `npy_write.rs` writes. Headers are parsed by `npyz`,
//! elements are streamed as in every other format.

use std::io::{Cursor, Read};

use npyz::{DType, Endianness, NpyHeader, Order, TypeChar};

use super::DataError;
use super::adapt::{InputSpec, fit};
use super::array::{ArrayFile, Encoding};
use super::stream::Stream;
use crate::tensor::{ElementType, Tensor};

pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// NumPy itself refuses longer headers, as they take long to parse.
const HEADER_BYTES_MAX: u64 = 10_000;

/// Deeper nesting than any header of numbers has; the parser is recursive.
const BRACKETS_MAX: usize = 64;

/// Whether a file that begins like this is `.npy`.
pub(super) fn is_npy(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

/// Reads the header; the rows lie along the first axis.
pub(super) fn open(mut stream: Stream) -> Result<ArrayFile, DataError> {
    let damaged = |file: &str, reason: String| DataError::Damaged {
        file: file.to_owned(),
        format: ".npy",
        reason,
    };
    let mut header = stream.read_exactly(10, 10)?;
    if !is_npy(&header) {
        return Err(damaged(&stream.file, "it does not begin with `\\x93NUMPY`".to_owned()));
    }
    // Version 1 gives the header's length in two bytes, later ones in four.
    let text_bytes = if header[6] == 1 {
        u64::from(u16::from_le_bytes([header[8], header[9]]))
    } else {
        header.extend(stream.read_exactly(2, 12)?);
        u64::from(u32::from_le_bytes([header[8], header[9], header[10], header[11]]))
    };
    if text_bytes > HEADER_BYTES_MAX {
        return Err(damaged(&stream.file, format!("its header has {text_bytes} bytes")));
    }
    let text = stream.read_exactly(text_bytes, stream.position() + text_bytes)?;
    check_text(&text).map_err(|reason| damaged(&stream.file, reason.to_owned()))?;
    header.extend(text);
    let header = NpyHeader::from_reader(header.as_slice())
        .map_err(|error| damaged(&stream.file, error.to_string()))?;
    let dtype = header.dtype();
    let Some(encoding) = encoding_of(&dtype) else {
        return Err(DataError::ElementType { file: stream.file, found: dtype.descr() });
    };
    let shape = header.shape().to_vec();
    // With one axis that counts, both orders are the same.
    let one_axis = shape.iter().filter(|&&extent| extent != 1).count() <= 1;
    if header.order() == Order::Fortran && !one_axis {
        return Err(DataError::FortranOrder { file: stream.file, shape });
    }
    ArrayFile::new(stream, shape, encoding)
}

/// Reads the header and decides what a row is: the whole array if it is
/// exactly one input, else what the first axis counts.
pub(super) fn open_inputs(stream: Stream, spec: &InputSpec) -> Result<ArrayFile, DataError> {
    let array = open(stream)?;
    let wanted: Vec<u64> = spec.shape.iter().map(|&extent| extent as u64).collect();
    if array.shape() == wanted {
        return Ok(array.into_one_row());
    }
    if !array.shape().is_empty() && fit(array.row(), false, &spec.shape).is_some() {
        return Ok(array);
    }
    let shape: Option<Vec<usize>> =
        array.shape().iter().map(|&extent| usize::try_from(extent).ok()).collect();
    match shape.and_then(|shape| fit(&shape, false, &spec.shape)) {
        Some(_) => Ok(array.into_one_row()),
        None => Err(DataError::Shape {
            file: array.file().to_owned(),
            input: spec.name.clone(),
            found: array.shape().to_vec(),
            wanted: spec.shape.clone(),
        }),
    }
}

/// Refuses header texts that the parser would choke on: it recurses into
/// brackets and multiplies the extents without looking for an overflow.
fn check_text(text: &[u8]) -> Result<(), &'static str> {
    if text.iter().filter(|byte| b"([{".contains(byte)).count() > BRACKETS_MAX {
        return Err("its header is nested too deeply");
    }
    let words = text.split(|&byte| !byte.is_ascii_alphanumeric() && byte != b'_');
    let mut product = 1u64;
    for word in words.filter(|word| word.first().is_some_and(u8::is_ascii_digit)) {
        let number = str::from_utf8(word).ok().and_then(|word| word.parse::<u64>().ok());
        // Element types such as `f4` begin with a letter, so every word that
        // begins with a digit is an extent, or a width as in `<4f4`.
        let number = number.ok_or("its header holds a number that is no extent")?;
        product = product
            .checked_mul(number.max(1))
            .ok_or("its shape has more values than there can be")?;
    }
    Ok(())
}

fn encoding_of(dtype: &DType) -> Option<Encoding> {
    let DType::Plain(plain) = dtype else { return None };
    let element_type = match (plain.type_char(), plain.size_field()) {
        (TypeChar::Float, 4) => ElementType::F32,
        (TypeChar::Float, 8) => ElementType::F64,
        (TypeChar::Uint, 1) => ElementType::U8,
        (TypeChar::Int, 1) => ElementType::I8,
        (TypeChar::Int, 4) => ElementType::I32,
        (TypeChar::Int, 8) => ElementType::I64,
        (TypeChar::Bool, 1) => ElementType::Bool,
        _ => return None,
    };
    Some(Encoding { element_type, big_endian: plain.endianness() == Endianness::Big })
}

/// Reads a whole `.npy`, that is everything that `reader` gives; `file` names
/// it in errors.
///
/// # Errors
/// A damaged file, an element type that a [`Tensor`] does not have, an array
/// in Fortran order.
pub fn read_npy(mut reader: impl Read, file: &str) -> Result<Tensor, DataError> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map_err(|source| DataError::Read {
        file: file.to_owned(),
        position: 0,
        source,
    })?;
    let size = bytes.len() as u64;
    let stream = Stream::new(file.to_owned(), Box::new(Cursor::new(bytes)), Some(size))?;
    let mut array = open(stream)?.into_one_row();
    let shape = array.row().to_vec();
    let values = array.read(1)?;
    Tensor::new(shape, values).ok_or_else(|| DataError::Damaged {
        file: file.to_owned(),
        format: ".npy",
        reason: "its shape and its length disagree".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    //! Which arrays fit a model, and which headers are refused.
    #![allow(clippy::unwrap_used, reason = "a failed test may panic")]

    use proptest::prelude::*;

    use super::super::npy_write::write_npy;
    use super::*;
    use crate::tensor::Values;

    fn stream(bytes: Vec<u8>) -> Stream {
        Stream::new("x.npy".into(), Box::new(Cursor::new(bytes)), None).unwrap()
    }

    fn zeros(shape: &[usize]) -> Vec<u8> {
        let values = Values::U8(vec![0; shape.iter().product()]);
        let mut bytes = Vec::new();
        write_npy(&mut bytes, &Tensor::new(shape.to_vec(), values).unwrap()).unwrap();
        bytes
    }

    fn with_header(text: &str) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.bytes());
        bytes
    }

    #[test]
    fn the_first_axis_counts_inputs_unless_the_array_is_one() {
        let rows = |stored: &[usize], wanted: &[usize]| {
            let (name, element_type) = ("x".to_owned(), ElementType::U8);
            let spec = InputSpec { name, shape: wanted.to_vec(), element_type };
            open_inputs(stream(zeros(stored)), &spec).map(|array| array.n_rows()).ok()
        };
        assert_eq!(rows(&[5, 4, 4], &[4, 4]), Some(5));
        assert_eq!(rows(&[5, 4, 4], &[1, 4, 4]), Some(5));
        assert_eq!(rows(&[5, 4, 4], &[16]), Some(5));
        assert_eq!(rows(&[4, 4], &[4, 4]), Some(1));
        assert_eq!(rows(&[4, 4], &[1, 4, 4]), Some(1));
        assert_eq!(rows(&[1, 1, 4, 4], &[1, 4, 4]), Some(1));
        assert_eq!(rows(&[5], &[]), Some(5));
        assert_eq!(rows(&[5], &[1]), Some(5));
        assert_eq!(rows(&[], &[]), Some(1));
        assert_eq!(rows(&[5, 4, 3], &[4, 4]), None);
        assert_eq!(rows(&[5, 4, 3], &[3, 4]), None);
    }

    #[test]
    fn big_endian_elements_are_read() {
        let mut bytes = with_header("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }");
        bytes.extend(2.5f32.to_be_bytes());
        assert_eq!(open(stream(bytes)).unwrap().read(1).unwrap(), Values::F32(vec![2.5]));
    }

    #[test]
    fn fortran_order_is_refused_where_it_matters() {
        let header = |shape| {
            with_header(&format!("{{'descr': '|u1', 'fortran_order': True, 'shape': {shape}}}"))
        };
        let error = open(stream(header("(2, 3)"))).err().unwrap();
        assert!(matches!(error, DataError::FortranOrder { .. }), "{error}");
        assert!(open(stream(header("(3, 1)"))).is_ok());
    }

    #[test]
    fn other_element_types_are_named() {
        for descr in ["'<f2'", "'<u2'", "'<c8'", "'|O'", "'<U4'", "[('a', '<f4')]"] {
            let text = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}");
            let error = open(stream(with_header(&text))).err().unwrap();
            let DataError::ElementType { found, .. } = error else { unreachable!("{error}") };
            assert!(descr.starts_with('[') || found == descr, "{found}");
        }
    }

    #[test]
    fn hostile_headers_are_errors() {
        let shape = |shape: &str| {
            with_header(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}"))
        };
        let too_large = u64::MAX.to_string();
        for bytes in [
            b"\x93NUMPX\x01\x00\x00\x00".to_vec(),
            b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(),
            b"\x93NUMPY\x09\x00\x02\x00\x00\x00{}".to_vec(),
            with_header("{}"),
            with_header(&"(".repeat(9000)),
            shape("(-1,)"),
            shape("(1.5,)"),
            shape("'many'"),
            shape(&format!("(0, {too_large}, {too_large})")),
            shape("(0x7fffffffffffffff, 0x7fffffffffffffff)"),
            shape("(99999999999999999999,)"),
        ] {
            let error = open(stream(bytes)).err().unwrap();
            assert!(matches!(error, DataError::Damaged { .. }), "{error}");
        }
        let error = read_npy(Cursor::new(shape("(4000000000, 1000)")), "x").unwrap_err();
        assert!(matches!(error, DataError::Truncated { .. }), "{error}");
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(text in "[-{}()\\[\\]',: a-z0-9<|]{0,60}") {
            let _ = open(stream(with_header(&text)));
            let shape = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({text})}}");
            let _ = open(stream(with_header(&shape)));
        }
    }
}
