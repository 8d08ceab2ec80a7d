//! The points of an exploration: kept as they come, a line of JSON each, and
//! told as a table.
//!
//! A line is appended whole and synced. Whoever was killed while writing leaves
//! half a line at most; it has no end, is cut off, and its point done again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use comfy_table::{CellAlignment, Table as TextTable, presets};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::CliError;
use super::files;

/// Keys of the target, or options, with the values they take.
pub type Point = Vec<(String, String)>;

/// What was found at a point.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Found {
    /// Mean over chips, in percent.
    pub accuracy: Option<f64>,
    /// Its standard deviation.
    pub accuracy_sd: Option<f64>,
    /// By how many points it is below that of the model in floating point.
    pub loss: Option<f64>,
    /// One input alone.
    pub latency_us: Option<f64>,
    /// Between inputs of a stream.
    pub interval_us: Option<f64>,
    /// By the target's figures.
    pub energy_nj: Option<f64>,
    /// Of PEs in use.
    pub area_mm2: Option<f64>,
    /// Whose area that is, where the target tells parts apart, in mm2.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub areas: BTreeMap<String, f64>,
    /// PEs in use.
    pub pes: Option<u64>,
    /// What the stream waits for.
    pub bottleneck: Option<String>,
    /// Why the model does not compile here.
    pub error: Option<String>,
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// What all points of an exploration have in common, hashed.
    exploration: String,
    at: BTreeMap<String, String>,
    #[serde(flatten)]
    found: Found,
}

/// Points, those that were found before and those to come.
#[derive(Debug)]
pub struct Points<'a> {
    wanted: &'a [Point],
    exploration: String,
    name: String,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    file: Option<File>,
    found: BTreeMap<BTreeMap<String, String>, Found>,
}

impl<'a> Points<'a> {
    /// Reads what a file has already; without a file points stay in memory.
    pub fn open(
        path: Option<&Path>,
        exploration: &str,
        wanted: &'a [Point],
    ) -> Result<Self, CliError> {
        let mut kept = Kept { file: None, found: BTreeMap::new() };
        let name = path.map(files::name).unwrap_or_default();
        if let Some(path) = path {
            let failed = |source| CliError::Write { file: name.clone(), source };
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let mut file = options.open(path).map_err(failed)?;
            let text = io::read_to_string(&mut file).map_err(failed)?;
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            for (number, line) in text[..whole].lines().enumerate() {
                let line: Line =
                    serde_json::from_str(line).map_err(|error| CliError::NotPoints {
                        file: name.clone(),
                        line: number + 1,
                        reason: error.to_string(),
                    })?;
                if line.exploration != exploration {
                    return Err(CliError::OtherPoints { file: name });
                }
                kept.found.insert(line.at, line.found);
            }
            file.set_len(whole as u64).map_err(failed)?;
            file.seek(SeekFrom::Start(whole as u64)).map_err(failed)?;
            kept.file = Some(file);
        }
        Ok(Self { wanted, exploration: exploration.to_string(), name, kept: Mutex::new(kept) })
    }

    /// Whether a point was found before.
    pub fn has(&self, point: &Point) -> bool {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.found.contains_key(&keyed(point))
    }

    /// Points that are wanted and there.
    pub fn n_found(&self) -> usize {
        self.wanted.iter().filter(|point| self.has(point)).count()
    }

    /// Keeps a point.
    pub fn add(&self, point: &Point, found: Found) -> Result<(), CliError> {
        let failed = |source| CliError::Write { file: self.name.clone(), source };
        let line = Line { exploration: self.exploration.clone(), at: keyed(point), found };
        let mut text = serde_json::to_string(&line).map_err(|e| failed(io::Error::other(e)))?;
        text.push('\n');
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &mut kept.file {
            file.write_all(text.as_bytes()).and_then(|()| file.sync_data()).map_err(failed)?;
        }
        kept.found.insert(line.at, line.found);
        Ok(())
    }

    /// All points that are there, in the order in which they were asked for.
    pub fn table(&self) -> Table {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let row = |point: &Point| Some((point.clone(), kept.found.get(&keyed(point))?.clone()));
        Table { rows: self.wanted.iter().filter_map(row).collect() }
    }
}

fn keyed(point: &Point) -> BTreeMap<String, String> {
    point.iter().cloned().collect()
}

/// Points with what was found there.
#[derive(Debug, Clone)]
pub struct Table {
    /// In order.
    pub rows: Vec<(Point, Found)>,
}

/// A figure of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// Percent.
    Accuracy,
    /// Points below floating point.
    Loss,
    /// Microseconds of one input alone.
    Latency,
    /// Microseconds between inputs.
    Interval,
    /// Nanojoules of an input.
    Energy,
    /// Square millimetres.
    Area,
    /// PEs in use.
    Pes,
}

