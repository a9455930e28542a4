//! The arguments of `mandate audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use mandate_core::TokenId;

use super::KindArgument;
use crate::command::since::TimeOrSpan;
use crate::connection::Connection;
use crate::name_completion;

#[derive(Subcommand, Debug)]
pub(crate) enum Audit {
    /// Find records, the newest first
    #[command(
        after_help = "Examples:\n  mandate audit query --agent support-agent --outcome refused\n  mandate audit query --jti 01968f7e-… --json          which person's request caused this?\n  mandate audit query --person riley --since 1h\n  mandate audit query --agent support-agent --kind registry            who changed it?"
    )]
    Query(AuditQueryArguments),
    /// Show one record
    #[command(
        after_help = "Example:\n  mandate audit show 01968f7e-3c5a-7b21-9f0e-5d8c2a417b36   (an id from audit query)"
    )]
    Show(AuditShow),
    /// Verify the whole log: on the server, or a bundle without any server
    #[command(
        after_help = "Examples:\n  mandate audit verify\n  mandate audit verify --since kept.checkpoint\n  mandate audit verify --offline audit.bundle --key-file log.vkey --since kept.checkpoint\n  gunzip < audit.bundle.gz | mandate audit verify --offline -"
    )]
    Verify(AuditVerify),
    /// Print the current checkpoint, to be kept where the server's operators cannot write
    #[command(
        after_help = "Examples:\n  mandate audit checkpoint > kept.checkpoint\n  mandate audit verify --since kept.checkpoint"
    )]
    Checkpoint(AuditCheckpointArguments),
    /// Write the whole log to a file that verifies without the server
    #[command(
        after_help = "Examples:\n  mandate audit export --bundle audit.bundle\n  mandate audit export --bundle - | gzip > audit.bundle.gz"
    )]
    Export(AuditExport),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutcomeArgument {
    #[value(aliases = ["permit", "allowed", "allow", "granted", "success", "ok"])]
    Permitted,
    #[value(aliases = ["refuse", "denied", "deny", "rejected", "failed", "failure"])]
    Refused,
}

/// What a record is about, as clap sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RecordKindArgument {
    /// Token exchanges
    Exchange,
    /// Logins and authorization codes
    #[value(aliases = ["login", "authorization"])]
    Authorize,
    /// Codes redeemed for tokens
    Token,
    /// Identity documents issued to agents
    #[value(alias = "svid")]
    Identity,
    /// Revocations
    #[value(alias = "revocation")]
    Revoke,
    /// Changes of the registry
    #[value(alias = "apply")]
    Registry,
    /// Nodes that joined, renewed or were banned
    Node,
    /// Other acts of operators
    #[value(alias = "operator")]
    Admin,
}

impl RecordKindArgument {
    /// Its name in records.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Exchange => "exchange",
            Self::Authorize => "authorize",
            Self::Token => "token",
            Self::Identity => "identity",
            Self::Revoke => "revoke",
            Self::Registry => "registry",
            Self::Node => "node",
            Self::Admin => "admin",
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct AuditQueryArguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// About this agent: it acted, or it was changed or revoked. Its name or SPIFFE ID
    #[arg(long, value_name = "NAME", add = name_completion::of(KindArgument::Agent))]
    pub(crate) agent: Option<String>,
    /// About this person: the name, or the sub
    #[arg(long, value_name = "NAME", add = name_completion::of(KindArgument::Person))]
    pub(crate) person: Option<String>,
    /// About this resource: its name or URI
    #[arg(long, value_name = "NAME", add = name_completion::of(KindArgument::Resource))]
    pub(crate) resource: Option<String>,
    /// About this token, or one that descends from it
    #[arg(long, value_name = "JTI")]
    pub(crate) jti: Option<TokenId>,
    /// Only records from this time on: a time, or a span before now: 2026-11-24T09:00:00Z, 2026-11-24, 1h
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<TimeOrSpan>,
    /// Only records before this time: a time, or a span before now
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<TimeOrSpan>,
    /// About this client: it asked, or it was changed
    #[arg(long, value_name = "ID", add = name_completion::of(KindArgument::Client))]
    pub(crate) client: Option<String>,
    /// About this grant: a token depends on it, or it was changed
    #[arg(long, value_name = "ID", add = name_completion::of(KindArgument::Grant))]
    pub(crate) grant: Option<String>,
    /// By this operator: a person's name, or uid:NUMBER as the record has it
    #[arg(long, value_name = "OPERATOR")]
    pub(crate) by: Option<String>,
    /// Only records of this kind
    #[arg(long, value_enum)]
    pub(crate) kind: Option<RecordKindArgument>,
    /// Only records with this outcome
    #[arg(long, value_enum)]
    pub(crate) outcome: Option<OutcomeArgument>,
    /// At most this many; by default all with --json, otherwise the newest 100
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
}

#[derive(Args, Debug)]
pub(crate) struct AuditShow {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// The record's id
    #[arg(value_name = "ID")]
    pub(crate) id: mandate_core::RecordId,
}

#[derive(Args, Debug)]
pub(crate) struct AuditVerify {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Verify this bundle; no server is asked. - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) offline: Option<PathBuf>,
    /// The log's verifier key as you know it (`mandate status` prints it); without it the bundle's own key is
    /// used
    #[arg(long, value_name = "VKEY", requires = "offline", value_parser = verifier_key)]
    pub(crate) key: Option<String>,
    /// The file with that key; - is standard input
    #[arg(long, value_name = "FILE", requires = "offline", conflicts_with = "key")]
    pub(crate) key_file: Option<PathBuf>,
    /// A checkpoint kept earlier: the log must continue it. - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) since: Option<PathBuf>,
}

/// A verifier key in C2SP's form.
pub(crate) fn verifier_key(text: &str) -> Result<String, String> {
    let text = text.trim();
    match mandate_audit::CheckpointVerifier::new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) if std::path::Path::new(text).is_file() => {
            Err("this is a file: use --key-file for it".to_owned())
        }
        Err(_) => {
            Err("not a verifier key such as `mandate status` prints as `Audit key`: NAME+HASH+KEY".to_owned())
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct AuditCheckpointArguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Args, Debug)]
pub(crate) struct AuditExport {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Where to write it; - is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: PathBuf,
    /// Replace a file of that name
    #[arg(long)]
    pub(crate) force: bool,
}
