//! What an ONNX file says about its constants, without their data.
//!
//! Protobuf skips fields that a message does not have. Where weights lie is so
//! found in a file of hundreds of megabytes without a copy of any. The numbers
//! are those of `onnx.proto`.

use std::collections::BTreeSet;

use prost::Message;
use tract_onnx::pb::StringStringEntryProto;

use super::FrontendError;
use super::constants::{self, External};

/// `ModelProto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Outline {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
}

/// `GraphProto`.
#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    nodes: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    initializers: Vec<Constant>,
}

/// `NodeProto`.
#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(message, repeated, tag = "5")]
    attributes: Vec<Attribute>,
}

/// `AttributeProto`.
#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(message, optional, tag = "5")]
    tensor: Option<Constant>,
    #[prost(message, repeated, tag = "10")]
    tensors: Vec<Constant>,
    #[prost(message, optional, tag = "6")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "11")]
    graphs: Vec<Graph>,
}

/// `TensorProto`.
#[derive(Clone, PartialEq, Message)]
struct Constant {
    #[prost(string, tag = "8")]
    name: String,
    #[prost(message, repeated, tag = "13")]
    external_data: Vec<StringStringEntryProto>,
    #[prost(int32, optional, tag = "14")]
    data_location: Option<i32>,
}

impl Outline {
    /// Locations of external data, each once; an error for one outside the
    /// model's folder.
    pub(super) fn locations(&self, file: &str) -> Result<Vec<String>, FrontendError> {
        let mut locations = BTreeSet::new();
        if let Some(graph) = &self.graph {
            graph.locate(file, &mut locations)?;
        }
        Ok(locations.into_iter().collect())
    }
}

impl Graph {
    /// Adds the locations of its own constants and of those of graphs inside.
    fn locate(&self, file: &str, found: &mut BTreeSet<String>) -> Result<(), FrontendError> {
        let attributes = || self.nodes.iter().flat_map(|node| &node.attributes);
        let of_nodes = attributes().flat_map(|own| own.tensor.iter().chain(&own.tensors));
        for constant in self.initializers.iter().chain(of_nodes) {
            if constant.data_location == Some(constants::EXTERNAL) {
                let Constant { name, external_data: entries, .. } = constant;
                found.insert(External { name, entries }.location(file)?);
            }
        }
        let mut inside = attributes().flat_map(|own| own.graph.iter().chain(&own.graphs));
        inside.try_for_each(|graph| graph.locate(file, found))
    }
}
