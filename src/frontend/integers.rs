//! Operators on integers as products of real numbers.
//!
//! Arrays multiply integers by themselves: what a quantiser wrote as
//! `QLinearConv` is to them a convolution between codes, whose scales are kept.
//! So operators whose weights are constant are taken apart, before tract sees
//! them, into a plain product and what turns its numbers from and to codes:
//!
//! ```text
//! QLinearConv    x -> DequantizeLinear -> Conv -> QuantizeLinear
//! QLinearMatMul  a -> DequantizeLinear -> MatMul -> QuantizeLinear
//! MatMulInteger  a -> Cast -> MatMul -> Sub (zero point x column sums) -> Round -> Cast
//! ConvInteger    x -> Cast -> Sub (zero point) -> Conv -> Round -> Cast
//! ```
//!
//! Sums of integers below 2^24 are exact in f32. What is not constant stays as
//! it is.

use std::collections::{BTreeMap, BTreeSet};

use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;

use super::read::node_name;

/// A constant as numbers.
#[derive(Debug, Clone)]
struct Constant {
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Constant {
    /// The only value, or the one of this index.
    fn at(&self, index: usize) -> f64 {
        match self.values[..] {
            [one] => one,
            _ => self.values.get(index).copied().unwrap_or(f64::NAN),
        }
    }

    fn is_scalar(&self) -> bool {
        self.values.len() == 1
    }

    fn fits(&self, n: usize) -> bool {
        self.is_scalar() || self.values.len() == n
    }
}

/// The operators that are taken apart.
const OPERATORS: [&str; 4] = ["QLinearConv", "QLinearMatMul", "MatMulInteger", "ConvInteger"];

/// Takes the integer operators of a graph apart, where their weights are
/// constant.
pub(super) fn open(graph: &mut pb::GraphProto) {
    let constants = constants(graph);
    let scalars = scalars(graph);
    let mut opened = Opened {
        constants: &constants,
        scalars: &scalars,
        nodes: Vec::new(),
        initializers: Vec::new(),
    };
    for node in std::mem::take(&mut graph.node) {
        let done = match node.op_type.as_str() {
            "QLinearConv" => opened.linear_conv(&node),
            "QLinearMatMul" => opened.linear_product(&node),
            "MatMulInteger" => opened.integer_product(&node),
            "ConvInteger" => opened.integer_conv(&node),
            _ => None,
        };
        if done.is_none() {
            opened.nodes.push(node);
        }
    }
    graph.node = opened.nodes;
    graph.initializer.extend(opened.initializers);
}

/// Initializers and `Constant` nodes by name, as far as they hold numbers and
/// an integer operator asks for them: a model may have others, and large ones.
fn constants(graph: &pb::GraphProto) -> BTreeMap<String, Constant> {
    let is_integer = |node: &&pb::NodeProto| OPERATORS.contains(&node.op_type.as_str());
    let asked: BTreeSet<&String> =
        graph.node.iter().filter(is_integer).flat_map(|node| &node.input).collect();
    let by_node = graph.node.iter().filter(|node| node.op_type == "Constant").filter_map(|node| {
        let tensor = node.attribute.iter().find_map(|attribute| attribute.t.as_ref())?;
        Some((node.output.first()?.clone(), tensor))
    });
    let initializers = graph.initializer.iter().map(|tensor| (tensor.name.clone(), tensor));
    let all = initializers.chain(by_node).filter(|(name, _)| asked.contains(name));
    all.filter_map(|(name, tensor)| Some((name, read(tensor)?))).collect()
}

/// Zero points that are made for one tensor as a whole.
fn scalars(graph: &pb::GraphProto) -> Vec<String> {
    let dynamic = graph.node.iter().filter(|node| node.op_type == "DynamicQuantizeLinear");
    dynamic.filter_map(|node| node.output.get(2).cloned()).collect()
}

fn read(tensor: &pb::TensorProto) -> Option<Constant> {
    let shape: Vec<usize> =
        tensor.dims.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<_>>()?;
    let raw = &tensor.raw_data;
    let values: Vec<f64> = match DataType::try_from(tensor.data_type).ok()? {
        DataType::Uint8 if !raw.is_empty() => raw.iter().map(|&v| f64::from(v)).collect(),
        DataType::Int8 if !raw.is_empty() => raw.iter().map(|&v| f64::from(v as i8)).collect(),
        DataType::Int32 if !raw.is_empty() => four(raw, i32::from_le_bytes),
        DataType::Float if !raw.is_empty() => four(raw, f32::from_le_bytes),
        DataType::Uint8 | DataType::Int8 | DataType::Int32 => {
            tensor.int32_data.iter().map(|&v| f64::from(v)).collect()
        }
        DataType::Float => tensor.float_data.iter().map(|&v| f64::from(v)).collect(),
        _ => return None,
    };
    let wanted: usize = shape.iter().product();
    (values.len() == wanted).then_some(Constant { shape, values })
}

fn four<T: Into<f64>>(raw: &[u8], number: fn([u8; 4]) -> T) -> Vec<f64> {
    raw.chunks_exact(4).map(|b| number([b[0], b[1], b[2], b[3]]).into()).collect()
}

/// What the graph becomes.
struct Opened<'a> {
    constants: &'a BTreeMap<String, Constant>,
    scalars: &'a [String],
    nodes: Vec<pb::NodeProto>,
    initializers: Vec<pb::TensorProto>,
}

