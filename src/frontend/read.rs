//! From bytes to tract's typed, decluttered graph.

use prost::Message;
use prost::bytes::Bytes;
use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::{Factoid, InferenceModel};
use tract_onnx::tract_hir::infer::{GenericFactoid, ShapeFactoid};
use tract_onnx::tract_hir::internal::{DimLike, bail};

use super::outline::Outline;
use super::shapes::{BATCH, shape_text};
use super::{
    Axis, FrontendError, FrontendOptions, ModelFiles, constants, deconvolution, guarded, integers,
    wiring,
};

/// Decodes the protobuf and refuses what cannot be a model.
pub(super) fn parse(files: &ModelFiles, file: &str) -> Result<pb::ModelProto, FrontendError> {
    let mut proto = decode(files.onnx(), file)?;
    let known = onnx().op_register;
    let mut unknown = Vec::new();
    if let Some(graph) = &proto.graph {
        collect_unknown(graph, &|op| known.0.contains_key(op), &mut unknown);
    }
    if !unknown.is_empty() {
        return Err(FrontendError::UnknownOperators { file: file.to_string(), nodes: unknown });
    }
    constants::gather(&mut proto, files, file)?;
    if let Some(graph) = &mut proto.graph {
        wiring::check(graph, file)?;
        integers::open(graph);
        wiring::name_apart(graph);
        wiring::pass_through(graph);
    }
    Ok(proto)
}

pub(super) fn decode(onnx: Bytes, file: &str) -> Result<pb::ModelProto, FrontendError> {
    let n_bytes = onnx.len();
    let not_onnx =
        |reason: String| FrontendError::NotOnnx { file: file.to_string(), n_bytes, reason };
    let proto = pb::ModelProto::decode(onnx).map_err(|e| not_onnx(e.to_string()))?;
    match &proto.graph {
        Some(graph) if !graph.output.is_empty() => Ok(proto),
        Some(_) => Err(not_onnx("it has a graph without outputs".to_string())),
        None => Err(not_onnx("it has no graph".to_string())),
    }
}

fn collect_unknown(
    graph: &pb::GraphProto,
    known: &dyn Fn(&str) -> bool,
    unknown: &mut Vec<(String, String)>,
) {
    for node in &graph.node {
        if !known(&node.op_type) {
            let op = match node.domain.as_str() {
                "" | "ai.onnx" => node.op_type.clone(),
                domain => format!("{domain}.{}", node.op_type),
            };
            unknown.push((node_name(node), op));
        }
        for body in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
            collect_unknown(body, known, unknown);
        }
    }
}

/// A node's name, or that of its first output where it has none, as tract
/// names it.
pub(super) fn node_name(node: &pb::NodeProto) -> String {
    match node.output.first() {
        Some(output) if node.name.is_empty() => output.clone(),
        _ => node.name.clone(),
    }
}

pub(super) fn external_locations(onnx: &[u8], file: &str) -> Result<Vec<String>, FrontendError> {
    match Outline::decode(onnx) {
        Ok(outline) => outline.locations(file),
        // What is wrong with it is better said of all of it.
        Err(_) => decode(Bytes::copy_from_slice(onnx), file).map(|_| Vec::new()),
    }
}

/// Types and declutters; says whether the batch axis stayed open. The data of
/// constants goes from `proto` to tract.
///
/// An open first axis is tried as a batch of any size. Some exporters bake a
/// batch of one into reshapes; for these the batch is fixed to one.
pub(super) fn typed(
    proto: &mut pb::ModelProto,
    options: &FrontendOptions,
    file: &str,
) -> Result<(TypedModel, bool), FrontendError> {
    let tract_error = |e: TractError| explain_tract(&e, file);
    let onnx = tract_onnx::Onnx { ignore_value_info: true, ..onnx() };
    let model = onnx.parse(proto, None).map_err(tract_error)?.model;
    // tract has its own copy; names are all that is still asked for.
    constants::forget(proto);
    let (open_model, has_batch) = with_shapes(&model, options, file, true)?;
    let first = declutter(open_model);
    match first {
        Ok(typed) => Ok((typed, has_batch)),
        Err(error) if has_batch => {
            let (fixed_model, _) = with_shapes(&model, options, file, false)?;
            // The first error is the one to report: it speaks of the model as
            // it was given.
            declutter(fixed_model).map(|typed| (typed, false)).map_err(|_| tract_error(error))
        }
        Err(error) => Err(tract_error(error)),
    }
}

fn declutter(model: InferenceModel) -> TractResult<TypedModel> {
    guarded(|| deconvolution::open(model.into_typed()?.into_decluttered()?))
        .unwrap_or_else(|said| bail!(said))
}

