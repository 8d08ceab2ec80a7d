//! Why a layer that multiplies is not on arrays, and what would bring it there.

use std::fmt;

/// What stands between a multiplying layer and the arrays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// Both operands change with every input.
    TwoActivations,
    /// An operand that would sit in cells is computed: `kernel`, `bias`.
    Computed(&'static str),
    /// An axis whose extent is open, said in words.
    OpenAxis(String),
    /// The operator takes integers and their scales in a form that is not
    /// taken apart.
    Integers(&'static str),
    /// Weights of another type than f32: of what.
    NotReal(&'static str),
    /// A factor for each value: no two products are added up.
    NothingSummed,
    /// A loop that is not unrolled, and why.
    Loop(String),
    /// Anything else about its axes or its sizes, in words.
    Shape(String),
}

impl Obstacle {
    /// What would be needed to move the layer to the arrays.
    pub fn needs(&self) -> &'static str {
        match self {
            Self::TwoActivations => "cells that are written anew for every input",
            Self::Computed(_) => "an operand that is constant: export with constants folded",
            Self::OpenAxis(_) => "a fixed extent: `--shape`",
            Self::Integers(_) => "constant weights, scales and zero points",
            Self::NotReal(_) => "weights exported as f32",
            Self::NothingSummed => "nothing: an array would add up a single product",
            Self::Loop(_) => "a number of steps that is fixed (`--shape`) and not too large",
            Self::Shape(_) => "an export of the product with plain axes",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TwoActivations => f.write_str("activation times activation"),
            Self::Computed(what) => write!(f, "its {what} is computed"),
            Self::OpenAxis(what) | Self::Shape(what) | Self::Loop(what) => f.write_str(what),
            Self::Integers(what) => write!(f, "quantised {what}"),
            Self::NotReal(what) => write!(f, "its {what} is not f32"),
            Self::NothingSummed => f.write_str("it scales elementwise, nothing is summed"),
        }
    }
}

#[cfg(test)]
mod tests {
    //! What is said about layers that stay digital.

    use super::*;

    #[test]
    fn every_obstacle_says_why_and_what_it_takes() {
        for obstacle in [
            Obstacle::TwoActivations,
            Obstacle::Computed("kernel"),
            Obstacle::OpenAxis("an axis is open".to_string()),
            Obstacle::Integers("product"),
            Obstacle::NotReal("kernel"),
            Obstacle::NothingSummed,
            Obstacle::Loop("a loop".to_string()),
            Obstacle::Shape("a diagonal".to_string()),
        ] {
            assert!(!obstacle.to_string().is_empty() && !obstacle.needs().is_empty());
        }
    }
}