impl Figure {
    const ALL: [Self; 7] = [
        Self::Accuracy,
        Self::Loss,
        Self::Latency,
        Self::Interval,
        Self::Energy,
        Self::Area,
        Self::Pes,
    ];

    /// Its column, with the unit.
    pub fn title(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy %",
            Self::Loss => "loss points",
            Self::Latency => "latency us",
            Self::Interval => "interval us",
            Self::Energy => "energy nJ",
            Self::Area => "area mm2",
            Self::Pes => "PEs",
        }
    }

    /// Its value at a point.
    pub fn of(self, found: &Found) -> Option<f64> {
        match self {
            Self::Accuracy => found.accuracy,
            Self::Loss => found.loss,
            Self::Latency => found.latency_us,
            Self::Interval => found.interval_us,
            Self::Energy => found.energy_nj,
            Self::Area => found.area_mm2,
            Self::Pes => found.pes.map(|n| n as f64),
        }
    }

    /// Whether more of it is better.
    pub fn more_is_better(self) -> bool {
        self == Self::Accuracy
    }
}

impl Table {
    /// Figures that some point has.
    pub fn figures(&self) -> Vec<Figure> {
        let has = |figure: &Figure| self.rows.iter().any(|(_, found)| figure.of(found).is_some());
        Figure::ALL.into_iter().filter(has).collect()
    }

    /// For each point whether no other is at least as good in both figures and
    /// better in one.
    pub fn front(&self, x: Figure, y: Figure) -> Vec<bool> {
        let worth = |figure: Figure, found: &Found| {
            let value = figure.of(found)?;
            Some(if figure.more_is_better() { value } else { -value })
        };
        let values: Vec<Option<(f64, f64)>> =
            self.rows.iter().map(|(_, found)| Some((worth(x, found)?, worth(y, found)?))).collect();
        let beats = |a: (f64, f64), b: (f64, f64)| a.0 >= b.0 && a.1 >= b.1 && a != b;
        values
            .iter()
            .map(|own| own.is_some_and(|own| !values.iter().flatten().any(|&a| beats(a, own))))
            .collect()
    }

    /// The figures that a picture has: cost to the right, gain upwards.
    pub fn axes(&self) -> (Figure, Figure) {
        let figures = self.figures();
        let has = |figure: Figure| figures.contains(&figure);
        match (has(Figure::Accuracy), has(Figure::Energy)) {
            (true, true) => (Figure::Energy, Figure::Accuracy),
            (true, false) => (Figure::Interval, Figure::Accuracy),
            (false, true) => (Figure::Energy, Figure::Interval),
            (false, false) => (Figure::Pes, Figure::Interval),
        }
    }

