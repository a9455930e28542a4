//! The wire, recorded: what was sent to a real server and what it answered, compared with committed text.
//!
//! A change of the wire is a change of a file in `tests/transcripts`, which a reviewer reads. What differs
//! from run to run (ids, keys, ports, cookies) is a numbered placeholder, and the same value has the same
//! placeholder within a file. Times are shown as the distance from the start of the server's clock, which
//! stands still unless the scenario moves it. Members of JSON are sorted.

mod administration;
mod authorize;
mod code;
mod coverage;
mod device;
mod exchange;
mod federation;
mod for_agent;
mod foreign;
mod id_tokens;
mod introspection;
mod metadata;
mod names;
mod opaque;
mod own_behalf;
mod platform;
mod provider;
mod pushed;
mod recorder;
mod refresh;
mod registry;
mod revocation;
mod self_description;
mod stage;
mod tenants;
mod token_form;

use std::path::{Path, PathBuf};

/// Writes the transcripts instead of comparing them, if it is set.
const WRITE: &str = "MANDATE_WRITE_TRANSCRIPTS";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")
}

/// The committed transcript of that name, empty if there is none.
fn committed(name: &str) -> String {
    std::fs::read_to_string(directory().join(format!("{name}.txt"))).unwrap_or_default()
}

/// Whether the transcripts are being written, so that what is committed proves nothing.
fn are_written() -> bool {
    std::env::var_os(WRITE).is_some()
}

/// Compares a transcript with the committed one.
fn compare(name: &str, found: &str) {
    if are_written() {
        std::fs::create_dir_all(directory()).unwrap();
        std::fs::write(directory().join(format!("{name}.txt")), found).unwrap();
        return;
    }
    let expected = committed(name);
    if expected == found {
        return;
    }
    let (mut before, mut now) = (expected.lines(), found.lines());
    let (mut heading, mut number) = ("", 0);
    let (before, now) = loop {
        number += 1;
        match (before.next(), now.next()) {
            (Some(before), Some(now)) if before == now => {
                heading = if now.starts_with("## ") { now } else { heading }
            }
            (before, now) => break (before, now),
        }
    };
    panic!(
        "tests/transcripts/{name}.txt, line {number}, below {heading:?}:\n  committed: {}\n  now:       {}\n\
         The wire has changed. If that is meant, run `{WRITE}=1 cargo test -p mandate-server --test it transcript`, \
         read the difference, and commit it.",
        before.unwrap_or("(the end)"),
        now.unwrap_or("(the end)")
    );
}
