//! What is said of models, plans and calibrations that are not what they
//! should be, and of places that cannot be written to.

use std::io::{Cursor, Read, Write};

use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::Desk;

#[test]
fn models_that_are_none() {
    let desk = Desk::new();
    desk.write("text.onnx", "hello there, this is no model\n");
    desk.write("empty.onnx", "");
    desk.write("cut.onnx", &desk.read("mcnn.onnx")[..5000]);
    let compile = |case, model| {
        desk.refuses(case, &format!("compile {model} --target ideal -o x.plan"));
    };
    compile("model-is-text", "text.onnx");
    compile("model-is-empty", "empty.onnx");
    compile("model-is-cut-short", "cut.onnx");
    compile("model-is-missing", "missing.onnx");
    compile("model-is-a-folder", "digits");
}

/// A byte of a plan for the mCNN that is in the model: half of the plan is,
/// stored as it is. A number, since it stands in messages, and since what comes
/// before is a few bytes longer or shorter where calibration rounds otherwise.
const WITHIN_MODEL: usize = 12_000;

#[test]
fn plans_that_are_damaged() {
    let desk = Desk::new();
    let plan = desk.read("good.plan");
    desk.write("cut.plan", &plan[..WITHIN_MODEL]);
    let mut flipped = plan.clone();
    flipped[WITHIN_MODEL] ^= 1;
    desk.write("flipped.plan", flipped);
    desk.write("long.plan", [&plan[..], b"and more"].concat());
    desk.refuses("plan-is-cut-short", "run cut.plan --input digits -o x.npy");
    desk.refuses("plan-is-damaged", "run flipped.plan --input digits -o x.npy");
    desk.refuses("plan-has-more-behind-it", "report long.plan");
}

/// The file as a later ohmc would write it: a manifest of version 2, sealed.
fn newer(plan: &[u8]) -> Vec<u8> {
    const MANIFEST: &str = "MANIFEST.json";
    let mut manifest = String::new();
    let mut archive = ZipArchive::new(Cursor::new(plan)).unwrap();
    archive.by_name(MANIFEST).unwrap().read_to_string(&mut manifest).unwrap();
    let ours = format!("\"version\": 1,\n  \"ohmc\": \"{}\"", env!("CARGO_PKG_VERSION"));
    let theirs = manifest.replace(&ours, "\"version\": 2,\n  \"ohmc\": \"9.8.7\"");
    assert_ne!(manifest, theirs);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file(MANIFEST, SimpleFileOptions::DEFAULT).unwrap();
    zip.write_all(theirs.as_bytes()).unwrap();
    let comment = [&b"ohmc sha256 "[..], &[b'0'; 64]].concat();
    zip.set_raw_comment(comment.into()).unwrap();
    let mut bytes = zip.finish().unwrap().into_inner();
    bytes.truncate(bytes.len() - 64);
    let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    [bytes, hash.into_bytes()].concat()
}

#[test]
fn plans_of_a_later_ohmc() {
    let desk = Desk::new();
    desk.write("newer.plan", newer(&desk.read("good.plan")));
    desk.refuses("plan-is-newer", "run newer.plan --input digits -o x.npy");
}

#[test]
fn one_kind_of_file_for_another() {
    let desk = Desk::new();
    desk.refuses("calibration-for-plan", "report stored");
    desk.refuses("plan-for-model", "compile good.plan --target ideal -o x.plan");
    let compile = "compile mcnn.onnx --target ideal -o x.plan --calibrate";
    desk.refuses("plan-for-calibration", &format!("{compile} good.plan"));
    desk.write("cut", &desk.read("stored")[..80_000]);
    desk.refuses("calibration-is-cut-short", &format!("{compile} cut"));
    desk.refuses("calibration-is-missing", &format!("{compile} missing"));
}

#[test]
fn places_that_cannot_be_written_to() {
    let desk = Desk::new();
    let compile = "compile mcnn.onnx --target ideal --calibrate stored -o";
    desk.refuses("out-in-no-folder", &format!("{compile} nowhere/x.plan"));
    desk.refuses("out-in-a-file", &format!("{compile} mcnn.onnx/x.plan"));
    desk.refuses("out-is-a-folder", &format!("{compile} digits"));
    desk.refuses("out-is-the-model", &format!("{compile} mcnn.onnx"));
    desk.refuses("out-twice", &format!("{compile} x --save-calibration x"));
    let run = "run good.plan --input digits --limit 3 -o nowhere/x.npy";
    desk.refuses("run-out-in-no-folder", run);
}

#[test]
fn results_that_would_replace_what_they_are_made_from() {
    let desk = Desk::new();
    desk.refuses("run-out-is-the-plan", "run good.plan --input digits -o good.plan");
    let images = "digits/t10k-images-idx3-ubyte.gz";
    desk.refuses("run-out-is-the-input", &format!("run good.plan --input {images} -o {images}"));
    let compile = "compile mcnn.onnx --target ideal --calibrate stored -o";
    desk.refuses("out-is-the-calibration", &format!("{compile} ./stored"));
    desk.refuses("out-is-the-floorplan", &format!("{compile} x --floorplan x"));
    // A target that is built in is no file.
    desk.prints(&format!("{compile} ideal"));
    let eval = "eval mcnn.onnx --target ideal --data digits --save-calibration mcnn.onnx";
    desk.refuses("save-calibration-is-the-model", eval);
}

#[cfg(target_os = "linux")]
#[test]
fn devices_that_are_full() {
    let desk = Desk::new();
    let compile = "compile mcnn.onnx --target ideal --calibrate stored -o /dev/full";
    desk.refuses("out-is-full", compile);
    desk.refuses("run-out-is-full", "run good.plan --input digits --limit 3 -o /dev/full");
}

/// Standard output is a result too: a script must hear that it was lost, and
/// whoever has read enough is nobody to complain to.
#[cfg(target_os = "linux")]
#[test]
fn a_standard_output_that_is_full_and_one_that_nobody_reads() {
    use std::process::{Command, Stdio};

    let print = |stdout: Stdio| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("ohmc"));
        command.args(["targets", "ideal"]).stdout(stdout).stderr(Stdio::piped());
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (code, stderr) = print(full.into());
    assert_eq!(code, Some(1));
    assert!(stderr.starts_with("error: cannot write to standard output: "), "{stderr}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(print(writer.into()), (Some(0), String::new()));
}

#[test]
fn a_plan_that_cannot_be_written_leaves_no_calibration_and_the_other_way_round() {
    let desk = Desk::new();
    let compile = "compile mcnn.onnx --target ideal --calibrate digits --calibration-limit 2";
    let case = "save-calibration-in-no-folder";
    desk.refuses(case, &format!("{compile} -o x.plan --save-calibration nowhere/x"));
    let case = "out-in-no-folder-with-calibration";
    desk.refuses(case, &format!("{compile} -o nowhere/x.plan --save-calibration x"));
}
