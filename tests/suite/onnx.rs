//! Builds small ONNX models, node by node: what belongs here makes bytes of a
//! model, and knows nothing of ohmc.

use prost::Message;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tract_onnx::pb;

/// ONNX codes of element types.
pub const FLOAT: i32 = 1;
pub const INT64: i32 = 7;

/// One axis of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    Fixed(usize),
    Named(&'static str),
}

/// The open batch axis.
pub const N: Dim = Dim::Named("batch");

/// `[batch, ...]`, or `[n, ...]` where the batch is fixed.
pub fn batched(batch: Option<usize>, shape: &[usize]) -> Vec<Dim> {
    let first = batch.map_or(N, Dim::Fixed);
    std::iter::once(first).chain(shape.iter().map(|&n| Dim::Fixed(n))).collect()
}

/// A model in the making. Tensors are named by strings, as in ONNX.
#[derive(Debug)]
pub struct Onnx {
    pub proto: pb::ModelProto,
    random: ChaCha8Rng,
}

impl Onnx {
    /// A model without nodes; `seed` is that of its random weights.
    pub fn new(seed: u64) -> Self {
        let opset = pb::OperatorSetIdProto { domain: String::new(), version: 13 };
        let graph = pb::GraphProto { name: "case".to_string(), ..Default::default() };
        let proto = pb::ModelProto {
            ir_version: 7,
            opset_import: vec![opset],
            graph: Some(graph),
            ..Default::default()
        };
        Self { proto, random: ChaCha8Rng::seed_from_u64(seed) }
    }

    pub fn graph(&mut self) -> &mut pb::GraphProto {
        self.proto.graph.as_mut().unwrap()
    }

    /// An f32 input.
    pub fn input(mut self, name: &str, shape: &[Dim]) -> Self {
        self.graph().input.push(value_info(name, FLOAT, shape));
        self
    }

    /// An f32 output, its shape left open.
    pub fn output(mut self, name: &str) -> Self {
        let tensor = pb::type_proto::Tensor { elem_type: FLOAT, shape: None };
        let value = Some(pb::type_proto::Value::TensorType(tensor));
        let r#type = Some(pb::TypeProto { value, ..Default::default() });
        let info = pb::ValueInfoProto { name: name.to_string(), r#type, ..Default::default() };
        self.graph().output.push(info);
        self
    }

    /// A constant of given values.
    pub fn constant(mut self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "constant `{name}`");
        self.graph().initializer.push(tensor(name, shape, values));
        self
    }

    /// An i64 constant: a shape, axes, starts.
    pub fn integers(mut self, name: &str, shape: &[usize], values: &[i64]) -> Self {
        let constant = pb::TensorProto {
            name: name.to_string(),
            dims: shape.iter().map(|&n| n as i64).collect(),
            data_type: INT64,
            raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            ..Default::default()
        };
        self.graph().initializer.push(constant);
        self
    }

    /// A constant of weights between -1 and 1.
    pub fn weights(mut self, name: &str, shape: &[usize]) -> Self {
        let values = uniform(&mut self.random, shape.iter().product(), -1.0, 1.0);
        self.constant(name, shape, &values)
    }

    /// A node; its name is that of its output.
    pub fn node(
        self,
        op: &str,
        inputs: &[&str],
        output: &str,
        attributes: Vec<pb::AttributeProto>,
    ) -> Self {
        self.named_node(output, op, inputs, &[output], attributes)
    }

    /// A node with a name of its own and any number of outputs.
    pub fn named_node(
        mut self,
        name: &str,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attribute: Vec<pb::AttributeProto>,
    ) -> Self {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        self.graph().node.push(pb::NodeProto {
            name: name.to_string(),
            op_type: op.to_string(),
            input: owned(inputs),
            output: owned(outputs),
            attribute,
            ..Default::default()
        });
        self
    }

    /// The values of an f32 constant.
    pub fn values(&self, name: &str) -> Vec<f32> {
        let mut constants = self.proto.graph.iter().flat_map(|graph| &graph.initializer);
        let constant = constants.find(|constant| constant.name == name).unwrap();
        let four = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
        constant.raw_data.chunks_exact(4).map(four).collect()
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.proto.encode_to_vec()
    }
}

/// Numbers evenly spread over a range.
pub fn uniform(random: &mut ChaCha8Rng, n: usize, low: f32, high: f32) -> Vec<f32> {
    (0..n).map(|_| random.random_range(low..=high)).collect()
}

