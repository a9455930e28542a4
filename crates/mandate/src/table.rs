//! Tables and key-value lists for people.

use comfy_table::{Attribute, Cell, ColumnConstraint, ContentArrangement, Table, Width, presets};

use crate::screen::Screen;

/// A table with a heading. Where it would not fit the terminal without breaking words, which could then not be copied,
/// each row becomes a list of its own. Where there is no terminal it is as wide as it is, so that `grep` sees whole rows.
pub(crate) fn table(screen: &Screen, heading: &[&str], rows: Vec<Vec<String>>) -> String {
    fitted(heading, rows, terminal_width(screen), screen.colours())
}

/// One entry: a name and a value on each line. Values may have several lines.
pub(crate) fn list(screen: &Screen, pairs: Vec<(&str, String)>) -> String {
    render(&[], named(pairs), None, screen.colours())
}

fn terminal_width(screen: &Screen) -> Option<u16> {
    screen.is_terminal().then(|| Table::new().width().unwrap_or(100))
}

fn named(pairs: Vec<(&str, String)>) -> Vec<Vec<String>> {
    pairs.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| vec![format!("{name}:"), value]).collect()
}

fn fitted(heading: &[&str], rows: Vec<Vec<String>>, width: Option<u16>, colour: bool) -> String {
    if width.is_some_and(|width| least_width(heading, &rows) > usize::from(width)) {
        let block = |row: Vec<String>| render(&[], named(heading.iter().copied().zip(row).collect()), None, colour);
        return rows.into_iter().map(block).collect::<Vec<_>>().join("\n\n");
    }
    render(heading, rows, width, colour)
}

/// The width below which a word would have to be broken.
fn least_width(heading: &[&str], rows: &[Vec<String>]) -> usize {
    least_widths(heading, rows).into_iter().sum()
}

/// The same for each column, with the blanks after it.
fn least_widths(heading: &[&str], rows: &[Vec<String>]) -> Vec<usize> {
    let word = |text: &str| text.split_whitespace().map(|word| word.chars().count()).max().unwrap_or(0);
    let column =
        |at: usize, name: &str| rows.iter().filter_map(|row| row.get(at)).map(|text| word(text)).max().unwrap_or(0).max(name.len());
    heading.iter().enumerate().map(|(at, name)| column(at, name) + usize::from(GAP)).collect()
}

/// The blanks between columns.
const GAP: u16 = 2;

fn render(heading: &[&str], rows: Vec<Vec<String>>, width: Option<u16>, colour: bool) -> String {
    let widths = least_widths(heading, &rows);
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    } else {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    if colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    if !heading.is_empty() {
        table.set_header(heading.iter().map(|text| Cell::new(text).add_attribute(Attribute::Bold)));
    }
    // Text from the registry and the log may hold control characters that would drive the terminal.
    table.add_rows(rows.into_iter().map(|row| row.into_iter().map(|text| printable(&text)).collect::<Vec<_>>()));
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
        // The arrangement looks at columns as wholes; this keeps it from breaking the longest word of one.
        if let Some(least) = widths.get(column.index).and_then(|least| u16::try_from(*least).ok()) {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// The text with every control character but the line break made visible.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::{fitted, printable};

    fn rows() -> Vec<Vec<String>> {
        vec![vec!["support-agent".into(), "spiffe://acme.example/agent/support-agent".into(), "Works on support cases of customers".into()]]
    }

    #[test]
    fn fits_the_terminal_and_breaks_no_word() {
        for width in [45, 60, 80, 120] {
            let text = fitted(&["NAME", "SPIFFE ID", "PURPOSE"], rows(), Some(width), false);
            for word in rows().concat().iter().flat_map(|text| text.split(' ')) {
                assert!(text.contains(word), "{width}: {word}\n{text}");
            }
            let table = text.starts_with("NAME ");
            assert_eq!(table, width >= 80, "{width}\n{text}");
            assert!(!table || text.lines().all(|line| line.chars().count() <= usize::from(width)), "{width}\n{text}");
        }
    }

    #[test]
    fn keeps_a_row_on_one_line_where_there_is_no_terminal() {
        let text = fitted(&["NAME", "SPIFFE ID", "PURPOSE"], rows(), None, false);
        assert_eq!(text.lines().count(), 2);
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn colour_is_only_there_where_it_is_wanted() {
        assert!(fitted(&["NAME"], vec![vec!["x".into()]], Some(80), true).contains('\u{1b}'));
        assert!(!fitted(&["NAME"], vec![vec!["x".into()]], Some(80), false).contains('\u{1b}'));
    }

    #[test]
    fn no_text_drives_the_terminal() {
        assert_eq!(printable("a\u{1b}]0;owned\u{7}b\nc\r"), "a\u{fffd}]0;owned\u{fffd}b\nc\u{fffd}");
        for width in [Some(2), Some(80), None] {
            let text = fitted(&["X"], vec![vec!["\u{1b}[2J".into()]], width, false);
            assert!(!text.contains('\u{1b}'));
        }
    }
}
