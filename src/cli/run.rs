//! `ohmc run`: a plan is executed, its outputs are kept.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use ohmc::data::{DataOptions, NpyWriter};
use ohmc::runtime::{ArrayEnergy, Executor, for_each_batch};
use ohmc::tensor::{ElementType, Tensor, Values, are_scores, top_class};
use serde_json::{Value, json};

use super::chips::{Bench, Making, Reading};
use super::error::CliError;
use super::items::by_item;
use super::options::{Compilation, Format, Preprocessing, Seed, Selection, Threads};
use super::output::{self, Output, counted};
use super::prepare::Prepared;
use super::progress::Progress;
use super::request::Request;
use super::score::numbers;
use super::{energy, files};

/// Values of the first input that the summary shows.
const SHOWN_VALUES: usize = 10;

/// Inputs whose class the summary shows.
const SHOWN_CLASSES: usize = 10;

/// Run data through a plan on a chip
///
/// The plan is programmed into a chip, with the errors that its cells make,
/// and every input runs through it. Outputs are printed in short, and kept as
/// `.npy` with `-o`, the first axis counting inputs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Run {
    /// ONNX model, a plan that `ohmc compile` wrote, or a chip that `ohmc
    /// program` wrote.
    #[arg(value_name = "MODEL|PLAN|CHIP")]
    subject: PathBuf,

    /// Inputs: .npy, .npz, IDX, CIFAR-10 binary, PNG, JPEG, or a folder.
    #[arg(long, value_name = "DATA")]
    input: PathBuf,

    /// Write outputs to this `.npy`; of several outputs each to its own,
    /// `out.NAME.npy` for `out.npy`.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Count the energy that the arrays draw by the physics of their cells.
    #[arg(long)]
    energy: bool,

    /// How the summary is printed.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,

    #[command(flatten)]
    selection: Selection,

    #[command(flatten)]
    seed: Seed,

    #[command(flatten)]
    reading: Reading,

    #[command(flatten)]
    making: Making,

    #[command(flatten)]
    preprocessing: Preprocessing,

    #[command(flatten)]
    compilation: Compilation,

    #[command(flatten)]
    threads: Threads,
}

const EXAMPLES: &str = "\
Examples:
  ohmc run mcnn.plan --input digits.npy -o logits.npy
  ohmc run mcnn.chip --input digits.npy --at 1h --only drift -o drifted.npy
  ohmc run models/mcnn.onnx --target yao2020-chip --calibrate models/digits --input digit.png
  ohmc run detector.plan --input images/ --output boxes -o boxes.npy --limit 100 --seed 7";

impl Run {
    /// Runs the command.
    pub fn execute(&self) -> Result<(), CliError> {
        self.threads.set()?;
        let prepared = Request {
            file: &self.subject,
            compilation: &self.compilation,
            preprocessing: &self.preprocessing,
            data: Some(&self.input),
            measures: false,
            adapts: self.making.knowing.looks_at_inputs(),
            fresh: None,
            out: self.out.as_deref(),
        }
        .prepare()?;
        let mut kept = self.kept(&prepared)?;
        let (n_inputs, drawn) = self.run(&prepared, &mut kept)?;
        for output in &mut kept {
            output.finish()?;
        }
        match self.format {
            Format::Text => {
                let energy = drawn.map_or(String::new(), |e| energy::text(&[&e], &prepared));
                output::print(&(text(&prepared, n_inputs, &kept) + &energy))
            }
            Format::Json => {
                let mut json = json!({
                    "images": n_inputs,
                    "target": prepared.target.name,
                    "seed": self.seed.seed,
                    "preprocessing": prepared.preprocess.describe(),
                    "outputs": kept.iter().map(Kept::json).collect::<Vec<_>>(),
                });
                if let Some(drawn) = drawn {
                    json["energy"] = energy::json(&[&drawn], &prepared);
                }
                output::print_json(&json)
            }
        }
    }

    /// The outputs that are wanted, each with its file begun.
    fn kept(&self, prepared: &Prepared) -> Result<Vec<Kept>, CliError> {
        let chosen = self.selection.outputs(&prepared.model)?;
        let mut taken = BTreeSet::new();
        chosen
            .iter()
            .map(|&index| {
                let name = prepared.model.outputs.get(index).cloned().unwrap_or_default();
                let path = self.out.as_deref().map(|path| match chosen.len() {
                    1 => path.to_path_buf(),
                    _ => named(path, &name, index, &mut taken),
                });
                let file = path.as_deref().map(Output::create).transpose()?;
                Ok(Kept { index, name, path, file, writer: None, row: None, first: Vec::new() })
            })
            .collect()
    }

    /// Runs everything; gives the number of inputs, and what the arrays drew.
    fn run(
        &self,
        prepared: &Prepared,
        kept: &mut [Kept],
    ) -> Result<(u64, Option<ArrayEnergy>), CliError> {
        let options = DataOptions {
            limit: self.selection.limit,
            preprocess: prepared.preprocess.clone(),
            ..DataOptions::default()
        };
        let items = &prepared.items;
        let mut data = items.open(&self.input, &options)?;
        let bench = Bench::new(prepared, &self.compilation, &self.reading, &self.making)?;
        let chip = bench.chip(self.seed.seed)?;
        let executor = Executor::new(&prepared.plan, &prepared.model, &chip)?;
        let executor = if self.energy { executor.counting_energy() } else { executor };
        let progress = Progress::start("running", data.len());
        let mut n_inputs = 0;
        for_each_batch(
            &executor,
            || Ok(items.next(&mut data)?.map(|batch| (batch.inputs, batch.n))),
            |n, mut outputs: Vec<Tensor>| -> Result<(), CliError> {
                for output in kept.iter_mut() {
                    let empty = Tensor { shape: vec![0], values: Values::F32(Vec::new()) };
                    let whole = outputs.get_mut(output.index);
                    let tensor = whole.map_or(empty.clone(), |t| std::mem::replace(t, empty));
                    output.add(by_item(tensor, n), n)?;
                }
                n_inputs += n as u64;
                progress.advance(n as u64);
                Ok(())
            },
        )?;
        let drawn = self.energy.then(|| executor.array_energy(&chip, &prepared.target.cell));
        Ok((n_inputs, drawn))
    }
}

