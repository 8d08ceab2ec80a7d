//! The way from bytes to outputs that most tests take: what belongs here runs
//! the library's own stages, in their order, and decides nothing.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ohmc::chip::{self, Chip};
use ohmc::compiler::{self, Calibrator, CompileError, CompileOptions, Compiled};
use ohmc::data::{DataOptions, Files, InputSpec, ReadSeek};
use ohmc::frontend::{self, FrontendError, Model, ModelFiles};
use ohmc::quantize::Calibration;
use ohmc::runtime::{Executor, FloatModel, Reference, Runs};
use ohmc::target::{Override, Target, builtin};
use ohmc::tensor::{ElementType, Tensor, Values};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// Reads a model that needs no other files.
pub fn read(onnx: Vec<u8>) -> Result<Model, FrontendError> {
    let files = ModelFiles { onnx: Arc::new(onnx), ..Default::default() };
    frontend::read(&files, &Default::default(), "case.onnx")
}

/// A target that comes with ohmc, changed as by `--set`.
pub fn target(name: &str, sets: &[String]) -> Target {
    let sets: Vec<_> = sets.iter().map(|set| Override::parse(set).unwrap()).collect();
    Target::from_yaml(builtin(name).unwrap(), name, &sets).unwrap()
}

/// Random inputs of a model: `n` of them, or the model's own fixed batch.
/// Floats lie between `low` and `high`, integers are small.
pub fn inputs(model: &Model, n: usize, low: f32, high: f32, seed: u64) -> Vec<Tensor> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    model
        .inputs
        .iter()
        .map(|input| {
            let batch = input.has_batch.then_some(n);
            let shape: Vec<usize> = batch.into_iter().chain(input.shape.clone()).collect();
            let n_values: usize = shape.iter().product();
            let floats: Vec<f32> = (0..n_values).map(|_| random.random_range(low..=high)).collect();
            let floats = floats.into_iter();
            let values = match input.element_type {
                ElementType::F32 => Values::F32(floats.collect()),
                ElementType::F64 => Values::F64(floats.map(f64::from).collect()),
                ElementType::I64 => Values::I64(floats.map(|v| v as i64).collect()),
                ElementType::I32 => Values::I32(floats.map(|v| v as i32).collect()),
                ElementType::U8 => Values::U8(floats.map(|v| v as u8).collect()),
                ElementType::I8 => Values::I8(floats.map(|v| v as i8).collect()),
                ElementType::Bool => Values::Bool(floats.map(|v| v > 0.0).collect()),
            };
            Tensor::new(shape, values).unwrap()
        })
        .collect()
}

/// What the model's activations look like on these inputs.
pub fn calibrate(model: &Model, inputs: &[Tensor], n: u64) -> Calibration {
    let mut calibrator = Calibrator::new(model, "test inputs", n).unwrap().keeping_inputs();
    calibrator.add(inputs, n).unwrap();
    calibrator.finish()
}

/// A model on its way, with the inputs it was calibrated on.
pub struct Case {
    pub model: Model,
    pub target: Target,
    pub inputs: Vec<Tensor>,
    pub compiled: Compiled,
}

impl Case {
    /// Calibrates on the inputs that will be run, and compiles.
    pub fn new(
        model: Model,
        target: Target,
        options: &CompileOptions,
        inputs: Vec<Tensor>,
    ) -> Result<Self, CompileError> {
        let calibration = calibrate(&model, &inputs, 1);
        let compiled = compiler::compile(&model, &target, &calibration, options)?;
        Ok(Self { model, target, inputs, compiled })
    }

    pub fn program(&self, seed: u64) -> Chip {
        chip::program(&self.compiled.plan, &self.target, seed)
    }

    /// Outputs of the plan on this chip, input numbers from 0.
    pub fn run_on(&self, chip: &Chip) -> Vec<Tensor> {
        let executor = Executor::new(&self.compiled.plan, &self.model, chip).unwrap();
        executor.run(&self.inputs, 0).unwrap()
    }

    pub fn reference(&self) -> Vec<Tensor> {
        let reference = Reference::new(&self.model, &self.compiled.quantized).unwrap();
        reference.run(&self.inputs).unwrap()
    }

