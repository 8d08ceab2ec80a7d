//! What the command line says of its own errors: what is wrong, where, and the way
//! out.

use std::io;

use ohmc::compiler::CompileError;
use ohmc::diagnostic::{Diagnostic, nearest};
use ohmc::mapping::MappingError;
use ohmc::target::builtin_names;

use super::CliError;

impl CliError {
    /// The one complaint of an error that is the command line's own.
    pub(super) fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Read { file, what, source } => {
                Diagnostic::error(format!("cannot read {what} `{file}`: {source}"))
            }
            Self::NotText { file, what, position } => {
                Diagnostic::error(format!("{what} `{file}` is no text"))
                    .note(format!("byte {position} is not UTF-8"))
            }
            Self::Write { file, source } => {
                let diagnostic = Diagnostic::error(format!("cannot write `{file}`: {source}"));
                match source.kind() {
                    io::ErrorKind::NotFound => {
                        diagnostic.help("make its folder first, or choose one that is there")
                    }
                    _ => diagnostic,
                }
            }
            Self::Print(source) => {
                Diagnostic::error(format!("cannot write to standard output: {source}"))
            }
            Self::Scratch(source) => {
                let folder = std::env::temp_dir();
                Diagnostic::error(format!("cannot keep outputs to compare with: {source}"))
                    .at(folder.display().to_string(), "")
                    .help("name a folder with more room in `TMPDIR`")
            }
            Self::UnknownTarget { name } => unknown_target(name),
            Self::NoTarget { file } => {
                Diagnostic::error("a model needs `--target`, the chip to compile it for")
                    .at(file, "")
                    .help("`ohmc targets` lists those that are built in")
            }
            Self::BelongsToModel { file, options } => {
                let (options, verb) = (list(options), if options.len() > 1 { "do" } else { "does" });
                Diagnostic::error(format!("{options} {verb} not apply to a plan"))
                    .at(file, "")
                    .note("a plan is compiled already, with the options given then")
                    .help("give the model instead of the plan, or leave this out")
            }
            Self::NotQuick { options } => {
                let (options, verb) = (list(options), if options.len() > 1 { "do" } else { "does" });
                Diagnostic::error(format!("{options} {verb} not apply to `--quick`"))
                    .note("neither weights nor inputs are looked at")
                    .help("leave this out, or leave out `--quick`")
            }
            Self::NotDistilled { options } => {
                let (options, verb) = (list(options), if options.len() > 1 { "do" } else { "does" });
                Diagnostic::error(format!("{options} {verb} not apply to this `--calibrate`"))
                    .note("gains and offsets are found in one pass, without steps down a gradient")
                    .help("leave this out, or give `--calibrate=distilled`")
            }
            Self::NoReference { file } => Diagnostic::error("`--reference` needs a model, not a plan")
                .at(file, "")
                .note("the reference must owe nothing to the plan that it is to check")
                .help("give the model, with the options that the plan was compiled with"),
            Self::IsPlan { file } => {
                Diagnostic::error(format!("`{file}` is a plan, compiled already"))
                    .at(file, "")
                    .help("`ohmc report` shows it, `ohmc run` and `ohmc eval` execute it")
            }
            Self::IsChip { file } => {
                Diagnostic::error(format!("`{file}` is a chip, programmed already"))
                    .at(file, "")
                    .help("program the plan that it was made from, with another `--seed`")
            }
            Self::NotChip { file, because } => {
                Diagnostic::error(format!("`{file}` is not a chip"))
                    .at(file, "")
                    .note(*because)
                    .help("program one with `ohmc program PLAN|MODEL -o X.chip`")
            }
            Self::NoLabels { file } => {
                Diagnostic::error("there are no labels to learn from")
                    .at(file, "no labels")
                    .help("give them with `--labels`, or take `--calibrate`, which needs none")
            }
            Self::NoSamples { file } => {
                Diagnostic::error("there are no samples to tune on")
                    .at(file, "")
                    .help("give more data, or take more of it with `--samples`")
            }
            Self::OtherChip { file, differences } => {
                let error = Diagnostic::error(format!("the plan cannot be written over `{file}`"));
                let error = error.at(file, "");
                let error = differences.iter().fold(error, |error, text| error.note(text.clone()));
                error.help("compile for the target of that chip, or leave `--from` out")
            }
            Self::Programmed { file, options } => {
                let (options, verb) = (list(options), if options.len() > 1 { "do" } else { "does" });
                Diagnostic::error(format!("{options} {verb} not apply to a chip"))
                    .at(file, "")
                    .note("it is programmed already, with the faults that it has")
                    .help("give its plan instead, or `ohmc program` a new chip")
            }
            Self::NoChipRead { options } => {
                Diagnostic::error(format!("{}: no chip is read here", list(options)))
                    .note("effects and times are those of a chip when it is read")
                    .help("give them to `ohmc run` or `ohmc eval`, or to `ohmc report` with a chip")
            }
            Self::NoDrift { target } => {
                Diagnostic::error(format!("cells of `{target}` do not drift"))
                    .at(target, "`cell.drift`")
                    .help("give `cell.drift` in the target, or leave `--at` out")
            }
            Self::NoDisturb { target } => {
                Diagnostic::error(format!("`{target}` does not say what readings do to cells"))
                    .at(target, "`cell.read_disturb`")
                    .help("give `cell.read_disturb` in the target, or leave `--reads` out")
            }
            Self::NoPulses { target, option } => {
                Diagnostic::error(format!("`{option}`: `{target}` does not say what pulses do"))
                    .at(target, "`cell.pulses`")
                    .help("`ohmc targets yao2020-chip` prints a target that has `cell.pulses`")
            }
            Self::FaultMap { file, reason } => {
                Diagnostic::error(format!("`{file}` is not a fault map of this chip"))
                    .at(file, "")
                    .note(reason.clone())
                    .help(
                        "save `[pe][input][output]` of every PE of the chip as u1: 0 works, \
                         1 stuck high, 2 stuck low, 3 dead",
                    )
            }
            Self::OtherPreprocessing { file, options, planned } => {
                Diagnostic::error(format!("{} is not as in the plan", list(options)))
                    .at(file, "")
                    .note(format!("the plan was compiled for: {planned}"))
                    .help("leave it out, or compile the model again with other preprocessing")
            }
            Self::Floorplan { file, reason } => {
                let diagnostic =
                    Diagnostic::error(format!("`{file}` is not a floorplan: {reason}"));
                match position(reason) {
                    Some(position) => diagnostic.at_position(file, position, ""),
                    None => diagnostic.at(file, ""),
                }
                .help("its form: `layers: {NAME: {slice_inputs: 9, replicas: 2, spots: [1, 3]}}`")
            }
            Self::CalibratesOnEvaluated { file } => {
                Diagnostic::error(format!("`{file}` is what is evaluated"))
                    .note("what is calibrated on must not be evaluated, and it has no training part")
                    .help("name other data, or leave `--calibrate` out for synthetic inputs")
            }
            Self::UnknownOutput { name, known } => {
                let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
                let diagnostic = Diagnostic::error(format!("the model has no output `{name}`"))
                    .note(format!("it has {}", names.join(", ")));
                match nearest(name, known.iter().map(String::as_str)) {
                    Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                    None => diagnostic,
                }
            }
            Self::Label { file, input, label, output, n_classes } => Diagnostic::error(format!(
                "input {input} has the label {label}, the model has {n_classes} classes"
            ))
            .at(file, format!("input {input}"))
            .note(format!("output `{output}` gives {n_classes} scores an input, 0 to {}", n_classes.saturating_sub(1)))
            .help("choose the output with `--output`, or give the labels that belong to this model with `--labels`"),
            Self::NothingToCompare { file } => {
                Diagnostic::error("there is nothing to compare the outputs with")
                    .at(file, "no labels")
                    .help("give `--labels`, or leave `--no-float` out")
            }
            Self::TooManyPoints { n_points, most } => {
                Diagnostic::error(format!("`--vary` makes {n_points} points, at most {most} are explored"))
                    .help("vary fewer keys at a time, or in greater steps")
            }
            Self::NothingToScore { file } => {
                Diagnostic::error("no accuracy can be measured on the data")
                    .at(file, "labels")
                    .note("it takes class numbers, and an output with a score for each class")
                    .help("leave `--data` out to explore time and energy alone")
            }
            Self::NotPoints { file, line, reason } => {
                Diagnostic::error(format!("line {line} of `{file}` is no point of an exploration"))
                    .at(file, format!("line {line}"))
                    .note(reason.clone())
                    .help("give `-o` a new file")
            }
            Self::OtherPoints { file } => {
                Diagnostic::error(format!("`{file}` holds points of another exploration"))
                    .at(file, "")
                    .note("model, target, options, data or ohmc were others")
                    .help("give `-o` a new file, or the options that its points were made with")
            }
            Self::SameFile { file, options: [one, other] } => {
                Diagnostic::error(format!("`{one}` and `{other}` name one file, `{file}`"))
                    .help("give each a name of its own")
            }
            Self::Threads { n_threads, reason } => {
                let threads = match n_threads {
                    0 => "threads".to_string(),
                    n => format!("{n} threads"),
                };
                Diagnostic::error(format!("the system gives no {threads}: {reason}"))
                    .help("try fewer with `--threads`")
            }
            Self::Crash(crash) => {
                let place = match crash.place.as_str() {
                    "" => String::new(),
                    place => format!(" at {place}"),
                };
                let diagnostic = Diagnostic::error(format!("ohmc stopped: {}", crash.message))
                    .note(format!("ohmc {}{place}", ohmc::format::OHMC_VERSION));
                let diagnostic = match &crash.backtrace {
                    Some(backtrace) => diagnostic.note(format!("backtrace\n{backtrace}")),
                    None => diagnostic,
                };
                diagnostic.help("this is a bug in ohmc; please report it with the command and the model")
            }
            // The library's, which `diagnostics` has said.
            error => Diagnostic::error(error.to_string()),
        }
    }
}

