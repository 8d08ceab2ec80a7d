//! Everything that is tested from outside the crate, one module a file; each
//! opens with a sentence that says what belongs there.

mod snapshots;