pub fn tensor(name: &str, shape: &[usize], values: &[f32]) -> pb::TensorProto {
    pb::TensorProto {
        name: name.to_string(),
        dims: shape.iter().map(|&n| n as i64).collect(),
        data_type: FLOAT,
        raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..Default::default()
    }
}

pub fn value_info(name: &str, elem_type: i32, shape: &[Dim]) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{Dimension, dimension::Value};
    let dim = |dim: &Dim| Dimension {
        value: Some(match dim {
            Dim::Fixed(n) => Value::DimValue(*n as i64),
            Dim::Named(name) => Value::DimParam(name.to_string()),
        }),
        ..Default::default()
    };
    let shape = pb::TensorShapeProto { dim: shape.iter().map(dim).collect() };
    let tensor = pb::type_proto::Tensor { elem_type, shape: Some(shape) };
    let value = Some(pb::type_proto::Value::TensorType(tensor));
    let r#type = Some(pb::TypeProto { value, ..Default::default() });
    pb::ValueInfoProto { name: name.to_string(), r#type, ..Default::default() }
}

fn attribute(name: &str, kind: i32) -> pb::AttributeProto {
    pb::AttributeProto { name: name.to_string(), r#type: kind, ..Default::default() }
}

pub fn int(name: &str, i: i64) -> pb::AttributeProto {
    pb::AttributeProto { i, ..attribute(name, 2) }
}

pub fn float(name: &str, f: f32) -> pb::AttributeProto {
    pb::AttributeProto { f, ..attribute(name, 1) }
}

pub fn ints(name: &str, values: &[usize]) -> pb::AttributeProto {
    pb::AttributeProto { ints: values.iter().map(|&v| v as i64).collect(), ..attribute(name, 7) }
}

/// What a Conv is made of; sizes are per group.
#[derive(Debug, Clone)]
pub struct Conv {
    pub groups: usize,
    pub channels: usize,
    pub outputs: usize,
    pub kernel: Vec<usize>,
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    /// Before and after, axis by axis.
    pub pads: Vec<(usize, usize)>,
    pub bias: bool,
}

impl Conv {
    /// A plain one: one group, stride 1, no padding, no bias.
    pub fn new(channels: usize, outputs: usize, kernel: &[usize]) -> Self {
        let rank = kernel.len();
        Self {
            groups: 1,
            channels,
            outputs,
            kernel: kernel.to_vec(),
            strides: vec![1; rank],
            dilations: vec![1; rank],
            pads: vec![(0, 0); rank],
            bias: false,
        }
    }

    pub fn in_channels(&self) -> usize {
        self.groups * self.channels
    }

    pub fn out_channels(&self) -> usize {
        self.groups * self.outputs
    }

    pub fn kernel_shape(&self) -> Vec<usize> {
        [&[self.out_channels(), self.channels], &self.kernel[..]].concat()
    }

    /// Extents of the result's spatial axes; `None` where the kernel, dilated,
    /// is wider than the padded input.
    pub fn result(&self, spatial: &[usize]) -> Option<Vec<usize>> {
        (0..spatial.len())
            .map(|axis| {
                let padded = spatial[axis] + self.pads[axis].0 + self.pads[axis].1;
                let reach = (self.kernel[axis] - 1) * self.dilations[axis] + 1;
                Some(padded.checked_sub(reach)? / self.strides[axis] + 1)
            })
            .collect()
    }

    /// Adds the node `name` with random weights `name.w` and `name.b`.
    pub fn add_to(&self, model: Onnx, name: &str, input: &str) -> Onnx {
        let (weight, bias) = (format!("{name}.w"), format!("{name}.b"));
        let mut model = model.weights(&weight, &self.kernel_shape());
        let mut inputs = vec![input, weight.as_str()];
        if self.bias {
            model = model.weights(&bias, &[self.out_channels()]);
            inputs.push(bias.as_str());
        }
        let (before, after): (Vec<usize>, Vec<usize>) = self.pads.iter().copied().unzip();
        let attributes = vec![
            ints("kernel_shape", &self.kernel),
            ints("strides", &self.strides),
            ints("dilations", &self.dilations),
            ints("pads", &[before, after].concat()),
            int("group", self.groups as i64),
        ];
        model.node("Conv", &inputs, name, attributes)
    }
}
