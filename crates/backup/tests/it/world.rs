//! A directory with keys, an installation and a few records, as a server leaves it.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use mandate_audit::{CheckpointSigner, Outcome, Record, RecordKind};
use mandate_backup::{
    Archive, BackupError, BackupPlan, Created, Restored, Restoring, SealingKeyPlace, create,
};
use mandate_core::{KnownTerms, Secret, SystemEntropy, Timestamp};
use mandate_files::Replace;
use mandate_sequencer::Log;
use mandate_store::keys::{KeyState, StoredKey};
use mandate_store::{Installation, Store, installation, keys, records};

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
pub(crate) const SERVE: &str = r#"{"issuer":"https://mandate.acme.example","trust_domain":"acme.example","port":1,"node_port":2,"admin_port":3}"#;

pub(crate) struct World {
    pub(crate) root: tempfile::TempDir,
    pub(crate) dir: PathBuf,
}

impl World {
    /// With `count` records.
    pub(crate) fn new(count: u64) -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("server");
        let world = Self { root, dir };
        drop(world.open(count));
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The store, with `count` records more.
    pub(crate) fn open(&self, count: u64) -> Store {
        let store = Store::open_blocking(&self.dir, Arc::new(SystemEntropy)).unwrap();
        let signer = signer(&store);
        mandate_files::Dir::open(&self.dir)
            .unwrap()
            .replace("serve.json", 0o600, SERVE.as_bytes(), &SystemEntropy)
            .unwrap();
        let said = Installation {
            issuer: "https://mandate.acme.example".parse().unwrap(),
            trust_domain: "acme.example".parse().unwrap(),
            ports: [1, 2, 3],
        };
        store.transact_blocking("say", |tx| installation::put(tx, &said)).unwrap();
        let (log, sequencer) = Log::start(store.audit_backend(signer.origin()).unwrap(), signer).unwrap();
        for n in 0..count {
            log.append_blocking(record(n), vec![]).unwrap();
        }
        drop(log);
        sequencer.join().unwrap();
        store
    }

    /// A backup in `name`.
    pub(crate) fn backup(&self, name: &str, keys: SealingKeyPlace) -> Result<Created, BackupError> {
        self.backup_of(&self.dir, name, keys, false)
    }

    pub(crate) fn backup_of(
        &self,
        dir: &Path,
        name: &str,
        keys: SealingKeyPlace,
        without_journal: bool,
    ) -> Result<Created, BackupError> {
        let plan = BackupPlan { without_journal, ..plan(dir, keys) };
        self.backup_as(&plan, name, |_, _| ())
    }

    pub(crate) fn backup_as(
        &self,
        plan: &BackupPlan<'_>,
        name: &str,
        progress: impl FnMut(u64, u64),
    ) -> Result<Created, BackupError> {
        let mut out = mandate_files::output(&self.path(name), true, &SystemEntropy)?;
        let mut scratch = mandate_files::output(&self.path("scratch"), true, &SystemEntropy)?;
        let created = create(plan, &mut out, &mut scratch, progress)?;
        out.commit(Replace::Always)?;
        Ok(created)
    }

    pub(crate) fn restore(&self, bytes: &[u8], name: &str, opens: &Opens) -> Result<Restored, BackupError> {
        restore(bytes, &self.path(name), opens)
    }

    /// The names of all files in the directory.
    pub(crate) fn names(&self) -> Vec<String> {
        names(self.root.path())
    }
}

/// How a directory is backed up, unless told otherwise.
pub(crate) fn plan(dir: &Path, keys: SealingKeyPlace) -> BackupPlan<'_> {
    let (entropy, stop) = (Arc::new(SystemEntropy), Arc::new(AtomicBool::new(false)));
    BackupPlan { dir, keys, without_journal: false, version: "0.0.0", now: NOW, entropy, stop }
}

pub(crate) enum Opens {
    Key(Secret),
    Passphrase(&'static str),
    Nothing,
}

pub(crate) fn restore(bytes: &[u8], dir: &Path, opens: &Opens) -> Result<Restored, BackupError> {
    let (sealing_key, passphrase) = match opens {
        Opens::Key(key) => (Some(key.clone()), None),
        Opens::Passphrase(text) => (None, Some(Secret::new(*text))),
        Opens::Nothing => (None, None),
    };
    let (entropy, stop) = (Arc::new(SystemEntropy), Arc::new(AtomicBool::new(false)));
    Archive::read(Cursor::new(bytes))?
        .restore(&Restoring { dir, sealing_key, passphrase, entropy, stop }, |_, _| ())
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|each| each.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn record(n: u64) -> Record {
    let (id, at) = (format!("r{n}").parse().unwrap(), NOW.plus(Duration::from_millis(n)));
    let known = KnownTerms { scope: "read:cases".parse().unwrap(), ..KnownTerms::default() };
    Record { about: known.into(), ..Record::new(id, at, RecordKind::Exchange, Outcome::Permitted, "ok") }
}

fn signer(store: &Store) -> CheckpointSigner {
    if let [only] = store.read_blocking("keys", |tx| keys::list(tx, "checkpoint")).unwrap().as_slice() {
        return CheckpointSigner::from_secret(&only.private).unwrap();
    }
    let (signer, private) = CheckpointSigner::generate("acme.example/audit/1", &SystemEntropy).unwrap();
    let first = signer.first_checkpoint().unwrap();
    let row = StoredKey {
        purpose: "checkpoint".to_owned(),
        kid: signer.origin().to_owned(),
        state: KeyState::Active,
        created: NOW,
        until: None,
        public: signer.verifier().vkey().as_bytes().to_vec(),
        private,
    };
    store
        .transact_blocking("first checkpoint", |tx| {
            keys::put(tx, &row)?;
            records::add_log(tx, signer.origin(), &first)
        })
        .unwrap();
    signer
}

/// The members of an archive, in order.
pub(crate) fn members(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let mut members = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        members.push((name, bytes));
    }
    members
}

/// An archive of these members, under any names.
pub(crate) fn archive(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        // As it is: `set_path` refuses what a hostile archive has.
        (&mut header.as_old_mut().name[..]).write_all(name.as_bytes()).unwrap();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_cksum();
        builder.append(&header, bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}
