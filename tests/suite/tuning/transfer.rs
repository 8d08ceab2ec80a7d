//! Two arrays: gradients on one, what it holds on the other.

use ohmc::tuning::{Backward, Layers, Session, Transfer, TuneOptions, Update};

use super::{Bench, EXACT, network};

const SETS: [&str; 3] =
    ["pe.transposed_reads=true", "cell.pulses.model=table-scaled", "chip.pes=128"];

fn options() -> TuneOptions {
    TuneOptions {
        layers: Layers::All,
        backward: Backward::Arrays,
        update: Update::Transfer(Transfer { above_us: 0.1, every: 1, share: 0.2, least_us: 0.3 }),
        rate: 0.02,
        n_batch: 20,
        n_batches: 120,
        ..TuneOptions::default()
    }
}

/// Asymmetric pulses that err more than they do bring the loss down, and both
/// arrays take their share of them.
#[test]
fn what_a_fast_array_holds_goes_over_to_the_weights() {
    let bench = Bench::new(network(), "yao2020-chip", &SETS, 40);
    let session = bench.trained(options());
    let mean = |batches: &[ohmc::tuning::BatchPoint]| {
        batches.iter().map(|batch| batch.score.mean_loss()).sum::<f64>() / batches.len() as f64
    };
    let (before, after) = (mean(&session.batches()[..10]), mean(&session.batches()[110..]));
    println!("{before} -> {after}");
    assert!(after < 0.9 * before, "{before} -> {after}");
    let fast = session.state().fast.unwrap();
    let pulses: u64 =
        fast.pes.values().flat_map(|cells| &cells.pulses).map(|&n| u64::from(n)).sum();
    let work = session.work();
    assert!(work.set_pulses > 0 && work.reset_pulses > 0 && work.verify_reads == 0);
    // Those that wrote it are not among them.
    let made: u64 = pulses - (work.set_pulses + work.reset_pulses - weights_pulses(&session));
    assert!(made > 0);
    let reads = session.reads();
    assert!(reads.waves > 0 && reads.array_pj > 0.0 && reads.busy_ns > 0.0, "{reads:?}");
}

/// Pulses that the weights were given.
fn weights_pulses(session: &Session<'_>) -> u64 {
    session.wear().pulses.iter().map(|&n| u64::from(n)).sum()
}

#[test]
fn a_training_by_transfers_goes_on_to_the_same_chip() {
    let bench = Bench::new(network(), "yao2020-chip", &SETS, 40);
    let options = TuneOptions { n_batches: 8, momentum: 0.4, ..options() };
    let whole = bench.trained_anyhow(&options);
    assert!(whole.fast.is_some_and(|fast| !fast.velocity.is_empty()));
}

#[test]
fn a_fast_array_needs_room_and_pulses() {
    // As many as the weights take.
    let n_pes = Bench::new(network(), "yao2020-chip", &SETS, 8).plan.targets.len();
    let pes = format!("chip.pes={n_pes}");
    let bench = Bench::new(network(), "yao2020-chip", &[SETS[0], SETS[1], &pes], 8);
    let text = bench.refusal(options());
    let wanted = format!("take {} PEs, `yao2020-chip` has {n_pes}", 2 * n_pes);
    assert!(text.contains("`chip.pes`") && text.contains(&wanted), "{text}");
    let bench = Bench::new(network(), "ideal", &EXACT, 8);
    let text = bench.refusal(options());
    assert!(text.contains("does not say what a pulse does"), "{text}");
}
