//! The tour of the documentation: every command as it is printed there, and every line that it prints.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

const PASSWORD: &str = "a password of sam";

/// Commands of the page, and the lines that the page shows below them.
struct Block {
    /// The heading that it is under.
    step: String,
    commands: Vec<String>,
    shown: Vec<String>,
}

/// The blocks of the page, in order: an `sh` fence begins one, the `text` and `json` fences after it are what
/// it prints.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut fence, mut step) = (None, "");
    for line in page.lines() {
        match (fence, line.strip_prefix("```")) {
            (None, None) => step = line.strip_prefix("## ").unwrap_or(step),
            (Some(_), Some(_)) => fence = None,
            (None, Some(language)) => {
                fence = Some(language);
                if language == "sh" {
                    blocks.push(Block { step: step.to_owned(), commands: Vec::new(), shown: Vec::new() });
                }
            }
            (Some("sh"), None) => blocks.last_mut().unwrap().commands.push(line.to_owned()),
            (Some("text" | "json"), None) => blocks.last_mut().unwrap().shown.push(line.to_owned()),
            _ => {}
        }
    }
    blocks
}

/// What separates the output of one block from the next.
const MARK: &str = "@@ the next block @@";

/// What a person does besides typing: leaves a terminal to each program that keeps running, waits until it is
/// ready, and types a password. Everything else stays as it is printed.
fn acted_out(blocks: &[Block]) -> String {
    let mut script = String::from(
        "wait_for() { for _ in $(seq 300); do \"$@\" >/dev/null 2>&1 && return; sleep 0.1; done; echo \"never: $*\"; exit 1; }\n",
    );
    let lines = blocks.iter().flat_map(|block| {
        [MARK].into_iter().chain(block.commands.iter().map(String::as_str)).map(move |line| (block, line))
    });
    for (block, line) in lines {
        // It has a terminal of its own; what it says before it is ready is shown where it was started.
        let stays = |name: &str, until: &str| {
            let name = format!("{name}-{}", block.step.split('.').next().unwrap());
            format!("{line} > {name}.out 2>&1 &\nwait_for grep -q '{until}' {name}.out\ncat {name}.out")
        };
        let line = match line.split(' ').take(2).collect::<Vec<_>>()[..] {
            _ if line == MARK => format!("printf '\\n%s\\n' '{MARK}'"),
            ["cargo", "build"] if block.step.starts_with("1. ") => "true".to_owned(),
            // A person would wait, and what was issued would expire meanwhile.
            _ if line.split(' ').any(|word| word == "cargo") => {
                panic!("under {:?} something is built: {line}", block.step)
            }
            ["mandate", "serve"] => stays("serve", "^next:"),
            ["mandate", "node"] if line.contains(" run ") => stays("node", "^next:"),
            ["notes-api", _] => stays("api", "listens"),
            ["mandate", "person"] => format!("echo '{PASSWORD}' | {line}"),
            ["mandate", "login"] => logged_in(line),
            // A person is slower than the node and the API hear of it.
            ["mandate", "agent"] => format!("{line}\nsleep 1"),
            _ => line.to_owned(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(script, "{line}");
    }
    script
}

/// What a browser does for a person: the login page, and the form on it with the token against forged forms
/// and its cookie.
fn logged_in(login: &str) -> String {
    // The file of the token has the person's name.
    let person = login.split_once("--out tour/").unwrap().1.strip_suffix(".token").unwrap();
    format!(
        // What an earlier login printed must not be taken for this one's.
        r#"rm -f login.out
timeout 60 {login} --no-browser > login.out 2>&1 &
login=$!
wait_for grep -q '^Waiting' login.out
url=$(sed -n 's/^ *\(http.*\)$/\1/p' login.out)
curl -s -c cookies -o page "$url"
csrf=$(sed -n 's/.*name="csrf" value="\([^"]*\)".*/\1/p' page)
curl -s -L -b cookies -o page "$url" --data-urlencode "csrf=$csrf" --data-urlencode name={person} --data-urlencode 'password={PASSWORD}' -d decision=allow
wait $login
cat login.out"#
    )
}

/// Whether a line is what the page shows, where `…` matches any text.
fn is_shown_as(line: &str, shown: &str) -> bool {
    let Some((first, after)) = shown.split_once('…') else { return line == shown };
    let rest = line.strip_prefix(first);
    rest.is_some_and(|rest| {
        rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| is_shown_as(&rest[at..], after))
    })
}

/// The present API of the page: the program in the target directory may be older. It is built with the
/// settings of the whole workspace's tests, so that nothing is built twice; cargo builds a package's programs
/// for its tests.
fn api_program() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_mandate")).with_file_name("notes-api");
    let arguments = ["test", "--workspace", "--locked", "--no-run", "--test", "notes_api"];
    let release: &[&str] = if cfg!(debug_assertions) { &[] } else { &["--release"] };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(arguments)
        .args(release)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(status.success() && program.is_file(), "the API does not build");
    program
}

