//! Chip descriptions.
