//! PNG and JPEG files, each one input: decoded one by one, to the number of
//! channels that the model takes, and never resized.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{ColorType, DynamicImage, ImageReader, Limits};

use super::adapt::{Column, InputSpec, fit};
use super::files::Files;
use super::{DataError, Rows, Source};
use crate::tensor::{ElementType, Values};

/// No image of a data set is larger, packed; what is has another purpose.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Whether a file that begins like this is an image.
pub(super) fn is_image(head: &[u8]) -> bool {
    head.starts_with(b"\x89PNG\r\n\x1a\n") || head.starts_with(&[0xff, 0xd8, 0xff])
}

/// An image file and its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Picture {
    pub path: PathBuf,
    pub label: Option<u32>,
}

/// A list of images.
pub(super) struct Images<'a> {
    files: &'a dyn Files,
    pictures: Vec<Picture>,
    n_read: usize,
    spec: InputSpec,
    column: Column,
    has_labels: bool,
}

impl<'a> Images<'a> {
    /// Looks at the first image to see how images fit the model; all others
    /// must have its size.
    pub fn open(
        files: &'a dyn Files,
        name: String,
        pictures: Vec<Picture>,
        spec: &InputSpec,
    ) -> Result<Self, DataError> {
        let Some(first) = pictures.first() else { return Err(DataError::Empty { file: name }) };
        let (width, height) = Encoded::read(files, &first.path)?.size()?;
        let shape = [1, 3]
            .map(|channels| vec![channels, height as usize, width as usize])
            .into_iter()
            .find(|shape| fit(shape, true, &spec.shape).is_some())
            .ok_or_else(|| wrong_size(&first.path, (width, height), spec))?;
        let column = Column { file: name, shape, element_type: ElementType::U8, is_image: true };
        let has_labels = pictures.iter().all(|picture| picture.label.is_some());
        Ok(Self { files, pictures, n_read: 0, spec: spec.clone(), column, has_labels })
    }

    /// The planes of one image, row by row, channel by channel.
    fn planes(&self, path: &Path) -> Result<Vec<u8>, DataError> {
        let encoded = Encoded::read(self.files, path)?;
        let (width, height) = encoded.size()?;
        if self.column.shape[1..] != [height as usize, width as usize] {
            return Err(wrong_size(path, (width, height), &self.spec));
        }
        let image = encoded.decode()?;
        Ok(if self.column.shape[0] == 1 { grey_plane(&image) } else { colour_planes(&image) })
    }
}

impl Source for Images<'_> {
    fn columns(&self) -> Vec<Column> {
        vec![self.column.clone()]
    }

    fn n_inputs(&self) -> Option<u64> {
        Some(self.pictures.len() as u64)
    }

    fn has_labels(&self) -> bool {
        self.has_labels
    }

    fn read(&mut self, n: usize) -> Result<Rows, DataError> {
        let end = self.pictures.len().min(self.n_read.saturating_add(n));
        let batch = &self.pictures[self.n_read..end];
        let mut planes = Vec::new();
        for picture in batch {
            planes.extend(self.planes(&picture.path)?);
        }
        let labels = batch.iter().map(|picture| picture.label).collect();
        let n = batch.len();
        self.n_read = end;
        Ok(Rows { n, columns: vec![Values::U8(planes)], labels })
    }
}

/// An image file's bytes.
struct Encoded {
    file: String,
    bytes: Vec<u8>,
}

impl Encoded {
    fn read(files: &dyn Files, path: &Path) -> Result<Self, DataError> {
        let file = path.display().to_string();
        let mut reader =
            files.open(path).map_err(|source| DataError::Open { file: file.clone(), source })?;
        let mut bytes = Vec::new();
        let outcome = std::io::Read::read_to_end(
            &mut std::io::Read::take(&mut reader, FILE_BYTES_MAX + 1),
            &mut bytes,
        );
        let position = bytes.len() as u64;
        if let Err(source) = outcome {
            return Err(DataError::Read { file, position, source });
        }
        if position > FILE_BYTES_MAX {
            let reason = format!("it is larger than {FILE_BYTES_MAX} bytes");
            return Err(DataError::Damaged { file, format: "image", reason });
        }
        Ok(Self { file, bytes })
    }

    fn reader(&self) -> Result<ImageReader<Cursor<&[u8]>>, DataError> {
        let reader = ImageReader::new(Cursor::new(self.bytes.as_slice())).with_guessed_format();
        let mut reader = reader.map_err(|error| self.damaged(&error))?;
        reader.limits(Limits::default());
        Ok(reader)
    }

    /// Width and height, from the header alone.
    fn size(&self) -> Result<(u32, u32), DataError> {
        self.reader()?.into_dimensions().map_err(|error| self.damaged(&error))
    }

    fn decode(&self) -> Result<DynamicImage, DataError> {
        let image = self.reader()?.decode().map_err(|error| self.damaged(&error))?;
        match image.color() {
            ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => Ok(image),
            other => {
                Err(DataError::ImageDepth { file: self.file.clone(), found: format!("{other:?}") })
            }
        }
    }

    fn damaged(&self, error: &dyn std::error::Error) -> DataError {
        let reason = error.to_string();
        DataError::Damaged { file: self.file.clone(), format: "PNG or JPEG", reason }
    }
}

