//! Executes plans: the arrays on a model of the chip, the rest beside them.
//!
//! The executor sees an execution plan, a chip, and the digital pieces of the
//! model; order, tiles, scales, zero points, ranges and waves are read from the
//! plan, never recomputed. Beside it stands the [`Reference`], which starts
//! from the quantised graph and multiplies integers the naive way: on an exact
//! chip both must agree bit for bit.

mod activity;
mod batch;
mod bundles;
mod crossbar;
pub mod digital;
mod encode;
mod error;
mod executor;
mod layout;
mod reference;
mod results;
mod stage;
mod stream;
mod watch;

pub use activity::ArrayEnergy;
pub use batch::batch_size;
pub(crate) use batch::{largest_tensor, n_batch};
pub use error::RunError;
pub use executor::Executor;
pub(crate) use executor::Flow;
pub(crate) use layout::{numbered, offsets, run_codes, strides};
pub use reference::Reference;
pub use stream::{Inputs, Model as FloatModel, Runs, for_each_batch};
pub use watch::InputEvents;
