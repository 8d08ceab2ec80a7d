//! ONNX to [`LayerGraph`].
//!
//! tract-onnx parses the model, types it and declutters it (it folds batch
//! norms into convolutions and constants into constants). Operators on
//! integers, transposed convolutions and loops are taken apart, so that their
//! products stand by themselves. What is left is read node by node: a convolution or a product with a constant matrix becomes a
//! crossbar layer, everything else stays a tract operator and becomes a
//! digital layer. Nothing is refused that tract can run.
//!
//! This folder and `runtime/digital` are the only places that know tract.
//! The typed graph travels on inside [`Model`] as an opaque part, because the
//! digital side cuts its pieces out of it.

mod build;
mod codes;
mod constants;
mod convolution;
mod deconvolution;
mod error;
mod gru;
mod guard;
mod integers;
mod loops;
mod names;
mod outline;
mod product;
mod reach;
mod read;
mod redraw;
mod shapes;
mod wiring;

pub use error::FrontendError;
pub(crate) use guard::guarded;
pub use redraw::{Redrawn, redraw};
pub(crate) use shapes::BATCH;

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::bytes::Bytes;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;

use crate::entity::{Entity, TensorId};
use crate::graph::LayerGraph;
use crate::tensor::{ElementType, are_scores};

/// The version of tract whose declutter rules shaped a graph; a plan is only
/// valid with the same one, because it names the tensors of that graph.
pub const TRACT_VERSION: &str = "0.23.9";

/// An ONNX model as given: the file, and the files that its tensors name.
#[derive(Debug, Clone, Default)]
pub struct ModelFiles {
    /// Content of the `.onnx` file.
    pub onnx: Arc<Vec<u8>>,
    /// Contents of external weight files, by the location the model gives.
    pub external: BTreeMap<String, Arc<Vec<u8>>>,
}

impl ModelFiles {
    /// The `.onnx` file in the form of which protobuf copies every constant only
    /// once.
    fn onnx(&self) -> Bytes {
        struct Content(Arc<Vec<u8>>);
        impl AsRef<[u8]> for Content {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        Bytes::from_owner(Content(self.onnx.clone()))
    }
}

/// What the caller may fix about a model.
#[derive(Debug, Clone, Default)]
pub struct FrontendOptions {
    /// Shapes of inputs by name, `--shape NAME=1,128`; an axis given as `N` is
    /// the batch.
    pub shapes: BTreeMap<String, Vec<Axis>>,
}

/// One axis of a shape given by the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// The number of inputs run together.
    Batch,
    /// A fixed extent.
    Fixed(usize),
}

/// One input of the model, as data must come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInput {
    /// Its ONNX name.
    pub name: String,
    /// Extents; where `has_batch`, without the first axis.
    pub shape: Vec<usize>,
    /// Whether the tensor has a batch axis in front of `shape`.
    pub has_batch: bool,
    /// Element type.
    pub element_type: ElementType,
}

/// A model read in: the layer graph and, hidden, the typed graph behind it.
#[derive(Debug, Clone)]
pub struct Model {
    /// What is computed.
    pub graph: LayerGraph,
    /// Inputs, in the order of `graph.inputs()`.
    pub inputs: Vec<ModelInput>,
    /// Names of outputs, in the order of `graph.outputs()`.
    pub outputs: Vec<String>,
    /// Whether inputs can be run in batches of any size; if not, the model
    /// has a fixed batch and takes one data item at a time.
    pub any_batch: bool,
    pub(crate) typed: Arc<TypedModel>,
    /// tract's name of every tensor of `graph`.
    pub(crate) outlets: Vec<OutletId>,
}

impl Model {
    /// The layer graph's canonical text, which identifies the model to a plan.
    pub fn canonical_text(&self) -> String {
        self.graph.to_string()
    }

    /// Whether an output is scores of classes: one axis of several numbers for
    /// each input.
    pub fn gives_scores(&self, output: usize) -> bool {
        let tensor = self.graph.outputs().get(output).and_then(|&t| self.graph.tensors().get(t));
        // For one input, so that the batch, where there is one, has the extent 1.
        let item: Option<Vec<usize>> =
            tensor.and_then(|info| info.shape.iter().map(|extent| extent.for_batch(1)).collect());
        item.is_some_and(|item| are_scores(&item))
    }

    pub(crate) fn outlet(&self, tensor: TensorId) -> Option<OutletId> {
        self.outlets.get(tensor.index()).copied()
    }
}

/// Reads an ONNX model.
///
/// `file` is its name for messages.
///
/// # Errors
///
/// The file is no ONNX model, names operators that tract does not know, has
/// shapes that cannot be resolved without `--shape`, or weights that are not
/// finite; see [`FrontendError`].
pub fn read(
    files: &ModelFiles,
    options: &FrontendOptions,
    file: &str,
) -> Result<Model, FrontendError> {
    Decoded::new(files, file)?.model(options)
}

/// An ONNX model, decoded: all that is needed of its files, which may be large.
#[derive(Debug)]
pub struct Decoded {
    proto: ModelProto,
    file: String,
}

impl Decoded {
    /// Decodes the protobuf, and refuses what cannot be a model.
    ///
    /// # Errors
    ///
    /// As for [`read`], for what shows before any shape is known.
    pub fn new(files: &ModelFiles, file: &str) -> Result<Self, FrontendError> {
        Ok(Self { proto: read::parse(files, file)?, file: file.to_string() })
    }

    /// The model that it is.
    ///
    /// # Errors
    ///
    /// As for [`read`].
    pub fn model(mut self, options: &FrontendOptions) -> Result<Model, FrontendError> {
        let (proto, file) = (&mut self.proto, &self.file[..]);
        let model = guarded(|| {
            let (typed, any_batch) = read::typed(proto, options, file)?;
            let opened = loops::open(typed).map_err(|e| read::explain_tract(&e, file))?;
            build::model(proto, opened, any_batch, file)
        });
        model.unwrap_or_else(|said| {
            Err(FrontendError::Tract { file: file.to_string(), node: None, reasons: vec![said] })
        })
    }
}

/// Locations of external weight files that a model names, to be handed to
/// [`read`] in [`ModelFiles::external`]; each is a relative path without `..`.
///
/// # Errors
///
/// The file is no ONNX model, or a location points outside its folder.
pub fn external_locations(onnx: &[u8], file: &str) -> Result<Vec<String>, FrontendError> {
    read::external_locations(onnx, file)
}
