//! The event simulation: jobs of several inputs on the chip's resources.
//!
//! A resource does one job at a time and, when it is free, takes of the jobs
//! that could begin the one of the oldest input, of one input the first in the
//! order of the plan. Nothing is interrupted. At most so many inputs are on
//! the chip at once; the next comes when the oldest is done.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::jobs::{Jobs, Task};

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    /// Inputs in all.
    pub n_inputs: u32,
    /// Inputs on the chip at once, at least 1.
    pub in_flight: u32,
    /// Whether every job is kept.
    pub trace: bool,
}

/// A job that was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    pub input: u32,
    pub job: u32,
    pub start_ps: u64,
}

/// What came out.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// When each input was done.
    pub ends_ps: Vec<u64>,
    /// How long each resource worked.
    pub busy_ps: Vec<u64>,
    /// First begin and last end of each node's waves or digital work, of the
    /// first input.
    pub spans_ps: Vec<Option<(u64, u64)>>,
    /// In the order in which jobs began; empty without a trace.
    pub events: Vec<Event>,
}

/// An input on the chip.
struct InFlight {
    /// Jobs that each job still waits for.
    before: Vec<u32>,
    /// Jobs not done.
    n_left: u32,
}

struct Simulation<'a, D> {
    jobs: &'a Jobs,
    /// How long a job takes, by input and job.
    duration_ps: D,
    stream: Stream,
    now: u64,
    /// Inputs on the chip, the oldest first, and its number.
    inputs: VecDeque<InFlight>,
    oldest: u32,
    n_begun: u32,
    /// Jobs that could begin, by resource: input, job.
    waiting: Vec<BinaryHeap<Reverse<(u32, u32)>>>,
    free: Vec<bool>,
    /// Resources that may begin a job.
    touched: Vec<u32>,
    /// Jobs at work: end, resource, input, job.
    working: BinaryHeap<Reverse<(u64, u32, u32, u32)>>,
    /// Done jobs whose successors have not been told.
    told: Vec<(u32, u32)>,
    run: Run,
}

/// Inputs that are all alike.
pub(super) fn simulate(jobs: &Jobs, n_nodes: usize, stream: Stream) -> Run {
    simulate_each(jobs, n_nodes, stream, |_, job| jobs.jobs[job as usize].duration_ps)
}

/// Inputs of which each takes its own time, by input and job.
pub(super) fn simulate_each(
    jobs: &Jobs,
    n_nodes: usize,
    stream: Stream,
    duration_ps: impl Fn(u32, u32) -> u64,
) -> Run {
    let n = jobs.resources.len();
    let mut simulation = Simulation {
        jobs,
        duration_ps,
        stream,
        now: 0,
        inputs: VecDeque::new(),
        oldest: 0,
        n_begun: 0,
        waiting: (0..n).map(|_| BinaryHeap::new()).collect(),
        free: vec![true; n],
        touched: Vec::new(),
        working: BinaryHeap::new(),
        told: Vec::new(),
        run: Run { busy_ps: vec![0; n], spans_ps: vec![None; n_nodes], ..Run::default() },
    };
    simulation.admit();
    simulation.dispatch();
    while let Some(&Reverse((end, ..))) = simulation.working.peek() {
        simulation.now = end;
        // All that ends now is told before anything begins, so that what
        // begins does not depend on the order of what ends.
        while let Some(&Reverse((at, resource, input, job))) = simulation.working.peek() {
            if at != end {
                break;
            }
            simulation.working.pop();
            simulation.free[resource as usize] = true;
            simulation.touched.push(resource);
            simulation.done(input, job);
        }
        simulation.admit();
        simulation.dispatch();
    }
    simulation.run
}

impl<D: Fn(u32, u32) -> u64> Simulation<'_, D> {
    /// Lets inputs in, as many as may be on the chip.
    fn admit(&mut self) {
        loop {
            while self.inputs.front().is_some_and(|input| input.n_left == 0) {
                self.inputs.pop_front();
                self.oldest += 1;
            }
            // A later input may be done before an older one.
            let n_on_chip = self.inputs.iter().filter(|input| input.n_left > 0).count();
            if self.n_begun == self.stream.n_inputs
                || n_on_chip >= self.stream.in_flight.max(1) as usize
            {
                return;
            }
            let before: Vec<u32> = self.jobs.jobs.iter().map(|job| job.n_before).collect();
            let ready: Vec<u32> =
                (0..before.len() as u32).filter(|&job| before[job as usize] == 0).collect();
            let n_left = before.len() as u32;
            self.inputs.push_back(InFlight { before, n_left });
            self.run.ends_ps.push(self.now);
            let input = self.n_begun;
            self.n_begun += 1;
            for job in ready {
                self.ready(input, job);
            }
            self.tell();
        }
    }

    fn done(&mut self, input: u32, job: u32) {
        self.told.push((input, job));
        self.tell();
    }

    /// Tells those who wait; what takes no time is done at once.
    fn tell(&mut self) {
        while let Some((input, job)) = self.told.pop() {
            let nth = (input - self.oldest) as usize;
            let jobs = self.jobs;
            self.inputs[nth].n_left -= 1;
            if self.inputs[nth].n_left == 0 {
                self.run.ends_ps[input as usize] = self.now;
            }
            for &next in jobs.after(job) {
                let before = &mut self.inputs[nth].before[next as usize];
                *before -= 1;
                if *before == 0 {
                    self.ready(input, next);
                }
            }
        }
    }

    fn ready(&mut self, input: u32, job: u32) {
        match self.jobs.jobs[job as usize].resource {
            Some(resource) => {
                self.waiting[resource as usize].push(Reverse((input, job)));
                self.touched.push(resource);
            }
            None => self.told.push((input, job)),
        }
    }

    /// Free resources take what waits for them.
    fn dispatch(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for &resource in &touched {
            if !self.free[resource as usize] {
                continue;
            }
            let Some(Reverse((input, id))) = self.waiting[resource as usize].pop() else {
                continue;
            };
            let job = &self.jobs.jobs[id as usize];
            let duration_ps = (self.duration_ps)(input, id);
            let end = self.now.saturating_add(duration_ps);
            self.free[resource as usize] = false;
            self.working.push(Reverse((end, resource, input, id)));
            for index in [Some(resource), job.also].into_iter().flatten() {
                self.run.busy_ps[index as usize] += duration_ps;
            }
            if input == 0 && matches!(job.task, Task::Waves | Task::Digital) {
                let span = self.run.spans_ps[job.node as usize].get_or_insert((self.now, end));
                *span = (span.0.min(self.now), span.1.max(end));
            }
            if self.stream.trace {
                self.run.events.push(Event { input, job: id, start_ps: self.now });
            }
        }
        touched.clear();
        self.touched = touched;
    }
}
