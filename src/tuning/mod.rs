//! Training on the chip: weights that were made elsewhere and written once are
//! put right where they are, with what the cells really do.
//!
//! This is the hybrid training of Yao et al. 2020. Inputs run forward on the
//! chip, with every effect of its cells; what comes out is held against the
//! labels; gradients of the layers that are tuned come from the activations
//! that the chip really had; and what they ask for is given to the cells as
//! pulses. All other layers stay as they were written.
//!
//! ```text
//! samples --chip--> activations, scores --softmax, cross-entropy--> gradient of the scores
//!             ^                                                        |
//!             |                                        backward rules, layer by layer
//!           pulses <-- cells <-- changes worth a pulse <-- gradient of weights
//! ```
//!
//! | file | what |
//! |---|---|
//! | `samples` | inputs with labels, and their order |
//! | `loss` | softmax and cross-entropy |
//! | `way` | from the scores back to the tuned layers |
//! | `product`, `rules` | backward rules of crossbar layers, of digital ones |
//! | `lanes` | the sums of products that these take |
//! | `transposed` | errors carried back by the arrays themselves |
//! | `reads` | what these readings take |
//! | `registers` | biases, which are digital |
//! | `cells` | from wanted changes of weights to pulses on cells |
//! | `transfer` | a second array that gradients go to first |
//! | `division` | which layers and steps have to do with tuned cells |
//! | `tuner` | one batch: forward, backward, pulses; `tuner/passes` is what changes nothing |
//! | `session` | all batches, held-out samples, when to stop; what it takes to go on later |
//! | `randomise` | weights lost, to be won back |
//! | `calibrate` | gains and offsets of columns, without labels, layer by layer |
//! | `distillation` | the same, by what all of them do to the scores |
//!
//! What is promised: the same chip, samples, options and seed give the same
//! cells to the last bit, for any number of threads, in one go or in many
//! ([`Session::state`]). Cells are never rolled back: what a pulse did is done.
//! Backward rules belong here; tract, which runs the digital side, has none.

mod calibrate;
mod cells;
mod distillation;
mod division;
mod error;
mod lanes;
mod loss;
mod product;
mod randomise;
mod reads;
mod registers;
mod rules;
mod samples;
mod session;
mod transfer;
mod transposed;
mod tuner;
mod way;

pub use calibrate::{Corrected, Matching, calibrate};
pub(crate) use cells::n_wanted;
pub use distillation::{Distillation, Distilled, Likeness, distil};
pub use error::TuneError;
pub use loss::Score;
pub use reads::Reads;
pub use registers::Registers;
pub use samples::{Gathering, Samples, choose};
pub use session::{BatchPoint, HeldOut, Session, TuneState, Wear};
pub use transfer::FastState;
pub use tuner::{Trained, Tuner};
pub use way::Gradients;

/// How wanted changes become pulses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Update {
    /// Changes of at least so many uS are written closed loop.
    Threshold {
        /// The least change of a pair in uS.
        least_us: f64,
    },
    /// Changes of more than so many uS give a cell one pulse, SET and RESET
    /// phases in turn from batch to batch.
    Sign {
        /// The change of a pair above which it is given one, in uS.
        above_us: f64,
    },
    /// Gradients give pulses to a second array, and what that holds is wanted of
    /// the weights.
    Transfer(Transfer),
}

/// How changes go over from a fast array to the weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transfer {
    /// The change above which a cell of the fast array is given a pulse, in uS.
    pub above_us: f64,
    /// Batches after which a line of every tile of it is read.
    pub every: u64,
    /// Share of what is read that is wanted of the weights.
    pub share: f64,
    /// The change of a pair above which it is given a pulse, in uS.
    pub least_us: f64,
}

/// What carries errors back through crossbar layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backward {
    /// Products beside the chip, with what its cells are read to hold.
    Digital,
    /// The arrays, driven from their output lines.
    Arrays,
}

/// Which layers are trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layers {
    /// The last one on the arrays.
    Last,
    /// Every one.
    All,
    /// Those of these names.
    Named(Vec<String>),
}

/// How a chip is tuned.
#[derive(Debug, Clone, PartialEq)]
pub struct TuneOptions {
    /// Layers whose cells are given pulses.
    pub layers: Layers,
    /// What carries errors back.
    pub backward: Backward,
    /// How far conversions of errors reach beyond those of the first batch, as
    /// a factor.
    pub room: f64,
    /// Share of the step before that is taken once more with each step; kept
    /// digitally.
    pub momentum: f64,
    /// How wanted changes become pulses.
    pub update: Update,
    /// Changes too small for a pulse are kept digitally and added to those of
    /// later batches; else they are forgotten.
    pub carry: bool,
    /// Whether biases of these layers are trained too: digital registers behind
    /// the columns, which cost no pulse. Where inputs have a zero point, they
    /// follow what is written to cells either way.
    pub biases: bool,
    /// Step along the gradient of a batch's mean loss.
    pub rate: f64,
    /// Samples of a batch.
    pub n_batch: usize,
    /// Batches in all.
    pub n_batches: u64,
    /// Samples that are not tuned on.
    pub n_held_out: usize,
    /// Batches between two looks at those.
    pub look_every: u64,
    /// Looks without a lower loss after which to stop; `None` for never.
    pub patience: Option<u64>,
    /// Share of all weights that are set to random levels before, 0 to 1.
    pub randomised: f64,
    /// Seed of all that is drawn.
    pub seed: u64,
}

impl Default for TuneOptions {
    fn default() -> Self {
        Self {
            layers: Layers::Last,
            backward: Backward::Digital,
            room: 1.0,
            momentum: 0.0,
            // The change of the paper's first account.
            update: Update::Threshold { least_us: 1.5 },
            carry: true,
            biases: true,
            rate: 0.3,
            n_batch: 100,
            n_batches: 300,
            n_held_out: 0,
            look_every: 20,
            patience: None,
            randomised: 0.0,
            seed: 0,
        }
    }
}
