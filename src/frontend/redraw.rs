//! The same model with weights that nobody trained.
//!
//! Training from nothing needs a model whose weights say nothing. Those of
//! products and convolutions are drawn anew, normal with a variance of 2 over
//! what is summed up, which keeps activations of one size behind rectifiers (He
//! et al. 2015); what is added behind a product is set to zero. All else stays:
//! normalisations, embeddings, constants. What comes out is an ONNX file like
//! any other, so that ranges are found by running it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::{FrontendError, ModelFiles, constants, read};

/// A model whose weights were drawn.
#[derive(Debug, Clone)]
pub struct Redrawn {
    /// Its file; what lay in others is in it.
    pub files: ModelFiles,
    /// Weights drawn.
    pub n_weights: u64,
}

/// Draws the weights of a model anew: the same for the same seed.
///
/// # Errors
///
/// It is no model, or has no weights that could be drawn.
pub fn redraw(files: &ModelFiles, seed: u64, file: &str) -> Result<Redrawn, FrontendError> {
    let mut proto = read::decode(files.onnx(), file)?;
    constants::gather(&mut proto, files, file)?;
    let mut n_weights = 0;
    if let Some(graph) = &mut proto.graph {
        let (fan_in, zeros) = roles(graph);
        let mut nth = 0;
        each_constant(graph, |name, tensor| {
            let n: usize = tensor.dims.iter().map(|&extent| extent.max(0) as usize).product();
            if let Some(&n_summed) = fan_in.get(name) {
                let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x6472_6177);
                random.set_stream(nth);
                nth += 1;
                n_weights += n as u64;
                let sd = (2.0 / n_summed.max(1) as f64).sqrt();
                let normal = (0..n).map(|_| sd * random.sample::<f64, _>(StandardNormal));
                fill(tensor, normal.map(|weight| weight as f32));
            } else if zeros.contains(name) {
                fill(tensor, std::iter::repeat_n(0.0, n));
            }
        });
    }
    if n_weights == 0 {
        return Err(FrontendError::NothingToDraw { file: file.to_string() });
    }
    let onnx = Arc::new(proto.encode_to_vec());
    Ok(Redrawn { files: ModelFiles { onnx, external: BTreeMap::new() }, n_weights })
}

/// What is summed up for a result of each constant that is a weight, and the
/// constants that are only ever added behind a product.
fn roles(graph: &mut GraphProto) -> (BTreeMap<String, usize>, BTreeSet<String>) {
    let mut shapes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    each_constant(graph, |name, tensor| {
        if tensor.data_type == DataType::Float as i32 {
            let shape = tensor.dims.iter().map(|&extent| extent.max(0) as usize);
            shapes.insert(name.to_string(), shape.collect());
        }
    });
    let (mut fan_in, mut zeros) = (BTreeMap::new(), BTreeSet::new());
    let mut products = BTreeSet::new();
    for node in &graph.node {
        let weights = [1, 0].into_iter().find_map(|nth| {
            let name = node.input.get(nth)?;
            Some((name, n_summed(node, nth, shapes.get(name)?)?))
        });
        if let Some((name, n)) = weights {
            fan_in.insert(name.clone(), n);
            products.extend(node.output.iter().cloned());
            zeros.extend(node.input.get(2).filter(|name| shapes.contains_key(*name)).cloned());
        }
    }
    // A product followed by an addition, as transformers are exported.
    for node in graph.node.iter().filter(|node| node.op_type == "Add") {
        if let [a, b] = &node.input[..] {
            for (product, bias) in [(a, b), (b, a)] {
                if products.contains(product) && shapes.contains_key(bias) {
                    zeros.insert(bias.clone());
                }
            }
        }
    }
    zeros.retain(|name| !fan_in.contains_key(name));
    (fan_in, zeros)
}

