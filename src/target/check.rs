//! Whether a target makes sense: first by the schema, then by the laws that
//! tie several keys together. Everything wrong is found in one go.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jsonschema::error::ValidationErrorKind;
use jsonschema::paths::LocationSegment;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::cell_spec::RecipeSpec;
use super::conversion_spec::AnalogStageSpec;
use super::document::{Content, Node, plain_scalar};
use super::fault::{Fault, FaultKind, KeyPath, Origin, is_line_separator, shown};
use super::schema::{Rules, expectation, word_for};
use super::spec::{
    AdcBitsSpec, AdcRangeSpec, AsNeeded, ChipsSpec, ConductanceMaxSpec, MACHINES_MAX, PesSpec,
    SubtractSpec,
};

/// The least distance of two levels, in microsiemens. A thousandth of a
/// nanosiemens is below what any read-out can tell apart, and far above what
/// rounding does to a conductance.
pub(super) const STEP_US_MIN: f64 = 1e-6;

/// Cells of a PE whose wires have resistance: its nodal analysis takes as
/// many multiplications as the square of this, a few minutes.
const WIRED_CELLS_MAX: u64 = 1 << 20;

/// The widest code that is converted without rounding.
const ADC_BITS_MAX: u32 = 22;

static RULES: LazyLock<Rules> = LazyLock::new(Rules::new);

/// Adds everything to `faults` that is wrong with the tree. `json` is the same
/// tree as [`Node::to_json`] gives it.
pub(super) fn check(root: &Node, json: &Value, faults: &mut Vec<Fault>) {
    check_schema(root, json, faults);
    let mut laws = Laws { root, json, faults };
    laws.texts();
    laws.window();
    laws.wires();
    laws.conversion();
    laws.chips();
    laws.accumulation();
    laws.self_timed();
    laws.energies();
    laws.areas();
    laws.pulses();
    laws.faults();
}

fn check_schema(root: &Node, json: &Value, faults: &mut Vec<Fault>) {
    let validator = match &RULES.validator {
        Ok(validator) => validator,
        Err(problem) => {
            faults.push(Fault::whole(FaultKind::Internal { problem: problem.clone() }));
            return;
        }
    };
    let mut judged: BTreeSet<KeyPath> = BTreeSet::new();
    for error in validator.iter_errors(json) {
        let path = KeyPath::new(error.instance_path().iter().map(|segment| match segment {
            LocationSegment::Property(key) => key.into_owned(),
            LocationSegment::Index(index) => index.to_string(),
        }));
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                faults.extend(unexpected.iter().map(|key| unknown_key(root, &path, key)));
            }
            ValidationErrorKind::Required { property } => {
                faults.extend(property.as_str().map(|key| missing_key(root, &path, key)));
            }
            // A value can break several rules at once; the expectation names
            // them all, so one complaint is enough.
            _ if judged.contains(&path) => {}
            _ => {
                faults.extend(wrong_value(root, &path));
                judged.insert(path);
            }
        }
    }
}

fn unknown_key(root: &Node, parent: &KeyPath, key: &str) -> Fault {
    let path = parent.join(key);
    let origin = root.key_origin(path.keys()).cloned().unwrap_or(Origin::Whole);
    let known = RULES.keys_at(parent.keys());
    let nearest = RULES.nearest_key(parent, key);
    let kind = FaultKind::UnknownKey { path: path.clone(), nearest, known };
    Fault::new(path, origin, kind)
}

/// A missing key is shown where its mapping was opened, by the mapping's key.
fn missing_key(root: &Node, parent: &KeyPath, key: &str) -> Fault {
    let origin = match parent.keys() {
        [] => Some(&root.origin),
        keys => root.key_origin(keys),
    };
    let path = parent.join(key);
    let meaning = RULES.meaning(path.keys());
    let origin = origin.cloned().unwrap_or(Origin::Whole);
    Fault::new(parent.clone(), origin, FaultKind::MissingKey { path, meaning })
}

fn wrong_value(root: &Node, path: &KeyPath) -> Option<Fault> {
    let node = root.find(path.keys());
    let rule = RULES.rule_at(path.keys());
    let (found, nearest) = match node.map(|node| &node.content) {
        // Its refusal has been complained about already.
        Some(Content::Refused) => return None,
        Some(Content::Mapping(_)) => ("a mapping".to_owned(), None),
        Some(Content::Sequence(_)) => ("a list".to_owned(), None),
        Some(Content::Scalar { value: Value::Null, .. }) | None => ("nothing".to_owned(), None),
        Some(Content::Scalar { text, value }) => {
            let nearest = rule.and_then(|rule| word_for(rule, text));
            (format!("{}`{}`", type_if_unclear(text, value, rule), shown(text)), nearest)
        }
    };
    let expected = rule.map_or_else(String::new, expectation);
    let origin = node.map_or(Origin::Whole, |node| node.origin.clone());
    let kind = FaultKind::WrongValue { path: path.clone(), expected, found, nearest };
    Some(Fault::new(path.clone(), origin, kind))
}

