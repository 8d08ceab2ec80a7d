//! What work waits for.

use std::fmt;

use crate::entity::PeId;

/// A part of the chip that does one thing at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// A PE, driven and converted.
    Pe(PeId),
    /// ADCs that several PEs take turns on, by number.
    Adcs(u32),
    /// Issue of a core, by number.
    Issue(u32),
    /// Multiplexers of a PE, part of the time for which it is driven.
    Multiplexers(PeId),
    /// Shift-and-add of a PE.
    ShiftAndAdd(PeId),
    /// Link between a PE, or a core by its first PE, and the rest of the chip.
    Link(PeId),
    /// Link between a chip and the first one, by the chip's number.
    ChipLink(u32),
    /// The buffer of activations.
    Buffer,
    /// The digital unit.
    Digital,
}

impl Resource {
    /// What kind of part it is, in the plural.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Pe(_) => "PEs",
            Self::Adcs(_) => "ADC sets",
            Self::Issue(_) => "cores",
            Self::Multiplexers(_) => "multiplexers",
            Self::ShiftAndAdd(_) => "shift-and-add",
            Self::Link(_) => "links",
            Self::ChipLink(_) => "chip links",
            Self::Buffer => "buffer",
            Self::Digital => "digital unit",
        }
    }

    /// Kinds of parts.
    pub(super) const N_KINDS: usize = 9;

    /// What kind of part it is, by number.
    pub(super) fn kind_index(self) -> usize {
        match self {
            Self::Pe(_) => 0,
            Self::Adcs(_) => 1,
            Self::Issue(_) => 2,
            Self::Multiplexers(_) => 3,
            Self::ShiftAndAdd(_) => 4,
            Self::Link(_) => 5,
            Self::ChipLink(_) => 6,
            Self::Buffer => 7,
            Self::Digital => 8,
        }
    }

    /// The number among those of its kind.
    pub fn number(self) -> u32 {
        match self {
            Self::Pe(pe) | Self::Multiplexers(pe) | Self::ShiftAndAdd(pe) | Self::Link(pe) => pe.0,
            Self::Adcs(n) | Self::Issue(n) | Self::ChipLink(n) => n,
            Self::Buffer | Self::Digital => 0,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pe(pe) => write!(f, "{pe}"),
            Self::Adcs(n) => write!(f, "ADC set {n}"),
            Self::Issue(n) => write!(f, "issue of core {n}"),
            Self::Multiplexers(pe) => write!(f, "multiplexers of {pe}"),
            Self::ShiftAndAdd(pe) => write!(f, "shift-and-add of {pe}"),
            Self::Link(pe) => write!(f, "link of {pe}"),
            Self::ChipLink(chip) => write!(f, "link of chip {chip}"),
            Self::Buffer => f.write_str("the buffer"),
            Self::Digital => f.write_str("the digital unit"),
        }
    }
}
