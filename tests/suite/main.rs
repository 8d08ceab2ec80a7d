//! The integration tests: what a user, or a law of the design, expects of the
//! whole pipeline.
//!
//! One binary, so that the library is linked once; a module a subject, each
//! opening with the sentence that says what belongs there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test that meets what it does not expect shall fail there and then, and says why"
)]

mod adapt;
mod batches;
mod cli;
mod conservation;
mod conversion;
mod determinism;
mod energy;
mod events;
mod exactness;
mod fast;
mod filling;
mod fitting;
mod frontend;
mod layering;
mod models;
mod onnx;
mod passes;
mod physics;
mod pipeline;
mod plan_edits;
mod rounding;
mod selftimed;
mod snapshots;
mod timing;
mod tuning;
mod wires;
mod zoo;
