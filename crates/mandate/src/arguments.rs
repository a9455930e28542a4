//! The command line.

mod audit;
mod demo;
#[cfg(test)]
mod hints;
mod installation;
mod issuer;
mod login;
mod node;
mod serve;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use mandate_core::{AgentName, ClientId, GrantId, PersonName, TokenId};

use crate::connection::Connection;
use crate::name_completion;

pub(crate) use audit::{
    Audit, AuditCheckpointArguments, AuditExport, AuditQueryArguments, AuditShow, AuditVerify,
    OutcomeArgument, verifier_key,
};
pub(crate) use demo::{Demo, DemoPart};
pub(crate) use installation::{Backup, Doctor, Restore};
pub(crate) use issuer::{EntryArguments, IssuerAdd, IssuerCommand, IssuerTest, OptionalServer};
pub(crate) use login::{Login, Token, TokenShow};
pub(crate) use node::{JoinTokenArguments, NodeBan, NodeCommand, NodeList, NodeRun, Svid, SvidFetch};
pub(crate) use serve::{Serve, Unread};

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  failed: an error on this machine or on the server, or evidence that does not verify
  2  usage: the command is not valid, or a file or directory that it names is missing, unreadable
     or malformed
  3  refused: the server understood the request and refused it
  4  unreachable: no answer, or a server that accepts connections did not respond for ten seconds
  5  only from status --check and doctor: something needs attention
  6  in force, and not yet recorded: a command that takes authority away works although nothing can
     be written
  130, 143 and others above 128  stopped by a signal: 128 and its number

Environment:
  MANDATE_DIR               the server's directory, instead of ~/.mandate
  MANDATE_STORE             the PostgreSQL database of the server, instead of mandate.db in its
                            directory, with MANDATE_STORE_PASSWORD_FILE
  MANDATE_ISSUER            the issuer that login and token show use
  MANDATE_CA_FILE           the certificate authority to trust (PEM), instead of the platform's
  MANDATE_ADMIN_URL         the admin API over TCP, with MANDATE_ADMIN_TOKEN_FILE
  SPIFFE_ENDPOINT_SOCKET    the Workload API's socket, as unix:///path
  MANDATE_LOG               what serve and node log: error, warn, info, debug, trace, or off
  NO_COLOR                  no colour, also on a terminal

A variable that is set to nothing counts as not set.

Secrets are read from prompts, standard input and files, never from arguments.";

/// Gives every AI agent its own identity, and lets people delegate narrow rights to it.
#[derive(Parser, Debug)]
#[command(
    name = "mandate",
    version,
    about,
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
#[command(after_long_help = AFTER_HELP, after_help = "Exit codes and environment: mandate --help", subcommand_required = true)]
pub(crate) struct Arguments {
    /// Print one JSON value on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// Reads the command line. An environment variable with an empty value counts as not set.
    pub(crate) fn of_the_process() -> Result<Self, clap::Error> {
        let empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
        Self::from_arg_matches(&without(<Self as CommandFactory>::command(), &empty).try_get_matches()?)
    }
}