impl<'a> Opened<'a> {
    /// The constant that an operand is, if it is there and constant.
    fn constant(&self, node: &pb::NodeProto, slot: usize) -> Option<&'a Constant> {
        self.constants.get(node.input.get(slot)?)
    }

    /// A zero point that may be left out.
    fn zero(&self, node: &pb::NodeProto, slot: usize) -> Option<Constant> {
        match node.input.get(slot).map(String::as_str) {
            None | Some("") => Some(Constant { shape: vec![], values: vec![0.0] }),
            Some(name) => self.constants.get(name).cloned(),
        }
    }

    fn linear_conv(&mut self, node: &pb::NodeProto) -> Option<()> {
        let (weights, scales) = (self.constant(node, 3)?, self.constant(node, 4)?);
        let (zeros, input_scale) = (self.zero(node, 5)?, self.constant(node, 1)?);
        let n_outputs = *weights.shape.first()?;
        let each = weights.values.len() / n_outputs.max(1);
        if !scales.fits(n_outputs) || !zeros.fits(n_outputs) || !input_scale.is_scalar() {
            return None;
        }
        let real = weights.values.iter().enumerate().map(|(index, &code)| {
            let output = index / each.max(1);
            ((code - zeros.at(output)) * scales.at(output)) as f32
        });
        let bias = match node.input.get(8).filter(|name| !name.is_empty()) {
            Some(name) => Some(self.constants.get(name)?),
            None => None,
        };
        let kernel = self.initializer(node, "weights", &weights.shape, real.collect());
        let x = self.dequantized(node, 0)?;
        let mut inputs = vec![x, kernel];
        if let Some(bias) = bias {
            let real = |(output, &code): (usize, &f64)| {
                (code * input_scale.at(0) * scales.at(output)) as f32
            };
            let values = bias.values.iter().enumerate().map(real).collect();
            inputs.push(self.initializer(node, "bias", &bias.shape, values));
        }
        let sum = self.product("Conv", node, inputs, node.attribute.clone());
        self.quantized(node, sum, 6)
    }

    fn linear_product(&mut self, node: &pb::NodeProto) -> Option<()> {
        let (weights, scales) = (self.constant(node, 3)?, self.constant(node, 4)?);
        let zeros = self.zero(node, 5)?;
        let n_columns = *weights.shape.last()?;
        if !scales.fits(n_columns) || !zeros.fits(n_columns) || weights.shape.len() != 2 {
            return None;
        }
        let real = weights.values.iter().enumerate().map(|(index, &code)| {
            let column = index % n_columns;
            ((code - zeros.at(column)) * scales.at(column)) as f32
        });
        let matrix = self.initializer(node, "weights", &weights.shape, real.collect());
        let a = self.dequantized(node, 0)?;
        let sum = self.product("MatMul", node, vec![a, matrix], Vec::new());
        self.quantized(node, sum, 6)
    }

    /// The zero point of the activation is taken off the sums, so that the
    /// arrays are driven with the codes as they are.
    fn integer_product(&mut self, node: &pb::NodeProto) -> Option<()> {
        let (weights, zeros) = (self.constant(node, 1)?, self.zero(node, 3)?);
        let n_columns = *weights.shape.last()?;
        let has_zero = self.has_scalar_zero(node)?;
        if weights.shape.len() != 2 || !zeros.fits(n_columns) {
            return None;
        }
        let level = |(index, &code): (usize, &f64)| (code - zeros.at(index % n_columns)) as f32;
        let levels: Vec<f32> = weights.values.iter().enumerate().map(level).collect();
        let mut sums = vec![0f32; n_columns];
        for row in levels.chunks(n_columns) {
            sums.iter_mut().zip(row).for_each(|(sum, level)| *sum += level);
        }
        let matrix = self.initializer(node, "weights", &weights.shape, levels);
        let a = self.cast(node, &node.input[0], "codes", DataType::Float);
        let mut sum = self.product("MatMul", node, vec![a, matrix], Vec::new());
        if has_zero {
            let sums = self.initializer(node, "sums", &[n_columns], sums);
            let zero = self.cast(node, &node.input[2], "zero", DataType::Float);
            let off = self.push("Mul", node, "zeros", vec![zero, sums]);
            sum = self.push("Sub", node, "whole", vec![sum, off]);
        }
        self.rounded(node, sum)
    }

    /// Padding stands for the zero point, so that it is taken off first.
    fn integer_conv(&mut self, node: &pb::NodeProto) -> Option<()> {
        let (weights, zeros) = (self.constant(node, 1)?, self.zero(node, 3)?);
        let n_outputs = *weights.shape.first()?;
        let each = (weights.values.len() / n_outputs.max(1)).max(1);
        let has_zero = self.has_scalar_zero(node)?;
        if !zeros.fits(n_outputs) {
            return None;
        }
        let level = |(index, &code): (usize, &f64)| (code - zeros.at(index / each)) as f32;
        let levels = weights.values.iter().enumerate().map(level).collect();
        let kernel = self.initializer(node, "weights", &weights.shape, levels);
        let mut x = self.cast(node, &node.input[0], "codes", DataType::Float);
        if has_zero {
            let zero = self.cast(node, &node.input[2], "zero", DataType::Float);
            x = self.push("Sub", node, "whole", vec![x, zero]);
        }
        let sum = self.product("Conv", node, vec![x, kernel], node.attribute.clone());
        self.rounded(node, sum)
    }

    /// Whether the activation has a zero point; `None` if it may have several.
    fn has_scalar_zero(&self, node: &pb::NodeProto) -> Option<bool> {
        match node.input.get(2).filter(|name| !name.is_empty()) {
            None => Some(false),
            Some(name) => {
                let known = self.constants.get(name).is_some_and(Constant::is_scalar);
                (known || self.scalars.contains(name)).then_some(true)
            }
        }
    }

    /// Operands `slot` to `slot + 2`: codes, scale and zero point.
    fn dequantized(&mut self, node: &pb::NodeProto, slot: usize) -> Option<String> {
        let operands = node.input.get(slot..slot + 3)?.to_vec();
        Some(self.push("DequantizeLinear", node, "real", operands))
    }

    /// The node's result from a sum; scale and zero point are operands from
    /// `slot` on.
    fn quantized(&mut self, node: &pb::NodeProto, sum: String, slot: usize) -> Option<()> {
        let [scale, zero] = node.input.get(slot..slot + 2)? else { return None };
        let inputs = vec![sum, scale.clone(), zero.clone()];
        self.result("QuantizeLinear", node, inputs, Vec::new())
    }

    /// The node's result as an integer.
    fn rounded(&mut self, node: &pb::NodeProto, sum: String) -> Option<()> {
        let whole = self.push("Round", node, "rounded", vec![sum]);
        self.result("Cast", node, vec![whole], vec![to(DataType::Int32)])
    }

    fn cast(&mut self, node: &pb::NodeProto, x: &str, what: &str, kind: DataType) -> String {
        let name = self.push("Cast", node, what, vec![x.to_string()]);
        if let Some(cast) = self.nodes.last_mut() {
            cast.attribute.push(to(kind));
        }
        name
    }

    /// The product itself, which keeps the node's name.
    fn product(
        &mut self,
        op: &str,
        node: &pb::NodeProto,
        input: Vec<String>,
        attribute: Vec<pb::AttributeProto>,
    ) -> String {
        let output = part(node, "sum");
        self.nodes.push(pb::NodeProto {
            name: node_name(node),
            op_type: op.to_string(),
            input,
            output: vec![output.clone()],
            attribute,
            ..Default::default()
        });
        output
    }

    fn push(&mut self, op: &str, node: &pb::NodeProto, what: &str, input: Vec<String>) -> String {
        let name = part(node, what);
        self.nodes.push(pb::NodeProto {
            name: name.clone(),
            op_type: op.to_string(),
            input,
            output: vec![name.clone()],
            ..Default::default()
        });
        name
    }

    fn result(
        &mut self,
        op: &str,
        node: &pb::NodeProto,
        input: Vec<String>,
        attribute: Vec<pb::AttributeProto>,
    ) -> Option<()> {
        self.nodes.push(pb::NodeProto {
            name: part(node, "result"),
            op_type: op.to_string(),
            input,
            output: node.output.clone(),
            attribute,
            ..Default::default()
        });
        Some(())
    }

    fn initializer(
        &mut self,
        node: &pb::NodeProto,
        what: &str,
        shape: &[usize],
        values: Vec<f32>,
    ) -> String {
        let name = part(node, what);
        self.initializers.push(pb::TensorProto {
            name: name.clone(),
            dims: shape.iter().map(|&n| n as i64).collect(),
            data_type: DataType::Float as i32,
            raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            ..Default::default()
        });
        name
    }
}

/// A name for a part of a node, which no exporter gives.
fn part(node: &pb::NodeProto, what: &str) -> String {
    format!("{}.opened.{what}", node_name(node))
}

fn to(kind: DataType) -> pb::AttributeProto {
    const INT: i32 = 2;
    pb::AttributeProto { name: "to".to_string(), r#type: INT, i: kind as i64, ..Default::default() }
}
