//! Tables and key-value lists for people.

use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Table, Width, presets};

use crate::printable::one_line;
use crate::screen::{BOLD, Screen};

/// The heading of one column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    title: &'static str,
    /// How important it is if there is not enough room: 0 is left out last. Of equal ones, the rightmost is
    /// left out first.
    rank: u8,
}

impl Column {
    pub(crate) const fn new(title: &'static str, rank: u8) -> Self {
        Self { title, rank }
    }
}

/// A value of a table: as it is, and a shorter form for narrow terminals.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    full: String,
    short: Option<String>,
}

impl Value {
    /// With a short form.
    pub(crate) fn with_short(full: String, short: String) -> Self {
        Self { full, short: Some(short) }
    }

    fn short(&self) -> &str {
        self.short.as_deref().unwrap_or(&self.full)
    }
}

impl From<String> for Value {
    fn from(full: String) -> Self {
        Self { full, short: None }
    }
}

/// A table with a heading, whose columns are the more important the further left they are.
pub(crate) fn table(screen: &Screen, heading: &[&'static str], rows: Vec<Vec<String>>) -> String {
    let columns: Vec<Column> = (0..).zip(heading).map(|(rank, title)| Column::new(title, rank)).collect();
    let rows: Vec<Vec<Value>> =
        rows.into_iter().map(|row| row.into_iter().map(Value::from).collect()).collect();
    table_of(screen, &columns, &rows)
}

/// A table that fits the terminal without breaking a word, because a broken word could not be copied. Values
/// are shortened, then columns are left out, the least important first, and named below. Without a terminal
/// the table has its full width, so that `grep` sees whole rows.
pub(crate) fn table_of(screen: &Screen, columns: &[Column], rows: &[Vec<Value>]) -> String {
    fitted(columns, rows, terminal_width(screen))
}

/// One entry: a name and a value on each line. Values may have several lines.
pub(crate) fn list(screen: &Screen, pairs: Vec<(&str, String)>) -> String {
    let rows: Vec<Vec<String>> = pairs
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| vec![format!("{}:", one_line(name)), lines(&value)])
        .collect();
    let names = rows.iter().filter_map(|row| row.first()).map(|name| width_of(name)).max().unwrap_or(0);
    // The names are never broken. Values are wrapped only where there is room for whole words.
    let longest =
        rows.iter().filter_map(|row| row.get(1)).map(|value| longest_word(value)).max().unwrap_or(0);
    let fits = |width: &u16| names + longest + 2 * usize::from(GAP) <= usize::from(*width);
    render(None, &[names, longest.max(1)], rows, terminal_width(screen).filter(fits))
}

/// The width to use if the terminal does not report one.
const UNKNOWN_WIDTH: u16 = 100;

fn terminal_width(screen: &Screen) -> Option<u16> {
    screen.is_terminal().then(|| Table::new().width().filter(|width| *width > 0).unwrap_or(UNKNOWN_WIDTH))
}

/// A value of our own may have several lines; each is shown as one.
fn lines(text: &str) -> String {
    text.split('\n').map(|line| one_line(&line.replace('\t', "    "))).collect::<Vec<_>>().join("\n")
}

fn width_of(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

fn longest_word(text: &str) -> usize {
    text.split_whitespace().map(|word| word.chars().count()).max().unwrap_or(0)
}

fn fitted(columns: &[Column], rows: &[Vec<Value>], width: Option<u16>) -> String {
    let all: Vec<usize> = (0..columns.len()).collect();
    let cells = |shown: &[usize], short: bool| -> Vec<Vec<String>> {
        let text = |value: &Value| lines(if short { value.short() } else { &value.full });
        rows.iter()
            .map(|row| shown.iter().map(|at| row.get(*at).map(text).unwrap_or_default()).collect())
            .collect()
    };
    let titles = |shown: &[usize]| -> Vec<&'static str> {
        shown.iter().filter_map(|at| columns.get(*at)).map(|column| column.title).collect()
    };
    let least = |titles: &[&str], cells: &[Vec<String>]| -> Vec<usize> {
        let longest = |at: usize| {
            cells.iter().filter_map(|row| row.get(at)).map(|text| longest_word(text)).max().unwrap_or(0)
        };
        titles.iter().enumerate().map(|(at, title)| longest(at).max(title.len())).collect()
    };
    let fits = |least: &[usize], width: u16| {
        least.iter().map(|one| one + usize::from(GAP)).sum::<usize>() <= usize::from(width) + usize::from(GAP)
    };

    let Some(width) = width else {
        let (titles, cells) = (titles(&all), cells(&all, false));
        return render(Some(&titles), &least(&titles, &cells), cells, None);
    };
    // An empty column says nothing.
    let mut shown: Vec<usize> = all
        .iter()
        .copied()
        .filter(|at| rows.iter().any(|row| row.get(*at).is_some_and(|value| !value.full.is_empty())))
        .collect();
    let mut short = false;
    let mut left_out = Vec::new();
    loop {
        let (names, text) = (titles(&shown), cells(&shown, short));
        let needed = least(&names, &text);
        if fits(&needed, width) || (short && shown.len() <= 1) {
            let table = render(Some(&names), &needed, text, Some(width));
            return if left_out.is_empty() {
                table
            } else {
                format!("{table}\n{}", remark(&left_out, width))
            };
        }
        if !short {
            short = true;
            continue;
        }
        let rank =
            |place: &usize| shown.get(*place).and_then(|at| columns.get(*at)).map_or(0, |column| column.rank);
        // The last of the maxima: of equal ones the rightmost goes.
        let Some(least_important) = (0..shown.len()).max_by_key(rank) else { return String::new() };
        let at = shown.remove(least_important);
        left_out.extend(columns.get(at).map(|column| column.title));
    }
}

