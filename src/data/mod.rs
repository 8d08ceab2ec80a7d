//! Reads data sets.
