//! `mandate backup` and `mandate restore`: on the directory itself, as the user that owns it.

use std::ffi::OsString;
use std::io::{BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mandate_backup::{
    Archive, AuditHead, BackupError, BackupPlan, KeyPlace, Manifest, Restoring, SealingKeyPlace,
    check_passphrase, create,
};
use mandate_core::{Clock as _, Secret, SystemClock, SystemEntropy};
use mandate_files::{Exposure, FileError, NewFile};
use mandate_server::{StoreKind, store_kind};
use serde::Serialize;

use crate::arguments::{Backup, Restore};
use crate::failure::{Failure, Fault};
use crate::interruption::Interruption;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::table::list;
use crate::{input_file, output, secret_input};

const RECORDS: &str = "verifying audit records";

/// How things stand after a failure.
const NOT_MADE: &str = "no backup is made";

/// A sealing key has 32 bytes.
const MAX_KEY: u64 = 64;

#[derive(Serialize)]
struct Done<'a> {
    /// The file that was written or read.
    backup: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys_file: Option<String>,
    #[serde(flatten)]
    manifest: &'a Manifest,
}

pub(crate) fn backup(arguments: &Backup, screen: &Screen) -> Result<(), Failure> {
    for file in [Some(&arguments.file), arguments.keys_file.as_ref()].into_iter().flatten() {
        if file == Path::new("-") {
            return Err(Failure::usage(
                "a backup is read again and verified after it is written, which standard output does not allow: name a file",
            ));
        }
    }
    let dir = arguments.directory.path()?;
    if arguments.store.is_some() || is_of_postgres(&dir) {
        return Err(Failure::usage("the data of this server is in PostgreSQL, whose own programs back it up; no backup is made")
            .next("pg_dump --format=custom --file FILE --dbname 'postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt'   (all of it, at one moment)")
            .next(format!("cp {}/seal.key KEPT   (once; keep it apart: the database is worth nothing without it)", dir.display())));
    }
    let again = format!("mandate backup --dir {} {}", dir.display(), arguments.file.display());
    let keys = if arguments.with_keys || arguments.passphrase_file.is_some() {
        let passphrase = match &arguments.passphrase_file {
            Some(file) => secret_input::from_file(file, "passphrase")?,
            None => secret_input::new_secret("passphrase")?,
        };
        check_passphrase(&passphrase).map_err(|error| Failure::caused(Fault::Usage, NOT_MADE, &error))?;
        SealingKeyPlace::Sealed(passphrase)
    } else {
        SealingKeyPlace::Apart
    };
    // From here on there are files to remove.
    let interruption = Interruption::begin()?;
    let mut file = output::begin(&arguments.file, arguments.force, &again)?;
    let keys_file = arguments
        .keys_file
        .as_deref()
        .map(|path| output::begin(path, arguments.force, &again))
        .transpose()?;
    if let Some(keys_file) = &keys_file {
        apart(&file, keys_file)?;
    }
    let mut scratch = output::begin(&beside(&arguments.file), true, &again)?;
    let plan = BackupPlan {
        dir: &dir,
        keys,
        without_journal: arguments.accept_missing_journal,
        version: env!("CARGO_PKG_VERSION"),
        now: SystemClock.now(),
        entropy: Arc::new(SystemEntropy),
        stop: Arc::clone(&interruption.stop),
    };
    let progress = Progress::begin(screen, "copying the database");
    let created = create(&plan, &mut file, &mut scratch, |done, of| progress.at(done, of, RECORDS));
    drop((progress, scratch));
    let created =
        created.map_err(|error| interruption.failure(NOT_MADE).unwrap_or_else(|| not_made(&error, &dir)))?;
    // The key first: a backup whose key could not be written would look done.
    if let Some(mut keys_file) = keys_file {
        write_key(&mut keys_file, &created.sealing_key)?;
        output::finish(keys_file, arguments.force)?;
    }
    output::finish(file, arguments.force)?;
    let done = Done {
        backup: arguments.file.display().to_string(),
        directory: None,
        keys_file: arguments.keys_file.as_ref().map(|path| path.display().to_string()),
        manifest: &created.manifest,
    };
    screen.show(&done, || {
        let key = match (&done.keys_file, created.manifest.sealing_key) {
            (_, KeyPlace::Sealed) => "The sealing key is in it, under the passphrase: without the passphrase the backup is worth nothing.".to_owned(),
            (Some(path), _) => format!("The sealing key is in {path}: keep it apart from the backup. A restore needs both."),
            (None, _) => format!(
                "The sealing key is not in it, and without the sealing key it is worth nothing. If you do not have it yet:\nnext: {again} --force --keys-file FILE   (keep FILE apart from the backup)"
            ),
        };
        format!("The backup {} is written and verified.\n\n{}\n\n{key}", done.backup, described(screen, &created.manifest))
    })
}

