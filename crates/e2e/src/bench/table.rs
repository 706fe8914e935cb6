//! The table that a run prints.

/// Rows of text, the columns as wide as they need to be.
pub struct Table(Vec<[String; 4]>);

impl Table {
    pub fn new() -> Self {
        Self(vec![["what", "measured", "beside", "budget"].map(String::from)])
    }

    /// A figure without a budget.
    pub fn row(&mut self, what: &str, measured: String, beside: String) {
        self.0.push([what.to_owned(), measured, beside, String::new()]);
    }

    /// A figure with its budget and whether it is kept.
    pub fn budget(&mut self, what: &str, measured: String, beside: String, budget: &str, kept: bool) {
        let verdict = if kept { "ok" } else { "OVER" };
        self.0.push([what.to_owned(), measured, beside, format!("{budget}: {verdict}")]);
    }

    pub fn print(&self) {
        let width = |column: usize| self.0.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [0, 1, 2, 3].map(width);
        for (number, row) in self.0.iter().enumerate() {
            let cells: Vec<String> =
                row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            println!("| {} |", cells.join(" | "));
            if number == 0 {
                println!("|{}|", widths.map(|width| "-".repeat(width + 2)).join("|"));
            }
        }
    }
}
