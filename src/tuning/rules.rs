//! Backward rules of digital layers.
//!
//! A layer is an operator that tract runs, known here by its name, its shapes
//! and what its results need. Rather than to trust a name, each rule is tried
//! on made-up values before it is used: a layer has the first rule that
//! computes what the layer computes.
//!
//! | rule | what the layer does | its gradient goes |
//! |---|---|---|
//! | moves | every result is one of its inputs or constant: reshape, transpose, pad, slice, concatenate | back to where the value came from |
//! | rectifies | larger of a value and zero | where the value is positive |
//! | combines | a sum of its inputs, each with a factor: residual additions | to every input, with the factor |
//! | pools | sums, means or maxima over windows or whole axes | to all of the window, or to its largest |
//! | element by element | anything of which a result needs one input: GELU, sigmoid, added constants | times a central difference, by tract |

use super::product::of_one;
use crate::chip::normals;
use crate::entity::LayerId;
use crate::frontend::Model;
use crate::graph::{AxisReach, LayerKind, unflatten};
use crate::runtime::digital::{Cut, Value};

/// How far a rule may be from the layer, relative to the largest value.
const TOLERANCE: f32 = 1e-4;

/// From the gradient of a layer's result to those of its inputs.
#[derive(Debug, Clone)]
pub(super) enum Rule {
    /// For each result of a sample the input, and the place in it, that it is;
    /// `None` for a constant.
    Moves(Vec<Option<(u32, u32)>>),
    /// The larger of a value and zero.
    Rectifies,
    /// A factor for each input.
    Combines(Vec<f32>),
    /// The places of each result's window in a sample, and its factor.
    Sums(Vec<(Vec<u32>, f32)>),
    /// The places of each result's window.
    Maxima(Vec<Vec<u32>>),
    /// The layer itself, to be asked at neighbouring values.
    Elementwise(Cut),
}

/// Values of a batch: of the inputs, or of the results; samples one after the
/// other.
pub(super) struct Batch<'a> {
    /// Shapes and values of the layer's inputs.
    pub inputs: Vec<(&'a [usize], &'a [f32])>,
    /// The gradient of its results.
    pub gradient: &'a [f32],
    /// Samples.
    pub n: usize,
}

/// A layer on trial.
struct Trial<'a> {
    cut: &'a Cut,
    inputs: Vec<Vec<usize>>,
    output: Vec<usize>,
}

impl Rule {
    /// The rule of a digital layer; the error says why there is none.
    pub fn find(model: &Model, id: LayerId, cut: &Cut) -> Result<Self, String> {
        let layer = model.graph.layer(id);
        let LayerKind::Digital(digital) = &layer.kind else {
            return Err("it is on the arrays".to_string());
        };
        let shape = |tensor| {
            let info = model.graph.tensors().get(tensor).ok_or("an unknown tensor")?;
            if info.element_type != "f32" {
                return Err(format!("`{}` is {}, not f32", info.name, info.element_type));
            }
            of_one(&info.shape)
        };
        let [output] = layer.outputs[..] else { return Err("it has several results".to_string()) };
        let inputs = layer.inputs.iter().map(|&t| shape(t)).collect::<Result<Vec<_>, _>>()?;
        let trial = Trial { cut, inputs, output: shape(output)? };
        let own = digital.reach.iter().all(|reach| *reach == AxisReach::Same)
            && !digital.reach.is_empty()
            && trial.inputs.iter().all(|shape| *shape == trial.output);
        let windows = || trial.windows(&digital.reach);
        let rules: [&dyn Fn() -> Option<Self>; 6] = [
            &|| own.then_some(Self::Rectifies).filter(|_| trial.inputs.len() == 1),
            &|| trial.moves(),
            &|| own.then(|| trial.combines()).flatten(),
            &|| Some(Self::Maxima(windows()?)),
            &|| trial.sums(windows()?),
            &|| (own && trial.inputs.len() == 1).then(|| Self::Elementwise(cut.clone())),
        ];
        let fitting = rules.iter().find_map(|rule| rule().filter(|rule| trial.fits(rule)));
        fitting.ok_or_else(|| "none of the rules computes what it computes".to_string())
    }

    /// What a sample's results are, by the rule; `None` where the layer itself
    /// is asked.
    fn results(&self, inputs: &[&[f32]]) -> Option<Vec<f32>> {
        Some(match self {
            Self::Moves(from) => {
                let value = |&(input, at): &(u32, u32)| inputs[input as usize][at as usize];
                from.iter().map(|from| from.as_ref().map_or(f32::NAN, value)).collect()
            }
            Self::Rectifies => inputs[0].iter().map(|&x| x.max(0.0)).collect(),
            Self::Combines(factors) => {
                let sum = |at: usize| factors.iter().zip(inputs).map(|(f, x)| f * x[at]).sum();
                (0..inputs[0].len()).map(sum).collect()
            }
            Self::Sums(windows) => {
                let sum = |at: &[u32]| at.iter().map(|&at| inputs[0][at as usize]).sum::<f32>();
                windows.iter().map(|(at, factor)| factor * sum(at)).collect()
            }
            Self::Maxima(windows) => {
                let largest = |at: &Vec<u32>| {
                    at.iter().map(|&at| inputs[0][at as usize]).fold(f32::NEG_INFINITY, f32::max)
                };
                windows.iter().map(largest).collect()
            }
            Self::Elementwise(_) => return None,
        })
    }

