//! A timeline in the format of Chrome's trace viewer, which Perfetto opens:
//! a process for each kind of resource, a thread for each resource, a slice
//! for each job.
//!
//! The format: "Trace Event Format", Google, complete events (`ph: X`) and
//! metadata (`ph: M`); times are microseconds.

use std::fmt::Write as _;

use serde_json::Value;

use super::jobs::{Jobs, Task};
use super::network::Network;
use super::resource::Resource;
use super::simulate::Event;

/// Kinds of resources in the order in which a viewer shows them.
fn process(resource: Resource) -> u32 {
    match resource {
        Resource::Pe(_) => 1,
        Resource::Adcs(_) => 2,
        Resource::Multiplexers(_) => 3,
        Resource::ShiftAndAdd(_) => 4,
        Resource::Link(_) => 5,
        Resource::Buffer => 6,
        Resource::Digital => 7,
        Resource::ChipLink(_) => 8,
        Resource::Issue(_) => 9,
    }
}

fn verb(task: Task) -> &'static str {
    match task {
        Task::Wait => "wait",
        Task::Encode => "encode",
        Task::FetchCodes => "fetch codes",
        Task::SendCodes => "send codes",
        Task::Issue => "issue",
        Task::Waves => "waves",
        Task::ShiftAndAdd => "shift and add",
        Task::SendSums => "send sums",
        Task::Sum => "sum",
        Task::StoreResults => "store",
        Task::Digital => "digital",
    }
}

/// Microseconds, to the last picosecond.
fn us(ps: u64) -> String {
    format!("{}.{:06}", ps / 1_000_000, ps % 1_000_000)
}

/// The whole file. Names are written by a JSON writer, numbers as they are, so
/// that no tree of millions of values is built.
pub(super) fn json(network: &Network<'_>, jobs: &Jobs, events: &[Event], title: &str) -> String {
    let mut resources: Vec<(usize, Resource)> =
        jobs.resources.iter().copied().enumerate().collect();
    resources.sort_by_key(|(_, resource)| *resource);
    let mut lines = Vec::with_capacity(events.len() + 2 * resources.len());
    let mut last = 0;
    for (_, resource) in &resources {
        let (pid, tid) = (process(*resource), resource.number());
        if pid != last {
            last = pid;
            let kind = Value::from(resource.kind());
            lines.push(format!(
                r#"{{"name":"process_name","ph":"M","pid":{pid},"tid":0,"args":{{"name":{kind}}}}}"#
            ));
        }
        let name = Value::from(resource.to_string());
        lines.push(format!(
            r#"{{"name":"thread_name","ph":"M","pid":{pid},"tid":{tid},"args":{{"name":{name}}}}}"#
        ));
    }
    let names: Vec<String> = network
        .nodes
        .iter()
        .map(|node| {
            let name = &network.graph.layer(node.layer).name;
            Value::from(name.as_str()).to_string()
        })
        .collect();
    for event in events {
        let origin = jobs.origins[event.job as usize];
        let held = [jobs.jobs[event.job as usize].resource(), jobs.also(event.job)];
        for index in held.into_iter().flatten() {
            let resource = jobs.resources[index as usize];
            lines.push(format!(
                r#"{{"name":{name},"cat":"{task}","ph":"X","ts":{ts},"dur":{dur},"pid":{pid},"tid":{tid},"args":{{"input":{input},"layer":"{layer}","row":{row}}}}}"#,
                name = names[origin.node as usize],
                task = verb(origin.task),
                ts = us(event.start_ps),
                dur = us(jobs.duration_ps(event.job)),
                pid = process(resource),
                tid = resource.number(),
                input = event.input,
                layer = network.nodes[origin.node as usize].layer,
                row = origin.row,
            ));
        }
    }
    let title = Value::from(title);
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{{\"displayTimeUnit\":\"ns\",\"otherData\":{{\"made_by\":\"ohmc\",\"plan\":{title}}},\"traceEvents\":["
    );
    text.push_str(&lines.join(",\n"));
    text.push_str("\n]}\n");
    text
}
