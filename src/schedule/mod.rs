//! When each PE is driven, converted, accumulated, and what digital work
//! follows: the execution plan.
//!
//! The plan is the whole instruction for the runtime. Its steps are in an
//! order in which they can be executed; beside it stands when each one would
//! run on the chip, because PEs work at the same time where data allows.
//!
//! ```text
//! digital -> encode -> waves on pe0 ---\
//!                      waves on pe3 ----> sum -> digital -> ...
//! ```
//!
//! Times are counted in cycles: in one cycle a PE is driven with one bit-plane
//! and each of its ADCs makes the conversions the target allows.

mod build;
mod cuts;
mod effort;
mod plan;
mod print;
mod stage;
mod targets;
mod timing;
mod verify;

pub use build::{PlanParts, schedule};
pub(crate) use cuts::{Work, work};
pub use effort::Effort;
pub use plan::{
    AdcSetting, Counts, ExecutionPlan, MAX_PLANES, PlanLayer, PlanTile, Plane, Step, StepKind,
};
pub use print::plan_text;
pub use stage::{AnalogStage, StageObstacle, WindowAxis, analog_stage};
pub use targets::{Levels, PeTargets};
pub use verify::{PlanFault, verify};