/// The command without the environment variables that `unset` selects.
fn without(command: clap::Command, unset: &dyn Fn(&OsStr) -> bool) -> clap::Command {
    let command = command.mut_args(|argument| match argument.get_env() {
        Some(name) if unset(name) => argument.env(None::<&'static str>),
        _ => argument,
    });
    command.mut_subcommands(|sub| without(sub, unset))
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run the server: identities, delegation, administration, audit
    #[command(
        after_help = "Examples:\n  mandate serve --dir ./data\n  mandate serve --dir /var/lib/mandate --listen 0.0.0.0:443 --issuer https://mandate.acme.example \\\n      --tls-cert cert.pem --tls-key key.pem\n  mandate serve --dir /var/lib/mandate --store postgres://mandate@db.acme.example/mandate \\\n      --store-password-file /etc/mandate/store.password"
    )]
    Serve(Serve),
    /// Run a node, and let nodes join
    #[command(
        subcommand,
        after_help = "Examples:\n  (umask 077; mandate node join-token > join.token)\n  mandate node run --server mandate.acme.example:8443 --join-token-file join.token"
    )]
    Node(NodeCommand),
    /// Ask the local node for an identity document
    #[command(
        subcommand,
        after_help = "Example:\n  mandate svid fetch --audience https://mandate.acme.example"
    )]
    Svid(Svid),
    /// Declare agents, resources, people, clients, issuers, grants and policies from a file
    #[command(
        override_usage = "mandate apply [OPTIONS] -f FILE\n       mandate apply [OPTIONS] FILE",
        after_help = "Examples:\n  mandate apply -f registry.toml --dry-run\n  mandate apply -f registry.toml --prune\n  set -o pipefail; generate | mandate apply -f -"
    )]
    Apply(Apply),
    /// Show what is declared
    #[command(aliases = ["list", "ls"], after_help = "Examples:\n  mandate get agents\n  mandate get grant --json\n  mandate get agent support-agent")]
    Get(Get),
    /// Show one entry with everything that belongs to it
    #[command(
        alias = "show",
        after_help = "Examples:\n  mandate describe agent support-agent\n  mandate describe person riley"
    )]
    Describe(Describe),
    /// People of the embedded directory
    #[command(subcommand, aliases = ["user", "people", "users"], after_help = "Examples:\n  mandate person set-password riley\n  mandate person disable riley\n  mandate get people")]
    Person(PersonCommand),
    /// OAuth clients
    #[command(subcommand, aliases = ["app", "clients"], after_help = "Examples:\n  mandate client set-secret reports\n  mandate get clients")]
    Client(ClientCommand),
    /// Identity providers of other organizations: add one, and test what becomes of its tokens
    #[command(
        subcommand,
        after_help = "Examples:\n  mandate issuer add https://sso.acme.example/realms/staff --file registry.toml\n  mandate issuer test https://sso.acme.example/realms/staff < access.token\n  mandate get issuers"
    )]
    Issuer(IssuerCommand),
    /// Stop an agent, or let it act again
    #[command(
        subcommand,
        after_help = "Examples:\n  mandate agent suspend support-agent\n  mandate agent activate support-agent"
    )]
    Agent(AgentCommand),
    /// Query, verify and export the audit log
    #[command(
        subcommand,
        after_help = "Examples:\n  mandate audit query --agent support-agent --outcome refused\n  mandate audit verify\n  mandate audit export --bundle audit.bundle"
    )]
    Audit(Audit),
    /// Revoke issued tokens
    #[command(
        subcommand,
        after_help = "Examples:\n  mandate revoke token 01968f7e-3c5a-7b21-9f0e-5d8c2a417b36\n  mandate revoke person riley\n\nTo stop an agent: mandate agent suspend support-agent"
    )]
    Revoke(Revoke),
    /// Log a person in, as an app does, and print their access token
    ///
    /// Authorization code with PKCE: a browser shows the issuer's login page, and this program waits for it
    /// on a loopback address. It sees no password and keeps nothing.
    #[command(
        after_help = "Examples:\n  mandate login --issuer https://mandate.acme.example --client-id notes-app --out sam.token\n  mandate login --client-id notes-app --resource https://notes.acme.example   (MANDATE_ISSUER is set)\n  mandate login --client-id ops --admin --out admin.token                      (for --admin-token-file)"
    )]
    Login(Login),
    /// Read tokens
    #[command(subcommand, after_help = "Example:\n  mandate token show sam.token")]
    Token(Token),
    /// Signing keys
    #[command(
        subcommand,
        after_help = "Examples:\n  mandate key rotate\n  mandate status   (lists the keys)"
    )]
    Key(KeyCommand),
    /// Show what is running, and what needs attention
    #[command(
        after_help = "Examples:\n  mandate status\n  mandate status --check > /dev/null   (exit code 5: something needs attention)\n  mandate status --json\n  mandate status --dir /var/lib/mandate"
    )]
    Status(StatusArguments),
    /// Write everything of a server into one file, whether or not it runs
    ///
    /// Works on the directory itself, so it runs as the server's user. The file is read again and verified
    /// before the command ends.
    #[command(after_help = installation::BACKUP_EXAMPLES)]
    Backup(Backup),
    /// Make a server's directory from a backup
    ///
    /// Everything is verified before the directory gets its name. Everything that was done after the backup
    /// is undone, also revocations.
    #[command(after_help = installation::RESTORE_EXAMPLES)]
    Restore(Restore),
    /// Check why a server does not start with its directory, and say what to do
    ///
    /// Needs no server and changes nothing. If you give the options with which the server is started, they
    /// are checked too.
    #[command(after_help = installation::DOCTOR_EXAMPLES)]
    Doctor(Doctor),
    /// See what a hijacked agent can do, with one shared key and with Mandate
    ///
    /// Starts a server, a node and a small CRM, and plays one story twice with an agent that obeys every
    /// mail.
    #[command(
        after_help = "Examples:\n  mandate demo\n  mandate demo --check   (plays it, and fails unless every promise was kept)"
    )]
    Demo(Demo),
    /// Print a completion script for a shell
    ///
    /// It completes commands and options. If the server's admin socket can be reached, it also completes the
    /// names that the server knows.
    #[command(
        after_help = "Examples:\n  mandate completions bash > /etc/bash_completion.d/mandate\n  mandate completions zsh > ~/.zfunc/_mandate\n  mandate completions fish > ~/.config/fish/completions/mandate.fish"
    )]
    Completions(Completions),
}

