//! Backward rules of digital layers.
//!
//! A layer is an operator that tract runs, known here by its name, its shapes
//! and what its results need. Rather than to trust a name, each rule is tried
//! on made-up values before it is used: a layer has the first rule that
//! computes what the layer computes.
//!
//! | rule | what the layer does | its gradient goes |
//! |---|---|---|
//! | moves | every result is one of its inputs or constant: reshape, transpose, pad, slice, concatenate, gather | back to where the value came from |
//! | rectifies | larger of a value and zero | where the value is positive |
//! | combines | a sum of its inputs, each with a factor: residual additions | to every input, with the factor |
//! | pools | sums, means, maxima or means of squares over windows or whole axes | to all of the window, or to its largest |
//! | shares | softmax along an axis | times the share, less the mean of that |
//! | normalises | rows of root mean square 1, the heart of layer norm | times the scale, less what changes it |
//! | contracts | a product of two activations: scores and mixtures of attention | times the other input, summed over the same loops |
//! | value by value | anything of which a result needs one value of each input: products, quotients, roots by their formulas; GELU, sigmoid, added constants and whatever else there is by a central difference, which tract is asked for | times the derivative |
//! | row by row | anything else along an axis of at most 256 values | by central differences, value by value of a row |
//!
//! | file | |
//! |---|---|
//! | `trial` | a layer on trial |
//! | `contraction` | products of two activations |
//! | `pointwise` | value by value, by formula or by asking |
//! | `rows` | along an axis: softmax, or by asking |

mod contraction;
mod pointwise;
mod rows;
mod trial;

use super::product::of_one;
use crate::entity::LayerId;
use crate::frontend::Model;
use crate::graph::{AxisReach, LayerKind};
use crate::runtime::digital::{Cut, Value};
use contraction::Contraction;
use pointwise::Pointwise;
use rows::{Axis, Row};
use trial::Trial;

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
    Sums(Windows),
    /// The same of squares.
    Squares(Windows),
    /// The places of each result's window.
    Maxima(Vec<Vec<u32>>),
    /// A product of its two inputs.
    Contracts(Box<Contraction>),
    /// A value of each input for each result.
    Pointwise(Pointwise),
    /// Rows along an axis.
    Rows(Axis, Row),
}

/// The places of each result's window in a sample, and its factor.
type Windows = Vec<(Vec<u32>, f32)>;

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
        let reach = &digital.reach;
        let by_place = !reach.is_empty() && reach.iter().all(|reach| *reach == AxisReach::Same);
        let alone = trial.inputs.len() == 1;
        let own = by_place && trial.inputs.iter().all(|shape| *shape == trial.output);
        let windows = || trial.windows(reach);
        let pointwise =
            |of| (by_place && pointwise::broadcast(&trial)).then_some(Self::Pointwise(of));
        let axis = || Axis::new(reach, &trial.inputs, &trial.output);
        let rules: [&dyn Fn() -> Option<Self>; 11] = [
            &|| (own && alone).then_some(Self::Rectifies),
            &|| trial.moves(),
            &|| own.then(|| trial.combines()).flatten(),
            &|| Some(Self::Maxima(windows()?)),
            &|| trial.sums(windows()?).map(Self::Sums),
            &|| trial.sums(windows()?).map(Self::Squares),
            &|| Some(Self::Rows(axis()?, Row::Softmax)),
            &|| Some(Self::Rows(axis()?, Row::RootMeanSquare(trial.little()?))),
            &|| {
                let [first, second] = &trial.inputs[..] else { return None };
                let axes = digital.product.as_ref()?;
                let product = Contraction::new(axes, [first, second], &trial.output)?;
                Some(Self::Contracts(Box::new(product)))
            },
            &|| {
                let known = Pointwise::known(trial.inputs.len());
                known.filter_map(pointwise).find(|rule| trial.fits(rule))
            },
            &|| {
                pointwise(Pointwise::Asked(cut.clone())).or_else(|| {
                    Some(Self::Rows(axis().filter(Axis::is_short)?, Row::Asked(cut.clone())))
                })
            },
        ];
        let fitting = rules.iter().find_map(|rule| rule().filter(|rule| trial.fits(rule)));
        fitting.ok_or_else(|| "none of the rules computes what it computes".to_string())
    }

    /// What a sample's results are, by the rule; `None` where the layer itself
    /// is asked.
    fn results(&self, trial: &Trial<'_>, inputs: &[&[f32]]) -> Option<Vec<f32>> {
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
            Self::Squares(windows) => {
                let square = |&at: &u32| inputs[0][at as usize] * inputs[0][at as usize];
                let sum = |at: &[u32]| at.iter().map(square).sum::<f32>();
                windows.iter().map(|(at, factor)| factor * sum(at)).collect()
            }
            Self::Contracts(product) => product.results([inputs[0], inputs[1]]),
            Self::Pointwise(of) => return of.results(trial, inputs),
            Self::Rows(axis, Row::Softmax) => axis.softmax(inputs[0]),
            Self::Rows(axis, Row::RootMeanSquare(little)) => axis.normalised(inputs[0], *little),
            Self::Rows(_, Row::Asked(_)) => return None,
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
            Self::Squares(windows) => {
                let length = each(results[0].len()).max(1);
                let samples = results[0].chunks_mut(length).zip(gradient.chunks(windows.len()));
                for ((own, gradient), x) in samples.zip(inputs[0].1.chunks(length)) {
                    for ((at, factor), g) in windows.iter().zip(gradient) {
                        for &at in at {
                            own[at as usize] += 2.0 * factor * x[at as usize] * g;
                        }
                    }
                }
            }
            Self::Contracts(product) => {
                let [(_, first), (_, second)] = inputs[..] else { return Ok(results) };
                let [own_first, own_second] = &mut results[..] else { return Ok(results) };
                let [a, b] = [first, second].map(|x| each(x.len()).max(1));
                let inputs = first.chunks(a).zip(second.chunks(b));
                let own = own_first.chunks_mut(a).zip(own_second.chunks_mut(b));
                let gradient = gradient.chunks(each(gradient.len()).max(1));
                for (((first, second), own), gradient) in inputs.zip(own).zip(gradient) {
                    product.backward([first, second], gradient, [own.0, own.1]);
                }
            }
            Self::Pointwise(of) => of.backward(batch, &mut results)?,
            Self::Rows(axis, row) => axis.backward(row, batch, &mut results[0])?,
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
