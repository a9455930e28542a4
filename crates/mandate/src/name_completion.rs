//! Names that a shell completes: those that are known to the server which the command line names.
//!
//! A shell asks while a person types: names that do not arrive within a moment are left out, and no error is
//! ever printed.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory as _, ValueEnum as _};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};
use mandate_api::admin::{NodeItem, RegistryEntry, RegistryItem};
use mandate_api::{AdminClient, Endpoint};

use crate::arguments::{Arguments, KindArgument};
use crate::connection::runtime;

/// The variable by which a completion script asks this program. Not the usual `COMPLETE`, which may be set
/// for something else.
const VARIABLE: &str = "MANDATE_COMPLETE";

/// How long the server may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// The most names that are offered.
const MAX_NAMES: usize = 1_000;

/// Whether a completion script asked for candidates. If so, they are printed. Call this before anything else.
pub(crate) fn was_asked() -> bool {
    let asked = CompleteEnv::with_factory(Arguments::command).var(VARIABLE).bin("mandate");
    // A script that asks wrongly gets no candidates; there is nobody to tell.
    std::env::var_os(VARIABLE).is_some_and(|shell| !shell.is_empty())
        && asked.try_complete(std::env::args_os(), std::env::current_dir().ok().as_deref()).unwrap_or(true)
}

/// The script with which a shell asks. None: the shell is not known.
pub(crate) fn script(shell: &str) -> Option<String> {
    let mut script = Vec::new();
    Shells::builtins()
        .completer(shell)?
        .write_registration(VARIABLE, "mandate", "mandate", "mandate", &mut script)
        .ok()?;
    String::from_utf8(script).ok()
}

/// Completes the names of entries of this kind.
pub(crate) fn of(kind: KindArgument) -> ArgValueCompleter {
    ArgValueCompleter::new(move |typed: &OsStr| offered(&line(), typed, Wanted::Entry(kind)))
}

/// Completes the names of entries of the kind that the command line names.
pub(crate) fn of_the_named_kind() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let line = line();
        named_kind(&line).map(|kind| offered(&line, typed, Wanted::Entry(kind))).unwrap_or_default()
    })
}

/// Completes the names of issuers.
pub(crate) fn of_issuers() -> ArgValueCompleter {
    of(KindArgument::Issuer)
}

/// Completes the names of nodes.
pub(crate) fn of_nodes() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| offered(&line(), typed, Wanted::Node))
}

#[derive(Clone, Copy)]
enum Wanted {
    Entry(KindArgument),
    Node,
}

/// The words that are being completed, which a script passes after `--`.
fn line() -> Vec<OsString> {
    std::env::args_os().skip_while(|word| word != "--").skip(1).collect()
}

/// The kind that follows the command. The name of the command itself may also be a kind.
fn named_kind(line: &[OsString]) -> Option<KindArgument> {
    line.iter().skip(2).find_map(|word| KindArgument::from_str(word.to_str()?, true).ok())
}

/// The value of an option, in either form.
fn given(line: &[OsString], option: &str) -> Option<OsString> {
    line.iter().enumerate().find_map(|(at, word)| match word.to_str()?.strip_prefix(option)? {
        "" => line.get(at + 1).cloned(),
        rest => rest.strip_prefix('=').map(OsString::from),
    })
}

/// The admin socket of the server that the command line speaks to. None over TCP: a token is not read for
/// this.
fn socket(line: &[OsString]) -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if given(line, "--admin-url").or_else(|| variable("MANDATE_ADMIN_URL")).is_some() {
        return None;
    }
    let home = std::env::home_dir();
    let dir = match given(line, "--dir").or_else(|| variable("MANDATE_DIR")).map(PathBuf::from) {
        // The shell has not expanded it yet.
        Some(dir) => match (dir.strip_prefix("~"), &home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => dir,
        },
        None => home?.join(".mandate"),
    };
    Some(dir.join("admin.sock"))
}

fn offered(line: &[OsString], typed: &OsStr, wanted: Wanted) -> Vec<CompletionCandidate> {
    let typed = typed.to_str().unwrap_or_default();
    let names = socket(line).and_then(|socket| ask(socket, wanted)).unwrap_or_default();
    let fitting =
        names.into_iter().filter(|(name, _)| name.starts_with(typed) && is_plain(name)).take(MAX_NAMES);
    fitting.map(|(name, help)| CompletionCandidate::new(name).help(help.map(Into::into))).collect()
}

