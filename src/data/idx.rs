//! IDX, the format of MNIST: two zero bytes, the element type, the number of
//! axes, an extent of four bytes (big-endian) for each axis, the elements
//! (<http://yann.lecun.com/exdb/mnist/>).

use super::DataError;
use super::array::{ArrayFile, Encoding};
use super::stream::Stream;
use crate::tensor::ElementType;

/// More axes than any data set has; a header with more is no IDX header.
const N_AXES_MAX: u8 = 8;

/// Whether a file that begins like this is IDX.
pub(super) fn is_idx(head: &[u8]) -> bool {
    matches!(head, [0, 0, 0x08..=0x0e, 1..=N_AXES_MAX, ..])
}

/// Reads the header.
pub(super) fn open(mut stream: Stream) -> Result<ArrayFile, DataError> {
    let magic = stream.read_exactly(4, 4)?;
    let (code, n_axes) = match magic.as_slice() {
        &[0, 0, code, n_axes] if (1..=N_AXES_MAX).contains(&n_axes) => (code, n_axes),
        other => {
            return Err(DataError::Damaged {
                file: stream.file,
                format: "IDX",
                reason: format!("it begins with the bytes {other:02x?}"),
            });
        }
    };
    let element_type = match code {
        0x08 => ElementType::U8,
        0x09 => ElementType::I8,
        0x0c => ElementType::I32,
        0x0d => ElementType::F32,
        0x0e => ElementType::F64,
        _ => {
            let found = if code == 0x0b { "i16".to_owned() } else { format!("code 0x{code:02x}") };
            return Err(DataError::ElementType { file: stream.file, found });
        }
    };
    let extents = stream.read_exactly(4 * u64::from(n_axes), 4 + 4 * u64::from(n_axes))?;
    let (extents, _) = extents.as_chunks::<4>();
    let shape = extents.iter().map(|&extent| u32::from_be_bytes(extent).into()).collect();
    ArrayFile::new(stream, shape, Encoding { element_type, big_endian: true })
}

#[cfg(test)]
mod tests {
    //! IDX files read back as written, and damaged ones are told.
    #![allow(clippy::unwrap_used, reason = "a failed test may panic")]

    use std::path::Path;

    use proptest::prelude::*;

    use super::super::testing::{gzip, idx};
    use super::*;
    use crate::data::MemoryFiles;
    use crate::tensor::Values;

    fn open_bytes(bytes: Vec<u8>) -> Result<ArrayFile, DataError> {
        let files = MemoryFiles::new().with("x", bytes);
        open(Stream::open(&files, Path::new("x"))?)
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_back(
            row in prop::collection::vec(1u32..5, 0..3),
            n_rows in 0u32..20,
            batch in 1u64..7,
            packed: bool,
        ) {
            let mut shape = vec![n_rows];
            shape.extend(&row);
            let n_values = shape.iter().product::<u32>();
            let content: Vec<u8> = (0..n_values).map(|i| (i * 37 % 251) as u8).collect();
            let bytes = idx(&shape, &content);
            let mut array = open_bytes(if packed { gzip(&bytes) } else { bytes }).unwrap();
            prop_assert_eq!(array.n_rows(), u64::from(n_rows));
            let mut read = Vec::new();
            for _ in 0..=n_rows {
                let Values::U8(some) = array.read(batch).unwrap() else { unreachable!() };
                read.extend(some);
            }
            prop_assert_eq!(read, content);
        }

        #[test]
        fn no_header_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut with_magic = vec![0, 0, 8, 3];
            with_magic.extend(&bytes);
            for bytes in [bytes, with_magic] {
                if let Ok(mut array) = open_bytes(bytes) {
                    let _ = array.read(u64::MAX);
                }
            }
        }
    }

    #[test]
    fn floats_are_big_endian() {
        let mut bytes = vec![0, 0, 0x0d, 1, 0, 0, 0, 1];
        bytes.extend(1.5f32.to_be_bytes());
        assert_eq!(open_bytes(bytes).unwrap().read(1).unwrap(), Values::F32(vec![1.5]));
    }

    #[test]
    fn a_wrong_header_is_told() {
        let error = open_bytes(vec![0, 1, 8, 3, 0, 0, 0, 1]).err().unwrap();
        assert!(error.to_string().contains("[00, 01, 08, 03]"), "{error}");
        let error = open_bytes(vec![0, 0, 0x0b, 1, 0, 0, 0, 0]).err().unwrap();
        assert!(matches!(&error, DataError::ElementType { found, .. } if found == "i16"));
        let error = open_bytes(vec![0, 0, 8, 3, 0, 0]).err().unwrap();
        assert!(matches!(error, DataError::Truncated { expected: 16, found: 6, .. }), "{error}");
    }
}