fn wrong_size(path: &Path, (width, height): (u32, u32), spec: &InputSpec) -> DataError {
    let (file, input) = (path.display().to_string(), spec.name.clone());
    DataError::ImageSize { file, width, height, input, wanted: spec.shape.clone() }
}

/// Brightness; colours are weighted as ITU-R BT.601 does, in the 16-bit fixed
/// point of Pillow's mode `L`, so that models trained with it see the same
/// bytes. Transparency is dropped.
fn grey_plane(image: &DynamicImage) -> Vec<u8> {
    if !image.color().has_color() {
        return image.to_luma8().into_raw();
    }
    let colours = image.to_rgb8().into_raw();
    let (pixels, _) = colours.as_chunks::<3>();
    let brightness = |&[red, green, blue]: &[u8; 3]| {
        let sum = 19595 * u32::from(red) + 38470 * u32::from(green) + 7471 * u32::from(blue);
        // The weights sum to 65536, so the result is a byte.
        ((sum + 0x8000) >> 16) as u8
    };
    pixels.iter().map(brightness).collect()
}

/// The red, the green, then the blue plane. Transparency is dropped.
fn colour_planes(image: &DynamicImage) -> Vec<u8> {
    let colours = image.to_rgb8().into_raw();
    (0..3).flat_map(|channel| colours.iter().skip(channel).step_by(3).copied()).collect()
}

#[cfg(test)]
mod tests {
    //! Pixels arrive where the model looks for them; other sizes are refused.
    #![allow(clippy::unwrap_used, reason = "a failed test may panic")]

    use super::super::testing::png;
    use super::*;
    use crate::data::MemoryFiles;

    fn spec(shape: &[usize]) -> InputSpec {
        InputSpec { name: "x".into(), shape: shape.to_vec(), element_type: ElementType::U8 }
    }

    fn read(bytes: Vec<u8>, shape: &[usize]) -> Result<Vec<u8>, DataError> {
        let files = MemoryFiles::new().with("x.png", bytes);
        let picture = Picture { path: "x.png".into(), label: None };
        let mut images = Images::open(&files, "x.png".into(), vec![picture], &spec(shape))?;
        let rows = images.read(7)?;
        let Some(Values::U8(planes)) = rows.columns.into_iter().next() else { unreachable!() };
        Ok(planes)
    }

    #[test]
    fn colours_become_planes_or_brightness() {
        let colour = png(2, 1, &[10, 20, 30, 11, 21, 31]);
        for shape in [&[3, 1, 2][..], &[1, 2, 3], &[6]] {
            let planes = read(colour.clone(), shape).unwrap();
            assert_eq!(planes, [10, 11, 20, 21, 30, 31], "{shape:?}");
        }
        // 0.299 x 10 + 0.587 x 20 + 0.114 x 30 = 18.15.
        assert_eq!(read(colour, &[1, 1, 2]).unwrap(), [18, 19]);
        assert_eq!(read(png(2, 1, &[7, 8]), &[3, 1, 2]).unwrap(), [7, 8, 7, 8, 7, 8]);
    }

    #[test]
    fn brightness_keeps_the_ends_of_the_scale() {
        assert_eq!(read(png(2, 1, &[0, 0, 0, 255, 255, 255]), &[2]).unwrap(), [0, 255]);
    }

    #[test]
    fn another_size_is_an_error_with_both() {
        let error = read(png(2, 3, &[0; 6]), &[1, 2, 3]).unwrap_err();
        let DataError::ImageSize { width, height, wanted, .. } = error else {
            unreachable!("{error}")
        };
        assert_eq!((width, height, wanted), (2, 3, vec![1, 2, 3]));
    }

    #[test]
    fn all_images_have_the_size_of_the_first() {
        let files =
            MemoryFiles::new().with("a.png", png(2, 3, &[0; 6])).with("b.png", png(3, 2, &[0; 6]));
        let picture = |path: &str| Picture { path: path.into(), label: None };
        let pictures = vec![picture("a.png"), picture("b.png")];
        let mut images = Images::open(&files, "a".into(), pictures, &spec(&[6])).unwrap();
        assert!(matches!(images.read(2), Err(DataError::ImageSize { width: 3, .. })));
    }

    #[test]
    fn a_cut_image_is_an_error() {
        let whole = png(8, 8, &[9; 64]);
        for length in [0, 8, 20, whole.len() - 20] {
            let error = read(whole[..length].to_vec(), &[64]).unwrap_err();
            assert!(matches!(error, DataError::Damaged { .. }), "{error}");
        }
    }

    #[test]
    fn more_than_a_byte_a_channel_is_refused() {
        let mut bytes = Vec::new();
        let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
        let color = image::ExtendedColorType::L16;
        image::ImageEncoder::write_image(encoder, &[0, 1, 2, 3], 2, 1, color).unwrap();
        assert!(matches!(read(bytes, &[2]), Err(DataError::ImageDepth { .. })));
    }

    #[test]
    fn jpeg_is_decoded() {
        let mut bytes = Vec::new();
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 100);
        let color = image::ExtendedColorType::L8;
        image::ImageEncoder::write_image(encoder, &[100; 64], 8, 8, color).unwrap();
        let planes = read(bytes, &[8, 8]).unwrap();
        assert!(planes.iter().all(|&value| value.abs_diff(100) <= 1), "{planes:?}");
    }
}
