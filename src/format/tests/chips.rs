//! The way of a chip to a file and back, and what is found in files that say
//! what cannot be.

use super::*;
use crate::chip::{ProgramOptions, Programmed, write};
use crate::format::{ChipFile, FormatError, PlanOrChip};

fn programmed(file: &PlanFile, seed: u64) -> Programmed {
    let sets = [
        "cell.verify_tolerance_us=0.1",
        "cell.relaxation_sd_us=0.1",
        "cell.faults.stuck_high_rate=0.02",
        "cell.pulses.model=soft-bounds",
        "cell.pulses.recipe=identical",
        "cell.pulses.give_up_pulses=200",
        "cell.pulses.margin_us=1",
        "cell.pulses.formed_us=7",
        "cell.pulses.set_v=2",
        "cell.pulses.reset_v=2",
        "cell.pulses.pulse_ns=50",
    ]
    .map(|set| Override::parse(set).unwrap());
    let target = file.target.with(&sets).unwrap();
    let options = ProgramOptions { seed, by_pulses: true, fault_map: None };
    write(&file.plan, &target, &options).unwrap()
}

fn sample_chip() -> ChipFile {
    let plan = sample();
    let programmed = programmed(&plan, 7);
    ChipFile { plan, programmed }
}

fn read(bytes: &[u8]) -> Result<PlanOrChip, FormatError> {
    PlanOrChip::read_from(Cursor::new(bytes), "a.chip")
}

#[test]
fn a_chip_comes_back_to_the_last_bit() {
    let chip = sample_chip();
    let bytes = chip.write().unwrap();
    let back = read(&bytes).unwrap();
    assert_eq!(back.programmed.as_ref(), Some(&chip.programmed));
    assert_eq!(back.plan.plan, chip.plan.plan);
    let again = ChipFile { plan: back.plan, programmed: back.programmed.unwrap() };
    assert_eq!(again.write().unwrap(), bytes);
}

#[test]
fn a_plan_is_read_as_one_and_a_chip_is_no_plan() {
    let plan = sample();
    assert!(read(&plan.write().unwrap()).unwrap().programmed.is_none());
    let text = complaint(PlanFile::read(&sample_chip().write().unwrap(), "a.chip"));
    assert!(text.contains("`a.chip` is a programmed chip, not a plan"), "{text}");
}

/// Every 13th byte: a chip has many.
#[test]
fn a_changed_bit_is_found() {
    let bytes = sample_chip().write().unwrap();
    for index in (0..bytes.len()).step_by(13) {
        let mut damaged = bytes.clone();
        damaged[index] ^= 1 << (index % 8);
        assert!(read(&damaged).is_err(), "byte {index}");
    }
    let error = read(&bytes[..bytes.len() / 2]).unwrap_err();
    assert!(matches!(error, FormatError::Damaged { .. }), "{error}");
}

#[test]
fn a_chip_of_another_plan_is_told() {
    let chip = sample_chip();
    let mut other = chip.plan.clone();
    other.preprocess.bgr = false;
    let (ours, theirs) = (entries(&chip.write().unwrap()), entries(&other.write().unwrap()));
    let mut mixed = theirs;
    mixed.extend(ours.into_iter().filter(|(name, _)| name.starts_with("chip")));
    let text = complaint(read(&signed(Kind::Chip, &mixed)));
    assert!(text.contains("the chip in `a.chip` belongs to another plan"), "{text}");
}

/// An entry changed and everything sealed anew.
fn with(name: &str, change: impl Fn(&mut Vec<u8>)) -> String {
    let mut all = entries(&sample_chip().write().unwrap());
    let (_, content) = all.iter_mut().find(|(entry, _)| entry == name).unwrap();
    change(content);
    complaint(read(&signed(Kind::Chip, &all)))
}

#[test]
fn what_cannot_be_is_named() {
    let last = |bytes: &mut Vec<u8>, value: &[u8]| {
        let at = bytes.len() - value.len();
        bytes[at..].copy_from_slice(value);
    };
    let nan = with("chip/relaxed_us/pe0.npy", |bytes| last(bytes, &f32::NAN.to_le_bytes()));
    assert!(nan.contains("`chip/relaxed_us/pe0.npy`: a conductance that cannot be"), "{nan}");
    let code = with("chip/states/pe0.npy", |bytes| last(bytes, &[9]));
    assert!(code.contains("a code that means no state"), "{code}");
    let unused = with("chip/states/pe0.npy", |bytes| {
        let at = bytes.iter().rposition(|&code| code == 1).unwrap();
        bytes[at] = 0;
    });
    assert!(unused.contains("cells are used where the plan has none"), "{unused}");
    let pulses = with("chip/pulses/pe0.npy", |bytes| last(bytes, &77u32.to_le_bytes()));
    assert!(pulses.contains("add up to what `chip.json` counts"), "{pulses}");
    let text = with("chip.json", |bytes| {
        *bytes = String::from_utf8(bytes.clone()).unwrap().replace("pe1\"", "pe2\"").into_bytes();
    });
    assert!(text.contains("its PEs are not those"), "{text}");
}
