//! The table of a token's parts: what is in them, shortened, and what becomes of each.

use mandate_core::Timestamp;
use mandate_token::access_token::{Explanation, Part, PartVerdict, Verdict};
use serde::Serialize;
use serde_json::Value;

use super::super::token::{TIMES, time};
use crate::screen::Screen;
use crate::table::{self, Column, table_of};

/// The most characters of a value that are shown.
const MOST: usize = 48;

/// One part of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    /// `header`, `signature` or `claim`.
    part: &'static str,
    name: String,
    /// At most 48 characters of it, and of what has no effect only how long it is; absent if the token lacks
    /// it, and for the signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// `accepted`, `ignored`, `not_checked` or `refused`.
    verdict: &'static str,
    /// As what it is accepted, or why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// The code of the refusal, as in records and answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

pub(super) fn rows(explanation: &Explanation) -> Vec<Row> {
    explanation.findings.iter().map(row).collect()
}

fn row(finding: &PartVerdict) -> Row {
    let (why, code) = match &finding.verdict {
        Verdict::Accepted(used_as) => (Some((*used_as).to_owned()), None),
        Verdict::Ignored => (None, None),
        Verdict::NotChecked(why) => (Some((*why).to_owned()), None),
        Verdict::Refused { code, why } => (Some(why.clone()), Some(*code)),
    };
    Row {
        part: finding.part.as_str(),
        name: finding.name.clone(),
        value: finding.value.as_ref().map(|value| match &finding.verdict {
            Verdict::Ignored => hidden(value),
            _ => shown(finding.part, &finding.name, value),
        }),
        verdict: finding.verdict.as_str(),
        why,
        code,
    }
}

/// Nothing of a value that has no effect: it may be the id of a session, or another secret of the issuer's
/// own.
fn hidden(value: &Value) -> String {
    let length = match value {
        Value::String(text) => text.chars().count(),
        value => value.to_string().chars().count(),
    };
    format!("({length} characters, not shown)")
}

/// A value for people: shortened, a time as such, and never a token.
fn shown(part: Part, name: &str, value: &Value) -> String {
    let at: Option<Timestamp> =
        time(Some(value)).filter(|_| part == Part::Claim && TIMES.contains(&name) && value.is_number());
    let text = match (at, value) {
        (Some(at), _) => at.to_string(),
        (None, Value::String(text)) => text.clone(),
        (None, value) => value.to_string(),
    };
    // Each JWT begins with the base64url of `{"`.
    if text.contains("eyJ") {
        return "(looks like a token; not shown)".to_owned();
    }
    if text.chars().count() <= MOST {
        return text;
    }
    text.chars().take(MOST - 1).chain(['…']).collect()
}

pub(super) fn text(screen: &Screen, rows: &[Row]) -> String {
    let columns = [Column::new("CLAIM", 0), Column::new("VALUE", 2), Column::new("VERDICT", 1)];
    let cells: Vec<Vec<table::Value>> = rows
        .iter()
        .map(|row| {
            let name = match row.part {
                "header" => format!("header {}", row.name),
                _ => row.name.clone(),
            };
            let verdict = row.verdict.replace('_', " ");
            let verdict = match &row.why {
                Some(why) => format!("{verdict}: {why}"),
                None => verdict,
            };
            vec![name.into(), row.value.clone().unwrap_or_default().into(), verdict.into()]
        })
        .collect();
    table_of(screen, &columns, &cells)
}

#[cfg(test)]
mod tests {
    use mandate_token::access_token::Part;
    use serde_json::json;

    use super::{MOST, hidden, shown};

    #[test]
    fn what_has_no_effect_is_not_shown() {
        assert_eq!(hidden(&json!("c9aefeed-35ca-453d")), "(18 characters, not shown)");
        assert_eq!(hidden(&json!({"key": "secret"})), "(16 characters, not shown)");
    }

    #[test]
    fn values_are_short_and_no_token_is_among_them() {
        let claim = |value| shown(Part::Claim, "x", &value);
        assert_eq!(claim(json!("riley")), "riley");
        assert_eq!(claim(json!(["a", 1])), r#"["a",1]"#);
        let long = claim(json!("é".repeat(200)));
        assert_eq!((long.chars().count(), long.ends_with('…')), (MOST, true), "{long}");
        for token in [json!("eyJhbGciOiJub25lIn0.e30."), json!({"t": "Bearer eyJh.b.c"})] {
            assert_eq!(claim(token), "(looks like a token; not shown)");
        }
        assert_eq!(shown(Part::Claim, "iat", &json!(1_288)), "1970-01-01T00:21:28.000Z");
        assert_eq!(shown(Part::Claim, "iat", &json!("1288")), "1288", "a text is no time");
        assert_eq!(shown(Part::Claim, "number", &json!(1_288)), "1288");
    }
}
