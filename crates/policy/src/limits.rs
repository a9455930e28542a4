//! Bounds on the shape of a policy text, checked before it is parsed.
//!
//! Cedar's parser recurses for each bracket without a bound of its own, and its validator silently stops
//! checking when it runs low on stack: an expression that is deep enough would crash the process or pass
//! without validation. Both need depth, so depth is bounded here, far below what either can handle on a
//! thread of 2 MiB.

/// The deepest nesting of `(`, `[` and `{`.
pub(crate) const MAX_NESTING: usize = 32;

/// The most operators in one statement: `&&`, `||`, `+`, `-`, `*`, `.`, `[`, `if`, `when`, `unless`. Each may
/// add a level: `a["b"]["c"]` is as deep as `a.b.c`.
pub(crate) const MAX_OPERATORS: usize = 200;

/// A bound was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooComplex {
    #[error("nested more than {MAX_NESTING} deep")]
    Nesting,
    #[error(
        "more than {MAX_OPERATORS} operators in one statement; write several statements, or a set and `contains`"
    )]
    Operators,
}

/// Checks `source`. On refusal, also says at which byte.
pub(crate) fn check(source: &str) -> Result<(), (usize, TooComplex)> {
    let mut nesting = 0usize;
    let mut operators = 0usize;
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let at = source.len() - rest.len();
        let taken = match first {
            '"' => text_len(rest),
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '(' | '[' | '{' => {
                nesting += 1;
                operators += usize::from(first == '[');
                1
            }
            ')' | ']' | '}' => {
                nesting = nesting.saturating_sub(1);
                1
            }
            ';' if nesting == 0 => {
                operators = 0;
                1
            }
            '.' | '+' | '-' | '*' => {
                operators += 1;
                1
            }
            '&' | '|' => {
                operators += 1;
                if rest.starts_with("&&") || rest.starts_with("||") { 2 } else { 1 }
            }
            c if c.is_alphanumeric() || c == '_' => {
                let word = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or(rest);
                operators += usize::from(matches!(word, "if" | "when" | "unless"));
                word.len()
            }
            c => c.len_utf8(),
        };
        if nesting > MAX_NESTING {
            return Err((at, TooComplex::Nesting));
        }
        if operators > MAX_OPERATORS {
            return Err((at, TooComplex::Operators));
        }
        rest = rest.get(taken..).unwrap_or("");
    }
    Ok(())
}

/// The length of the text literal at the start of `rest`, with both quotes. An open one reaches to the end.
fn text_len(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::{MAX_NESTING, MAX_OPERATORS, TooComplex, check};

    #[test]
    fn refuses_one_more_than_the_bound_and_says_where() {
        assert_eq!(check(&"(".repeat(MAX_NESTING)), Ok(()));
        assert_eq!(check(&"({[(".repeat(MAX_NESTING)), Err((MAX_NESTING, TooComplex::Nesting)));
        assert_eq!(check(&"()".repeat(1000)), Ok(()));
        assert_eq!(check(&"a.".repeat(MAX_OPERATORS)), Ok(()));
        assert_eq!(
            check(&"a.".repeat(MAX_OPERATORS + 1)),
            Err((2 * MAX_OPERATORS + 1, TooComplex::Operators))
        );
        assert_eq!(check(&r#"["a"]"#.repeat(MAX_OPERATORS)), Ok(()));
        assert_eq!(
            check(&format!("context{}", r#"["a"]"#.repeat(MAX_OPERATORS + 1))).map_err(|(_, why)| why),
            Err(TooComplex::Operators)
        );
        for operator in ["&&", "||", "+", "-", "*", "if ", "when", "unless"] {
            let source = format!("{operator} x ").repeat(MAX_OPERATORS + 1);
            assert_eq!(check(&source).map_err(|(_, why)| why), Err(TooComplex::Operators), "{operator}");
        }
    }

    #[test]
    fn counts_per_statement_and_not_in_texts_and_comments() {
        assert_eq!(check(&"a.b.c;\n".repeat(1000)), Ok(()));
        assert_eq!(
            check(&format!("{{{}}}", "a.b.c;".repeat(1000))).map_err(|(_, why)| why),
            Err(TooComplex::Operators)
        );
        let dots = ".(".repeat(1000);
        assert_eq!(check(&format!("// {dots}\n\"{dots}\\\"{dots}\" ; \"{dots}")), Ok(()));
        assert!(check(&format!("\"\\\\\"{dots}")).is_err(), "an escaped backslash does not escape the quote");
        assert!(check(&format!("// x\n{dots}")).is_err(), "a comment ends with its line");
    }
}
