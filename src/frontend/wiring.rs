//! How the nodes of an ONNX graph hang together, by the names of tensors.
//!
//! A graph that does not is refused here, with the node's name; what ONNX
//! allows and tract does not is changed.

use std::collections::{BTreeMap, BTreeSet};

use tract_onnx::pb;

use super::FrontendError;
use super::read::node_name;

/// Refuses tensors that nothing makes, and nodes that wait for each other.
pub(super) fn check(graph: &pb::GraphProto, file: &str) -> Result<(), FrontendError> {
    let wrong = |what: String, node: Option<&pb::NodeProto>| {
        let node = node.map(node_name);
        FrontendError::Wiring { file: file.to_string(), what, node }
    };
    let makers: BTreeMap<&str, usize> = graph
        .node
        .iter()
        .enumerate()
        .flat_map(|(index, node)| node.output.iter().map(move |name| (name.as_str(), index)))
        .collect();
    let given: BTreeSet<&str> = graph
        .input
        .iter()
        .map(|input| input.name.as_str())
        .chain(graph.initializer.iter().map(|constant| constant.name.as_str()))
        .chain(sparse_names(graph))
        // An operand that is left out has the empty name.
        .chain([""])
        .collect();
    for node in &graph.node {
        let unknown =
            |name: &&String| !given.contains(name.as_str()) && !makers.contains_key(name.as_str());
        if let Some(name) = node.input.iter().find(unknown) {
            return Err(wrong(format!("it reads `{name}`, which nothing makes"), Some(node)));
        }
    }
    for output in &graph.output {
        let name = output.name.as_str();
        if !given.contains(name) && !makers.contains_key(name) {
            return Err(wrong(format!("nothing makes the output `{name}`"), None));
        }
    }
    match waiting(graph, &makers) {
        Some(index) => {
            let what = "it waits for its own result".to_string();
            Err(wrong(what, graph.node.get(index)))
        }
        None => Ok(()),
    }
}

fn sparse_names(graph: &pb::GraphProto) -> impl Iterator<Item = &str> {
    graph.sparse_initializer.iter().flat_map(|s| &s.values).map(|values| values.name.as_str())
}

/// The first node that never gets all it reads.
fn waiting(graph: &pb::GraphProto, makers: &BTreeMap<&str, usize>) -> Option<usize> {
    let mut missing = vec![0usize; graph.node.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); graph.node.len()];
    for (index, node) in graph.node.iter().enumerate() {
        for &maker in node.input.iter().filter_map(|name| makers.get(name.as_str())) {
            missing[index] += 1;
            readers[maker].push(index);
        }
    }
    let mut ready: Vec<usize> = (0..missing.len()).filter(|&i| missing[i] == 0).collect();
    while let Some(index) = ready.pop() {
        for &reader in &readers[index] {
            missing[reader] -= 1;
            if missing[reader] == 0 {
                ready.push(reader);
            }
        }
    }
    missing.iter().position(|&n| n > 0)
}

/// Gives nodes different names: ONNX lets them be empty or the same, tract does
/// not, and neither may be that of an input or a constant.
pub(super) fn name_apart(graph: &mut pb::GraphProto) {
    let inputs = graph.input.iter().map(|input| input.name.clone());
    let constants = graph.initializer.iter().map(|constant| constant.name.clone());
    let mut taken: BTreeSet<String> = inputs.chain(constants).collect();
    for (index, node) in graph.node.iter_mut().enumerate() {
        let name = match node_name(node) {
            name if name.is_empty() => format!("node{index}"),
            name => name,
        };
        let numbered = (2..).map(|n| format!("{name}.{n}"));
        let mut choices = std::iter::once(name.clone()).chain(numbered);
        node.name = choices.find(|name| !taken.contains(name)).unwrap_or_default();
        taken.insert(node.name.clone());
    }
}

/// An output that is an input goes through a node of its own: tract keeps one
/// shape for both, and would take that of the output.
pub(super) fn pass_through(graph: &mut pb::GraphProto) {
    for output in &mut graph.output {
        if graph.input.iter().all(|input| input.name != output.name) {
            continue;
        }
        let through = format!("{}.output", output.name);
        graph.node.push(pb::NodeProto {
            name: through.clone(),
            op_type: "Identity".to_string(),
            input: vec![std::mem::replace(&mut output.name, through.clone())],
            output: vec![through],
            ..Default::default()
        });
    }
}
