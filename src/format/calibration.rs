//! The stored calibration: what was seen of a model's activations.
//!
//! ```text
//! calibration.json       source, number of inputs, and of each layer its name,
//!                        range and number of samples
//! histogram/0.npy        u64 [bin], of the layer that stands first
//! samples/0.npy          f32 [sample][group and row]
//! inputs/0/0.npy         of each batch that was kept, each input of the model
//! ```

use std::io::{self, Cursor, Write};

use serde::{Deserialize, Serialize};

use super::archive::{ArchiveWriter, Kind};
use super::npy::write_array;
use super::reader::ArchiveReader;
use super::text::Exact;
use super::{Flaw, FormatError, json};
use crate::quantize::{Calibration, Histogram, LayerStatistics};
use crate::tensor::{Tensor, Values};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CalibrationForm {
    source: String,
    n_inputs: u64,
    layers: Vec<LayerForm>,
    /// Of every batch that was kept, every input.
    inputs: Vec<Vec<InputForm>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InputForm {
    element_type: String,
    shape: Vec<usize>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayerForm {
    name: String,
    /// Smallest and largest value; none where no value was seen.
    range: Option<(Exact<f32>, Exact<f32>)>,
    zeros: u64,
    /// The histogram's reach is two to the power of this.
    exponent: i32,
    n_bins: usize,
    sample_length: usize,
    n_samples: usize,
}

fn histogram(index: usize) -> String {
    format!("histogram/{index}.npy")
}

fn input(batch: usize, index: usize) -> String {
    format!("inputs/{batch}/{index}.npy")
}

fn samples(index: usize) -> String {
    format!("samples/{index}.npy")
}

/// The bytes of a stored calibration: the same for the same calibration.
///
/// # Errors
///
/// Samples that do not have the length that their layer says.
pub fn write_calibration(calibration: &Calibration) -> Result<Vec<u8>, FormatError> {
    let kind = Kind::Calibration;
    let failed = |reason| FormatError::Write { kind, reason };
    let form = CalibrationForm {
        source: calibration.source.clone(),
        n_inputs: calibration.n_inputs,
        layers: calibration.layers.iter().map(|(name, layer)| layer_form(name, layer)).collect(),
        inputs: calibration.batches.iter().map(|b| b.iter().map(input_form).collect()).collect(),
    };
    let text = json::text(&form).map_err(failed)?;
    let mut archive = ArchiveWriter::new(kind);
    archive.add(kind.document(), move |writer| writer.write_all(text.as_bytes()));
    for (index, (layer, form)) in calibration.layers.values().zip(form.layers).enumerate() {
        let (_, counts) = layer.inputs.parts();
        archive.add(histogram(index), move |writer| write_array(writer, &[counts.len()], counts));
        let shape = [form.n_samples, form.sample_length];
        archive.add(samples(index), move |writer| write_array(writer, &shape, &layer.samples));
    }
    for (batch, inputs) in calibration.batches.iter().enumerate() {
        for (index, tensor) in inputs.iter().enumerate() {
            archive.add(input(batch, index), move |writer| write_tensor(writer, tensor));
        }
    }
    archive.finish()
}

fn input_form(tensor: &Tensor) -> InputForm {
    let element_type = tensor.values.element_type().to_string();
    InputForm { element_type, shape: tensor.shape.clone() }
}

fn write_tensor(writer: &mut dyn Write, tensor: &Tensor) -> io::Result<()> {
    let shape = &tensor.shape;
    match &tensor.values {
        Values::F32(v) => write_array(writer, shape, v),
        Values::F64(v) => write_array(writer, shape, v),
        Values::U8(v) => write_array(writer, shape, v),
        Values::I8(v) => write_array(writer, shape, v),
        Values::I32(v) => write_array(writer, shape, v),
        Values::I64(v) => write_array(writer, shape, v),
        Values::Bool(v) => write_array(writer, shape, v),
    }
}

/// One kept input; `None` for an element type that there is not.
fn read_tensor(
    archive: &mut ArchiveReader<Cursor<&[u8]>>,
    name: &str,
    form: InputForm,
) -> Result<Option<Tensor>, FormatError> {
    let InputForm { element_type, shape } = form;
    let values = match element_type.as_str() {
        "f32" => Values::F32(archive.read_array(name, &shape)?),
        "f64" => Values::F64(archive.read_array(name, &shape)?),
        "u8" => Values::U8(archive.read_array(name, &shape)?),
        "i8" => Values::I8(archive.read_array(name, &shape)?),
        "i32" => Values::I32(archive.read_array(name, &shape)?),
        "i64" => Values::I64(archive.read_array(name, &shape)?),
        "bool" => Values::Bool(archive.read_array(name, &shape)?),
        _ => return Ok(None),
    };
    Ok(Tensor::new(shape, values))
}

fn layer_form(name: &str, layer: &LayerStatistics) -> LayerForm {
    let inputs = &layer.inputs;
    let (exponent, counts) = inputs.parts();
    LayerForm {
        name: name.to_string(),
        range: (!inputs.is_empty()).then(|| (Exact(inputs.min()), Exact(inputs.max()))),
        zeros: inputs.zeros(),
        exponent,
        n_bins: counts.len(),
        sample_length: layer.sample_length,
        n_samples: layer.samples.len().checked_div(layer.sample_length).unwrap_or(0),
    }
}

/// Reads a stored calibration from a file's bytes; `file` is its name for
/// messages.
///
/// # Errors
///
/// It is no calibration, damaged, of a newer format, or says what cannot be.
pub fn read_calibration(bytes: &[u8], file: &str) -> Result<Calibration, FormatError> {
    let document = Kind::Calibration.document();
    let invalid = |reason: String| FormatError::Invalid {
        file: file.to_string(),
        flaws: vec![Flaw::entry(document, reason)],
    };
    let mut archive = ArchiveReader::open(Cursor::new(bytes), file, Kind::Calibration)?;
    let text = archive.read_text(document)?;
    let form: CalibrationForm = serde_json::from_str(&text).map_err(|e| invalid(e.to_string()))?;
    let CalibrationForm { source, n_inputs, layers, inputs: kept } = form;
    let mut calibration = Calibration { source, n_inputs, ..Calibration::default() };
    for (index, layer) in layers.into_iter().enumerate() {
        let counts: Vec<u64> = archive.read_array(&histogram(index), &[layer.n_bins])?;
        let shape = [layer.n_samples, layer.sample_length];
        let samples = archive.read_array(&samples(index), &shape)?;
        let Some(inputs) = inputs(&layer, counts) else {
            return Err(invalid(format!("the range of layer `{}` cannot be", layer.name)));
        };
        let LayerForm { name, sample_length, .. } = layer;
        let statistics = LayerStatistics { inputs, sample_length, samples };
        if calibration.layers.insert(name.clone(), statistics).is_some() {
            return Err(invalid(format!("there are two layers `{name}`")));
        }
    }
    for (batch, forms) in kept.into_iter().enumerate() {
        let mut tensors = Vec::with_capacity(forms.len());
        for (index, form) in forms.into_iter().enumerate() {
            let name = input(batch, index);
            let tensor = read_tensor(&mut archive, &name, form)?;
            tensors.push(tensor.ok_or_else(|| invalid(format!("`{name}` is of no known type")))?);
        }
        calibration.batches.push(tensors);
    }
    archive.finish()?;
    Ok(calibration)
}

fn inputs(layer: &LayerForm, counts: Vec<u64>) -> Option<Histogram> {
    // Whoever adds up the counts later does so plainly.
    counts.iter().try_fold(layer.zeros, |sum, &count| sum.checked_add(count))?;
    let (min, max) = match layer.range {
        Some((min, max)) if min.0 <= max.0 => (min.0, max.0),
        Some(_) => return None,
        // As a histogram begins.
        None if layer.zeros == 0 && counts.iter().all(|&count| count == 0) => {
            (f32::INFINITY, f32::NEG_INFINITY)
        }
        None => return None,
    };
    Histogram::from_parts(layer.exponent, counts, layer.zeros, min, max)
}
