//! The list for people: aligned columns, at most 100 characters wide unless all is asked for.

use std::borrow::Cow;

use super::{report::Item, verdict::Verdict};
use columns::{Column, NARROW, NARROWER, VERDICT, WIDE, length};

mod columns;

/// What a table may be wide, in characters.
const WIDEST: usize = 100;
const GAP: usize = 2;

/// How the table is to look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// All columns, as wide as they are.
    pub wide: bool,
    /// The verdict in colour.
    pub colour: bool,
}

/// The table, with its head and a line for each of `items`.
#[must_use]
pub fn render(items: &[Item], style: Style) -> String {
    let mut grid = Grid::new(items, if style.wide { WIDE } else { NARROW });
    if !style.wide && grid.width() > WIDEST {
        grid = Grid::new(items, NARROWER);
        narrow(&mut grid.widths, grid.columns);
    }
    let verdict = grid.columns.iter().position(|column| column.title == VERDICT.title);
    let mut out = String::new();
    line(&mut out, grid.columns.iter().map(|column| Cow::Borrowed(column.title)), &grid.widths, None);
    for (row, item) in grid.cells.iter().zip(items) {
        let paint = style.colour.then(|| colour(item.verdict)).flatten().zip(verdict);
        let fitted = row.iter().zip(grid.columns).zip(&grid.widths);
        let fitted = fitted.map(|((cell, column), width)| match column.cut {
            Some((_, cut)) if length(cell) > *width => Cow::Owned(cut(cell, *width)),
            _ => Cow::Borrowed(cell.as_str()),
        });
        line(&mut out, fitted, &grid.widths, paint);
    }
    out
}

struct Grid {
    columns: &'static [Column],
    cells: Vec<Vec<String>>,
    widths: Vec<usize>,
}

impl Grid {
    /// Every column as wide as it wants to be.
    fn new(items: &[Item], columns: &'static [Column]) -> Self {
        let row = |item| columns.iter().map(|column| (column.cell)(item)).collect();
        let cells: Vec<Vec<String>> = items.iter().map(row).collect();
        let width = |(place, column): (usize, &Column)| {
            let longest = cells.iter().filter_map(|row| row.get(place)).map(|cell| length(cell)).max();
            longest.unwrap_or(0).max(length(column.title))
        };
        let widths = columns.iter().enumerate().map(width).collect();
        Self { columns, cells, widths }
    }

    fn width(&self) -> usize {
        self.widths.iter().sum::<usize>() + GAP * self.widths.len().saturating_sub(1)
    }
}

/// Takes from the widest of the columns that can be cut until all fit.
fn narrow(widths: &mut [usize], columns: &[Column]) {
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > WIDEST {
        let cuttable = widths.iter_mut().zip(columns).filter_map(|(width, column)| {
            let (least, _) = column.cut.filter(|(least, _)| *width > *least)?;
            Some((*width - least, width))
        });
        let Some((_, width)) = cuttable.max_by_key(|(over, _)| *over) else { return };
        *width -= 1;
    }
}

/// One line; `paint` is a colour and the column that has it.
fn line<'a>(
    out: &mut String,
    cells: impl Iterator<Item = Cow<'a, str>>,
    widths: &[usize],
    paint: Option<(&str, usize)>,
) {
    let last = widths.len().saturating_sub(1);
    for (place, (cell, width)) in cells.zip(widths).enumerate() {
        let padding = if place == last { 0 } else { width.saturating_sub(length(&cell)) + GAP };
        match paint.filter(|(_, column)| *column == place) {
            Some((colour, _)) => out.extend(["\u{1b}[", colour, "m", &cell, "\u{1b}[0m"]),
            None => out.push_str(&cell),
        }
        out.extend(std::iter::repeat_n(' ', padding));
    }
    out.truncate(out.trim_end_matches(' ').len());
    out.push('\n');
}

/// The number of a colour (ECMA-48, "SGR").
fn colour(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Strict => Some("32"),
        Verdict::WouldLoseGroups | Verdict::NotVerified | Verdict::Unknown => Some("33"),
        Verdict::Violated => Some("1;31"),
        Verdict::Refused => Some("31"),
        Verdict::Merged | Verdict::NotStarted | Verdict::Ended => None,
    }
}

#[cfg(test)]
mod tests;