/// Whether the directory belongs to a server with a PostgreSQL database. What is wrong with it is said later.
fn is_of_postgres(dir: &Path) -> bool {
    matches!(store_kind(dir), Ok(Some(StoreKind::Postgres)))
}

/// Of two files of one name the second would replace the first: the backup its own key.
fn apart(file: &NewFile, keys_file: &NewFile) -> Result<(), Failure> {
    let same =
        file.has_the_place_of(keys_file).map_err(|error| Failure::caused(Fault::Failed, NOT_MADE, &error))?;
    if same {
        return Err(Failure::usage("--keys-file names the file of the backup itself; no backup is made")
            .next("the same command with --keys-file FILE   (another file, which you keep apart from the backup)"));
    }
    Ok(())
}

fn write_key(file: &mut NewFile, key: &Secret) -> Result<(), Failure> {
    let written = file.file().write_all(key.expose_secret());
    written.map_err(|error| Failure::caused(Fault::Failed, "the sealing key cannot be written", &error))
}

/// A name beside the backup, for a file that is needed while the backup is made.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.file_name().map_or_else(|| OsString::from("backup"), OsString::from);
    name.push(".database");
    file.with_file_name(name)
}

/// One line about an audit log that is not the first of a database.
fn other_log(log: &AuditHead) -> String {
    format!("{} records, root {}, key {}", log.size, log.root, log.key)
}

fn described(screen: &Screen, manifest: &Manifest) -> String {
    list(
        screen,
        vec![
            ("Issuer", manifest.issuer.to_string()),
            ("Trust domain", manifest.trust_domain.to_string()),
            ("Made", format!("{} by mandate {}", manifest.created, manifest.version)),
            ("Audit records", manifest.audit.size.to_string()),
            ("Audit root", manifest.audit.root.clone()),
            ("Audit key", manifest.audit.key.clone()),
            ("Other audit logs", manifest.more_audit.iter().map(other_log).collect::<Vec<_>>().join("; ")),
        ],
    )
}

