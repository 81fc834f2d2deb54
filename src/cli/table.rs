//! Columns for people.

use super::output::{Output, printable};

/// Rows under headings, each column as wide as its widest cell.
#[derive(Debug, Clone)]
pub(super) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub(super) fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. Empty cells show as `-`.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let shown = |cell: String| if cell.is_empty() { "-".to_owned() } else { printable(&cell) };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// Whether it has no rows.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, without a final line break.
    #[must_use]
    pub(super) fn render(&self, output: Output) -> String {
        let widths: Vec<usize> = self
            .headings
            .iter()
            .enumerate()
            .map(|(column, heading)| {
                let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
                cells.max().unwrap_or(0).max(heading.chars().count())
            })
            .collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            padded.join("  ").trim_end().to_owned()
        };
        let heading = line(&mut self.headings.iter().copied());
        let rows = self.rows.iter().map(|row| line(&mut row.iter().map(String::as_str)));
        std::iter::once(output.strong(&heading)).chain(rows).collect::<Vec<_>>().join("\n")
    }
}

/// Facts about one thing, one a line: a name, and its value in a column of their own.
#[must_use]
pub(super) fn facts(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| {
        let value = if value.is_empty() { "-".to_owned() } else { printable(value) };
        format!("{name:<width$}  {value}")
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_empty_cells_show() {
        let mut table = Table::new(&["CLIENT", "ROLES"]);
        assert!(table.is_empty());
        table.row(["fraud-caller".into(), "fraud, spam".into()]);
        table.row(["é".into(), String::new()]);
        assert_eq!(table.render(Output::new(true)), "CLIENT        ROLES\nfraud-caller  fraud, spam\né             -");
    }

    #[test]
    fn facts_line_up() {
        assert_eq!(facts(&[("id", "a".into()), ("longer", String::new())]), "id      a\nlonger  -");
    }
}
