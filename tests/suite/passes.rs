//! A model larger than its chip, in passes: the same result as on one large
//! chip, cells of a pass driven before they are overwritten, and a clear answer
//! where passes do not help.

use std::collections::BTreeSet;

use ohmc::compiler::{CompileError, CompileOptions};
use ohmc::mapping::{MappingError, MappingOptions};
use ohmc::schedule::{self, StepKind};

use crate::pipeline::{self, Case, difference};

fn in_passes(n_passes: u32, n_pes: &str) -> Result<Case, CompileError> {
    let model = pipeline::mcnn();
    let inputs = pipeline::inputs(&model, 3, 0.0, 1.0, 5);
    let sets = ["pe.inputs=16".to_string(), format!("chip.pes={n_pes}")];
    let mapping = MappingOptions { n_passes, ..Default::default() };
    let options = CompileOptions { mapping, ..Default::default() };
    Case::new(model, pipeline::target("ideal", &sets), &options, inputs)
}

#[test]
fn passes_change_no_result() {
    let whole = in_passes(1, "as-needed").unwrap();
    let wanted = whole.reference();
    for n_pes in ["1", "2"] {
        let case = in_passes(8, n_pes).unwrap();
        let plan = &case.compiled.plan;
        assert_eq!(schedule::verify(plan), []);
        assert!(plan.n_passes > 1 && n_pes.parse() == Ok(plan.n_pes));
        assert_eq!(difference(&case.run_on(&case.program(0)), &wanted), None);
        // Every pass is driven, and none has more than the chip.
        let pes: BTreeSet<u32> = plan.tiles.values().map(|tile| tile.place.pe.0).collect();
        assert!(pes.iter().all(|pe| *pe < plan.n_pes * plan.n_passes));
        let passes: BTreeSet<u32> = pes.iter().map(|pe| pe / plan.n_pes).collect();
        assert_eq!(passes.len() as u32, plan.n_passes);
    }
}

#[test]
fn a_chip_that_is_large_enough_is_written_once() {
    assert_eq!(in_passes(8, "8").unwrap().compiled.plan.n_passes, 1);
}

#[test]
fn a_plan_that_goes_back_to_an_earlier_pass_is_refused() {
    let case = in_passes(8, "1").unwrap();
    let mut plan = case.compiled.plan.clone();
    // One pass fewer than there are: tiles of the last are outside.
    plan.n_passes -= 1;
    assert!(!schedule::verify(&plan).is_empty());
    // Waves of the second pass before the first has ended.
    let mut plan = case.compiled.plan.clone();
    let second = plan
        .steps
        .iter()
        .find(|(_, step)| plan.pass_of_step(step) == Some(1))
        .map(|(id, _)| id)
        .unwrap();
    for step in plan.steps.keys().collect::<Vec<_>>() {
        let is_waves = matches!(plan.steps[step].kind, StepKind::Waves { .. });
        if step >= second && is_waves {
            plan.steps[step].start = 0;
            plan.steps[step].after.clear();
        }
    }
    let faults: Vec<String> = schedule::verify(&plan).iter().map(ToString::to_string).collect();
    assert!(faults.iter().any(|fault| fault.contains("the pass before ends at")), "{faults:?}");
}

#[test]
fn too_few_passes_say_how_many_would_do() {
    match in_passes(2, "1").err().unwrap() {
        CompileError::Mapping(MappingError::TooLarge { passes: Some((needed, 2)), .. }) => {
            assert_eq!(needed, in_passes(8, "1").unwrap().compiled.plan.n_passes);
        }
        other => panic!("{other}"),
    }
}
