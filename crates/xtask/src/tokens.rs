//! Rust source as tokens, without comments and what only tests compile; literal texts are apart from the
//! rest.

/// One word or sign of the source.
#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    text: &'a str,
    line: usize,
}

/// The tokens of one file.
#[derive(Debug)]
pub(crate) struct Tokens<'a>(Vec<Token<'a>>);

impl<'a> Tokens<'a> {
    /// The tokens of `source` that are compiled outside of tests, without literal texts.
    pub(crate) fn shipped(source: &'a str) -> Self {
        let mut shipped = Self::with_literals(source);
        shipped.0.retain(|token| literal(token.text).is_none());
        shipped
    }

    /// The tokens of `source` that are compiled outside of tests.
    fn with_literals(source: &'a str) -> Self {
        let all = Self(tokens(source));
        let mut shipped = Vec::new();
        let mut at = 0;
        while let Some(token) = all.0.get(at) {
            if all.begins_attribute(at) {
                let end = all.group_end(at + 1);
                if all.only_for_tests(at, end) {
                    at = all.item_end(end);
                } else {
                    shipped.extend((at..end).filter_map(|at| all.0.get(at)).copied());
                    at = end;
                }
            } else {
                shipped.push(*token);
                at += 1;
            }
        }
        Self(shipped)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The token at `at`; nothing beyond the end.
    pub(crate) fn text(&self, at: usize) -> &'a str {
        self.0.get(at).map_or("", |token| token.text)
    }

    /// The line of the token at `at`, counted from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.0.get(at).map_or(0, |token| token.line)
    }

    /// Whether an attribute begins at `at`.
    pub(crate) fn begins_attribute(&self, at: usize) -> bool {
        self.text(at) == "#" && self.text(at + 1) == "["
    }

    /// The place behind the group of brackets that opens at `at`.
    pub(crate) fn group_end(&self, mut at: usize) -> usize {
        let mut depth = 0_usize;
        while at < self.len() {
            match self.text(at) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            at += 1;
            if depth == 0 {
                break;
            }
        }
        at
    }

    /// Whether the attribute from `at` to `end` leaves what follows to tests.
    fn only_for_tests(&self, at: usize, end: usize) -> bool {
        let inside: Vec<&str> = (at + 2..end.saturating_sub(1)).map(|at| self.text(at)).collect();
        match inside.as_slice() {
            ["test"] | ["cfg", "(", "test", ")"] => true,
            ["cfg", "(", "all", "(", all @ ..] => all.contains(&"test") && !all.contains(&"not"),
            _ => false,
        }
    }

    /// The place behind what the attributes before `at` belong to: an item, a field, a variant, a statement
    /// or an arm.
    fn item_end(&self, mut at: usize) -> usize {
        while self.begins_attribute(at) {
            at = self.group_end(at + 1);
        }
        // In items a comma may stand between generic parameters.
        let item = ITEMS.contains(&self.text(at));
        while at < self.len() {
            match self.text(at) {
                ")" | "]" | "}" => break,
                "{" => return self.group_end(at),
                "(" | "[" => at = self.group_end(at),
                ";" => return at + 1,
                "," if !item => return at + 1,
                _ => at += 1,
            }
        }
        at
    }
}

/// What an item begins with.
const ITEMS: &[&str] = &[
    "pub",
    "use",
    "mod",
    "fn",
    "struct",
    "enum",
    "union",
    "trait",
    "impl",
    "type",
    "const",
    "static",
    "async",
    "unsafe",
    "extern",
    "macro_rules",
];

/// What is between the quotes of each literal text in `source` that is compiled outside of tests, and its
/// line, counted from 1.
pub(crate) fn shipped_literals(source: &str) -> impl Iterator<Item = (usize, &str)> {
    Tokens::with_literals(source).0.into_iter().filter_map(|token| Some((token.line, literal(token.text)?)))
}

/// What is between the quotes if `token` is a literal text.
fn literal(token: &str) -> Option<&str> {
    let inside = token.trim_start_matches(['b', 'c', 'r', '#']).strip_prefix('"')?;
    Some(inside.trim_end_matches('#').strip_suffix('"').unwrap_or(inside))
}

/// Whether a token is a name or a keyword, not a number or a sign.
pub(crate) fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let passed_over = passed_over(rest);
        let length = passed_over.or_else(|| literal_length(rest)).unwrap_or_else(|| match word(rest) {
            0 if rest.starts_with("::") || rest.starts_with("..") => 2,
            0 => first.len_utf8(),
            word => word,
        });
        let (text, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        if passed_over.is_none() {
            found.push(Token { text, line });
        }
        line += text.matches('\n').count();
        rest = after;
    }
    found
}

