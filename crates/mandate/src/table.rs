//! Tables and key-value lists for people.

use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};

use crate::screen::Screen;

/// A table with a heading, fitted to the terminal; unbounded where there is none, so that `grep` sees whole rows.
pub(crate) fn table(screen: &Screen, heading: &[&str], rows: Vec<Vec<String>>) -> String {
    fitted(heading, rows, None, screen.is_terminal(), screen.colours())
}

/// One entry: a name and a value on each line. Values may have several lines.
pub(crate) fn list(screen: &Screen, pairs: Vec<(&str, String)>) -> String {
    let rows = pairs.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| vec![format!("{name}:"), value]).collect();
    fitted(&[], rows, None, screen.is_terminal(), screen.colours())
}

fn fitted(heading: &[&str], rows: Vec<Vec<String>>, width: Option<u16>, terminal: bool, colour: bool) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_content_arrangement(if terminal { ContentArrangement::Dynamic } else { ContentArrangement::Disabled });
    if let Some(width) = width {
        table.set_width(width);
    }
    if colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    if terminal && width.is_none() && !colour {
        // `force_no_tty` also stops the look at the terminal's width.
        table.set_width(Table::new().width().unwrap_or(100));
    }
    if !heading.is_empty() {
        table.set_header(heading.iter().map(|text| Cell::new(text).add_attribute(Attribute::Bold)));
    }
    // Text from the registry and the log may hold control characters that would drive the terminal.
    table.add_rows(rows.into_iter().map(|row| row.into_iter().map(|text| printable(&text)).collect::<Vec<_>>()));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
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
    fn fits_the_terminal_and_loses_nothing() {
        for width in [40, 60, 80, 120] {
            let text = fitted(&["NAME", "SPIFFE ID", "PURPOSE"], rows(), Some(width), true, false);
            assert!(text.lines().all(|line| line.chars().count() <= usize::from(width)), "{width}\n{text}");
            let letters = |text: &str| text.chars().filter(|c| c.is_ascii_lowercase()).count();
            assert_eq!(letters(&text), letters(&rows().concat().concat()), "{text}");
        }
    }

    #[test]
    fn keeps_a_row_on_one_line_where_there_is_no_terminal() {
        let text = fitted(&["NAME", "SPIFFE ID", "PURPOSE"], rows(), None, false, false);
        assert_eq!(text.lines().count(), 2);
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn colour_is_only_there_where_it_is_wanted() {
        assert!(fitted(&["NAME"], vec![vec!["x".into()]], Some(80), true, true).contains('\u{1b}'));
        assert!(!fitted(&["NAME"], vec![vec!["x".into()]], Some(80), true, false).contains('\u{1b}'));
    }

    #[test]
    fn no_text_drives_the_terminal() {
        assert_eq!(printable("a\u{1b}]0;owned\u{7}b\nc\r"), "a\u{fffd}]0;owned\u{fffd}b\nc\u{fffd}");
        let text = fitted(&[], vec![vec!["\u{1b}[2J".into()]], Some(80), true, false);
        assert!(!text.contains('\u{1b}'));
    }
}
