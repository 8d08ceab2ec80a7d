//! The jobs of one input: which resource each takes for how long, and which
//! jobs it waits for.
//!
//! ```text
//! rows of the input tensor -> encode -> buffer, link -> PE -> shift-and-add, link -\
//!                                                       (every group of tiles)     sum -> buffer -> rows
//! ```
//!
//! A layer works row by row: a row is one turn of the outermost loop over its
//! output positions, or several turns where rows would be too many. A row is
//! begun when those rows of its inputs are there that it needs, which loop
//! nests and windows say, and it is handed on whole. Where an operator may
//! need anything, its result waits for all of its inputs: such a cut is a
//! barrier. Resources without limit make no job.

mod build;

use std::collections::BTreeMap;
use std::ops::Range;

use super::clock::Clock;
use super::network::{CrossbarWork, Network, Node, NodeWork};
use super::resource::Resource;
use crate::entity::{PeId, StepId};
use build::Builder;

/// More jobs than this are made fewer by handing on several rows at a time.
const JOBS_MAX: u64 = 1 << 20;

/// What a job does, for a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Wait,
    Encode,
    FetchCodes,
    SendCodes,
    Issue,
    Waves,
    ShiftAndAdd,
    SendSums,
    Sum,
    StoreResults,
    Digital,
}

/// One job. A simulation looks at a million of these in no order, so that they
/// are small; what else is known of a job is its [`Origin`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Job {
    /// Index of its resource, or `NONE`.
    resource: u32,
    /// Index of its duration.
    pub duration: u32,
    /// Index among those that wait for several, or `NONE`.
    counter: u32,
    /// The job that waits for it; `NONE`, or `LIST` and the index of a list of
    /// several.
    next: u32,
}

/// What a job is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    /// Index of its node.
    pub node: u32,
    /// Number of its row.
    pub row: u32,
    pub task: Task,
}

/// No index.
const NONE: u32 = u32::MAX;

/// Added to the index of a list; there are far fewer jobs than this.
const LIST: u32 = 1 << 31;

impl Job {
    /// Index of its resource; `None` for what takes no time.
    pub(super) fn resource(&self) -> Option<u32> {
        (self.resource != NONE).then_some(self.resource)
    }

    /// Its place in [`Jobs::n_before`]; `None` where it waits for no more than
    /// one job.
    pub(super) fn counter(&self) -> Option<usize> {
        (self.counter != NONE).then_some(self.counter as usize)
    }
}

/// All jobs of one input, an order in which they can be done.
#[derive(Debug)]
pub(super) struct Jobs {
    pub resources: Vec<Resource>,
    pub jobs: Vec<Job>,
    /// Of each job.
    pub origins: Vec<Origin>,
    /// How long jobs take: every duration once.
    pub durations_ps: Vec<u64>,
    /// Jobs that each of those waits for that wait for several.
    pub n_before: Vec<u32>,
    /// Jobs that wait for none.
    pub first: Vec<u32>,
    /// Time of multiplexers by resource index of their PE: part of the PE's.
    pub switching: BTreeMap<PeId, u64>,
    /// Rows handed on at a time.
    pub rows_at_once: u64,
    /// Jobs that drive tiles: the step of waves, and which of its rows.
    pub waves: Vec<(u32, StepId, Range<usize>)>,
    /// By job the PE that is held too, that of waves that wait for shared ADCs;
    /// empty where PEs have their own.
    also: Vec<u32>,
    /// Where each list of jobs that wait for the same one ends.
    list_ends: Vec<u32>,
    lists: Vec<u32>,
}

impl Jobs {
    pub(super) fn new(network: &Network<'_>, clock: &Clock) -> Self {
        let mut rows_at_once = 1;
        while n_jobs(network, clock, rows_at_once) > JOBS_MAX && rows_at_once < 1 << 20 {
            rows_at_once *= 2;
        }
        Builder::new(network, clock, rows_at_once).build()
    }

    /// Jobs that wait for this one.
    pub(super) fn after(&self, job: u32) -> &[u32] {
        let next = &self.jobs[job as usize].next;
        match *next {
            NONE => &[],
            list if list >= LIST => {
                let list = (list - LIST) as usize;
                let start = list.checked_sub(1).map_or(0, |before| self.list_ends[before]);
                &self.lists[start as usize..self.list_ends[list] as usize]
            }
            _ => std::slice::from_ref(next),
        }
    }

    /// How long a job takes.
    pub(super) fn duration_ps(&self, job: u32) -> u64 {
        self.durations_ps[self.jobs[job as usize].duration as usize]
    }

    /// Index of a PE that a job holds beside its resource.
    pub(super) fn also(&self, job: u32) -> Option<u32> {
        self.also.get(job as usize).copied().filter(|also| *also != NONE)
    }
}

/// About how many jobs there will be.
fn n_jobs(network: &Network<'_>, clock: &Clock, rows_at_once: u64) -> u64 {
    let rates = &clock.rates;
    let link = [rates.link_gb_per_s, rates.chip_link_gb_per_s];
    // Cores fetch once for all.
    let fetches = rates.buffer_gb_per_s.filter(|_| rates.pes_per_core <= 1);
    let limited = [link[0], link[0], link[1], link[1], fetches];
    let stages = 1
        + limited.iter().flatten().count()
        + usize::from(rates.shift_and_add_per_cycle.is_some())
        + usize::from(rates.issue_ns_per_wave > 0.0);
    let jobs = |node: &Node| match &node.work {
        NodeWork::Crossbar(work) => {
            let n_rows = n_granules(work, rows_at_once);
            // A replica works for rows of which it makes a position.
            let rows = work.drives.iter().map(|drive| match drive.positions.every {
                1 => n_rows * u64::from(drive.positions.n()) / work.n_positions.max(1) + 1,
                _ => n_rows.min(drive.positions.n().into()),
            });
            3 * n_rows + rows.map(|rows| rows * stages as u64).sum::<u64>()
        }
        NodeWork::Digital { .. } => 1,
    };
    network.nodes.iter().map(jobs).fold(0, u64::saturating_add)
}

/// Rows of a layer that are handed on.
fn n_granules(work: &CrossbarWork, rows_at_once: u64) -> u64 {
    work.rows.map_or(1, |(_, extent)| extent.div_ceil(rows_at_once))
}