/// `out.npy` for output `boxes` becomes `out.boxes.npy`; what a file's name
/// cannot hold is left out, and what then is taken gets the output's number.
fn named(path: &Path, output: &str, index: usize, taken: &mut BTreeSet<String>) -> PathBuf {
    let plain: String = output
        .chars()
        .map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' })
        .take(100)
        .collect();
    let mut name = plain.trim_matches('.').to_string();
    if name.is_empty() || !taken.insert(name.to_lowercase()) {
        name = format!("{name}{index}");
        taken.insert(name.to_lowercase());
    }
    let extension = path.extension().map_or("npy".into(), |e| e.to_string_lossy().into_owned());
    path.with_extension(format!("{name}.{extension}"))
}

/// An output that is kept.
struct Kept {
    index: usize,
    name: String,
    path: Option<PathBuf>,
    /// Begun, and not yet written to.
    file: Option<Output>,
    writer: Option<NpyWriter<Output>>,
    /// Shape of one item, and type: known after the first batch.
    row: Option<(Vec<usize>, ElementType)>,
    /// The first items.
    first: Vec<Vec<f64>>,
}

impl Kept {
    /// Takes the output of a batch of `n` items.
    fn add(&mut self, tensor: Tensor, n: usize) -> Result<(), CliError> {
        let row = tensor.shape.get(1..).unwrap_or_default().to_vec();
        let element_type = tensor.values.element_type();
        let n_values = tensor.values.len() / n.max(1);
        let shown = SHOWN_CLASSES.saturating_sub(self.first.len());
        if shown > 0 && n_values > 0 {
            let values = numbers(&tensor.values);
            self.first.extend(values.chunks(n_values).take(shown).map(<[f64]>::to_vec));
        }
        let name = self.path.as_deref().map(files::name).unwrap_or_default();
        let failed = |source| CliError::Write { file: name.clone(), source };
        if let Some(file) = self.file.take() {
            self.writer = Some(NpyWriter::new(file, element_type, &row).map_err(failed)?);
        }
        if let Some(writer) = &mut self.writer {
            writer.append(&tensor).map_err(failed)?;
        }
        self.row.get_or_insert((row, element_type));
        Ok(())
    }

    fn finish(&mut self) -> Result<(), CliError> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let name = self.path.as_deref().map(files::name).unwrap_or_default();
        writer.finish().map_err(|source| CliError::Write { file: name, source })?.finish()
    }

    /// `f32 [10]`.
    fn kind(&self) -> String {
        match &self.row {
            Some((row, element_type)) => format!("{element_type} {row:?}"),
            None => String::new(),
        }
    }

    /// The classes of the first inputs, where the output looks like scores.
    fn classes(&self) -> Option<Vec<usize>> {
        let (row, _) = self.row.as_ref()?;
        if !are_scores(row) {
            return None;
        }
        self.first.iter().map(|scores| top_class(scores)).collect()
    }

    fn json(&self) -> Value {
        let (row, element_type) = match &self.row {
            Some((row, element_type)) => (json!(row), json!(element_type.to_string())),
            None => (Value::Null, Value::Null),
        };
        json!({
            "name": self.name,
            "type": element_type,
            "shape": row,
            "file": self.path.as_deref().map(files::name),
        })
    }
}

fn text(prepared: &Prepared, n_inputs: u64, kept: &[Kept]) -> String {
    let mut text = format!(
        "{} through {} on {}\n",
        counted(n_inputs, "input"),
        prepared.file,
        prepared.target.name
    );
    for output in kept {
        text += &format!("output `{}`: {} an input", output.name, output.kind());
        text += &match &output.path {
            Some(path) => format!(", in {}\n", files::name(path)),
            None => "\n".to_string(),
        };
        if let Some(first) = output.first.first() {
            let values: Vec<String> =
                first.iter().take(SHOWN_VALUES).map(|x| (*x as f32).to_string()).collect();
            let more = if first.len() > SHOWN_VALUES { " ..." } else { "" };
            text += &format!("  input 0: {}{more}\n", values.join(" "));
        }
        if let Some(classes) = output.classes() {
            let classes: Vec<String> = classes.iter().map(ToString::to_string).collect();
            let more = if n_inputs > classes.len() as u64 { " ..." } else { "" };
            text += &format!("  largest at: {}{more}\n", classes.join(" "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    //! Files of several outputs are told apart.

    use super::*;

    #[test]
    fn each_output_has_a_file_of_its_own() {
        let mut taken = BTreeSet::new();
        let mut file = |output, index| named(Path::new("a/out.npy"), output, index, &mut taken);
        assert_eq!(file("boxes", 0), Path::new("a/out.boxes.npy"));
        assert_eq!(file("../x/y:0", 1), Path::new("a/out._x_y_0.npy"));
        assert_eq!(file("Boxes", 2), Path::new("a/out.Boxes2.npy"));
        assert_eq!(file("", 3), Path::new("a/out.3.npy"));
    }
}