/// What is summed up for a result, where this input of a node is its weights.
fn n_summed(node: &NodeProto, nth: usize, shape: &[usize]) -> Option<usize> {
    let attribute = |name: &str| node.attribute.iter().find(|own| own.name == name).map(|a| a.i);
    let is = |name: &str| attribute(name).is_some_and(|value| value != 0);
    let rank = shape.len();
    match (node.op_type.as_str(), nth) {
        ("Conv", 1) if rank >= 3 => Some(shape[1..].iter().product()),
        // Each result gets one tap of every input channel, more where strides
        // are shorter than kernels.
        ("ConvTranspose", 1) if rank >= 3 => {
            Some(shape[0] / attribute("group").unwrap_or(1).max(1) as usize)
        }
        ("Gemm", 1) if rank == 2 => Some(shape[usize::from(is("transB"))]),
        ("Gemm", 0) if rank == 2 => Some(shape[usize::from(!is("transA"))]),
        ("MatMul", 1) if rank >= 2 => Some(shape[rank - 2]),
        ("MatMul", 0) if rank >= 2 => Some(shape[rank - 1]),
        _ => None,
    }
}

/// Goes through the constants of a graph, by the names that nodes call them.
fn each_constant(graph: &mut GraphProto, mut visit: impl FnMut(&str, &mut TensorProto)) {
    for tensor in &mut graph.initializer {
        let name = tensor.name.clone();
        visit(&name, tensor);
    }
    for node in graph.node.iter_mut().filter(|node| node.op_type == "Constant") {
        let Some(name) = node.output.first().cloned() else { continue };
        node.attribute.iter_mut().filter_map(|a| a.t.as_mut()).for_each(|t| visit(&name, t));
    }
}

fn fill(tensor: &mut TensorProto, values: impl Iterator<Item = f32>) {
    tensor.float_data.clear();
    tensor.raw_data = values.flat_map(f32::to_le_bytes).collect();
}

#[cfg(test)]
mod tests {
    //! What is drawn has the variance that is wanted, and nothing else changes.
    #![allow(clippy::unwrap_used, reason = "a failed test may panic")]

    use super::*;
    use crate::frontend::{FrontendOptions, read as read_model};

    fn files(name: &str) -> ModelFiles {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name);
        ModelFiles { onnx: Arc::new(std::fs::read(path).unwrap()), external: BTreeMap::new() }
    }

    #[test]
    fn weights_are_drawn_and_layers_stay() {
        for name in ["mcnn.onnx", "zoo/vit.onnx", "zoo/residual_cnn.onnx"] {
            let options = FrontendOptions::default();
            let before = read_model(&files(name), &options, name).unwrap();
            let drawn = redraw(&files(name), 3, name).unwrap();
            let after = read_model(&drawn.files, &options, name).unwrap();
            let again = redraw(&files(name), 3, name).unwrap();
            assert_eq!(again.files.onnx, drawn.files.onnx, "{name}");
            assert_ne!(redraw(&files(name), 4, name).unwrap().files.onnx, drawn.files.onnx);
            // Additions of zeros are gone, and so are names of theirs.
            let layers = |model: &crate::Model| -> Vec<String> {
                let own = model.graph.crossbar_layers();
                own.map(|(_, layer, own)| format!("{} {:?}", layer.name, own.nest)).collect()
            };
            assert_eq!(layers(&before), layers(&after), "{name}");
            for ((_, layer, old), (_, _, new)) in
                before.graph.crossbar_layers().zip(after.graph.crossbar_layers())
            {
                assert!(old.weights.iter().zip(new.weights.iter()).all(|(a, b)| a != b));
                // Batch norms that are folded in scale what was drawn.
                if name == "mcnn.onnx" {
                    let n = new.weights.len() as f64;
                    let square = new.weights.iter().map(|&w| f64::from(w * w)).sum::<f64>() / n;
                    let wanted = 2.0 / new.nest.n_rows() as f64;
                    let off = square / wanted - 1.0;
                    assert!(off.abs() < 5.0 * (2.0 / n).sqrt(), "{}: {off}", layer.name);
                }
            }
        }
    }
}
