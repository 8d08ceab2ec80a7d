//! The event simulation: jobs of several inputs on the chip's resources.
//!
//! A resource does one job at a time and, when it is free, takes of the jobs
//! that could begin the one of the oldest input, of one input the first in the
//! order of the plan. Nothing is interrupted. At most so many inputs are on
//! the chip at once; the next comes when the oldest is done.

use std::collections::VecDeque;

use super::agenda::{Agenda, Line};
use super::jobs::{Jobs, Origin, Task};

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
    /// What each job still waits for, of those that wait for several.
    before: Vec<u32>,
    /// Jobs not done.
    n_left: u32,
}

/// Input and job, in the order in which a resource takes them.
fn key(input: u32, job: u32) -> u64 {
    u64::from(input) << 32 | u64::from(job)
}

fn input_and_job(key: u64) -> (u32, u32) {
    ((key >> 32) as u32, key as u32)
}

/// A resource.
struct Part {
    /// What it works at; `NO_KEY` where it is free.
    at_work: u64,
    /// The first job that waits for it, if any; the others are in line.
    first: u64,
    busy_ps: u64,
}

/// No input and job.
const NO_KEY: u64 = u64::MAX;

struct Simulation<'a, D> {
    jobs: &'a Jobs,
    /// How long a job takes, by input and job, and the lane of those that end
    /// in the order in which they began.
    duration: D,
    stream: Stream,
    now: u64,
    /// Inputs on the chip, the oldest first, and its number.
    inputs: VecDeque<InFlight>,
    oldest: u32,
    n_begun: u32,
    n_done: u32,
    /// By resource.
    parts: Vec<Part>,
    lines: Vec<Line>,
    /// Free resources that jobs wait for.
    touched: Vec<u32>,
    agenda: Agenda,
    /// Done jobs whose successors have not been told.
    told: Vec<u64>,
    run: Run,
}

/// Inputs that are all alike.
pub(super) fn simulate(jobs: &Jobs, n_nodes: usize, stream: Stream) -> Run {
    let lane_and_ps = |_, job: u32, _| {
        let lane = jobs.jobs[job as usize].duration;
        (lane, jobs.durations_ps[lane as usize])
    };
    run(jobs, n_nodes, stream, (jobs.durations_ps.len(), lane_and_ps))
}

/// Inputs of which each takes its own time, by input and job.
pub(super) fn simulate_each(
    jobs: &Jobs,
    n_nodes: usize,
    stream: Stream,
    duration_ps: impl Fn(u32, u32) -> u64,
) -> Run {
    // A resource does one job at a time, so that its own end in their order.
    let lane_and_ps = |input, job, resource| (resource, duration_ps(input, job));
    run(jobs, n_nodes, stream, (jobs.resources.len(), lane_and_ps))
}

/// Simulates, with so many lanes, and the lane and the duration of each input's
/// job on its resource.
fn run(
    jobs: &Jobs,
    n_nodes: usize,
    stream: Stream,
    (n_lanes, duration): (usize, impl Fn(u32, u32, u32) -> (u32, u64)),
) -> Run {
    let n = jobs.resources.len();
    let part = || Part { at_work: NO_KEY, first: NO_KEY, busy_ps: 0 };
    let mut simulation = Simulation {
        jobs,
        duration,
        stream,
        now: 0,
        inputs: VecDeque::new(),
        oldest: 0,
        n_begun: 0,
        n_done: 0,
        parts: std::iter::repeat_with(part).take(n).collect(),
        lines: std::iter::repeat_with(Line::default).take(n).collect(),
        touched: Vec::new(),
        agenda: Agenda::new(n_lanes),
        told: Vec::new(),
        run: Run { spans_ps: vec![None; n_nodes], ..Run::default() },
    };
    simulation.admit();
    simulation.dispatch();
    let mut ended = Vec::new();
    while let Some(now) = simulation.agenda.next(&mut ended) {
        simulation.now = now;
        // All that ends now is told before anything begins, so that what
        // begins does not depend on the order of what ends.
        for resource in ended.drain(..) {
            simulation.done(resource);
        }
        simulation.admit();
        simulation.dispatch();
    }
    simulation.run.busy_ps = simulation.parts.iter().map(|part| part.busy_ps).collect();
    simulation.run
}

