//! ONNX names for tract's nodes.
//!
//! tract expands an ONNX node into several of its own and names them after it
//! with a suffix (`conv1.bias`, `fc.0.reshape`). People know the ONNX name, so
//! a layer carries it wherever that is unambiguous.

use std::collections::BTreeSet;

use tract_onnx::pb;

use super::read::node_name;

/// The ONNX node names of a model, those of bodies of loops included.
pub(super) struct OnnxNames(BTreeSet<String>);

impl OnnxNames {
    pub(super) fn new(proto: &pb::ModelProto) -> Self {
        let mut names = BTreeSet::new();
        if let Some(graph) = &proto.graph {
            collect(graph, &mut names);
        }
        Self(names)
    }

    /// The ONNX node that a tract node came from: the longest ONNX name that
    /// it is, or that it continues after a dot.
    fn origin<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let cuts = name.char_indices().filter(|(_, c)| *c == '.').map(|(at, _)| at);
        let mut candidates: Vec<&str> = cuts.map(|at| &name[..at]).collect();
        candidates.push(name);
        candidates.into_iter().rev().find(|candidate| self.0.contains(*candidate))
    }

    /// Names for nodes, given tract's name and operator of each and whether it
    /// is a crossbar layer; all different.
    ///
    /// Crossbar layers choose first, then digital ones, each in the order of
    /// the list. A node takes the name of its ONNX node if that is free, else
    /// tract's, else tract's with the operator behind it (`fc.add`). Numbers
    /// that tract puts behind names to tell them apart are left out: they differ
    /// from one reading of a model to the next.
    pub(super) fn assign(&self, nodes: &[(String, String, bool)]) -> Vec<String> {
        let mut taken = BTreeSet::new();
        let mut names = vec![String::new(); nodes.len()];
        for crossbar in [true, false] {
            for (index, (name, op, is_crossbar)) in nodes.iter().enumerate() {
                if *is_crossbar != crossbar {
                    continue;
                }
                let origin = self.origin(name);
                let name = match origin == Some(name) {
                    true => name,
                    false => without_number(name),
                };
                let origin = origin.unwrap_or(name).to_string();
                let with_op = format!("{name}.{}", op.to_lowercase());
                let numbered = (2..).map(|n| format!("{with_op}{n}"));
                let choices =
                    [origin, name.to_string(), with_op.clone()].into_iter().chain(numbered);
                let free = choices.into_iter().find(|choice| !taken.contains(choice));
                names[index] = free.unwrap_or_default();
                taken.insert(names[index].clone());
            }
        }
        names
    }
}

/// A name without the number at its end.
fn without_number(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((rest, end)) if !end.is_empty() && end.bytes().all(|b| b.is_ascii_digit()) => rest,
        _ => name,
    }
}

fn collect(graph: &pb::GraphProto, names: &mut BTreeSet<String>) {
    for node in &graph.node {
        names.insert(node_name(node));
        for body in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
            collect(body, names);
        }
    }
}

#[cfg(test)]
mod tests {
    //! Names are the same however tract tells its nodes apart.

    use super::*;

    #[test]
    fn numbers_that_tract_puts_behind_names_are_left_out() {
        let onnx = OnnxNames(["norm", "layers.0"].map(String::from).into());
        let names = |number: u32| {
            let node = |name: &str, op: &str| (name.to_string(), op.to_string(), false);
            onnx.assign(&[
                node("norm", "Mul"),
                node(&format!("norm.rms_norm.{number}"), "RmsNorm"),
                node("layers.0", "Conv"),
                node(&format!("layers.0.{number}"), "Add"),
            ])
        };
        assert_eq!(names(1), names(2));
        assert_eq!(names(1), ["norm", "norm.rms_norm", "layers.0", "layers.0.add"]);
    }
}
