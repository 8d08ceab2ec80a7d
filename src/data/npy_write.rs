//! Writing NumPy's `.npy`: whole tensors, or results batch by batch.
//!
//! Written here rather than by `npyz`, whose writer needs the number of rows
//! at the start; ours leaves room for it in the header. That `npyz` reads the
//! header back is what the tests check.

use std::io::{self, Seek, SeekFrom, Write};

use super::npy::MAGIC;
use crate::tensor::{ElementType, Tensor, Values};

/// Writes a whole `.npy` (version 1.0, little-endian, C order).
///
/// # Errors
/// What the writer says.
pub fn write_npy(mut writer: impl Write, tensor: &Tensor) -> io::Result<()> {
    let shape: Vec<u64> = tensor.shape.iter().map(|&extent| extent as u64).collect();
    let element_type = tensor.values.element_type();
    writer.write_all(&header(element_type, &shape, 0)?)?;
    write_values(&mut writer, &tensor.values)
}

/// Writes a `.npy` batch by batch, so that results need no memory.
pub struct NpyWriter<W: Write + Seek> {
    writer: W,
    element_type: ElementType,
    row: Vec<usize>,
    n_rows: u64,
    header_bytes: usize,
}

impl<W: Write + Seek> NpyWriter<W> {
    /// Begins an array `[n, ...row]` whose `n` is known at the end.
    ///
    /// # Errors
    /// What the writer says.
    pub fn new(mut writer: W, element_type: ElementType, row: &[usize]) -> io::Result<Self> {
        // Room for the largest number of rows; the text is padded with blanks.
        let header = header(element_type, &shape_of(u64::MAX, row), 0)?;
        writer.write_all(&header)?;
        let header_bytes = header.len();
        Ok(Self { writer, element_type, row: row.to_vec(), n_rows: 0, header_bytes })
    }

    /// Appends a batch `[n, ...row]`.
    ///
    /// # Errors
    /// Another row shape or element type than the array's; what the writer
    /// says.
    pub fn append(&mut self, batch: &Tensor) -> io::Result<()> {
        let (n, row) = match batch.shape.split_first() {
            Some((&n, row)) if row == self.row => (n, row),
            _ => return Err(self.refusal(batch)),
        };
        let n_values = row.iter().fold(n, |product, &extent| product.saturating_mul(extent));
        if batch.values.element_type() != self.element_type || batch.values.len() != n_values {
            return Err(self.refusal(batch));
        }
        write_values(&mut self.writer, &batch.values)?;
        self.n_rows += n as u64;
        Ok(())
    }

    /// Completes the header and hands the writer back.
    ///
    /// # Errors
    /// What the writer says.
    pub fn finish(mut self) -> io::Result<W> {
        let shape = shape_of(self.n_rows, &self.row);
        let header = header(self.element_type, &shape, self.header_bytes)?;
        self.writer.seek(SeekFrom::Start(0))?;
        self.writer.write_all(&header)?;
        self.writer.seek(SeekFrom::End(0))?;
        self.writer.flush()?;
        Ok(self.writer)
    }

    fn refusal(&self, batch: &Tensor) -> io::Error {
        let message = format!(
            "a batch of {} and shape {:?} in an array of {} with rows of shape {:?}",
            batch.values.element_type(),
            batch.shape,
            self.element_type,
            self.row
        );
        io::Error::new(io::ErrorKind::InvalidInput, message)
    }
}

fn shape_of(n_rows: u64, row: &[usize]) -> Vec<u64> {
    std::iter::once(n_rows).chain(row.iter().map(|&extent| extent as u64)).collect()
}

/// Magic, version 1.0, length, dictionary; padded with blanks to a multiple
/// of 64 bytes (so that elements are aligned) and to `least` bytes.
fn header(element_type: ElementType, shape: &[u64], least: usize) -> io::Result<Vec<u8>> {
    let extents: String = shape.iter().map(|extent| format!("{extent},")).collect();
    let descr = type_string(element_type);
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({extents}), }}");
    let n_bytes = (10 + text.len() + 1).next_multiple_of(64).max(least);
    let text_bytes = u16::try_from(n_bytes - 10).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{} axes are too many", shape.len()))
    })?;
    let mut bytes = Vec::with_capacity(n_bytes);
    bytes.extend(MAGIC);
    bytes.extend([1, 0]);
    bytes.extend(text_bytes.to_le_bytes());
    bytes.extend(text.bytes());
    bytes.resize(n_bytes - 1, b' ');
    bytes.push(b'\n');
    Ok(bytes)
}

