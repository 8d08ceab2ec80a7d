//! Chips that are written fast, written over, and read often.

use super::Desk;

/// A desk with `chip.plan`, the mCNN for the reference chip.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.prints("compile mcnn.onnx --target yao2020-chip --calibrate stored -o chip.plan");
    desk
}

#[test]
fn a_chip_is_as_good_with_fewer_pulses() {
    let desk = desk();
    let json = desk.json("program chip.plan --fast --calibrate stored -o fast.chip");
    let number = |key: &str| json[key].as_f64().unwrap();
    let pulses = number("set_pulses") + number("reset_pulses");
    let plain = json["plain_write_verify"]["pulses"].as_f64().unwrap();
    assert!(pulses < plain / 2.0, "{pulses} of {plain}");
    let adapted = &json["adapted"];
    let error = |key: &str| adapted[key].as_f64().unwrap();
    let share = error("squared_error_after") / error("squared_error_before");
    assert!((0.7..1.3).contains(&share), "{share}");
    let accuracy = |subject: &str| {
        let eval = format!("eval {subject} --data digits --no-float --seed 0");
        desk.json(&eval)["accuracy"]["mean"].as_f64().unwrap()
    };
    // On the way or before: the same chip.
    assert_eq!(accuracy("fast.chip"), accuracy("chip.plan --fast --calibrate stored"));
    assert!(accuracy("fast.chip") > 94.0, "{}", accuracy("fast.chip"));
    let text = desk.prints("program chip.plan --fast=4 --calibrate stored --without parallel");
    assert!(text.contains("against plain") && text.contains("% of the pulses"), "{text}");
}

#[test]
fn a_chip_depends_on_its_seed_and_not_on_threads() {
    let desk = desk();
    for (threads, seed, name) in [(1, 7, "one"), (3, 7, "three"), (3, 8, "other")] {
        desk.prints(&format!(
            "program chip.plan --fast --calibrate stored --seed {seed} --threads {threads} \
             -o {name}.chip"
        ));
    }
    assert!(desk.read("one.chip") == desk.read("three.chip"));
    assert!(desk.read("one.chip") != desk.read("other.chip"));
}

#[test]
fn a_plan_is_written_over_an_earlier_one() {
    let desk = desk();
    desk.prints("program chip.plan --fast --calibrate stored --seed 3 -o first.chip");
    desk.prints(
        "compile mcnn.onnx --target yao2020-chip --calibrate stored --weights plain -o other.plan",
    );
    let over = |plan: &str, rest: &str| {
        let program = format!("program {plan} --from first.chip --calibrate stored {rest}");
        desk.json(&program)
    };
    let again = over("chip.plan", "--fast -o again.chip");
    assert_eq!(again["seed"], 3);
    assert_eq!(again["forming_pulses"], 0);
    let pulses = |json: &serde_json::Value| {
        json["set_pulses"].as_f64().unwrap() + json["reset_pulses"].as_f64().unwrap()
    };
    let other = over("other.plan", "--fast -o other.chip");
    let plain = other["plain_write_verify"]["pulses"].as_f64().unwrap();
    assert!(pulses(&again) < pulses(&other) && pulses(&other) < plain / 2.0);
    // It can be read, and written over once more.
    desk.prints("eval other.chip --data digits --limit 20");
    let back = desk.json("program chip.plan --from other.chip --fast --calibrate stored -o b.chip");
    assert_eq!(back["forming_pulses"], 0);
}

#[test]
fn what_cannot_be_written_fast_or_over() {
    let desk = desk();
    desk.prints("program chip.plan -o first.chip");
    desk.refuses("fast-without-pulses", "program good.plan --fast -o x.chip");
    desk.refuses("fast-too-fine", "program chip.plan --fast --tolerance 0.00001 -o x.chip");
    desk.refuses("fast-and-adapt", "program chip.plan --fast --adapt -o x.chip");
    desk.refuses("fast-common-mode-negative", "program chip.plan --fast --common-mode=-1");
    desk.refuses("from-a-plan", "program chip.plan --from chip.plan -o x.chip");
    desk.refuses("from-a-missing-chip", "program chip.plan --from missing.chip -o x.chip");
    desk.prints("compile mcnn.onnx --target yao2020-macro --calibrate stored -o macro.plan");
    desk.refuses("from-a-chip-of-other-pes", "program macro.plan --from first.chip -o x.chip");
    desk.refuses("from-with-seed", "program chip.plan --from first.chip --seed 1 -o x.chip");
}

#[test]
fn readings_change_what_is_read() {
    let desk = desk();
    let disturbed = "mcnn.onnx --target yao2020-chip --calibrate stored --data digits --no-float \
                     --limit 200 --set cell.read_disturb.shift_us=1e-6";
    let accuracy = |rest: &str| {
        desk.json(&format!("eval {disturbed} {rest}"))["accuracy"]["mean"].as_f64().unwrap()
    };
    let fresh = accuracy("");
    assert_eq!(accuracy("--reads 1e7 --without read-disturb"), fresh);
    assert!(accuracy("--reads 1e7") < fresh - 10.0);
    // The reference cell does not change, as published.
    let text = desk.prints("eval chip.plan --data digits --limit 20 --reads 1000000");
    assert!(text.contains("each cell read 1000000 times before"), "{text}");
    let ablated = desk.prints(&format!("eval {disturbed} --reads 1e6 --ablate"));
    assert!(ablated.contains("only read-disturb"), "{ablated}");
    desk.refuses("plan-without-disturb", "eval good.plan --data digits --reads 10");
    desk.refuses("reads-of-a-fraction", "eval chip.plan --data digits --reads 1.5");
}
