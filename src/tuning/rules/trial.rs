//! A layer on trial: what it computes of values that are made up, and what that
//! says about it.

use super::{Rule, Windows, asked};
use crate::chip::normals;
use crate::graph::{AxisReach, unflatten};
use crate::runtime::digital::Cut;

/// How far a rule may be from the layer, relative to the largest value.
const TOLERANCE: f32 = 1e-4;

/// A layer on trial; shapes are of one sample.
pub(super) struct Trial<'a> {
    pub cut: &'a Cut,
    pub inputs: Vec<Vec<usize>>,
    pub output: Vec<usize>,
}

impl Trial<'_> {
    pub fn ask(&self, inputs: &[Vec<f32>]) -> Option<Vec<f32>> {
        let inputs: Vec<(&[usize], &[f32])> =
            self.inputs.iter().zip(inputs).map(|(shape, x)| (&shape[..], &x[..])).collect();
        asked(self.cut, &inputs, 1).ok()
    }

    /// Gaussian inputs of this standard deviation.
    fn made_up(&self, sd: f32) -> Vec<Vec<f32>> {
        let made = |(shape, nth): (&Vec<usize>, u64)| {
            let values = normals(nth, shape.iter().product());
            values.into_iter().map(|value| sd * value).collect()
        };
        self.inputs.iter().zip(0..).map(made).collect()
    }

    /// Whether the rule computes what the layer computes.
    pub fn fits(&self, rule: &Rule) -> bool {
        // Wide ones too, for what only large values show, such as an upper bound.
        [1.0, 100.0].into_iter().all(|sd| {
            let inputs = self.made_up(sd);
            let Some(wanted) = self.ask(&inputs) else { return false };
            let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
            let Some(found) = rule.results(self, &inputs) else { return true };
            let largest = wanted.iter().fold(0f32, |largest, y| largest.max(y.abs()));
            // A constant moved in has no value by the rule.
            let close = |(a, b): (&f32, &f32)| a.is_nan() || (a - b).abs() <= TOLERANCE * largest;
            found.len() == wanted.len() && found.iter().zip(&wanted).all(close)
        })
    }

    /// Each value is given its number, and looked for among the results; where
    /// numbers are scaled, or turned negative, so are results that moved.
    pub fn moves(&self) -> Option<Rule> {
        let n_values: usize = self.inputs.iter().map(|shape| shape.iter().product::<usize>()).sum();
        // As far as f32 counts.
        if n_values >= 1 << 24 {
            return None;
        }
        let numbered = |factor: f32| {
            let mut number = 0f32;
            let mut next = || {
                number += 1.0;
                number * factor
            };
            let of = |shape: &Vec<usize>| (0..shape.iter().product()).map(|_| next()).collect();
            let inputs: Vec<Vec<f32>> = self.inputs.iter().map(of).collect();
            self.ask(&inputs)
        };
        let plain = numbered(1.0)?;
        let scaled = [-1.0, 64.0, -1.0 / 64.0].map(|factor| Some((factor, numbered(factor)?)));
        let mut from = Vec::with_capacity(plain.len());
        for (at, &value) in plain.iter().enumerate() {
            let all = || scaled.iter().flatten();
            if all().count() != scaled.len() {
                return None;
            }
            let moved = value.fract() == 0.0
                && (1.0..=n_values as f32).contains(&value)
                && all().all(|(factor, results)| results[at] == value * factor);
            let constant = || all().all(|(_, results)| results[at] == value);
            from.push(match moved {
                true => Some(self.place(value as usize - 1)?),
                false if constant() => None,
                false => return None,
            });
        }
        from.iter().any(Option::is_some).then_some(Rule::Moves(from))
    }

    /// The input that has the value of this number, and its place in it.
    fn place(&self, mut number: usize) -> Option<(u32, u32)> {
        for (input, shape) in (0..).zip(&self.inputs) {
            let n_values: usize = shape.iter().product();
            if number < n_values {
                return Some((input, number as u32));
            }
            number -= n_values;
        }
        None
    }

    /// What a normalisation adds to the mean square of a row, from small values
    /// that are all alike.
    pub fn little(&self) -> Option<f64> {
        const SMALL: f32 = 1e-3;
        let small = vec![vec![SMALL; self.inputs.first()?.iter().product()]];
        let result = f64::from(*self.ask(&small)?.first()?);
        let square = f64::from(SMALL) * f64::from(SMALL);
        let little = square * (1.0 / (result * result) - 1.0);
        (result > 0.0 && little.is_finite()).then_some(little.max(0.0))
    }

    /// Factors, each from one input alone being 1.
    pub fn combines(&self) -> Option<Rule> {
        if self.inputs.len() < 2 {
            return None;
        }
        let factor = |nth: usize| {
            let of = |(other, shape): (usize, &Vec<usize>)| {
                vec![if other == nth { 1.0 } else { 0.0 }; shape.iter().product()]
            };
            let inputs: Vec<Vec<f32>> = self.inputs.iter().enumerate().map(of).collect();
            self.ask(&inputs)?.first().copied()
        };
        let factors: Option<Vec<f32>> = (0..self.inputs.len()).map(factor).collect();
        factors.map(Rule::Combines)
    }

    /// Factors of windows, from all values being 1.
    pub fn sums(&self, windows: Vec<Vec<u32>>) -> Option<Windows> {
        let ones = vec![vec![1.0; self.inputs[0].iter().product()]];
        let sums = self.ask(&ones)?;
        let factor = |(at, sum): (Vec<u32>, &f32)| {
            let n = at.len().max(1) as f32;
            (at, sum / n)
        };
        Some(windows.into_iter().zip(&sums).map(factor).collect())
    }

    /// The places that each result looks at; `None` where that is not known.
    pub fn windows(&self, reach: &[AxisReach]) -> Option<Vec<Vec<u32>>> {
        let [input] = &self.inputs[..] else { return None };
        let pooled = reach.iter().any(|reach| *reach != AxisReach::Same);
        if !pooled || reach.len() != input.len() || reach.len() != self.output.len() {
            return None;
        }
        let n_results: usize = self.output.iter().product();
        let mut windows = Vec::with_capacity(n_results);
        for result in (0..n_results).map(|nth| unflatten(nth, &self.output)) {
            let mut places = vec![0u32];
            for ((reach, &extent), &index) in reach.iter().zip(input).zip(&result) {
                let range = match *reach {
                    AxisReach::Same => index..index + 1,
                    AxisReach::All => 0..extent,
                    AxisReach::Window { extent: width, stride, padding } => {
                        let first = (index * stride) as i64 - padding as i64;
                        let end = (first + width as i64).clamp(0, extent as i64);
                        first.max(0) as usize..end as usize
                    }
                };
                if range.end > extent {
                    return None;
                }
                let along = |&place: &u32| {
                    range.clone().map(move |index| place * extent as u32 + index as u32)
                };
                places = places.iter().flat_map(along).collect();
            }
            windows.push(places);
        }
        Some(windows)
    }
}
