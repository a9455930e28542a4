//! What is printed on a terminal, which obeys some characters and has a width; and where there is none.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use serde_json::{Value, json};

use crate::processes::{MANDATE, Server, apart, ended, run};

/// Runs `mandate` with standard output on a terminal of so many columns. Gives what the terminal was sent.
fn on_a_terminal(columns: u16, arguments: &[&str]) -> String {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NOCTTY.bits().cast_signed())
        .open(name)
        .unwrap();
    // What is written arrives as it is.
    let mut raw = tcgetattr(&theirs).unwrap();
    raw.make_raw();
    tcsetattr(&theirs, OptionalActions::Now, &raw).unwrap();
    tcsetwinsize(&theirs, Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    // In a session of its own, it has no other terminal to ask for the width.
    let mut command = Command::new("setsid");
    apart(&mut command);
    command.arg(MANDATE).args(arguments).stdin(Stdio::null()).stdout(theirs).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    // It has the terminal's other end, and this process no longer.
    drop(command);
    let mut shown = Vec::new();
    match File::from(ours).read_to_end(&mut shown) {
        Ok(_) => {}
        // So a terminal whose other end is closed says that there is no more.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {}
        Err(error) => panic!("{error}"),
    }
    let ran = ended(child);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    String::from_utf8(shown).unwrap()
}

#[test]
fn json_drives_no_terminal_and_is_as_it_is_where_there_is_none() {
    let root = tempfile::tempdir().unwrap();
    let sub = "a\u{9b}2Jb\u{202e}c\u{1b}]0;owned\u{7}d";
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let file = root.path().join("token");
    fs::write(&file, format!("{}.{}.", part(json!({ "alg": "none" })), part(json!({ "sub": sub })))).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let arguments = ["token", "show", &file.to_string_lossy(), "--json"];
    let (shown, piped) = (on_a_terminal(80, &arguments), run(&arguments).out);
    for text in [&shown, &piped] {
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert_eq!(serde_json::from_str::<Value>(text).unwrap()["claims"]["sub"], sub, "{text:?}");
    }
    assert!(!shown.trim_end().contains(|c: char| c.is_control() || c == '\u{202e}'), "{shown:?}");
    assert!(shown.contains("\\u009b") && shown.contains("\\u202e") && shown.contains("\\u001b"), "{shown:?}");
    assert!(piped.contains('\u{9b}') && piped.contains('\u{202e}'), "{piped:?}");
}

/// The longest line without what makes it bold.
fn width(text: &str) -> usize {
    let plain = text.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
    plain.lines().map(|line| line.trim_end_matches('\r').chars().count()).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_fits_the_terminal_and_is_whole_where_there_is_none() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(&root.path().join("server"));
    server.tell_the_story().await;
    let form = server.an_exchange(&root.path().join("node")).await;
    assert_eq!(server.app.token(&form).await.status, 200);
    let dir = server.dir.to_string_lossy().into_owned();
    let arguments = ["audit", "query", "--dir", &dir];
    let (narrow, wide, piped) =
        (on_a_terminal(60, &arguments), on_a_terminal(200, &arguments), run(&arguments).out);
    assert!(width(&narrow) <= 60, "{narrow}");
    assert!((61..=200).contains(&width(&wide)), "{wide}");
    assert!(width(&piped) > 200 && !piped.contains("Not shown here"), "{piped}");
    assert!(narrow.contains("Not shown here: "), "{narrow}");
    // The important columns come first, everywhere.
    for text in [&narrow, &wide, &piped] {
        assert!(text.contains("TIME") && text.contains("OUTCOME") && text.contains("permitted"), "{text}");
    }
    assert!(wide.contains("AGENT") && !narrow.contains("spiffe://"), "{narrow}\n{wide}");
    let full = "spiffe://acme.example/agent/support-agent";
    assert!(piped.contains(full) && piped.contains("RECORD"), "{piped}");
    assert!(!piped.contains('\u{1b}') && wide.contains("\u{1b}[1m"), "bold is for terminals");
}