/// Where in the user's files a model that does not compile is at fault.
pub(super) fn places(
    error: &CompileError,
    model: &str,
    target: &str,
    floorplan: Option<&str>,
) -> Vec<(String, String)> {
    match error {
        CompileError::Optimize(_) => {
            vec![(target.to_string(), "`chip.pes`".to_string())]
        }
        CompileError::Mapping(MappingError::TooLarge { .. }) => {
            vec![(model.to_string(), String::new()), (target.to_string(), "`chip.pes`".to_string())]
        }
        CompileError::Mapping(MappingError::Floorplan { layer, .. }) => {
            let file = floorplan.unwrap_or(model);
            vec![(file.to_string(), format!("`layers.{layer}`"))]
        }
        CompileError::Mapping(MappingError::UnknownLayer { place, name, .. })
            if place.as_str() == "the floorplan" =>
        {
            let at_floorplan = floorplan.map(|file| (file.to_string(), format!("`layers.{name}`")));
            at_floorplan.into_iter().chain([(model.to_string(), String::new())]).collect()
        }
        _ => vec![(model.to_string(), String::new())],
    }
}

fn unknown_target(name: &str) -> Diagnostic {
    let known: Vec<&str> = builtin_names().collect();
    let diagnostic = Diagnostic::error(format!("there is no target `{name}`"))
        .note(format!("built in are {}; a file of that name is not there either", list(&known)));
    match nearest(name, known) {
        Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
        None => diagnostic.help("give one of these names, or the path of a YAML file"),
    }
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Line and column from the words of the YAML reader: `... at line 3 column 5`.
fn position(reason: &str) -> Option<(usize, usize)> {
    let (_, place) = reason.rsplit_once("at line ")?;
    let (line, column) = place.split_once(" column ")?;
    let digits = column.find(|c: char| !c.is_ascii_digit()).unwrap_or(column.len());
    Some((line.parse().ok()?, column[..digits].parse().ok()?))
}

#[cfg(test)]
mod tests {
    //! Messages lead somewhere.

    use super::*;

    #[test]
    fn a_mistyped_target_is_recognised() {
        let error = CliError::UnknownTarget { name: "yao2020-chop".to_string() };
        let text = error.to_string();
        assert!(text.contains("did you mean `yao2020-chip`?"), "{text}");
        let text = CliError::UnknownTarget { name: "zzz".to_string() }.to_string();
        assert!(text.contains("`ideal`") && text.contains("YAML"), "{text}");
    }

    #[test]
    fn positions_are_taken_from_the_yaml_readers_words() {
        assert_eq!(position("layers: unknown field `a` at line 3 column 15"), Some((3, 15)));
        assert_eq!(position("no position"), None);
    }
}
