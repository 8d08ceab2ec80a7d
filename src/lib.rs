//! `ohmc` compiles ONNX models to memristor arrays, as rustc or llc compile
//! programs to processors, and runs what it compiled on a model of the chip.
//!
//! # The pipeline
//!
//! ```text
//! model.onnx --frontend--> LayerGraph --quantize, refine--> integers --mapping--> Mapping --schedule--> ExecutionPlan
//!                                                                                                    |
//! target.yaml --> Target (second argument of every stage, never stored inside one)                   v
//!                          data --> runtime: the plan on a Chip, digital stages beside it --> outputs
//!                                       Chip = the plan programmed into cells, with what real cells do
//! ```
//!
//! | folder | from | to | text form |
//! |---|---|---|---|
//! | [`frontend`] | an ONNX file | [`LayerGraph`]: crossbar layers (a constant matrix times an activation) and digital layers (all else) | |
//! | [`graph`] | | what is computed, its order, its verifier | `--emit graph` |
//! | [`quantize`] | [`Calibration`], weights | levels, scales, input codes | `--emit graph` |
//! | [`refine`] | those, the calibration's inputs | the same, rounded by what errors do together | `--emit graph` |
//! | [`mapping`] | matrices | [`mapping::Mapping`]: how many positions a wave makes, where each weight sits | `--emit mapping` |
//! | [`optimize`] | graph, target | the same, with replicas that fill the chip | `--emit mapping` |
//! | [`schedule`] | mapping, integers | [`ExecutionPlan`]: when each PE is driven, converted, accumulated | `--emit plan` |
//! | [`timing`] | plan, target | latency, throughput, what they wait for | `ohmc report` |
//! | [`chip`] | plan, seed | [`Chip`]: what the cells really hold, and what is read from them | `ohmc report` of a `.chip` |
//! | [`runtime`] | plan, chip, data | outputs; [`Reference`], the integer oracle | |
//! | [`adapt`] | plan, cells known to be off, inputs | targets that make up for them; chips written with few pulses | `--adapt`, `--fast` |
//! | [`compiler`] | | the pipeline, read top to bottom | |
//! | [`tuning`] | chip, inputs, labels | the same chip, trained by pulses; or set right without labels | `ohmc report` of a `.chip` |
//! | [`fit`] | a bound on what is lost | bits of every layer, by compiling and looking | |
//!
//! Around it: [`target`] (chip descriptions), [`data`] (data sets in, arrays
//! out), [`mod@format`] (files of our own: plans, chips, calibrations), [`report`]
//! (what a plan takes of a chip, what programming took), [`diagnostic`] (what a user is told), [`entity`]
//! (ids and tables), [`tensor`]. The command line is in
//! `main.rs` and `cli/`, one file a command; it alone opens files and prints.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use ohmc::{CompileOptions, Executor, Target, compile, frontend};
//!
//! let files = frontend::ModelFiles { onnx: std::fs::read("mcnn.onnx")?.into(), ..Default::default() };
//! let model = frontend::read(&files, &Default::default(), "mcnn.onnx")?;
//! let yaml = ohmc::target::builtin("yao2020-chip").ok_or("no such target")?;
//! let target = Target::from_yaml(yaml, "yao2020-chip", &[])?;
//! let calibration = ohmc::Calibrator::new(&model, "nothing yet", 1)?.finish();
//! let compiled = compile(&model, &target, &calibration, &CompileOptions::default())?;
//! let chip = ohmc::chip::program(&compiled.plan, &target, 0);
//! let executor = Executor::new(&compiled.plan, &model, &chip)?;
//! # Ok(()) }
//! ```
//!
//! # What holds
//!
//! 1. On the `ideal` target the runtime equals the integer reference bit for
//!    bit. `ideal` takes the same kernel as any target, plane by plane and
//!    conversion by conversion. The reference starts from the quantised graph,
//!    never from the plan, and shares only the digital stages.
//! 2. Output is a pure function of model, target, options, data and seed: the
//!    same bytes for any number of threads. Noise comes from counter-based
//!    streams keyed by seed, input, PE, step, position, plane and line. Hash
//!    maps are not iterated, and text is in canonical order.
//! 3. tract is named in two places only: [`frontend`] and
//!    [`runtime::digital`].
//! 4. Library modules neither print nor open files: they take readers, or a
//!    [`data::Files`].
//! 5. Formats on disk have their own types; internal types derive none.
//! 6. Each intermediate form has a verifier whose documentation is the list
//!    of its invariants, and which reports every broken one at once. All run
//!    in every compilation, and the plan's on every load.
//! 7. Physics in floating point lives in [`chip`] and calibration; mapping and
//!    schedule compute in integers.
//!
//! `tests/suite/layering.rs` holds 3, 4 and who may use whom.
//!
//! # Words
//!
//! | word | means |
//! |---|---|
//! | PE | one array with its periphery: input lines driven, output lines sensed |
//! | weight tile | the piece of a layer's matrix that sits in one place of one PE |
//! | pair | the two cells, or the two output lines, of a signed weight |
//! | plane | one bit of all inputs of a wave |
//! | wave | one output position, or a window of them, driven through a tile |
//! | conversion | one ADC reading of one line or pair |
//! | digital stage | what runs beside the arrays: pooling, activation, sums, anything else |
//! | level, code | the integer of a weight, of an input |
//!
//! Inputs are rows, outputs are columns: `weights[input][output]`, everywhere.
//! Currents are in uS: divided by the read voltage, they are sums of
//! conductances. Units are in names.

pub mod adapt;
pub mod chip;
pub mod compiler;
pub mod data;
pub mod diagnostic;
pub mod entity;
pub mod fit;
pub mod format;
pub mod frontend;
pub mod graph;
pub mod mapping;
pub mod optimize;
pub mod quantize;
pub mod refine;
pub mod report;
pub mod runtime;
pub mod schedule;
pub mod target;
pub mod tensor;
pub mod timing;
pub mod tuning;

pub use chip::Chip;
pub use compiler::{Calibrator, CompileOptions, Compiled, compile};
pub use diagnostic::Diagnostic;
pub use frontend::Model;
pub use graph::LayerGraph;
pub use quantize::Calibration;
pub use report::Report;
pub use runtime::{Executor, Reference};
pub use schedule::ExecutionPlan;
pub use target::Target;
pub use tensor::Tensor;
