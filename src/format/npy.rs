//! Typed arrays as `.npy`, which numpy opens with `np.load`.
//!
//! Who reads an array here always knows its type and shape from a document
//! beside it, so a header is compared with the one that must be there instead
//! of being parsed: no nested literal, no huge extent gets a hearing.

use std::io::{self, BufWriter, Write};
use std::ops::RangeInclusive;

use npyz::{DType, NpyFile, WriteOptions, WriterBuilder};

/// Longest header accepted, magic included; numpy's are 128 bytes for arrays of
/// a few axes.
const MAX_HEADER_BYTES: u64 = 1024;

/// Magic, version 1.0 and length of the header's text.
const PREFIX_BYTES: usize = 10;

/// An element type of our arrays.
pub trait Element: npyz::Serialize + npyz::Deserialize + Copy {
    /// numpy's name of it, little-endian on every machine: `<i2`.
    const DESCR: &'static str;
}

macro_rules! element {
    ($($name:ty: $descr:literal),*) => {
        $(impl Element for $name {
            const DESCR: &'static str = $descr;
        })*
    };
}

element!(f32: "<f4", f64: "<f8", i16: "<i2", i32: "<i4", i64: "<i8", u32: "<u4", u64: "<u8", u8: "|u1", i8: "|i1", bool: "|b1");

/// Writes an array, row-major.
///
/// # Errors
///
/// `values` has another number of values than `shape` says; the writer fails.
pub fn write_array<T: Element>(
    writer: &mut dyn Write,
    shape: &[usize],
    values: &[T],
) -> io::Result<()> {
    let n_values = shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
    if n_values != Some(values.len()) {
        let what = format!("{} values for the shape {}", values.len(), shape_text(shape));
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let extents: Vec<u64> = shape.iter().map(|&extent| extent as u64).collect();
    let descr = T::DESCR.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut buffered = BufWriter::with_capacity(1 << 16, writer);
    let mut npy = WriteOptions::<T>::new()
        .dtype(DType::new_scalar(descr))
        .shape(&extents)
        .writer(&mut buffered)
        .begin_nd()?;
    values.iter().try_for_each(|value| npy.push(value))?;
    npy.finish()?;
    buffered.flush()
}

/// Reads an array of this type and shape, row-major.
///
/// # Errors
///
/// What is there instead, in words.
pub fn read_array<T: Element>(bytes: &[u8], shape: &[usize]) -> Result<Vec<T>, String> {
    let wanted = || format!("an array `{}` of shape {}", T::DESCR, shape_text(shape));
    let sizes = entry_bytes::<T>(shape).ok_or_else(|| format!("{} cannot be", wanted()))?;
    let text_bytes = match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, 0, low, high, ..] => {
            usize::from(u16::from_le_bytes([*low, *high]))
        }
        _ => return Err(format!("it is not {} in format 1.0", wanted())),
    };
    let header = bytes.get(PREFIX_BYTES..PREFIX_BYTES + text_bytes).unwrap_or_default();
    let (descr, extents) = (T::DESCR, shape_text(shape));
    let expected = format!("{{'descr':'{descr}','fortran_order':False,'shape':{extents}}}");
    if bare(header) != bare(expected.as_bytes()) {
        let found: String = String::from_utf8_lossy(header).trim().chars().take(120).collect();
        return Err(format!("its header is `{found}`, not that of {}", wanted()));
    }
    let data_bytes = *sizes.start() - PREFIX_BYTES as u64;
    if (bytes.len() - PREFIX_BYTES - text_bytes) as u64 != data_bytes {
        return Err(format!("it has {} bytes, too few or too many for {}", bytes.len(), wanted()));
    }
    NpyFile::new(bytes).and_then(NpyFile::into_vec).map_err(|e| e.to_string())
}

/// How many bytes the `.npy` of an array can have; `None` beyond 2^64.
pub(super) fn entry_bytes<T: Element>(shape: &[usize]) -> Option<RangeInclusive<u64>> {
    let data = shape
        .iter()
        .try_fold(size_of::<T>() as u64, |n, &extent| n.checked_mul(u64::try_from(extent).ok()?))?;
    Some(data.checked_add(PREFIX_BYTES as u64)?..=data.checked_add(MAX_HEADER_BYTES)?)
}

/// A header's text without what Python allows and writers differ in: blanks,
/// and commas behind the last of a list.
fn bare(header: &[u8]) -> Vec<u8> {
    let mut bare: Vec<u8> = Vec::with_capacity(header.len());
    for &byte in header.iter().filter(|byte| !byte.is_ascii_whitespace()) {
        if matches!(byte, b')' | b'}') && bare.last() == Some(&b',') {
            bare.pop();
        }
        bare.push(byte);
    }
    bare
}

/// A shape as Python writes a tuple.
fn shape_text(shape: &[usize]) -> String {
    match shape {
        [extent] => format!("({extent},)"),
        _ => {
            let extents: Vec<String> = shape.iter().map(ToString::to_string).collect();
            format!("({})", extents.join(", "))
        }
    }
}