/// The length of the word that `text` begins with.
fn word(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// The length of the space, comment, character or lifetime that `text` begins with.
fn passed_over(text: &str) -> Option<usize> {
    let space = text.len() - text.trim_start().len();
    if space > 0 {
        return Some(space);
    }
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment(text));
    }
    // The sign of a raw name, as in `r#type`: what remains is the name.
    if text.starts_with("r#") && raw_string(text).is_none() {
        return Some(2);
    }
    let plain = text.strip_prefix('b').unwrap_or(text);
    let prefix = text.len() - plain.len();
    plain.strip_prefix('\'').map(|inside| prefix + 1 + character_or_lifetime(inside))
}

/// The length of the literal text that `text` begins with.
fn literal_length(text: &str) -> Option<usize> {
    let plain = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let inside = || plain.strip_prefix('"');
    raw_string(text).or_else(|| inside().map(|inside| text.len() - inside.len() + closing(inside, '"')))
}

/// The length of a block comment, which may contain others.
fn block_comment(text: &str) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            at += 2;
            depth += 1;
        } else if rest.starts_with("*/") {
            at += 2;
            depth = depth.saturating_sub(1);
            if depth == 0 {
                break;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

fn raw_string(text: &str) -> Option<usize> {
    let signs = ["r", "br", "cr"].into_iter().find_map(|prefix| text.strip_prefix(prefix))?;
    let quote = signs.trim_start_matches('#');
    let inside = quote.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(signs.len() - quote.len()));
    let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
    Some(text.len() - inside.len() + length)
}

/// The length up to and with the first `quote` that no backslash precedes.
fn closing(inside: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        if c == quote && !escaped {
            return at + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    inside.len()
}

/// The length of what follows a single quote.
fn character_or_lifetime(inside: &str) -> usize {
    let mut characters = inside.chars();
    match (characters.next(), characters.next()) {
        (Some('\\'), _) => closing(inside, '\''),
        (Some(c), Some('\'')) => c.len_utf8() + 1,
        _ => word(inside),
    }
}

#[cfg(test)]
mod tests {
    use super::{Tokens, shipped_literals};

    fn shipped(source: &str) -> String {
        let tokens = Tokens::shipped(source);
        (0..tokens.len()).map(|at| tokens.text(at)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_literal_texts_are_left_out() {
        for (source, expected) in [
            ("a // b\nc", "a c"),
            ("a /* b /* c */ d */ e", "a e"),
            (r#"f("a\"b", c)"#, "f ( , c )"),
            ("f(r#\"a \" b\"#, br\"c\", b\"d\", b'e')", "f ( , , , )"),
            ("r#type::a", "type :: a"),
            (r"f('a', '\'', '{', '\u{7d}')", "f ( , , , )"),
            ("fn f<'a>(b: &'a str, c: &'static str)", "fn f < > ( b : & str , c : & str )"),
            ("0..a::B", "0 .. a :: B"),
        ] {
            assert_eq!(shipped(source), expected, "{source}");
        }
    }

    #[test]
    fn literal_texts_are_found_with_their_lines() {
        let source = "f(\"a\\\"b\", b\"c\")\n// \"d\"\nr#\"e \" \"#; \"\"; 'x'\n#[cfg(test)]\nconst A: &str = \"f\";\n\"#g#\"";
        let found: Vec<_> = shipped_literals(source).collect();
        assert_eq!(found, [(1, "a\\\"b"), (1, "c"), (3, "e \" "), (3, ""), (6, "#g#")]);
    }

    #[test]
    fn what_only_tests_compile_is_left_out() {
        for (source, expected) in [
            ("#[cfg(test)]\nmod tests;\nfn f() {}", "fn f ( ) { }"),
            (
                "#[cfg(test)]\n#[expect(clippy::panic, reason = \"x\")]\nmod tests { use a; fn g() {} }\nb",
                "b",
            ),
            ("#[cfg(test)] fn f<A, B>(a: A, b: [B; 2]) -> C { d }\ne", "e"),
            ("#[test] fn f() {} g", "g"),
            ("struct A { #[cfg(test)] b: C, d: E }", "struct A { d : E }"),
            ("struct A { d: E, #[cfg(test)] b: C }", "struct A { d : E , }"),
            ("#[cfg(all(test, unix))] use a::{b, c}; d", "; d"),
        ] {
            assert_eq!(shipped(source), expected, "{source}");
        }
        for source in
            ["# [ cfg ( not ( test ) ) ] use a ;", "# [ cfg ( all ( unix , not ( test ) ) ) ] use a ;"]
        {
            assert_eq!(shipped(source), source);
        }
    }

    #[test]
    fn a_token_has_its_line() {
        let tokens = Tokens::shipped("a\n/* \n */ b \"\n\" c");
        assert_eq!([0, 1, 2].map(|at| tokens.line(at)), [1, 3, 4]);
    }
}