pub(crate) fn restore(arguments: &Restore, screen: &Screen) -> Result<(), Failure> {
    input_file::one_standard_input(&[Some(&arguments.file), arguments.passphrase_file.as_deref()])?;
    let dir = arguments.directory.path()?;
    if arguments.store.is_some() || is_of_postgres(&dir) {
        let shown = dir.display();
        return Err(Failure::usage("a server's data in PostgreSQL is restored by PostgreSQL's own programs; nothing is restored")
            .next("pg_restore --exit-on-error --no-owner --dbname 'postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt' FILE   (an empty database)")
            .next(format!("mkdir -m 700 {shown} && install -m 600 KEPT {shown}/seal.key   (the sealing key of that database)"))
            .next(format!("mandate serve --dir {shown} --store URL")));
    }
    let archive = Archive::read(BufReader::with_capacity(1 << 20, open(&arguments.file)?))
        .map_err(|error| not_restored(&error, arguments, &dir))?;
    let from_stdin = arguments.file == Path::new("-");
    let passphrase = match (archive.manifest().sealing_key, &arguments.passphrase_file) {
        (KeyPlace::Sealed, Some(file)) => Some(secret_input::from_file(file, "passphrase")?),
        (KeyPlace::Sealed, None) if from_stdin => {
            return Err(Failure::usage(
                "the backup is read from standard input, so the passphrase cannot be",
            )
            .next("the same command with --passphrase-file FILE"));
        }
        (KeyPlace::Sealed, None) if arguments.keys_file.is_none() => {
            Some(secret_input::secret("passphrase")?)
        }
        _ => None,
    };
    let sealing_key = match &arguments.keys_file {
        Some(path) => Some(mandate_files::read_private(path, MAX_KEY).map_err(|error| {
            Failure::caused(
                Fault::Usage,
                &format!("cannot read the sealing key from {}", path.display()),
                &error,
            )
        })?),
        None => None,
    };
    let interruption = Interruption::begin()?;
    let stop = Arc::clone(&interruption.stop);
    let restoring = Restoring { dir: &dir, sealing_key, passphrase, entropy: Arc::new(SystemEntropy), stop };
    let progress = Progress::begin(screen, "unpacking");
    let restored = archive.restore(&restoring, |done, of| progress.at(done, of, RECORDS));
    drop(progress);
    let restored = restored.map_err(|error| {
        let stands = format!("{} is not restored", input_file::shown(&arguments.file));
        interruption.failure(&stands).unwrap_or_else(|| not_restored(&error, arguments, &dir))
    })?;
    let done = Done {
        backup: input_file::shown(&arguments.file),
        directory: Some(dir.display().to_string()),
        keys_file: None,
        manifest: &restored.manifest,
    };
    screen.show(&done, || {
        format!(
            "{} is restored and verified.\n\n{}\n\nWhat was done after the backup was made is undone: revocations, suspensions, bans, uses of grants, changed passwords and secrets. Revoke again what must stay revoked, and rotate the keys. After the next start, revocations count from the time of that start. Some newer tokens must be requested again.\nThe server from which the backup was made must not run any more: two would issue under one name.\n\nnext: mandate serve --dir {}",
            dir.display(),
            described(screen, &restored.manifest),
            dir.display()
        )
    })
}

/// The content of the backup is trusted, so no other user may be able to change it.
fn open(path: &Path) -> Result<Box<dyn Read>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    let file = mandate_files::open_named(path, Exposure::Readable);
    Ok(Box::new(file.map_err(|error| {
        Failure::caused(Fault::Usage, &format!("cannot read {}", path.display()), &error)
    })?))
}

/// What to type if a directory belongs to another user: only that user may use it.
pub(crate) fn as_its_user(failure: Failure, error: &FileError, command: &str) -> Failure {
    match error {
        FileError::Owner { owner, us: Some(0), .. } => failure.next(format!("sudo -u '#{owner}' {command}")),
        _ => failure,
    }
}

fn not_made(error: &BackupError, dir: &Path) -> Failure {
    let fault = if error.is_of_the_file() { Fault::Usage } else { Fault::Failed };
    let failure = Failure::caused(fault, NOT_MADE, error);
    let shown = dir.display();
    match error {
        BackupError::File(file) => as_its_user(
            failure,
            file,
            &format!("mandate backup --dir {shown} FILE   (FILE where that user may write)"),
        ),
        BackupError::JournalMissing(_) => failure.next(
            "the same command with --accept-missing-journal   (only if mandate.db-wal is lost permanently)",
        ),
        BackupError::Faults(_)
        | BackupError::Log(_)
        | BackupError::Store(_)
        | BackupError::OtherSealingKey
        | BackupError::NoSealingKey(_) => failure.next(format!("mandate doctor --dir {shown}")),
        _ => failure,
    }
}

fn not_restored(error: &BackupError, arguments: &Restore, dir: &Path) -> Failure {
    let fault = if error.is_of_the_file() { Fault::Usage } else { Fault::Failed };
    let file = arguments.file.display();
    let failure =
        Failure::caused(fault, &format!("{} is not restored", input_file::shown(&arguments.file)), error);
    match error {
        BackupError::File(FileError::NotEmpty { .. } | FileError::Exists { .. }) => {
            failure.next(format!("mandate restore {file} --dir DIR   (a directory that is not there yet)"))
        }
        BackupError::File(error) => {
            as_its_user(failure, error, &format!("mandate restore {file} --dir {}", dir.display()))
        }
        BackupError::KeyNeeded => {
            failure.next(format!("mandate restore {file} --dir {} --keys-file FILE", dir.display()))
        }
        BackupError::KeyIsSealed => failure
            .next(format!("mandate restore {file} --dir {}   (asks for the passphrase)", dir.display())),
        _ => failure,
    }
}
