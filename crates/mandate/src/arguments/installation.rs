//! Arguments of the commands that work on a server's directory instead of a server.

use std::path::PathBuf;

use clap::Args;

use super::{Serve, Unread};
use crate::connection::Directory;

pub(super) const BACKUP_EXAMPLES: &str = "Examples:\n  mandate backup /backup/mandate.tar --keys-file /keys/mandate.key\n  mandate backup /backup/mandate.tar --with-keys                 (asks for a passphrase)\n  mandate backup /backup/mandate.tar --passphrase-file /dev/fd/3 3< <(pass show mandate)\n  sudo -u mandate mandate backup --dir /var/lib/mandate /backup/mandate.tar";

#[derive(Args, Debug)]
pub(crate) struct Backup {
    #[command(flatten)]
    pub(crate) directory: Directory,
    /// The PostgreSQL database of the server: says by which commands it is backed up, and makes no backup
    #[arg(long, value_name = "URL", env = "MANDATE_STORE", hide_env_values = true)]
    pub(crate) store: Option<Unread>,
    /// The file to write
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Write the sealing key to this file, to be kept apart from the backup
    #[arg(long, value_name = "FILE", conflicts_with_all = ["with_keys", "passphrase_file"])]
    pub(crate) keys_file: Option<PathBuf>,
    /// Put the sealing key into the backup, under a passphrase that is asked for
    #[arg(long)]
    pub(crate) with_keys: bool,
    /// The same, with the passphrase from the first line of this file; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Replace files that exist
    #[arg(long)]
    pub(crate) force: bool,
    /// Back up the content of mandate.db although mandate.db-wal is lost, and the newest transactions with it
    #[arg(long)]
    pub(crate) accept_missing_journal: bool,
}

pub(super) const RESTORE_EXAMPLES: &str = "Examples:\n  mandate restore /backup/mandate.tar --dir ./data --keys-file /keys/mandate.key\n  mandate restore /backup/mandate.tar --dir ./data      (asks for the passphrase, if the key is in the backup)";

#[derive(Args, Debug)]
pub(crate) struct Restore {
    #[command(flatten)]
    pub(crate) directory: Directory,
    /// The PostgreSQL database of the server: says by which commands it is restored, and restores nothing
    #[arg(long, value_name = "URL", env = "MANDATE_STORE", hide_env_values = true)]
    pub(crate) store: Option<Unread>,
    /// The backup; `-` is standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The file with the sealing key, if it was kept apart from the backup
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_file")]
    pub(crate) keys_file: Option<PathBuf>,
    /// The file with the passphrase, if the sealing key is in the backup; without it the passphrase is asked
    /// for
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

pub(super) const DOCTOR_EXAMPLES: &str = "Examples:\n  mandate doctor --dir /var/lib/mandate\n  mandate doctor --dir /var/lib/mandate --listen 0.0.0.0:443 --issuer https://mandate.acme.example \\\n      --tls-cert cert.pem --tls-key key.pem\n  mandate doctor --dir /var/lib/mandate --store postgres://mandate@db.acme.example/mandate\n  mandate doctor --json   (exit code 5: something is wrong)";

#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// The options with which the server is started
    #[command(flatten)]
    pub(crate) serve: Serve,
}
