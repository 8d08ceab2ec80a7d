//! `ohmc` compiles ONNX models to memristor arrays and runs the compiled
//! plans on a model of the chip.
pub mod chip;
pub mod compiler;
pub mod data;
pub mod diagnostic;
pub mod entity;
pub mod format;
pub mod frontend;
pub mod graph;
pub mod mapping;
pub mod quantize;
pub mod runtime;
pub mod schedule;
pub mod target;
pub mod tensor;