    /// Outputs of the model in floating point.
    pub fn float(&self) -> Vec<Tensor> {
        FloatModel::new(&self.model).unwrap().run(&self.inputs, 0).unwrap()
    }
}

/// Where two lists of tensors differ in a bit, in words; `None` for equal.
pub fn difference(left: &[Tensor], right: &[Tensor]) -> Option<String> {
    if left.len() != right.len() {
        return Some(format!("{} outputs and {}", left.len(), right.len()));
    }
    for (index, (left, right)) in left.iter().zip(right).enumerate() {
        if left.shape != right.shape {
            return Some(format!("output {index} has {:?} and {:?}", left.shape, right.shape));
        }
        match (left.as_f32(), right.as_f32()) {
            (Some(l), Some(r)) => {
                let differ = |i: &usize| l[*i].to_bits() != r[*i].to_bits();
                let n = (0..l.len()).filter(differ).count();
                if let Some(at) = (0..l.len()).find(differ) {
                    let (l, r) = (l[at], r[at]);
                    return Some(format!("output {index}: {n} values, [{at}] {l} and {r}"));
                }
            }
            _ if left.values != right.values => return Some(format!("output {index}")),
            _ => {}
        }
    }
    None
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A file of the data that is too large for the repository, if this machine
/// has it: below `OHMC_DATA`, or beside the repository.
pub fn data(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("OHMC_DATA").map_or_else(|| repository("../shared"), PathBuf::from);
    let path = root.join(path);
    path.exists().then_some(path)
}

/// The file system.
struct Disk;

impl Files for Disk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadSeek>> {
        Ok(Box::new(File::open(path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path()));
        let mut paths = entries.collect::<io::Result<Vec<PathBuf>>>()?;
        paths.sort();
        Ok(paths)
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}

/// The first `n` inputs of a data set in one batch, with their labels.
pub fn images(model: &Model, path: &Path, options: DataOptions, n: usize) -> (Tensor, Vec<u32>) {
    let specs: Vec<InputSpec> = model
        .inputs
        .iter()
        .map(|input| InputSpec {
            name: input.name.clone(),
            shape: input.shape.clone(),
            element_type: input.element_type,
        })
        .collect();
    let mut set = ohmc::data::open(&Disk, path, &options, &specs).unwrap();
    let batch = set.next_batch(n).unwrap().unwrap();
    (batch.inputs.into_iter().next().unwrap(), batch.labels.unwrap())
}

/// The network that comes with ohmc.
pub fn mcnn() -> Model {
    read(std::fs::read(repository("models/mcnn.onnx")).unwrap()).unwrap()
}

/// Digits that come with ohmc, with their labels.
pub fn digits(model: &Model, n: usize) -> (Tensor, Vec<u32>) {
    images(model, &repository("models/digits"), DataOptions::default(), n)
}

/// Rows `range` of a tensor.
pub fn rows(tensor: &Tensor, range: std::ops::Range<usize>) -> Tensor {
    let each = tensor.values.len() / tensor.shape[0];
    let values = &tensor.as_f32().unwrap()[range.start * each..range.end * each];
    let shape = [&[range.len()], &tensor.shape[1..]].concat();
    Tensor::f32(shape, values.to_vec()).unwrap()
}

/// The largest value that is wanted, and the largest error.
pub fn largest_and_error(found: &Tensor, wanted: &Tensor) -> (f32, f32) {
    assert_eq!(found.shape, wanted.shape);
    let (found, wanted) = (found.as_f32().unwrap(), wanted.as_f32().unwrap());
    let largest = wanted.iter().fold(0f32, |max, v| max.max(v.abs()));
    let error = found.iter().zip(wanted).fold(0f32, |max, (a, b)| max.max((a - b).abs()));
    (largest, error)
}

/// The largest error beside the largest value.
pub fn relative_error(found: &Tensor, wanted: &Tensor) -> f32 {
    let (largest, error) = largest_and_error(found, wanted);
    if error == 0.0 { 0.0 } else { error / largest }
}