/// What a narrow terminal does not show, in lines that fit it.
fn remark(left_out: &[&str], width: u16) -> String {
    let text = format!("Not shown here: {}. A wider terminal or --json shows all.", left_out.join(", "));
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= usize::from(width) => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// The blanks between columns.
const GAP: u16 = 2;

/// `least` is the width of each column below which a word would be broken.
fn render(heading: Option<&[&str]>, least: &[usize], rows: Vec<Vec<String>>, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).force_no_tty();
    match width {
        // The gap after the last column is cut off again.
        Some(width) => {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width.saturating_add(GAP))
        }
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    if let Some(heading) = heading {
        table.set_header(heading.iter().map(Cell::new));
    }
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
        // The arrangement looks at columns as wholes; this keeps it from breaking the longest word of one.
        if let Some(least) =
            least.get(column.index).and_then(|least| u16::try_from(least + usize::from(GAP)).ok())
        {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
        }
    }
    let mut lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    if let (Some(first), true) = (lines.first_mut(), heading.is_some()) {
        // No title is broken, so the heading is one line.
        *first = format!("{}{first}{}", BOLD[0], BOLD[1]);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::{BOLD, Column, Value, fitted};
    use proptest::prelude::*;

    fn columns() -> Vec<Column> {
        vec![Column::new("NAME", 0), Column::new("SPIFFE ID", 2), Column::new("PURPOSE", 1)]
    }

    fn rows() -> Vec<Vec<Value>> {
        let id =
            Value::with_short("spiffe://acme.example/agent/support-agent".into(), "support-agent".into());
        vec![vec![
            "support-agent".to_owned().into(),
            id,
            "Works on support cases of customers".to_owned().into(),
        ]]
    }

    fn plain(text: &str) -> String {
        text.replace(BOLD, "")
    }

    #[test]
    fn fits_the_terminal_breaks_no_word_and_names_what_it_leaves_out() {
        for (width, has, left_out) in [
            (120, &["spiffe://acme.example/agent/support-agent", "customers"][..], ""),
            (80, &["spiffe://acme.example/agent/support-agent", "customers"], ""),
            (50, &["support-agent", "customers"], ""),
            (36, &["support-agent", "customers"], "Not shown here: SPIFFE ID."),
        ] {
            let text = plain(&fitted(&columns(), &rows(), Some(width)));
            assert!(text.lines().all(|line| line.chars().count() <= usize::from(width)), "{width}\n{text}");
            assert!(has.iter().all(|word| text.contains(word)), "{width}\n{text}");
            assert_eq!(text.contains("spiffe://"), width >= 80, "{width}\n{text}");
            assert_eq!(text.contains("Not shown"), !left_out.is_empty(), "{width}\n{text}");
            assert!(text.replace('\n', " ").contains(left_out), "{width}\n{text}");
        }
    }

    #[test]
    fn keeps_a_row_on_one_line_where_there_is_no_terminal() {
        let text = fitted(&columns(), &rows(), None);
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("spiffe://acme.example/agent/support-agent"));
    }

    #[test]
    fn an_empty_column_takes_no_room_on_a_terminal() {
        let rows = vec![vec![Value::from("a".to_owned()), String::new().into(), "x".to_owned().into()]];
        assert!(!fitted(&columns(), &rows, Some(80)).contains("SPIFFE"));
        assert!(fitted(&columns(), &rows, None).contains("SPIFFE"));
    }

    #[test]
    fn no_text_drives_the_terminal() {
        for width in [Some(2), Some(80), None] {
            let text = fitted(&[Column::new("X", 0)], &[vec!["\u{1b}[2J\u{202e}".to_owned().into()]], width);
            assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_table_of_short_words_fits_every_usual_terminal(
            rows in prop::collection::vec(prop::collection::vec("[a-z]{0,8}( [a-z]{1,8}){0,6}", 9), 1..5),
            width in prop::sample::select(vec![80_u16, 100, 120]),
        ) {
            let columns: Vec<Column> = ["A", "B", "C", "D", "E", "F", "G", "H", "I"].iter().zip(0..).map(|(title, rank)| Column::new(title, rank)).collect();
            let values: Vec<Vec<Value>> = rows.iter().map(|row| row.iter().cloned().map(Value::from).collect()).collect();
            let text = plain(&fitted(&columns, &values, Some(width)));
            prop_assert!(text.lines().all(|line| line.chars().count() <= usize::from(width)), "{}", text);
        }
    }
}
