//! The nearest known word to one that is not known.

/// The candidate that is at most two edits (and less than half its length) away from `word`, the nearest
/// first.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(edits, candidate)| *edits <= 2 && edits * 2 < candidate.chars().count().max(2))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance, where swapping two neighbours counts as one edit (optimal string alignment). Texts
/// of more than 64 characters are compared by their first 64, which bounds the work on hostile input.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |line: &[usize], column: usize| line.get(column).copied().unwrap_or(usize::MAX / 2);
            let replace = at(&above, j) + usize::from(x != y);
            let mut best = replace.min(at(&above, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_slips_and_leaves_strangers_alone() {
        let keys = ["name", "scopes", "selectors", "owner", "max_uses", "id"];
        for (slip, meant) in [
            ("scope", "scopes"),
            ("scpoes", "scopes"),
            ("selector", "selectors"),
            ("ownr", "owner"),
            ("max-uses", "max_uses"),
        ] {
            assert_eq!(nearest(slip, keys), Some(meant), "{slip}");
        }
        for stranger in ["", "x", "color", "permissions"] {
            assert_eq!(nearest(stranger, keys), None, "{stranger}");
        }
        assert_eq!(nearest(&"s".repeat(100_000), keys), None);
    }
}
