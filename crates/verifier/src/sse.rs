//! A bounded parser for server-sent events (WHATWG HTML, "Server-sent events", §9.2.5 and §9.2.6).
//!
//! We have our own parser for two reasons: the feed's comments are its heartbeat and must be seen, and memory
//! must stay bounded for every input. Common parsers drop comments and grow without limit.

/// The longest line and the largest event that are accepted, in bytes.
pub(crate) const MAX_EVENT: usize = 64 * 1024;

/// One item of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// A comment line: the feed's heartbeat.
    Comment,
    Event {
        /// `event`, `message` if absent.
        kind: String,
        /// The data lines, joined by line feeds.
        data: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SseError {
    #[error("an event is larger than {MAX_EVENT} bytes")]
    TooLarge,
    #[error("the stream is not UTF-8")]
    NotUtf8,
}

/// Turns chunks of bytes, cut anywhere, into items.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    after_cr: bool,
    started: bool,
    kind: String,
    data: String,
    has_data: bool,
}

impl Parser {
    /// Reads one chunk; the items that it completed are appended to `out`.
    pub(crate) fn push(&mut self, chunk: &[u8], out: &mut Vec<Item>) -> Result<(), SseError> {
        for &byte in chunk {
            // CR LF, LF and CR each end a line.
            let after_cr = std::mem::take(&mut self.after_cr);
            match byte {
                b'\n' if after_cr => {}
                b'\n' => self.end_line(out)?,
                b'\r' => {
                    self.after_cr = true;
                    self.end_line(out)?;
                }
                _ if self.line.len() >= MAX_EVENT => return Err(SseError::TooLarge),
                _ => self.line.push(byte),
            }
        }
        Ok(())
    }

    fn end_line(&mut self, out: &mut Vec<Item>) -> Result<(), SseError> {
        let bytes = std::mem::take(&mut self.line);
        let mut line = std::str::from_utf8(&bytes).map_err(|_| SseError::NotUtf8)?;
        if !std::mem::replace(&mut self.started, true) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            self.dispatch(out);
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => out.push(Item::Comment),
            "event" => value.clone_into(&mut self.kind),
            "data" => {
                if self.data.len() + value.len() >= MAX_EVENT {
                    return Err(SseError::TooLarge);
                }
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // `id`: the feed is never resumed. `retry`: the back-off is ours. Others: to be ignored.
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, out: &mut Vec<Item>) {
        let kind = std::mem::take(&mut self.kind);
        let data = std::mem::take(&mut self.data);
        // A browser drops an event without data. Here `event: ready` alone is an event, too.
        if std::mem::take(&mut self.has_data) || !kind.is_empty() {
            let kind = if kind.is_empty() { "message".to_owned() } else { kind };
            out.push(Item::Event { kind, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Item, MAX_EVENT, Parser, SseError};

    fn parse(chunks: &[&[u8]]) -> Result<Vec<Item>, SseError> {
        let (mut parser, mut out) = (Parser::default(), Vec::new());
        for chunk in chunks {
            parser.push(chunk, &mut out)?;
        }
        Ok(out)
    }

    fn event(kind: &str, data: &str) -> Item {
        Item::Event { kind: kind.into(), data: data.into() }
    }

    #[test]
    fn reads_events_and_comments() {
        let text = b"\xef\xbb\xbfid: 1\nevent: cut\ndata: {\"a\":1}\n\n: beat\nevent: ready\ndata:\n\ndata: x\ndata:y\n\n";
        let expected =
            vec![event("cut", "{\"a\":1}"), Item::Comment, event("ready", ""), event("message", "x\ny")];
        assert_eq!(parse(&[text]), Ok(expected));
    }

    #[test]
    fn an_event_needs_a_name_or_data_and_its_blank_line() {
        assert_eq!(parse(&[b"event: ready\n\n"]), Ok(vec![event("ready", "")]));
        assert_eq!(parse(&[b"id: 1\n\n\n"]), Ok(vec![]));
        assert_eq!(parse(&[b"event: cut\ndata: {}\n"]), Ok(vec![]));
    }

    #[test]
    fn a_line_or_event_without_end_is_refused_before_it_fills_memory() {
        let long = vec![b'a'; MAX_EVENT + 1];
        assert_eq!(parse(&[&long]), Err(SseError::TooLarge));
        let line = format!("data: {}\n", "a".repeat(1000));
        let lines: Vec<&[u8]> = std::iter::repeat_n(line.as_bytes(), 100).collect();
        assert_eq!(parse(&lines), Err(SseError::TooLarge));
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_refused() {
        assert_eq!(parse(&[b"data: \xff\n"]), Err(SseError::NotUtf8));
    }

    proptest! {
        #[test]
        fn where_chunks_are_cut_changes_nothing(text in "(data: [a-z\u{e9}]{0,3}|event: x|id: [0-9]|: c|)(\r\n|\n|\r)?{0,20}", cut in 0usize..60) {
            let bytes = text.as_bytes();
            let cut = cut.min(bytes.len());
            let (a, b) = bytes.split_at(cut);
            prop_assert_eq!(parse(&[a, b]), parse(&[bytes]));
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&[&bytes]);
        }
    }
}