/// Says what a value is where its text does not: a number in quotes, or a
/// number where text belongs.
fn type_if_unclear(text: &str, value: &Value, rule: Option<&Value>) -> &'static str {
    let plain = match plain_scalar(text) {
        Content::Scalar { value, .. } => value,
        _ => Value::Null,
    };
    let text_belongs = rule.and_then(|rule| rule.get("type")).is_some_and(|name| name == "string");
    match value {
        Value::String(_) if plain.is_number() => "the text ",
        Value::Number(_) if text_belongs => "the number ",
        _ => "",
    }
}

/// Laws between keys. Each looks only at values that are sound by themselves,
/// so that no mistake is reported twice.
struct Laws<'a> {
    root: &'a Node,
    json: &'a Value,
    faults: &'a mut Vec<Fault>,
}

impl Laws<'_> {
    /// Names go into messages and listings as they are. In descriptions only line
    /// separators are refused: versions of YAML disagree on them, so a text with
    /// one would not come back as it was written.
    fn texts(&mut self) {
        let machines = self.json.pointer("/costs/compare").and_then(Value::as_array);
        let n_machines = machines.map_or(0, Vec::len).min(MACHINES_MAX);
        let machine_names = (0..n_machines).map(|machine| format!("costs.compare.{machine}.name"));
        let areas = self.json.pointer("/costs/areas").and_then(Value::as_array);
        let n_areas = areas.map_or(0, Vec::len).min(MACHINES_MAX);
        let area_names = (0..n_areas).map(|area| format!("costs.areas.{area}.part"));
        let names = machine_names.chain(area_names);
        for at in std::iter::once("name".to_owned()).chain(names) {
            self.without(&at, |sign| sign.is_control() || is_line_separator(sign));
        }
        self.without("description", is_line_separator);
    }

    /// The text at `at` has no character that is `refused`.
    fn without(&mut self, at: &str, refused: impl Fn(char) -> bool) {
        let Some(text) = self.sound::<String>(at) else { return };
        if text.chars().any(refused) {
            let path = path_of(at);
            let found = format!("`{}`", shown(&text));
            self.fault([at], FaultKind::TextNotPlain { path, found });
        }
    }

    /// Levels are distinct conductances, in rising order.
    fn window(&mut self) {
        let min_us = self.sound::<f64>("cell.conductance_min_us");
        let max_us = self.sound::<ConductanceMaxSpec>("cell.conductance_max_us");
        let (Some(min_us), Some(ConductanceMaxSpec::Us(max_us))) = (min_us, max_us) else {
            return;
        };
        if max_us <= min_us {
            self.fault(
                ["cell.conductance_max_us", "cell.conductance_min_us"],
                FaultKind::EmptyWindow { min_us, max_us },
            );
            return;
        }
        let Some(levels) = self.sound::<u16>("cell.levels") else { return };
        if (max_us - min_us) / f64::from(levels.saturating_sub(1).max(1)) < STEP_US_MIN {
            let kind =
                FaultKind::LevelsTooClose { levels, min_us, max_us, step_us_min: STEP_US_MIN };
            self.fault(["cell.conductance_max_us", "cell.conductance_min_us", "cell.levels"], kind);
        }
    }

    /// Wires with resistance are found for arrays of a size that is built.
    fn wires(&mut self) {
        let keys = [
            "pe.wire_input_ohm_per_cell",
            "pe.wire_output_ohm_per_cell",
            "pe.driver_ohm",
            "pe.sense_ohm",
        ];
        let Some(key) = keys.into_iter().find(|key| self.sound::<f64>(key) > Some(0.0)) else {
            return;
        };
        let (Some(inputs), Some(outputs)) =
            (self.sound::<u32>("pe.inputs"), self.sound::<u32>("pe.outputs"))
        else {
            return;
        };
        if u64::from(inputs) * u64::from(outputs) > WIRED_CELLS_MAX {
            let kind = FaultKind::TooManyWiredCells { inputs, outputs, most: WIRED_CELLS_MAX };
            self.fault([key, "pe.inputs", "pe.outputs"], kind);
        }
    }

    /// Bits, range and place of the subtraction go together.
    fn conversion(&mut self) {
        let bits = self.sound::<AdcBitsSpec>("readout.adc_bits");
        let range = self.sound::<AdcRangeSpec>("readout.adc_range");
        let subtract = self.sound::<SubtractSpec>("readout.subtract");
        match (bits, range, subtract) {
            (
                Some(AdcBitsSpec::Word(AsNeeded::AsNeeded)),
                Some(
                    AdcRangeSpec::FullScale
                    | AdcRangeSpec::Calibrated
                    | AdcRangeSpec::CalibratedByPlane,
                ),
                _,
            ) => {
                let range = self.sound::<String>("readout.adc_range").unwrap_or_default();
                self.fault(
                    ["readout.adc_bits", "readout.adc_range"],
                    FaultKind::BitsAsNeeded { range },
                );
            }
            (Some(AdcBitsSpec::Word(AsNeeded::AsNeeded)), Some(AdcRangeSpec::OneLevel), _) => {
                self.bits_needed(subtract);
            }
            (Some(AdcBitsSpec::Bits(1)), _, Some(SubtractSpec::BeforeConversion)) => {
                self.fault(["readout.adc_bits", "readout.subtract"], FaultKind::OneBitOfAPair);
            }
            _ => {}
        }
    }

    /// Several chips need a size that one of them has.
    fn chips(&mut self) {
        let pes = self.sound::<PesSpec>("chip.pes");
        let count = self.sound::<ChipsSpec>("chip.count");
        if let (Some(PesSpec::Word(_)), Some(count)) = (pes, count)
            && count != ChipsSpec::Count(1)
        {
            self.fault(["chip.count", "chip.pes"], FaultKind::ChipsOfNoSize);
        }
    }

    /// What a whole PE may need is what can be converted.
    fn bits_needed(&mut self, subtract: Option<SubtractSpec>) {
        let (Some(levels), Some(inputs), Some(subtract)) =
            (self.sound::<u16>("cell.levels"), self.sound::<u32>("pe.inputs"), subtract)
        else {
            return;
        };
        let top_level = f64::from(levels.saturating_sub(1));
        let level_zero = match (
            self.sound::<f64>("cell.conductance_min_us"),
            self.sound::<ConductanceMaxSpec>("cell.conductance_max_us"),
        ) {
            (Some(min_us), Some(ConductanceMaxSpec::Us(max_us))) => {
                min_us * top_level / (max_us - min_us)
            }
            (Some(min_us), Some(ConductanceMaxSpec::Word(_))) => min_us,
            _ => return,
        };
        let (worst, sign) = match subtract {
            SubtractSpec::BeforeConversion => (top_level, 1),
            // Charges of signed codes have a sign.
            SubtractSpec::AfterConversion => {
                (top_level + level_zero, u32::from(self.accumulates()))
            }
        };
        // A sum of all planes is that of the largest code.
        let planes = match (self.accumulates(), self.sound::<u8>("readout.input_bits")) {
            (true, Some(input_bits)) => f64::from((1u32 << input_bits.min(16)) - 1),
            _ => 1.0,
        };
        let codes = (worst * planes * f64::from(inputs)).ceil() as u64;
        let bits = u64::BITS - codes.leading_zeros() + sign;
        if bits > ADC_BITS_MAX {
            let kind = FaultKind::TooManyBitsNeeded { bits, inputs, levels };
            self.fault(["readout.adc_bits", "pe.inputs", "cell.levels"], kind);
        }
    }

    fn accumulates(&self) -> bool {
        self.json.pointer("/readout/accumulation").is_some_and(Value::is_object)
    }

    /// Without a clock planes are told apart, and those without a bit 1 are
    /// sure to be codes of 0.
    fn self_timed(&mut self) {
        if !self.json.pointer("/readout/self_timed").is_some_and(Value::is_object) {
            return;
        }
        for other in ["accumulation", "significant_planes", "adc_errors"] {
            let key = format!("readout.{other}");
            if self.json.pointer(&format!("/readout/{other}")).is_some_and(|value| !value.is_null())
            {
                let kind = FaultKind::NotSelfTimed { key: path_of(&key) };
                self.fault(["readout.self_timed", &key], kind);
            }
        }
    }

    /// Charges of all planes are added up, converted once, and compared only
    /// where a pair is one sum.
    fn accumulation(&mut self) {
        if !self.accumulates() {
            return;
        }
        let whole = "readout.accumulation";
        if self.sound::<u8>("readout.significant_planes").is_some() {
            self.fault([whole, "readout.significant_planes"], FaultKind::PlanesOfASum);
        }
        if self.sound("readout.adc_range") == Some(AdcRangeSpec::CalibratedByPlane) {
            self.fault(["readout.adc_range", whole], FaultKind::PlanesOfASum);
        }
        let stage = self.sound::<AnalogStageSpec>("readout.accumulation.stage");
        let subtract = self.sound::<SubtractSpec>("readout.subtract");
        if stage.is_some_and(|stage| stage != AnalogStageSpec::None)
            && subtract == Some(SubtractSpec::AfterConversion)
        {
            let keys = ["readout.accumulation.stage", "readout.subtract"];
            self.fault(keys, FaultKind::StageOfALine);
        }
    }

    /// Voltages rise, a ramped gate has a ramp, and curves are curves.
    fn pulses(&mut self) {
        let ramps = [
            ["cell.pulses.gate.set_first_v", "cell.pulses.gate.set_last_v"],
            ["cell.pulses.gate.reset_first_v", "cell.pulses.gate.reset_last_v"],
            ["cell.pulses.forming.first_v", "cell.pulses.forming.last_v"],
        ];
        for [first, last] in ramps {
            if let (Some(first_v), Some(last_v)) = (self.sound::<f64>(first), self.sound(last))
                && last_v <= first_v
            {
                let path = path_of(last);
                self.fault([last, first], FaultKind::RampTurned { path, first_v, last_v });
            }
        }
        let recipe = self.sound::<RecipeSpec>("cell.pulses.recipe");
        let gate = self.json.pointer("/cell/pulses/gate").is_some_and(Value::is_object);
        if recipe == Some(RecipeSpec::GateRamped) && !gate {
            self.fault(["cell.pulses.recipe"], FaultKind::NoGate);
        }
        for curvature in ["cell.pulses.set_curvature", "cell.pulses.reset_curvature"] {
            if self.sound::<f64>(curvature) == Some(0.0) {
                let path = path_of(curvature);
                self.fault([curvature], FaultKind::NoCurve { path });
            }
        }
    }

    /// No cell is stuck twice.
    fn faults(&mut self) {
        let keys = ["cell.faults.stuck_high_rate", "cell.faults.stuck_low_rate"];
        if let [Some(high), Some(low)] = keys.map(|key| self.sound::<f64>(key))
            && high + low > 1.0
        {
            // As people would add them up.
            let share = ((high + low) * 1e6).round() / 1e6;
            self.fault(keys, FaultKind::MoreThanAllStuck { share });
        }
    }

    /// Some energy is used, else operations per watt would be infinite.
    fn energies(&mut self) {
        let parts = [
            "costs.adc_pj_per_conversion",
            "costs.sample_and_hold_pj_per_cycle",
            "costs.drivers_pj_per_cycle",
            "costs.array_pj_per_cycle",
            "costs.shift_and_add_pj_per_cycle",
        ];
        if parts.iter().all(|part| self.sound::<f64>(part) == Some(0.0)) {
            self.fault(["costs"], FaultKind::NoEnergy);
        }
    }

    /// Parts of a PE are no larger than all of it, as far as figures are rounded.
    fn areas(&mut self) {
        const ROUNDED: f64 = 1.01;
        let areas = self.json.pointer("/costs/areas").and_then(Value::as_array);
        let n_areas = areas.map_or(0, Vec::len).min(MACHINES_MAX);
        let part = |nth: usize| self.sound::<f64>(&format!("costs.areas.{nth}.mm2_per_pe"));
        let parts_mm2: f64 = (0..n_areas).filter_map(part).sum();
        if let Some(area_mm2) = self.sound::<f64>("costs.area_mm2_per_pe")
            && parts_mm2 > ROUNDED * area_mm2
        {
            let kind = FaultKind::PartsTooLarge { parts_mm2, area_mm2 };
            self.fault(["costs.areas", "costs.area_mm2_per_pe"], kind);
        }
    }

    /// The value at `at`, unless it is missing or has been complained about.
    fn sound<T: DeserializeOwned>(&self, at: &str) -> Option<T> {
        let path = path_of(at);
        if self.faults.iter().any(|fault| fault.path == path) {
            return None;
        }
        let value = path.keys().iter().try_fold(self.json, |value, key| match value {
            Value::Array(items) => items.get(key.parse::<usize>().ok()?),
            _ => value.get(key),
        })?;
        T::deserialize(value).ok()
    }

    /// Complains about the first of `keys`, and shows the others too.
    fn fault<const N: usize>(&mut self, keys: [&str; N], kind: FaultKind) {
        let mut places = keys.iter().map(|at| self.place(at));
        if let Some((path, origin)) = places.next() {
            let also = places.collect();
            self.faults.push(Fault { path, origin, also, kind });
        }
    }

    /// A mapping is shown by its key, a scalar where it stands itself.
    fn place(&self, at: &str) -> (KeyPath, Origin) {
        let path = path_of(at);
        let origin = match self.root.find(path.keys()) {
            Some(Node { content: Content::Mapping(_), .. }) => self.root.key_origin(path.keys()),
            Some(node) => Some(&node.origin),
            None => None,
        };
        let origin = origin.cloned().unwrap_or(Origin::Whole);
        (path, origin)
    }
}

fn path_of(at: &str) -> KeyPath {
    KeyPath::new(at.split('.').map(str::to_owned))
}