    /// For people; points that no other beats have a star.
    pub fn text(&self) -> String {
        let figures = self.figures();
        let (x, y) = self.axes();
        let front = self.front(x, y);
        let mut table = TextTable::new();
        table.load_style(presets::ASCII_MARKDOWN);
        let keys = self.rows.first().map(|(point, _)| point.as_slice()).unwrap_or_default();
        let mut titles: Vec<String> = keys.iter().map(|(path, _)| path.clone()).collect();
        titles.extend(figures.iter().map(|figure| figure.title().to_string()));
        titles.extend(["best".to_string(), "waits for".to_string()]);
        let n_numbers = titles.len() - 2;
        table.set_header(titles);
        for ((point, found), best) in self.rows.iter().zip(front) {
            let mut cells: Vec<String> = point.iter().map(|(_, value)| value.clone()).collect();
            cells.extend(figures.iter().map(|figure| figure.of(found).map_or("-".into(), shown)));
            cells.push(if best { "*" } else { "" }.to_string());
            let waits = found.error.as_ref().or(found.bottleneck.as_ref());
            cells.push(waits.cloned().unwrap_or_default());
            table.add_row(cells);
        }
        for (index, column) in table.column_iter_mut().enumerate() {
            if index < n_numbers {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        format!("{table}\n* no other point has a better {} at a better {}\n", y.title(), x.title())
    }

    /// Parts whose area some point tells.
    fn parts(&self) -> Vec<&str> {
        let parts = self.rows.iter().flat_map(|(_, found)| found.areas.keys());
        parts.map(String::as_str).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Comma-separated, a header first; quotes where a value needs them.
    pub fn csv(&self) -> String {
        let keys = self.rows.first().map(|(point, _)| point.as_slice()).unwrap_or_default();
        let mut lines = Vec::new();
        let mut header: Vec<String> = keys.iter().map(|(path, _)| quoted(path)).collect();
        header.extend(Figure::ALL.iter().map(|figure| figure.title().replace(' ', "_")));
        let parts = self.parts();
        header.extend(parts.iter().map(|part| quoted(&format!("area_mm2_{part}"))));
        header.extend(["bottleneck".to_string(), "error".to_string()]);
        lines.push(header.join(","));
        for (point, found) in &self.rows {
            let mut cells: Vec<String> = point.iter().map(|(_, value)| quoted(value)).collect();
            let figure =
                |figure: &Figure| figure.of(found).map_or(String::new(), |x| x.to_string());
            cells.extend(Figure::ALL.iter().map(figure));
            let area = |part: &&str| found.areas.get(*part).map_or(String::new(), f64::to_string);
            cells.extend(parts.iter().map(area));
            cells.push(quoted(found.bottleneck.as_deref().unwrap_or_default()));
            cells.push(quoted(found.error.as_deref().unwrap_or_default()));
            lines.push(cells.join(","));
        }
        lines.join("\n") + "\n"
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let (x, y) = self.axes();
        let front = self.front(x, y);
        let rows = self.rows.iter().zip(front).map(|((point, found), best)| {
            let mut row = json!({ "at": keyed(point), "best": best });
            if let (Value::Object(row), Ok(Value::Object(found))) =
                (&mut row, serde_json::to_value(found))
            {
                row.extend(found);
            }
            row
        });
        json!({ "best_by": [x.title(), y.title()], "points": rows.collect::<Vec<_>>() })
    }
}

/// Four digits or so.
pub fn shown(x: f64) -> String {
    match x.abs() {
        size if size >= 1000.0 => format!("{x:.0}"),
        size if size >= 100.0 => format!("{x:.1}"),
        size if size >= 1.0 => format!("{x:.2}"),
        _ => format!("{x:.4}"),
    }
}

fn quoted(text: &str) -> String {
    let plain = !text.contains([',', '"', '\n', '\r']);
    if plain { text.to_string() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    //! Points survive whoever is killed, and are told alike.
    #![allow(clippy::unwrap_used, reason = "a failed test may panic")]

    use super::*;

    fn points() -> Vec<Point> {
        ["4", "5", "6"].map(|bits| vec![("readout.adc_bits".to_string(), bits.to_string())]).into()
    }

    fn found(accuracy: f64, energy_nj: f64) -> Found {
        Found { accuracy: Some(accuracy), energy_nj: Some(energy_nj), ..Found::default() }
    }

    #[test]
    fn half_a_line_is_cut_off_and_whole_ones_are_not_done_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("points.jsonl");
        let wanted = points();
        let kept = Points::open(Some(&path), "a", &wanted).unwrap();
        kept.add(&wanted[0], found(90.0, 1.0)).unwrap();
        kept.add(&wanted[1], found(95.0, 2.0)).unwrap();
        drop(kept);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 10]).unwrap();
        let kept = Points::open(Some(&path), "a", &wanted).unwrap();
        assert_eq!((kept.n_found(), kept.has(&wanted[0]), kept.has(&wanted[1])), (1, true, false));
        kept.add(&wanted[1], found(95.0, 2.0)).unwrap();
        drop(kept);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        let other = Points::open(Some(&path), "b", &wanted);
        assert!(matches!(other, Err(CliError::OtherPoints { .. })));
        std::fs::write(&path, "no json\n").unwrap();
        let broken = Points::open(Some(&path), "a", &wanted);
        assert!(matches!(broken, Err(CliError::NotPoints { line: 1, .. })));
    }

    #[test]
    fn the_front_is_what_no_other_point_beats() {
        let wanted = points();
        let kept = Points::open(None, "a", &wanted).unwrap();
        for (point, found) in
            wanted.iter().zip([found(90.0, 1.0), found(89.0, 2.0), found(95.0, 3.0)])
        {
            kept.add(point, found).unwrap();
        }
        let table = kept.table();
        assert_eq!(table.axes(), (Figure::Energy, Figure::Accuracy));
        assert_eq!(table.front(Figure::Energy, Figure::Accuracy), [true, false, true]);
        let csv = table.csv();
        assert_eq!(csv.lines().count(), 4);
        assert!(csv.starts_with("readout.adc_bits,accuracy_%,"), "{csv}");
        assert!(csv.contains("\n5,89,,,,2,,,,\n"), "{csv}");
        let areas = BTreeMap::from([("ADC".to_string(), 0.5)]);
        kept.add(&wanted[2], Found { areas, ..found(95.0, 3.0) }).unwrap();
        let csv = kept.table().csv();
        assert!(csv.contains(",PEs,area_mm2_ADC,bottleneck,"), "{csv}");
        assert!(csv.contains("\n6,95,,,,3,,,0.5,,\n"), "{csv}");
        assert_eq!(table.json()["points"][2]["at"]["readout.adc_bits"], "6");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
