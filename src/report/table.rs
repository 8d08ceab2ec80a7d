//! Tables of text, whole or cut to their largest rows.

use comfy_table::{Cell, CellAlignment, Table, presets};
use sha2::{Digest, Sha256};

use super::numbers::count;

/// More rows than a reader would go through are cut.
const ROWS_MAX: usize = 40;
/// What is left of them.
const ROWS_SHOWN: usize = 20;

/// How a column is aligned: words to the left, numbers to the right.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Words(&'static str),
    Number(&'static str),
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Self::Words(name) | Self::Number(name) => name,
        }
    }

    fn alignment(self) -> CellAlignment {
        match self {
            Self::Words(_) => CellAlignment::Left,
            Self::Number(_) => CellAlignment::Right,
        }
    }
}

/// A table in Markdown, as wide as it needs to be: never cut to the width of
/// some terminal. Ends with a line break.
pub(super) fn table(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let cells = |texts: Vec<String>| -> Vec<Cell> {
        let aligned = texts.into_iter().zip(columns);
        aligned.map(|(text, column)| Cell::new(text).set_alignment(column.alignment())).collect()
    };
    table.set_header(cells(columns.iter().map(|column| column.name().to_string()).collect()));
    for row in rows {
        table.add_row(cells(row));
    }
    format!("{table}\n")
}

/// The rows of something that there can be thousands of.
pub(super) struct Listing<'a, R> {
    /// What they are: `layers`.
    pub noun: &'static str,
    /// All rows, in canonical order.
    pub rows: &'a [R],
    /// How rows are written.
    pub columns: &'a [Column],
    /// One row, written.
    pub cells: &'a dyn Fn(&R) -> Vec<String>,
    /// What makes a row large.
    pub size: &'a dyn Fn(&R) -> u64,
    /// What `size` counts: `cells`.
    pub size_noun: &'static str,
}

impl<R> Listing<'_, R> {
    /// The whole table, or of more than 40 rows the 20 largest, what the rest
    /// come to, and the SHA-256 of the whole table, so that a change in any
    /// row shows.
    pub fn text(&self) -> String {
        let whole = table(self.columns, self.rows.iter().map(self.cells));
        if self.rows.len() <= ROWS_MAX {
            return whole;
        }
        let mut largest: Vec<&R> = self.rows.iter().collect();
        // The sort is stable: equal rows stay in canonical order.
        largest.sort_by_key(|row| std::cmp::Reverse((self.size)(row)));
        let rest = largest.split_off(ROWS_SHOWN);
        let rest_size = rest.iter().map(|row| (self.size)(row)).fold(0, u64::saturating_add);
        format!(
            "{}and {} more {noun} with {} {} together; JSON has all {}\n\
             SHA-256 of the table of all {noun}: {}\n",
            table(self.columns, largest.into_iter().map(self.cells)),
            count(rest.len() as u64),
            count(rest_size),
            self.size_noun,
            count(self.rows.len() as u64),
            hex(&Sha256::digest(whole.as_bytes())),
            noun = self.noun,
        )
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
