//! Operators of the digital side that tract does slower than need be: the same
//! functions, bit for bit, as plain loops over whole tensors.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::binary::{BinMiniOp, TypedBinOp};
use tract_onnx::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_core::ops::math::Add;

/// What does the same as a node, of which of its inputs; `None` where tract's
/// own operator is as good.
pub(super) fn quicker(
    typed: &TypedModel,
    node: &TypedNode,
) -> Option<(Box<dyn TypedOp>, Vec<OutletId>)> {
    let op = node.op_as::<TypedBinOp>().filter(|op| op.1.is_none())?;
    match op.0.name() {
        "Max" => {
            let input = rectified(typed, node)?;
            Some((ElementWiseOp(Box::new(Rectifier), None).into(), vec![input]))
        }
        "Add" => {
            let is_result = |&input: &OutletId| {
                let (fact, result) = (typed.outlet_fact(input), &node.outputs[0].fact);
                fact.is_ok_and(|fact| {
                    fact.shape == result.shape && fact.datum_type == f32::datum_type()
                })
            };
            let op = TypedBinOp(Box::new(Sum), None);
            node.inputs.iter().all(is_result).then(|| (op.into(), node.inputs.to_vec()))
        }
        _ => None,
    }
}

/// The larger of a value and zero.
///
/// tract has ONNX's Relu as a maximum with a constant, which broadcasts the
/// constant for every batch: measured, a tenth of the time of a ResNet on
/// arrays. This is the same function, done in place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rectifier;

impl ElementWiseMiniOp for Rectifier {
    fn name(&self) -> String {
        "Rectifier".to_string()
    }

    fn eval_in_place(&self, tensor: &mut Tensor, _: Option<DatumType>) -> TractResult<()> {
        let mut view = tensor.try_as_plain_ram_mut()?;
        for value in view.as_slice_mut::<f32>()? {
            *value = if *value > 0.0 { *value } else { 0.0 };
        }
        Ok(())
    }
}

/// What a node takes the larger of, it or zero; `None` for other nodes.
fn rectified(typed: &TypedModel, node: &TypedNode) -> Option<OutletId> {
    let &[a, b] = &node.inputs[..] else { return None };
    let is_zero = |outlet: OutletId| {
        let constant = typed.outlet_fact(outlet).ok()?.konst.clone()?;
        let values = constant.as_plain_ram()?.as_slice::<f32>().ok()?.to_vec();
        values.iter().all(|&value| value == 0.0).then_some(())
    };
    let input = if is_zero(b).is_some() { a } else { is_zero(a).map(|()| b)? };
    // The constant must not be what gives the result its shape.
    let fact = typed.outlet_fact(input).ok()?;
    (fact.shape == node.outputs[0].fact.shape && fact.datum_type == f32::datum_type())
        .then_some(input)
}

/// The sum of two f32 tensors of one shape, as residual networks have it.
///
/// tract calls a function for each pair of values: measured, a twentieth of
/// the time of a ResNet on arrays.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sum;

impl BinMiniOp for Sum {
    fn name(&self) -> &'static str {
        "Sum"
    }

    fn result_datum_type(&self, a: DatumType, b: DatumType) -> TractResult<DatumType> {
        Add.result_datum_type(a, b)
    }

    fn eval_in_a(&self, a: &mut Tensor, b: &Tensor) -> TractResult<()> {
        if a.shape() != b.shape() {
            return Add.eval_in_a(a, b);
        }
        let mut sums = a.try_as_plain_ram_mut()?;
        let addends = b.try_as_plain_ram()?;
        for (sum, addend) in sums.as_slice_mut::<f32>()?.iter_mut().zip(addends.as_slice::<f32>()?)
        {
            *sum += addend;
        }
        Ok(())
    }

    fn eval_out_of_place(&self, c: &mut Tensor, a: &Tensor, b: &Tensor) -> TractResult<()> {
        Add.eval_out_of_place(c, a, b)
    }
}

#[cfg(test)]
mod tests {
    //! The same results as tract's own operators.

    use super::*;

    #[test]
    fn sums_are_those_of_tract() {
        let values = [0.1f32, -0.0, 1e30, f32::MIN_POSITIVE, f32::INFINITY, 3.0];
        let addends = [0.2f32, 0.0, 1e24, -0.5e-38, 1.0, -3.0];
        let tensor = |values: &[f32]| Tensor::from_shape(&[2, 3], values).unwrap();
        let (mut found, mut wanted, b) = (tensor(&values), tensor(&values), tensor(&addends));
        Sum.eval_in_a(&mut found, &b).unwrap();
        Add.eval_in_a(&mut wanted, &b).unwrap();
        assert_eq!(found, wanted);
        let row = Tensor::from_shape(&[1, 3], &addends[..3]).unwrap();
        Sum.eval_in_a(&mut found, &row).unwrap();
        Add.eval_in_a(&mut wanted, &row).unwrap();
        assert_eq!(found, wanted);
    }
}