impl<D: Fn(u32, u32, u32) -> (u32, u64)> Simulation<'_, D> {
    /// Lets inputs in, as many as may be on the chip.
    fn admit(&mut self) {
        loop {
            while self.inputs.front().is_some_and(|input| input.n_left == 0) {
                self.inputs.pop_front();
                self.oldest += 1;
            }
            // A later input may be done before an older one.
            let n_on_chip = self.n_begun - self.n_done;
            if self.n_begun == self.stream.n_inputs || n_on_chip >= self.stream.in_flight.max(1) {
                return;
            }
            let jobs = self.jobs;
            let n_left = jobs.jobs.len() as u32;
            self.inputs.push_back(InFlight { before: jobs.n_before.clone(), n_left });
            self.run.ends_ps.push(self.now);
            let input = self.n_begun;
            self.n_begun += 1;
            for &job in &jobs.first {
                self.ready(input, job);
            }
            self.tell();
        }
    }

    fn done(&mut self, resource: u32) {
        let part = &mut self.parts[resource as usize];
        self.told.push(std::mem::replace(&mut part.at_work, NO_KEY));
        if part.first != NO_KEY {
            self.touched.push(resource);
        }
        self.tell();
    }

    /// Tells those who wait; what takes no time is done at once.
    fn tell(&mut self) {
        while let Some(key) = self.told.pop() {
            let (input, job) = input_and_job(key);
            let nth = (input - self.oldest) as usize;
            let jobs = self.jobs;
            self.inputs[nth].n_left -= 1;
            if self.inputs[nth].n_left == 0 {
                self.run.ends_ps[input as usize] = self.now;
                self.n_done += 1;
            }
            for &next in jobs.after(job) {
                if let Some(counter) = jobs.jobs[next as usize].counter() {
                    let before = &mut self.inputs[nth].before[counter];
                    *before -= 1;
                    if *before > 0 {
                        continue;
                    }
                }
                self.ready(input, next);
            }
        }
    }

    fn ready(&mut self, input: u32, job: u32) {
        let key = key(input, job);
        let Some(resource) = self.jobs.jobs[job as usize].resource() else {
            self.told.push(key);
            return;
        };
        let part = &mut self.parts[resource as usize];
        if part.first == NO_KEY {
            part.first = key;
            if part.at_work == NO_KEY {
                self.touched.push(resource);
            }
        } else {
            let later = part.first.max(key);
            part.first = part.first.min(key);
            self.lines[resource as usize].add(later);
        }
    }

    /// Free resources take what waits for them.
    fn dispatch(&mut self) {
        if self.stream.trace {
            self.touched.sort_unstable();
        }
        let jobs = self.jobs;
        for resource in self.touched.drain(..) {
            let part = &mut self.parts[resource as usize];
            let key = part.first;
            let (input, id) = input_and_job(key);
            part.first = self.lines[resource as usize].take().unwrap_or(NO_KEY);
            part.at_work = key;
            let (lane, duration_ps) = (self.duration)(input, id, resource);
            let end = self.now.saturating_add(duration_ps);
            part.busy_ps += duration_ps;
            self.agenda.add(lane, end, resource);
            if let Some(also) = jobs.also(id) {
                self.parts[also as usize].busy_ps += duration_ps;
            }
            if input == 0 {
                let Origin { node, task, .. } = jobs.origins[id as usize];
                if matches!(task, Task::Waves | Task::Digital) {
                    let span = self.run.spans_ps[node as usize].get_or_insert((self.now, end));
                    *span = (span.0.min(self.now), span.1.max(end));
                }
            }
            if self.stream.trace {
                self.run.events.push(Event { input, job: id, start_ps: self.now });
            }
        }
    }
}
