//! The constants of a model: data that lies in other files is brought in, and
//! all data has the size that its shape says.
//!
//! tract trusts shapes: it makes the tensor first and copies the data after.
//! A damaged extent would take all memory, or end in a panic.

use std::path::{Component, Path};

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, ModelProto, StringStringEntryProto, TensorProto};

use super::{FrontendError, ModelFiles};

/// Where protobuf says that a tensor's data lies in another file.
pub(super) const EXTERNAL: i32 = 1;

/// Brings external data in, and checks sizes.
pub(super) fn gather(
    proto: &mut ModelProto,
    files: &ModelFiles,
    file: &str,
) -> Result<(), FrontendError> {
    let Some(graph) = &mut proto.graph else { return Ok(()) };
    for_each(graph, &mut |tensor| {
        if tensor.data_location == Some(EXTERNAL) {
            bring_in(tensor, files, file)?;
        }
        check_size(tensor).map_err(|reason| FrontendError::Constant {
            file: file.to_string(),
            name: tensor.name.clone(),
            reason,
        })
    })
}

/// Drops the data of all constants.
pub(super) fn forget(proto: &mut ModelProto) {
    let Some(graph) = &mut proto.graph else { return };
    // Nothing here fails.
    let _ = for_each(graph, &mut |tensor| {
        tensor.raw_data = Vec::new();
        tensor.float_data = Vec::new();
        Ok(())
    });
}

/// Calls `check` on every constant of a graph and of the graphs inside its
/// nodes.
fn for_each(
    graph: &mut GraphProto,
    check: &mut dyn FnMut(&mut TensorProto) -> Result<(), FrontendError>,
) -> Result<(), FrontendError> {
    for tensor in &mut graph.initializer {
        check(tensor)?;
    }
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        for tensor in attribute.t.iter_mut().chain(&mut attribute.tensors) {
            check(tensor)?;
        }
        for body in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            for_each(body, check)?;
        }
    }
    Ok(())
}

/// What a constant says of its data in another file.
pub(super) struct External<'a> {
    pub name: &'a str,
    pub entries: &'a [StringStringEntryProto],
}

impl External<'_> {
    fn entry(&self, key: &str) -> Option<&str> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
    }

    /// Where it lies; an error for a place outside the model's folder.
    pub(super) fn location(&self, file: &str) -> Result<String, FrontendError> {
        let location = self.entry("location").unwrap_or_default();
        let inside = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
        let reason = match Path::new(location) {
            path if location.is_empty() || path.file_name().is_none() => "it is not named",
            path if !path.components().all(inside) => "it points outside the model's folder",
            _ => return Ok(location.to_string()),
        };
        Err(self.wrong(location, reason.to_string(), file))
    }

    fn wrong(&self, location: &str, reason: String, file: &str) -> FrontendError {
        FrontendError::External {
            file: file.to_string(),
            tensor: self.name.to_string(),
            location: location.to_string(),
            reason,
        }
    }
}

fn bring_in(tensor: &mut TensorProto, files: &ModelFiles, file: &str) -> Result<(), FrontendError> {
    let given = External { name: &tensor.name, entries: &tensor.external_data };
    let location = given.location(file)?;
    let wrong = |reason: String| given.wrong(&location, reason, file);
    let content = files.external.get(&location).ok_or_else(|| wrong("it is missing".into()))?;
    let number = |key: &str| match given.entry(key).map(str::parse::<usize>) {
        None => Ok(None),
        Some(Ok(number)) => Ok(Some(number)),
        Some(Err(_)) => Err(wrong(format!("its {key} is no number"))),
    };
    let start = number("offset")?.unwrap_or(0);
    let length = match number("length")? {
        Some(length) => length,
        None => content.len().saturating_sub(start),
    };
    let bytes = start.checked_add(length).and_then(|end| content.get(start..end));
    let bytes = bytes.ok_or_else(|| {
        wrong(format!("it has {} bytes, {length} are wanted from byte {start} on", content.len()))
    })?;
    tensor.raw_data = bytes.to_vec();
    tensor.data_location = None;
    tensor.external_data.clear();
    Ok(())
}

/// Whether the data of a constant fits its shape; the numbers where not.
fn check_size(tensor: &TensorProto) -> Result<(), String> {
    let extents = || format!("{:?}", tensor.dims);
    let wanted = tensor
        .dims
        .iter()
        .try_fold(1usize, |n, &extent| n.checked_mul(usize::try_from(extent).ok()?))
        .ok_or_else(|| format!("it has the shape {}", extents()))?;
    let data_type = DataType::try_from(tensor.data_type)
        .map_err(|_| format!("its element type {} is none of ONNX", tensor.data_type))?;
    let width = match data_type {
        DataType::Bool | DataType::Int8 | DataType::Uint8 => 1,
        DataType::Int16 | DataType::Uint16 | DataType::Float16 | DataType::Bfloat16 => 2,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 4,
        DataType::Double | DataType::Int64 | DataType::Uint64 => 8,
        // Text has its own place, and tract refuses what is left by name.
        _ => return Ok(()),
    };
    let found = match tensor.raw_data.len() {
        // Values stand in a field of their type; halves and small integers
        // share that of 32-bit ones.
        0 => [
            tensor.float_data.len(),
            tensor.int32_data.len(),
            tensor.int64_data.len(),
            tensor.double_data.len(),
            tensor.uint64_data.len(),
        ]
        .into_iter()
        .max()
        .unwrap_or(0),
        n_bytes if n_bytes % width == 0 => n_bytes / width,
        n_bytes => return Err(format!("its {n_bytes} bytes are no values of {width} bytes")),
    };
    if found == wanted {
        return Ok(());
    }
    Err(format!("its shape {} says {wanted} values, it has {found}", extents()))
}