/// A shell with everything it has started.
struct Session(Child);

impl Drop for Session {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

#[test]
fn a_line_is_what_the_page_shows_or_it_is_not() {
    for (line, shown) in [("a", "a"), ("abc", "a…"), ("abc", "…c"), ("abcbc", "a…bc"), ("abc", "…")] {
        assert!(is_shown_as(line, shown), "{line} {shown}");
    }
    for (line, shown) in [("ab", "a"), ("a", "ab"), ("abc", "b…"), ("abcd", "a…c"), ("abc", "…x…"), ("", "a")]
    {
        assert!(!is_shown_as(line, shown), "{line} {shown}");
    }
}

#[test]
fn every_command_of_the_tour_does_what_the_page_says() {
    if Command::new("curl").arg("--version").output().is_err() {
        return mandate_testkit::skipped("there is no curl");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let mut page = std::fs::read_to_string(root.join("docs/src/tour.md")).unwrap();
    let here = tempfile::tempdir().unwrap();
    // A folder that looks like the root of the repository after a release build, and may be written to.
    std::fs::create_dir_all(here.path().join("target/release")).unwrap();
    symlink(env!("CARGO_BIN_EXE_mandate"), here.path().join("target/release/mandate")).unwrap();
    symlink(api_program(), here.path().join("target/release/notes-api")).unwrap();

    let listeners: Vec<TcpListener> = (0..5).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    for (port, listener) in [":8420", ":8421", ":9300", ":8430", ":8431"].iter().zip(&listeners) {
        assert!(page.contains(port), "{port}");
        page = page.replace(port, &format!(":{}", listener.local_addr().unwrap().port()));
    }
    // The API's own address is an argument only where it is not the usual one.
    let api = format!("http://{}", listeners[2].local_addr().unwrap());
    page = page.replace("tour/notes-api\n", &format!("tour/notes-api {api}\n"));
    drop(listeners);
    let blocks = blocks(&page);
    std::fs::write(here.path().join("script"), acted_out(&blocks)).unwrap();

    let output = std::fs::File::create(here.path().join("output")).unwrap();
    let mut command = Command::new("bash");
    command.arg("script").current_dir(here.path()).process_group(0);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", here.path());
    command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    let mut session = Session(command.spawn().unwrap());
    let status = session.0.wait().unwrap();
    let said = std::fs::read_to_string(here.path().join("output")).unwrap();
    assert_eq!(status.code(), Some(3), "the last command is refused an identity:\n{said}");

    let outputs: Vec<&str> = said.split(MARK).skip(1).collect();
    assert_eq!(outputs.len(), blocks.len(), "{said}");
    let mut differences = String::new();
    for (block, output) in blocks.iter().zip(outputs) {
        // The page leaves out the log's lines that ask nothing of anybody.
        let printed =
            output.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.contains("Z  INFO "));
        let lines: Vec<&str> = printed.collect();
        let shown: Vec<&str> =
            block.shown.iter().map(|line| line.trim_end()).filter(|line| !line.is_empty()).collect();
        let same = lines.len() == shown.len()
            && lines.iter().zip(&shown).all(|(line, shown)| is_shown_as(line, shown));
        if !same {
            let (commands, lines, shown) = (block.commands.join("\n"), lines.join("\n"), shown.join("\n"));
            let _ =
                writeln!(differences, "{commands}\n-- prints --\n{lines}\n-- the page shows --\n{shown}\n");
        }
    }
    assert!(differences.is_empty(), "{differences}");
}
