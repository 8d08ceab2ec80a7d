//! Executes plans: the arrays on a model of the chip, the rest beside them.
pub mod digital;