/// The names, each with a text that helps to distinguish them.
fn ask(socket: PathBuf, wanted: Wanted) -> Option<Vec<(String, Option<String>)>> {
    let client = AdminClient::new(Endpoint::Socket(socket));
    let answer = async {
        let names = match wanted {
            Wanted::Entry(kind) => {
                client.list(kind.of_the_registry()).await.ok()?.iter().map(entry).collect()
            }
            Wanted::Node => client.nodes().await.ok()?.iter().map(node).collect(),
        };
        Some(names)
    };
    runtime().ok()?.block_on(async { tokio::time::timeout(PATIENCE, answer).await.ok()? })
}

fn entry(entry: &RegistryEntry) -> (String, Option<String>) {
    match &entry.item {
        RegistryItem::Agent(x) => (x.name.to_string(), x.state.map(|state| state.as_str().to_owned())),
        RegistryItem::Resource(x) => (x.name.to_string(), Some(x.uri.to_string())),
        RegistryItem::Person(x) => (x.name.to_string(), None),
        RegistryItem::Client(x) => (x.id.to_string(), None),
        RegistryItem::Issuer(x) => (x.url.to_string(), None),
        RegistryItem::Group(x) => (x.name.to_string(), None),
        RegistryItem::TrustDomain(x) => (x.name.to_string(), None),
        RegistryItem::Grant(x) => (
            x.id.as_ref().map(ToString::to_string).unwrap_or_default(),
            Some(format!("{} to {} on {}", x.person, x.agent, x.resource)),
        ),
        RegistryItem::Policy(x) => (x.name.to_string(), None),
    }
}

fn node(node: &NodeItem) -> (String, Option<String>) {
    (node.name.clone(), Some(format!("renewed {}", node.renewed)))
}

/// Whether every shell reads it as plain text. A client's id may have any printable character.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/@+%".contains(&byte))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::Path;

    use super::{given, is_plain, named_kind, script, socket};
    use crate::arguments::KindArgument;

    fn line(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_server_is_the_one_that_the_command_line_names() {
        assert_eq!(
            socket(&line("mandate get agents --dir /srv/m ")).unwrap(),
            Path::new("/srv/m/admin.sock")
        );
        assert_eq!(socket(&line("mandate --dir=/srv/m get agents")).unwrap(), Path::new("/srv/m/admin.sock"));
        let home = std::env::home_dir().unwrap();
        assert_eq!(socket(&line("mandate get agents --dir ~/m ")).unwrap(), home.join("m/admin.sock"));
        assert_eq!(
            socket(&line("mandate get agents --admin-url https://a.example ")),
            None,
            "a token would have to be read"
        );
        assert_eq!(given(&line("mandate --directory x"), "--dir"), None);
    }

    #[test]
    fn the_kind_stands_behind_the_command() {
        assert_eq!(named_kind(&line("mandate get agents ")), Some(KindArgument::Agent));
        assert_eq!(named_kind(&line("mandate describe --json person r")), Some(KindArgument::Person));
        assert_eq!(named_kind(&line("mandate get")), None);
    }

    #[test]
    fn a_name_that_a_shell_would_read_otherwise_is_not_offered() {
        for plain in ["support-agent", "https://login.acme.example/a", "g-77e2", "riley@acme.example"] {
            assert!(is_plain(plain), "{plain}");
        }
        for other in ["", "a b", "$(id)", "`id`", "a;b", "a'b", "a\"b", "a\\b", "a\nb", "caf\u{e9}"] {
            assert!(!is_plain(other), "{other}");
        }
    }

    #[test]
    fn every_shell_has_a_script_that_asks_by_our_variable() {
        for shell in <clap_complete::Shell as clap::ValueEnum>::value_variants() {
            let script = script(&shell.to_string()).unwrap();
            assert!(script.contains("MANDATE_COMPLETE") && script.contains("mandate"), "{shell}: {script}");
        }
        assert_eq!(script("csh"), None);
    }
}
