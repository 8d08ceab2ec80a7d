//! Numbers from one element type to another, only where nothing is lost.
//!
//! What counts is the value, not the type: an f64 array that was saved from
//! f32 numbers passes, one with 0.1 in double precision does not.

use crate::tensor::{ElementType, Values};

/// Any element of a [`Values`] without loss.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Float(f64),
    Integer(i64),
}

impl Number {
    /// The class number, if it is one.
    pub fn label(self) -> Option<u32> {
        u32::try_from(self.integer()?).ok()
    }

    /// The same value as an integer. Through i128, because `as` saturates and
    /// the largest i64 and 2^63 would pass for each other.
    fn integer(self) -> Option<i64> {
        match self {
            Self::Integer(i) => Some(i),
            Self::Float(x) => {
                let whole = x as i128;
                if whole as f64 == x { i64::try_from(whole).ok() } else { None }
            }
        }
    }
}

trait Element: Copy {
    fn number(self) -> Number;
    /// The same value in this type; NaN stays NaN and is complained about
    /// elsewhere.
    fn exactly(number: Number) -> Option<Self>;
}

macro_rules! float_element {
    ($($float:ty),*) => {$(
        impl Element for $float {
            fn number(self) -> Number {
                Number::Float(self.into())
            }

            fn exactly(number: Number) -> Option<Self> {
                // Rounds, and then looks whether it did.
                match number {
                    Number::Float(x) => {
                        let rounded = x as $float;
                        (f64::from(rounded) == x || x.is_nan()).then_some(rounded)
                    }
                    Number::Integer(i) => {
                        let rounded = i as $float;
                        (rounded as i128 == i128::from(i)).then_some(rounded)
                    }
                }
            }
        }
    )*};
}

macro_rules! integer_element {
    ($($integer:ty),*) => {$(
        impl Element for $integer {
            fn number(self) -> Number {
                Number::Integer(self.into())
            }

            fn exactly(number: Number) -> Option<Self> {
                number.integer().and_then(|i| Self::try_from(i).ok())
            }
        }
    )*};
}

float_element!(f32, f64);
integer_element!(u8, i8, i32, i64);

impl Element for bool {
    fn number(self) -> Number {
        Number::Integer(self.into())
    }

    fn exactly(number: Number) -> Option<Self> {
        match number.integer()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

/// Converts every value.
///
/// # Errors
/// The position of the first value that the type cannot hold, and the value.
pub(super) fn convert(values: Values, to: ElementType) -> Result<Values, (usize, String)> {
    if values.element_type() == to {
        return Ok(values);
    }
    let converted = match to {
        ElementType::F32 => all(&values).map(Values::F32),
        ElementType::F64 => all(&values).map(Values::F64),
        ElementType::U8 => all(&values).map(Values::U8),
        ElementType::I8 => all(&values).map(Values::I8),
        ElementType::I32 => all(&values).map(Values::I32),
        ElementType::I64 => all(&values).map(Values::I64),
        ElementType::Bool => all(&values).map(Values::Bool),
    };
    converted.map_err(|at| (at, value_text(&values, at)))
}

/// Every value as a number.
pub(super) fn numbers(values: &Values) -> Vec<Number> {
    fn each<S: Element>(values: &[S]) -> Vec<Number> {
        values.iter().map(|&value| value.number()).collect()
    }
    match values {
        Values::F32(v) => each(v),
        Values::F64(v) => each(v),
        Values::U8(v) => each(v),
        Values::I8(v) => each(v),
        Values::I32(v) => each(v),
        Values::I64(v) => each(v),
        Values::Bool(v) => each(v),
    }
}

/// A value as a message shows it.
pub(super) fn value_text(values: &Values, at: usize) -> String {
    fn text<T: ToString>(values: &[T], at: usize) -> String {
        values.get(at).map(T::to_string).unwrap_or_default()
    }
    match values {
        Values::F32(v) => text(v, at),
        Values::F64(v) => text(v, at),
        Values::U8(v) => text(v, at),
        Values::I8(v) => text(v, at),
        Values::I32(v) => text(v, at),
        Values::I64(v) => text(v, at),
        Values::Bool(v) => text(v, at),
    }
}

fn all<T: Element>(values: &Values) -> Result<Vec<T>, usize> {
    fn each<S: Element, T: Element>(values: &[S]) -> Result<Vec<T>, usize> {
        let converted = values.iter().enumerate();
        converted.map(|(at, &value)| T::exactly(value.number()).ok_or(at)).collect()
    }
    match values {
        Values::F32(v) => each(v),
        Values::F64(v) => each(v),
        Values::U8(v) => each(v),
        Values::I8(v) => each(v),
        Values::I32(v) => each(v),
        Values::I64(v) => each(v),
        Values::Bool(v) => each(v),
    }
}

#[cfg(test)]
mod tests {
    //! A conversion keeps the value or is refused.

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_at_the_edge_of_a_type() {
        let edge = |values, to| convert(values, to).is_ok();
        assert!(edge(Values::I64(vec![1 << 24]), ElementType::F32));
        assert!(!edge(Values::I64(vec![(1 << 24) + 1]), ElementType::F32));
        assert!(!edge(Values::F64(vec![0.1]), ElementType::F32));
        assert!(edge(Values::F64(vec![f64::from(0.1f32)]), ElementType::F32));
        assert!(!edge(Values::F64(vec![9_223_372_036_854_775_808.0]), ElementType::I64));
        assert!(edge(Values::F64(vec![-9_223_372_036_854_775_808.0]), ElementType::I64));
        assert!(!edge(Values::I64(vec![i64::MAX]), ElementType::F64));
        assert!(!edge(Values::U8(vec![128]), ElementType::I8));
        assert!(!edge(Values::F32(vec![0.5]), ElementType::I32));
        assert!(edge(Values::I32(vec![0, 1]), ElementType::Bool));
        assert!(!edge(Values::I32(vec![2]), ElementType::Bool));
        assert!(!edge(Values::F64(vec![1e300]), ElementType::F32));
        assert!(!edge(Values::F32(vec![f32::NAN]), ElementType::I64));
    }

    #[test]
    fn the_first_value_that_fails_is_named() {
        let values = Values::I64(vec![1, 300, -1]);
        assert_eq!(convert(values, ElementType::U8), Err((1, "300".to_owned())));
    }

    #[test]
    fn a_label_is_a_whole_number_that_is_not_negative() {
        assert_eq!(Number::Float(3.0).label(), Some(3));
        assert_eq!(Number::Float(3.5).label(), None);
        assert_eq!(Number::Integer(-1).label(), None);
    }

    proptest! {
        #[test]
        fn there_and_back_again(numbers in prop::collection::vec(any::<f64>(), 0..20)) {
            let narrow = convert(Values::F64(numbers.clone()), ElementType::F32);
            if let Ok(narrow) = narrow {
                let back = convert(narrow, ElementType::F64);
                prop_assert_eq!(back, Ok(Values::F64(numbers)));
            }
        }

        #[test]
        fn i64_through_f64_keeps_the_value(numbers in prop::collection::vec(any::<i64>(), 0..20)) {
            if let Ok(floats) = convert(Values::I64(numbers.clone()), ElementType::F64) {
                prop_assert_eq!(convert(floats, ElementType::I64), Ok(Values::I64(numbers)));
            }
        }
    }
}
