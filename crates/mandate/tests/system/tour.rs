//! The tour of the documentation, every command as it is printed there.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

const PASSWORD: &str = "a password of sam";

/// The commands of the page, in order.
fn commands(page: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for line in page.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => {
                text.push_str(line);
                text.push('\n');
            }
            _ => {}
        }
    }
    text
}

/// What a person does beside typing: leaves a terminal to what stays up, waits until it is ready, and types a password.
/// Everything else stays as it is printed.
fn acted_out(commands: &str) -> String {
    let mut script = String::from(
        "wait_for() { for _ in $(seq 300); do \"$@\" >/dev/null 2>&1 && return; sleep 0.1; done; echo \"never: $*\"; exit 1; }\n",
    );
    for line in commands.lines() {
        let stays = |until: &str| format!("{line} &\nwait_for {until}");
        let line = match line.split(' ').take(2).collect::<Vec<_>>()[..] {
            ["cargo", "build"] => "true".to_owned(),
            ["mandate", "serve"] => stays("mandate status"),
            ["mandate", "node"] if line.contains(" run ") => stays("test -S tour/workload.sock"),
            ["cargo", "run"] => format!("{} &\nwait_for curl -s http://127.0.0.1:9300/", line.replacen("cargo run", "run_example", 1)),
            ["mandate", "person"] | ["examples/login.sh", _] => format!("echo '{PASSWORD}' | {line}"),
            // A person is slower than the node and the API hear of it.
            ["mandate", "agent"] => format!("{line}\nsleep 1"),
            _ => line.to_owned(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(script, "{line}");
    }
    script
}

/// The example of the page as it is now: what lies in the target directory may be older. Built as `mandate` was, so that it
/// comes to lie beside it.
fn example() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_mandate")).with_file_name("examples").join("protect_axum");
    let arguments = ["build", "-p", "mandate-verifier", "--features", "tower", "--example", "protect_axum", "--locked"];
    let release: &[&str] = if cfg!(debug_assertions) { &[] } else { &["--release"] };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(arguments).args(release).current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
    assert!(status.success() && program.is_file(), "the example does not build");
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
fn every_command_of_the_tour_does_what_the_page_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let page = std::fs::read_to_string(root.join("docs/src/tour.md")).unwrap();
    let here = tempfile::tempdir().unwrap();
    // A folder that looks like the root of the repository after a release build, and may be written to.
    std::fs::create_dir_all(here.path().join("target/release")).unwrap();
    symlink(env!("CARGO_BIN_EXE_mandate"), here.path().join("target/release/mandate")).unwrap();
    symlink(root.join("examples"), here.path().join("examples")).unwrap();

    let listeners: Vec<TcpListener> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let mut script = acted_out(&commands(&page));
    for (port, listener) in [":8420", ":8421", ":9300", ":9200"].iter().zip(&listeners) {
        assert!(script.contains(port), "{port}");
        script = script.replace(port, &format!(":{}", listener.local_addr().unwrap().port()));
    }
    let api = format!("http://{}", listeners[2].local_addr().unwrap());
    drop(listeners);
    let run_example =
        format!("run_example() {{ while [ \"$1\" != -- ]; do shift; done; shift; '{}' \"$@\" '{api}'; }}\n", example().display());
    std::fs::write(here.path().join("script"), format!("{run_example}{script}\n")).unwrap();

    let output = std::fs::File::create(here.path().join("output")).unwrap();
    let mut command = Command::new("bash");
    command.arg("script").current_dir(here.path()).process_group(0);
    for name in ["MANDATE_DIR", "SPIFFE_ENDPOINT_SOCKET", "MANDATE_ADMIN_URL"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    let mut session = Session(command.spawn().unwrap());
    let status = session.0.wait().unwrap();
    let said = std::fs::read_to_string(here.path().join("output")).unwrap();
    assert_eq!(status.code(), Some(3), "the last command is refused an identity:\n{said}");

    // These two say it while others are speaking already.
    for part in ["Mandate is ready.", "The node is ready.\n  identity  spiffe://mandate.internal/node/"] {
        assert!(said.contains(part), "{part:?} was not said:\n{said}");
    }
    let mut rest = said.as_str();
    for part in [
        "+ resource notes\n+ person sam\n+ agent note-taker\n+ client notes-app\n+ grant g-",
        "5 would change",
        "5 changed, 0 unchanged.",
        "The password of sam is set.",
        "spiffe://mandate.internal/agent/note-taker, until 20",
        "\"scope\":\"read:notes\"",
        "{\"error\":\"invalid_scope\",\"error_description\":\"scope_beyond_ceiling",
        "HTTP/1.1 200 OK",
        "[]",
        "HTTP/1.1 403 Forbidden",
        "error=\"insufficient_scope\"",
        "{\"error\":\"invalid_token\",\"error_description\":\"audience",
        "TIME ",
        "scope_beyond_ceiling",
        "exchange  permitted  ok",
        "The bundle verifies: ",
        "forged.bundle does not verify: record ",
        "note-taker is now suspended.",
        "{\"error\":\"invalid_token\",\"error_description\":\"revoked",
        "error: no identity for this process",
    ] {
        let Some((_, after)) = rest.split_once(part) else { panic!("{part:?} was not said, or not in its place:\n{said}") };
        rest = after;
    }
}