#[derive(Args, Debug)]
pub(crate) struct Apply {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// The registry file; `-` is standard input
    #[arg(short, long, value_name = "FILE", required_unless_present = "path")]
    file: Option<PathBuf>,
    /// The same without -f
    #[arg(value_name = "FILE", conflicts_with = "file")]
    path: Option<PathBuf>,
    /// Remove what the file does not mention
    #[arg(long)]
    pub(crate) prune: bool,
    /// Allow --prune with a file that declares nothing, which removes everything
    #[arg(long, requires = "prune")]
    pub(crate) yes_remove_everything: bool,
    /// Only print what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl Apply {
    /// The registry file, given with or without `-f`.
    pub(crate) fn file(&self) -> &Path {
        // Clap requires one of the two.
        self.file.as_deref().or(self.path.as_deref()).unwrap_or(Path::new("-"))
    }
}

/// The kinds of entries, as clap sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KindArgument {
    #[value(aliases = ["agents", "bot", "bots"])]
    Agent,
    #[value(aliases = ["resources", "api", "apis", "server", "servers"])]
    Resource,
    #[value(aliases = ["people", "persons", "user", "users"])]
    Person,
    #[value(aliases = ["clients", "app", "apps"])]
    Client,
    #[value(aliases = ["issuers", "idp", "idps"])]
    Issuer,
    #[value(alias = "groups")]
    Group,
    #[value(aliases = ["trust-domains", "trust_domain", "trust_domains"])]
    TrustDomain,
    #[value(aliases = ["grants", "delegation", "delegations"])]
    Grant,
    #[value(alias = "policies")]
    Policy,
}

#[derive(Args, Debug)]
pub(crate) struct Get {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// What kind of entry; the plural is understood too
    #[arg(value_enum, value_name = "KIND")]
    pub(crate) kind: KindArgument,
    /// Which one, by its name, id or url; all of them if absent
    #[arg(value_name = "NAME", add = name_completion::of_the_named_kind())]
    pub(crate) name: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Describe {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// What kind of entry
    #[arg(value_enum, value_name = "KIND")]
    pub(crate) kind: KindArgument,
    /// Which one, by its name, id or url
    #[arg(value_name = "NAME", add = name_completion::of_the_named_kind())]
    pub(crate) name: String,
}

#[derive(Subcommand, Debug)]
pub(crate) enum PersonCommand {
    /// Set a person's password: by prompt, or from one line on standard input
    #[command(
        after_help = "Examples:\n  mandate person set-password riley\n  mandate person set-password riley < password.txt"
    )]
    SetPassword(SetPassword),
    /// Disable a person: no login, no agent acts for them, and their tokens are revoked
    #[command(alias = "stop", after_help = "Example:\n  mandate person disable riley")]
    Disable(PersonStateArguments),
    /// Enable a disabled person: they can log in again, and agents can act for them
    #[command(after_help = "Example:\n  mandate person enable riley")]
    Enable(PersonStateArguments),
}

#[derive(Args, Debug)]
pub(crate) struct PersonStateArguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// The person's name
    #[arg(value_name = "NAME")]
    pub(crate) name: PersonName,
}

#[derive(Args, Debug)]
pub(crate) struct SetPassword {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// The person's name
    #[arg(value_name = "NAME", add = name_completion::of(KindArgument::Person))]
    pub(crate) name: PersonName,
}

#[derive(Subcommand, Debug)]
pub(crate) enum ClientCommand {
    /// Set a client's secret: by prompt, or from one line on standard input
    #[command(
        after_help = "Example:\n  openssl rand -base64 32 | tee secret.txt | mandate client set-secret reports"
    )]
    SetSecret(SetSecret),
}

#[derive(Args, Debug)]
pub(crate) struct SetSecret {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// The client's id
    #[arg(value_name = "ID", add = name_completion::of(KindArgument::Client))]
    pub(crate) id: ClientId,
}

#[derive(Subcommand, Debug)]
pub(crate) enum AgentCommand {
    /// Stop an agent: it gets no identity and no token, and its tokens are revoked
    #[command(alias = "stop", after_help = "Example:\n  mandate agent suspend support-agent")]
    Suspend(AgentStateArguments),
    /// Stop an agent because of an incident: until it is released, nobody can make it act again
    #[command(after_help = "Example:\n  mandate agent contain support-agent")]
    Contain(AgentStateArguments),
    /// End the containment of an agent; it stays suspended until it is activated
    #[command(
        after_help = "Examples:\n  mandate agent release support-agent\n  mandate agent activate support-agent   (lets it act again)"
    )]
    Release(AgentStateArguments),
    /// Let a suspended agent act again
    #[command(aliases = ["resume", "start", "unsuspend"], after_help = "Example:\n  mandate agent activate support-agent")]
    Activate(AgentStateArguments),
}