fn type_string(element_type: ElementType) -> &'static str {
    match element_type {
        ElementType::F32 => "<f4",
        ElementType::F64 => "<f8",
        ElementType::U8 => "|u1",
        ElementType::I8 => "|i1",
        ElementType::I32 => "<i4",
        ElementType::I64 => "<i8",
        ElementType::Bool => "|b1",
    }
}

fn write_values(writer: &mut impl Write, values: &Values) -> io::Result<()> {
    /// A moderate buffer at a time, as the writer need not be buffered.
    fn each<T: Copy, const N: usize>(
        writer: &mut impl Write,
        values: &[T],
        bytes: impl Fn(T) -> [u8; N],
    ) -> io::Result<()> {
        for some in values.chunks(1 << 14) {
            let encoded: Vec<u8> = some.iter().flat_map(|&value| bytes(value)).collect();
            writer.write_all(&encoded)?;
        }
        Ok(())
    }
    match values {
        Values::F32(v) => each(writer, v, f32::to_le_bytes),
        Values::F64(v) => each(writer, v, f64::to_le_bytes),
        Values::I32(v) => each(writer, v, i32::to_le_bytes),
        Values::I64(v) => each(writer, v, i64::to_le_bytes),
        Values::I8(v) => each(writer, v, i8::to_le_bytes),
        Values::U8(v) => writer.write_all(v),
        Values::Bool(v) => each(writer, v, |value| [u8::from(value)]),
    }
}

#[cfg(test)]
mod tests {
    //! What is written is read back, by our reader and by `npyz`.
    #![allow(clippy::unwrap_used, reason = "a failed test may panic")]

    use std::io::Cursor;

    use proptest::prelude::*;

    use super::super::npy::read_npy;
    use super::*;

    fn bytes_of(tensor: &Tensor) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_npy(&mut bytes, tensor).unwrap();
        bytes
    }

    #[test]
    fn every_element_type_comes_back() {
        let shape = vec![1, 2];
        for values in [
            Values::F32(vec![0.1, f32::NEG_INFINITY]),
            Values::F64(vec![0.1, -1e300]),
            Values::U8(vec![0, 255]),
            Values::I8(vec![-128, 127]),
            Values::I32(vec![i32::MIN, 7]),
            Values::I64(vec![i64::MIN, 7]),
            Values::Bool(vec![true, false]),
        ] {
            let tensor = Tensor::new(shape.clone(), values).unwrap();
            let read = read_npy(Cursor::new(bytes_of(&tensor)), "x").unwrap();
            assert_eq!(read, tensor);
        }
    }

    #[test]
    fn npyz_reads_it_too() {
        let tensor = Tensor::f32(vec![2, 1, 3], vec![1., 2., 3., 4., 5., 6.]).unwrap();
        let bytes = bytes_of(&tensor);
        let file = npyz::NpyFile::new(bytes.as_slice()).unwrap();
        assert_eq!(file.shape(), &[2, 1, 3]);
        assert_eq!(file.into_vec::<f32>().unwrap(), [1., 2., 3., 4., 5., 6.]);
    }

    #[test]
    fn elements_begin_at_a_multiple_of_64_bytes() {
        let scalar = Tensor::f32(vec![], vec![1.5]).unwrap();
        assert_eq!(bytes_of(&scalar).len(), 128 + 4);
        assert_eq!(read_npy(Cursor::new(bytes_of(&scalar)), "x").unwrap(), scalar);
    }

    #[test]
    fn a_batch_of_another_shape_or_type_is_refused() {
        let mut array = NpyWriter::new(Cursor::new(Vec::new()), ElementType::F32, &[2]).unwrap();
        let other_row = Tensor::f32(vec![1, 3], vec![0.0; 3]).unwrap();
        assert!(array.append(&other_row).unwrap_err().to_string().contains("[1, 3]"));
        let other_type = Tensor::new(vec![1, 2], Values::U8(vec![0, 0])).unwrap();
        assert!(array.append(&other_type).is_err());
    }

    proptest! {
        #[test]
        fn batches_make_one_array(sizes in prop::collection::vec(0usize..5, 0..6)) {
            let mut array = NpyWriter::new(Cursor::new(Vec::new()), ElementType::I64, &[3]).unwrap();
            let mut all = Vec::new();
            for &n in &sizes {
                let batch: Vec<i64> = (0..3 * n).map(|i| (all.len() + i) as i64).collect();
                let tensor = Tensor::new(vec![n, 3], Values::I64(batch.clone())).unwrap();
                array.append(&tensor).unwrap();
                all.extend(batch);
            }
            let bytes = array.finish().unwrap().into_inner();
            let read = read_npy(Cursor::new(bytes), "x").unwrap();
            prop_assert_eq!(read.shape, vec![all.len() / 3, 3]);
            prop_assert_eq!(read.values, Values::I64(all));
        }
    }
}
