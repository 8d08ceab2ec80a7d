//! Effects of a chip as words of the command line: their names and meanings
//! are the library's.

use std::sync::LazyLock;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use ohmc::chip::Effect;

/// An effect, as it is called on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EffectName(pub Effect);

impl ValueEnum for EffectName {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: LazyLock<[EffectName; Effect::ALL.len()]> =
            LazyLock::new(|| Effect::ALL.map(EffectName));
        &*ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()).help(self.0.meaning()))
    }
}