#[derive(Args, Debug)]
pub(crate) struct AgentStateArguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// The agent's name
    #[arg(value_name = "NAME", add = name_completion::of(KindArgument::Agent))]
    pub(crate) name: AgentName,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Revoke {
    /// One token, by its jti, and every token derived from it
    #[command(after_help = "Example:\n  mandate revoke token 01968f7e-3c5a-7b21-9f0e-5d8c2a417b36")]
    Token(RevokeToken),
    /// A grant, permanently, and every token that depends on it
    #[command(
        after_help = "Example:\n  mandate revoke grant g-77e2dcab62c1ae4cf606cf18b22872a9   (an id from get grants)"
    )]
    Grant(RevokeGrant),
    /// Every token that the agent acts in. To stop the agent, suspend it
    #[command(
        after_help = "Examples:\n  mandate revoke agent support-agent\n  mandate agent suspend support-agent   (stops it)"
    )]
    Agent(AgentStateArguments),
    /// Every token of the person
    #[command(alias = "user", after_help = "Example:\n  mandate revoke person riley")]
    Person(SetPassword),
    /// Every token that was issued to the client
    #[command(after_help = "Example:\n  mandate revoke client support-app")]
    Client(SetSecret),
}

#[derive(Args, Debug)]
pub(crate) struct RevokeToken {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// The token's jti, as audit records name it
    #[arg(value_name = "JTI")]
    pub(crate) jti: TokenId,
}

#[derive(Args, Debug)]
pub(crate) struct RevokeGrant {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// The grant's id, as `mandate get grants` prints it
    #[arg(value_name = "ID", add = name_completion::of(KindArgument::Grant))]
    pub(crate) id: GrantId,
}

#[derive(Subcommand, Debug)]
pub(crate) enum KeyCommand {
    /// Sign with new keys from now on. What the old keys signed stays valid until it expires
    #[command(after_help = "Examples:\n  mandate key rotate\n  mandate key rotate --purpose access-token")]
    Rotate(KeyRotate),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PurposeArgument {
    AccessToken,
    JwtSvid,
}

#[derive(Args, Debug)]
pub(crate) struct KeyRotate {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Rotate only the keys of this purpose
    #[arg(long, value_enum)]
    pub(crate) purpose: Option<PurposeArgument>,
}

#[derive(Args, Debug)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Fail with exit code 5 if something needs attention, for monitoring
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// For which shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_argument_takes_a_secret() {
        fn walk(command: &clap::Command, path: &str) {
            for argument in command.get_arguments().filter(|a| a.get_action().takes_values()) {
                let name = argument.get_id().as_str();
                // Pairs of client ids: no token.
                if (path, name) == ("mandate issuer add", "id_token") {
                    continue;
                }
                let secret = ["password", "secret", "token"].iter().any(|word| name.contains(word));
                assert!(!secret || name.ends_with("_file"), "{path} {name}");
            }
            command.get_subcommands().for_each(|sub| walk(sub, &format!("{path} {}", sub.get_name())));
        }
        walk(&Arguments::command(), "mandate");
    }

    #[test]
    fn a_password_in_the_address_of_the_database_is_not_in_what_is_printed_of_the_arguments() {
        let arguments = ["mandate", "serve", "--store", "postgres://mandate:hunter2@db.example/log"];
        let arguments = Arguments::try_parse_from(arguments).unwrap();
        assert!(!format!("{arguments:?}").contains("hunter2"), "{arguments:?}");
    }

    #[test]
    fn every_command_says_what_it_is_for() {
        fn walk(command: &clap::Command) {
            for sub in command.get_subcommands() {
                assert!(sub.get_about().is_some(), "{}", sub.get_name());
                for argument in sub.get_arguments() {
                    assert!(argument.get_help().is_some(), "{} {}", sub.get_name(), argument.get_id());
                }
                walk(sub);
            }
        }
        walk(&Arguments::command());
    }

    #[test]
    fn what_weakens_transport_needs_its_counterpart() {
        for line in [
            &["serve", "--tls-cert", "c"][..],
            &["serve", "--tls-key", "k"],
            &["serve", "--behind-tls-proxy"],
            &["serve", "--store-password-file", "f"],
            &[
                "serve",
                "--behind-tls-proxy",
                "--issuer",
                "https://a.example",
                "--tls-cert",
                "c",
                "--tls-key",
                "k",
            ],
            &["status", "--admin-url", "https://a.example"],
            &["status", "--admin-url", "http://a.example", "--admin-token-file", "f"],
            &["audit", "verify", "--key", "k"],
            &["person", "set-password", "riley", "hunter2"],
        ] {
            assert!(Arguments::try_parse_from([&["mandate"], line].concat()).is_err(), "{line:?}");
        }
    }
}
