//! How jobs come from a network: row by row through the stages of each layer,
//! every job waiting for those whose results it takes.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Job, Jobs, LIST, NONE, Origin, Task, n_granules};
use crate::entity::{PeId, StepId, TensorId};
use crate::graph::{AxisReach, LayerKind, LoopNest};
use crate::timing::clock::Clock;
use crate::timing::network::{
    CrossbarWork, Drive, Network, Node, NodeWork, extent, needed, needed_by, output_axis,
};
use crate::timing::resource::Resource;

/// When a tensor is there: a job for every run of indices along one axis.
#[derive(Debug, Clone)]
struct Rows {
    /// The axis, and how many indices each job but the last stands for; `None`
    /// where all of it comes at once.
    axis: Option<(usize, u64)>,
    jobs: Range<u32>,
    /// A job that waits for all of it, once somebody needs one.
    whole: Option<u32>,
}

pub(super) struct Builder<'a> {
    network: &'a Network<'a>,
    clock: &'a Clock,
    rows_at_once: u64,
    jobs: Vec<Job>,
    origins: Vec<Origin>,
    /// From, to.
    edges: Vec<(u32, u32)>,
    resources: BTreeMap<Resource, u32>,
    order: Vec<Resource>,
    tensors: BTreeMap<TensorId, Rows>,
    switching: BTreeMap<PeId, u64>,
    waves: Vec<(u32, StepId, Range<usize>)>,
    /// Index of every duration.
    durations: BTreeMap<u64, u32>,
    n_before: Vec<u32>,
    first: Vec<u32>,
    also: Vec<u32>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(network: &'a Network<'a>, clock: &'a Clock, rows_at_once: u64) -> Self {
        Self {
            network,
            clock,
            rows_at_once,
            jobs: Vec::new(),
            origins: Vec::new(),
            edges: Vec::new(),
            resources: BTreeMap::new(),
            order: Vec::new(),
            tensors: BTreeMap::new(),
            switching: BTreeMap::new(),
            waves: Vec::new(),
            durations: BTreeMap::new(),
            n_before: Vec::new(),
            first: Vec::new(),
            also: Vec::new(),
        }
    }

    /// All jobs of the network, node by node.
    pub(super) fn build(mut self) -> Jobs {
        for (index, node) in self.network.nodes.iter().enumerate() {
            self.node(index as u32, node);
        }
        self.finish()
    }

    fn node(&mut self, index: u32, node: &Node) {
        match &node.work {
            NodeWork::Crossbar(work) => self.crossbar(index, node, work),
            NodeWork::Digital { n_operations } => self.digital(index, node, *n_operations),
        }
    }

    fn crossbar(&mut self, index: u32, node: &Node, work: &CrossbarWork) {
        let nest = &work.nest;
        let n_rows = n_granules(work, self.rows_at_once);
        let extent = work.rows.map_or(1, |(_, extent)| extent);
        let positions_per_row = work.n_positions / extent.max(1);
        let counters =
            |row: u64| row * self.rows_at_once..extent.min((row + 1) * self.rows_at_once);
        let rows: Vec<Range<u64>> = (0..n_rows).map(counters).collect();
        let mut done = Vec::with_capacity(rows.len());
        for (row, counters) in rows.iter().enumerate() {
            let row = row as u32;
            let here = self.waiting(index, row, node, |axis| {
                needed(nest, work.rows.map(|(rows, _)| rows), axis, counters)
            });
            let operations = share(work.n_values, n_rows, row.into());
            let coded = self.limited(
                Some(Resource::Digital),
                self.clock.digital_ps(operations),
                Task::Encode,
                (index, row),
                here,
            );
            let fetched = work.fetched_bits.map(|bits| share(bits, n_rows, row.into()));
            let coded = self.limited(
                Some(Resource::Buffer),
                fetched.and_then(|bits| self.clock.buffer_ps(bits)),
                Task::FetchCodes,
                (index, row),
                coded,
            );
            let positions = counters.start * positions_per_row..counters.end * positions_per_row;
            let n_positions = positions.end - positions.start;
            let mut summed = Vec::new();
            for drive in &work.drives {
                let n = drive.positions.n_within(&positions);
                if n > 0 {
                    summed.push(self.drive((index, row), drive, work, n, coded));
                }
            }
            let operations = Clock::sum_operations(work, n_positions);
            let sum = self.push(None, 0, Task::Wait, (index, row), &summed);
            let sum = self.limited(
                Some(Resource::Digital),
                self.clock.digital_ps(operations),
                Task::Sum,
                (index, row),
                sum,
            );
            let bits = n_positions * work.n_columns * u64::from(work.bits);
            let stored = self.limited(
                Some(Resource::Buffer),
                self.clock.buffer_ps(bits),
                Task::StoreResults,
                (index, row),
                sum,
            );
            done.push(stored);
        }
        self.give(index, node, self.axis_given(nest, work, node), &done);
    }

    /// The axis along which a layer's rows are handed on.
    fn axis_given(
        &self,
        nest: &LoopNest,
        work: &CrossbarWork,
        node: &Node,
    ) -> Option<(usize, u64)> {
        let (rows, n) = work.rows?;
        let (axis, length) = output_axis(nest, rows)?;
        let extent = |&t| extent(self.network.graph, t, axis);
        let whole = node.outputs.iter().all(|t| extent(t).map(|e| e.div_ceil(length)) == Some(n));
        whole.then_some((axis, self.rows_at_once * length))
    }

    /// A row of positions through a group of tiles; gives its last job.
    fn drive(
        &mut self,
        at: (u32, u32),
        drive: &Drive,
        work: &CrossbarWork,
        n: u64,
        coded: u32,
    ) -> u32 {
        let clock = self.clock;
        let pe = drive.pe;
        let codes = Clock::code_bits(drive, work.bits, n);
        let (buffer, link) = (Some(Resource::Buffer), Some(clock.link_of(pe)));
        let fetched_ps = clock.buffer_ps(clock.fetched_bits(drive, work, n));
        let fetched = self.limited(buffer, fetched_ps, Task::FetchCodes, at, coded);
        let crossed = self.between_chips(pe, codes, Task::SendCodes, at, fetched);
        let sent = self.limited(link, clock.link_ps(codes), Task::SendCodes, at, crossed);
        let (core, issue_ps) = clock.issue(drive, n).unzip();
        let sent = self.limited(core, issue_ps, Task::Issue, at, sent);
        let own = self.resource(Resource::Pe(pe));
        let set = clock.rates.pes_per_adc_set;
        let (resource, also) = match set {
            0 | 1 => (own, None),
            set => (self.resource(Resource::Adcs(pe.0 / set)), Some(own)),
        };
        let driven = self.push(Some(resource), clock.drive_ps(drive, n), Task::Waves, at, &[sent]);
        if let Some(also) = also {
            self.also.resize(driven as usize, NONE);
            self.also.push(also);
        }
        if let Some(step) = drive.step {
            let first = u64::from(at.1) * self.rows_at_once;
            let rows = first as usize..(first + self.rows_at_once) as usize;
            self.waves.push((driven, step, rows));
        }
        let switching = clock.switch_ps(drive, n);
        if switching > 0 {
            *self.switching.entry(pe).or_default() += switching;
        }
        let adders = Some(Resource::ShiftAndAdd(pe));
        let added =
            self.limited(adders, clock.shift_and_add_ps(drive, n), Task::ShiftAndAdd, at, driven);
        let sums = clock.sum_bits(drive, n);
        let sent = self.limited(link, clock.link_ps(sums), Task::SendSums, at, added);
        self.between_chips(pe, sums, Task::SendSums, at, sent)
    }

    /// So many bits between a PE's chip and the first one.
    fn between_chips(
        &mut self,
        pe: PeId,
        bits: u64,
        task: Task,
        at: (u32, u32),
        after: u32,
    ) -> u32 {
        let (link, ps) = self.clock.chip_link(pe, bits).unzip();
        self.limited(link, ps, task, at, after)
    }

    fn digital(&mut self, index: u32, node: &Node, n_operations: u64) {
        let LayerKind::Digital(layer) = &self.network.graph.layer(node.layer).kind else { return };
        let axis = self.axis_kept(node, &layer.reach);
        let n_rows = axis.map_or(1, |(_, per, extent)| extent.div_ceil(per));
        let mut done = Vec::new();
        for row in 0..n_rows {
            let indices =
                axis.map_or(0..1, |(_, per, extent)| row * per..extent.min((row + 1) * per));
            let reach = |given: usize| match axis {
                Some((axis, ..)) if axis == given => {
                    layer.reach.get(given).map_or(0..u64::MAX, |r| needed_by(*r, &indices))
                }
                _ => 0..u64::MAX,
            };
            let here = self.waiting(index, row as u32, node, reach);
            let operations = share(n_operations, n_rows, row);
            done.push(self.limited(
                Some(Resource::Digital),
                self.clock.digital_ps(operations),
                Task::Digital,
                (index, row as u32),
                here,
            ));
        }
        self.give(index, node, axis.map(|(axis, per, _)| (axis, per)), &done);
    }

    /// The axis along which a digital layer's inputs come and it can give its
    /// result, in which runs, and its extent.
    fn axis_kept(&self, node: &Node, reach: &[AxisReach]) -> Option<(usize, u64, u64)> {
        let rows = node.inputs.iter().filter_map(|tensor| self.tensors.get(tensor));
        let (axis, _) = rows.clone().find_map(|rows| rows.axis)?;
        let given = reach.get(axis)?;
        if *given == AxisReach::All {
            return None;
        }
        let n_rows = rows
            .filter(|rows| rows.axis.is_some_and(|(own, _)| own == axis))
            .map(|rows| u64::from(rows.jobs.end - rows.jobs.start))
            .max()?;
        let output = *node.outputs.first()?;
        let extent = extent(self.network.graph, output, axis)?;
        (extent > 1).then(|| (axis, extent.div_ceil(n_rows.min(extent)), extent))
    }

    /// A job that waits for the rows of all inputs that it needs.
    fn waiting(
        &mut self,
        index: u32,
        row: u32,
        node: &Node,
        needs: impl Fn(usize) -> Range<u64>,
    ) -> u32 {
        let mut before = Vec::new();
        for tensor in &node.inputs {
            let Some(rows) = self.tensors.get(tensor).cloned() else { continue };
            let n = u64::from(rows.jobs.end - rows.jobs.start);
            let range = match rows.axis {
                Some((axis, per)) => {
                    let indices = needs(axis);
                    let first = (indices.start / per).min(n - 1);
                    let end = indices.end.div_ceil(per).clamp(first + 1, n);
                    first..end
                }
                None => 0..n,
            };
            if range == (0..n) && n > 1 {
                before.push(self.whole(*tensor, &rows));
            } else {
                before.extend(range.map(|row| rows.jobs.start + row as u32));
            }
        }
        before.sort_unstable();
        before.dedup();
        self.push(None, 0, Task::Wait, (index, row), &before)
    }

    /// The job that waits for all of a tensor.
    fn whole(&mut self, tensor: TensorId, rows: &Rows) -> u32 {
        if let Some(job) = rows.whole {
            return job;
        }
        let first = self.origins[rows.jobs.start as usize];
        let all: Vec<u32> = rows.jobs.clone().collect();
        let job = self.push(None, 0, Task::Wait, (first.node, first.row), &all);
        if let Some(rows) = self.tensors.get_mut(&tensor) {
            rows.whole = Some(job);
        }
        job
    }

    /// Says when the outputs of a node are there.
    fn give(&mut self, index: u32, node: &Node, axis: Option<(usize, u64)>, done: &[u32]) {
        for &tensor in &node.outputs {
            let start = self.jobs.len() as u32;
            match axis {
                Some(_) => {
                    for (row, &job) in done.iter().enumerate() {
                        self.push(None, 0, Task::Wait, (index, row as u32), &[job]);
                    }
                }
                None => {
                    self.push(None, 0, Task::Wait, (index, 0), done);
                }
            }
            let jobs = start..self.jobs.len() as u32;
            self.tensors.insert(tensor, Rows { axis, jobs, whole: None });
        }
    }

    /// A job on a resource, or the job before where the resource has no limit.
    fn limited(
        &mut self,
        resource: Option<Resource>,
        duration_ps: Option<u64>,
        task: Task,
        at: (u32, u32),
        before: u32,
    ) -> u32 {
        match (resource, duration_ps) {
            (Some(resource), Some(duration_ps)) if duration_ps > 0 => {
                let resource = self.resource(resource);
                self.push(Some(resource), duration_ps, task, at, &[before])
            }
            _ => before,
        }
    }

    fn resource(&mut self, resource: Resource) -> u32 {
        let next = self.order.len() as u32;
        *self.resources.entry(resource).or_insert_with(|| {
            self.order.push(resource);
            next
        })
    }

    fn push(
        &mut self,
        resource: Option<u32>,
        duration_ps: u64,
        task: Task,
        (node, row): (u32, u32),
        before: &[u32],
    ) -> u32 {
        let id = self.jobs.len() as u32;
        self.edges.extend(before.iter().map(|&job| (job, id)));
        let counter = match before.len() {
            0 => {
                self.first.push(id);
                NONE
            }
            1 => NONE,
            n => {
                self.n_before.push(n as u32);
                self.n_before.len() as u32 - 1
            }
        };
        let next = self.durations.len() as u32;
        let duration = *self.durations.entry(duration_ps).or_insert(next);
        let resource = resource.unwrap_or(NONE);
        self.jobs.push(Job { resource, duration, counter, next: NONE });
        self.origins.push(Origin { node, row, task });
        id
    }

    fn finish(mut self) -> Jobs {
        // Edges come by the job that they lead to; lists keep that order.
        let mut n_after = vec![0u32; self.jobs.len()];
        for &(from, to) in &self.edges {
            n_after[from as usize] += 1;
            self.jobs[from as usize].next = to;
        }
        let (mut list_ends, mut n_listed) = (Vec::new(), 0);
        // From here on where the next of a list goes.
        let mut place = n_after;
        for (job, n) in self.jobs.iter_mut().zip(&mut place) {
            let n_own = std::mem::replace(n, n_listed);
            if n_own > 1 {
                n_listed += n_own;
                job.next = LIST + list_ends.len() as u32;
                list_ends.push(n_listed);
            }
        }
        let mut lists = vec![0; n_listed as usize];
        for &(from, to) in &self.edges {
            let next = self.jobs[from as usize].next;
            if next != NONE && next >= LIST {
                lists[place[from as usize] as usize] = to;
                place[from as usize] += 1;
            }
        }
        let mut durations_ps = vec![0; self.durations.len()];
        for (&ps, &index) in &self.durations {
            durations_ps[index as usize] = ps;
        }
        Jobs {
            resources: self.order,
            jobs: self.jobs,
            origins: self.origins,
            durations_ps,
            n_before: self.n_before,
            first: self.first,
            also: self.also,
            switching: self.switching,
            waves: self.waves,
            rows_at_once: self.rows_at_once,
            list_ends,
            lists,
        }
    }
}

/// The part of a total that falls on one of `n`, so that all parts add up.
fn share(total: u64, n: u64, nth: u64) -> u64 {
    let bound = |nth: u64| (u128::from(total) * u128::from(nth) / u128::from(n.max(1))) as u64;
    bound(nth + 1) - bound(nth)
}