    /// The gradients of all inputs of a batch; the error is tract's.
    pub fn backward(&self, batch: &Batch<'_>) -> Result<Vec<Vec<f32>>, String> {
        let Batch { inputs, gradient, n } = batch;
        let mut results: Vec<Vec<f32>> = inputs.iter().map(|(_, x)| vec![0.0; x.len()]).collect();
        let each = |length: usize| length / (*n).max(1);
        match self {
            Self::Moves(from) => {
                for (sample, gradient) in gradient.chunks(from.len().max(1)).enumerate() {
                    for (from, &g) in from.iter().zip(gradient) {
                        let Some((input, at)) = from else { continue };
                        let own = &mut results[*input as usize];
                        let start = sample * each(own.len());
                        own[start + *at as usize] += g;
                    }
                }
            }
            Self::Rectifies => {
                for ((own, &g), &x) in results[0].iter_mut().zip(*gradient).zip(inputs[0].1) {
                    *own = if x > 0.0 { g } else { 0.0 };
                }
            }
            Self::Combines(factors) => {
                for (own, factor) in results.iter_mut().zip(factors) {
                    own.iter_mut().zip(*gradient).for_each(|(own, g)| *own = factor * g);
                }
            }
            Self::Sums(windows) => {
                let length = each(results[0].len()).max(1);
                let samples = results[0].chunks_mut(length).zip(gradient.chunks(windows.len()));
                for (own, gradient) in samples {
                    for ((at, factor), g) in windows.iter().zip(gradient) {
                        at.iter().for_each(|&at| own[at as usize] += factor * g);
                    }
                }
            }
            Self::Maxima(windows) => {
                let length = each(results[0].len()).max(1);
                let samples = results[0].chunks_mut(length).zip(gradient.chunks(windows.len()));
                for ((own, gradient), x) in samples.zip(inputs[0].1.chunks(length)) {
                    for (at, &g) in windows.iter().zip(gradient) {
                        let value = |at: u32| x[at as usize];
                        // The first of equals.
                        let largest = at.iter().copied().reduce(|best, next| {
                            if value(next) > value(best) { next } else { best }
                        });
                        if let Some(at) = largest {
                            own[at as usize] += g;
                        }
                    }
                }
            }
            Self::Elementwise(cut) => {
                let (shape, x) = inputs[0];
                /// Balances what is cut off against what is rounded off in f32.
                const STEP: f32 = 1.0 / 128.0;
                let step = |x: &f32| STEP * x.abs().max(1.0);
                let at = |sign: f32| {
                    let moved: Vec<f32> = x.iter().map(|x| x + sign * step(x)).collect();
                    asked(cut, &[(shape, &moved)], *n)
                };
                let (above, below) = (at(1.0)?, at(-1.0)?);
                for (((own, &g), x), (above, below)) in
                    results[0].iter_mut().zip(*gradient).zip(x).zip(above.iter().zip(&below))
                {
                    *own = g * (above - below) / (2.0 * step(x));
                }
            }
        }
        Ok(results)
    }
}

/// What tract says of such inputs.
fn asked(cut: &Cut, inputs: &[(&[usize], &[f32])], n: usize) -> Result<Vec<f32>, String> {
    let values = inputs.iter().map(|(shape, values)| Value::from_f32(shape, values));
    let values = values.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    let outputs = cut.run(values, n).map_err(|error| error.to_string())?;
    let result = outputs.first().and_then(|value| value.as_f32()).map(<[f32]>::to_vec);
    result.ok_or_else(|| "its result is not f32".to_string())
}

impl Trial<'_> {
    fn ask(&self, inputs: &[Vec<f32>]) -> Option<Vec<f32>> {
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
    fn fits(&self, rule: &Rule) -> bool {
        // Wide ones too, for what only large values show, such as an upper bound.
        [1.0, 100.0].into_iter().all(|sd| {
            let inputs = self.made_up(sd);
            let Some(wanted) = self.ask(&inputs) else { return false };
            let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
            let Some(found) = rule.results(&inputs) else { return true };
            let largest = wanted.iter().fold(0f32, |largest, y| largest.max(y.abs()));
            // A constant moved in has no value by the rule.
            let close = |(a, b): (&f32, &f32)| a.is_nan() || (a - b).abs() <= TOLERANCE * largest;
            found.len() == wanted.len() && found.iter().zip(&wanted).all(close)
        })
    }

    /// Each value is given its number, and looked for among the results; where
    /// numbers are scaled, or turned negative, so are results that moved.
    fn moves(&self) -> Option<Rule> {
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

    /// Factors, each from one input alone being 1.
    fn combines(&self) -> Option<Rule> {
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
    fn sums(&self, windows: Vec<Vec<u32>>) -> Option<Rule> {
        let ones = vec![vec![1.0; self.inputs[0].iter().product()]];
        let sums = self.ask(&ones)?;
        let factor = |(at, sum): (Vec<u32>, &f32)| {
            let n = at.len().max(1) as f32;
            (at, sum / n)
        };
        Some(Rule::Sums(windows.into_iter().zip(&sums).map(factor).collect()))
    }

    /// The places that each result looks at; `None` where that is not known.
    fn windows(&self, reach: &[AxisReach]) -> Option<Vec<Vec<u32>>> {
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