/// Sets the shape of every input: as the user says, else as the model says
/// with an open first axis as the batch.
fn with_shapes(
    model: &InferenceModel,
    options: &FrontendOptions,
    file: &str,
    open_batch: bool,
) -> Result<(InferenceModel, bool), FrontendError> {
    let mut model = model.clone();
    let batch: TDim = if open_batch { model.sym(BATCH).into() } else { 1.into() };
    let mut has_batch = false;
    let mut open = Vec::new();
    let mut known = Vec::new();
    let outlets = model.inputs.clone();
    for (slot, outlet) in outlets.iter().enumerate() {
        let name = model.node(outlet.node).name.clone();
        let fact = model.input_fact(slot).map_err(|e| explain_tract(&e, file))?.clone();
        let text = shape_text(&fact.shape);
        known.push((name.clone(), text.clone()));
        let shape: Option<Vec<TDim>> = match options.shapes.get(&name) {
            Some(axes) => {
                check_given(&name, axes, &fact.shape, &text, file)?;
                let extent = |axis: &Axis| match axis {
                    Axis::Batch => batch.clone(),
                    Axis::Fixed(extent) => (*extent).into(),
                };
                has_batch |= axes.contains(&Axis::Batch);
                Some(axes.iter().map(extent).collect())
            }
            None => own_shape(&fact.shape, &batch, &mut has_batch),
        };
        if shape.iter().flatten().any(|extent| *extent == 0.into()) {
            let file = file.to_string();
            return Err(FrontendError::EmptyInput { file, input: name, shape: text });
        }
        match shape {
            Some(shape) => {
                let fact = fact.with_shape(shape);
                model.set_input_fact(slot, fact).map_err(|e| explain_tract(&e, file))?;
            }
            None => open.push((name, text)),
        }
    }
    if let Some(name) = options.shapes.keys().find(|name| !known.iter().any(|(k, _)| k == *name)) {
        return Err(FrontendError::WrongShape {
            file: file.to_string(),
            what: format!("`--shape` names the input `{name}`, which the model does not have"),
            inputs: known,
        });
    }
    if !open.is_empty() {
        return Err(FrontendError::OpenShapes { file: file.to_string(), inputs: open });
    }
    Ok((model, has_batch && open_batch))
}

/// The model's own shape with an open first axis as the batch; `None` if
/// another axis is open too.
fn own_shape(shape: &ShapeFactoid, batch: &TDim, has_batch: &mut bool) -> Option<Vec<TDim>> {
    if shape.is_open() {
        return None;
    }
    let mut extents = Vec::new();
    for (axis, dim) in shape.dims().enumerate() {
        match dim.concretize().and_then(|dim| dim.as_i64()) {
            Some(extent) => extents.push(extent.into()),
            None if axis == 0 => {
                *has_batch = true;
                extents.push(batch.clone());
            }
            None => return None,
        }
    }
    Some(extents)
}

fn check_given(
    name: &str,
    axes: &[Axis],
    shape: &ShapeFactoid,
    text: &str,
    file: &str,
) -> Result<(), FrontendError> {
    let wrong = |what: String| FrontendError::WrongShape {
        file: file.to_string(),
        what,
        inputs: vec![(name.to_string(), text.to_string())],
    };
    if axes.iter().any(|axis| matches!(axis, Axis::Fixed(0))) {
        return Err(wrong(format!("`--shape {name}` has an axis of extent 0")));
    }
    if axes.iter().skip(1).any(|axis| matches!(axis, Axis::Batch)) {
        return Err(wrong(format!("`--shape {name}` has the batch N elsewhere than in front")));
    }
    let GenericFactoid::Only(rank) = shape.rank() else { return Ok(()) };
    if usize::try_from(rank).ok() != Some(axes.len()) {
        return Err(wrong(format!("`--shape {name}` has {} axes, the model {rank}", axes.len())));
    }
    for (axis, (given, own)) in axes.iter().zip(shape.dims()).enumerate() {
        if let (Axis::Fixed(given), Some(own)) =
            (given, own.concretize().and_then(|d| d.to_usize().ok()))
            && *given != own
        {
            return Err(wrong(format!(
                "`--shape {name}` gives axis {axis} the extent {given}, the model {own}"
            )));
        }
    }
    Ok(())
}

/// tract's error chain as ours: the node it was at, and its words.
pub(super) fn explain_tract(error: &TractError, file: &str) -> FrontendError {
    let reasons: Vec<String> = error
        .chain()
        .map(|cause| cause.to_string().lines().next().unwrap_or_default().to_string())
        .collect();
    // tract names the node as `node #12 "name" Op` or `... node name (Op)`.
    let node = reasons.iter().rev().find_map(|reason| {
        let after = reason.split_once("node #")?.1;
        Some(after.split('"').nth(1)?.to_string())
    });
    FrontendError::Tract { file: file.to_string(), node, reasons }
}
