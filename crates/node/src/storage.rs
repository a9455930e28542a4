//! The node's directory: `node.pem` (key and certificate chain, mode 0600), `ca.pem`, and a lock.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mandate_core::{Entropy, Secret};
use mandate_files::{Dir, Exposure, Making, text};
use rustix::fs::{FlockOperation, flock};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::credentials::{Credentials, UnusableCredentials};
use crate::error::NodeError;

const NODE: &str = "node.pem";
const CA: &str = "ca.pem";
const LOCK: &str = "lock";

/// A larger file is not one of ours.
const LARGEST: u64 = 1 << 20;

/// The node's directory, held by this process alone.
#[derive(Debug)]
pub(crate) struct Storage {
    dir: Dir,
    _lock: File,
    /// Held by each write for as long as it takes.
    writing: Arc<Mutex<()>>,
}

/// What a directory holds.
pub(crate) enum StoredCredentials {
    /// Nothing: this node has not joined.
    Nothing,
    Credentials(Credentials),
    /// Something that cannot be used.
    Unusable(PathBuf, UnusableCredentials),
}

/// Others may pass through the directory to reach a socket in it. They can neither list it nor read its
/// files, which have mode 0600.
const MAKING: Making = Making { above: 0o700, mode: 0o711 };

impl Storage {
    /// Opens the directory, making it if there is none. Two nodes never share one.
    pub(crate) fn open(dir: &Path) -> Result<Self, NodeError> {
        let dir = Dir::open_or_make(dir, MAKING)?;
        let lock = dir.open_or_create(LOCK, Exposure::Readable)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { dir, _lock: lock, writing: Arc::default() }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(NodeError::InUse { path: dir.path().to_owned() }),
            Err(error) => Err(NodeError::File { path: dir.entry(LOCK), source: error.into() }),
        }
    }

    /// Waits until no write is under way, and begins one: it ends when what is returned is dropped.
    pub(crate) async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.writing).lock_owned().await
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn load(&self) -> Result<StoredCredentials, NodeError> {
        let path = self.dir.entry(NODE);
        let Some(node) = self.dir.read_secret(NODE, LARGEST)? else { return Ok(StoredCredentials::Nothing) };
        let ca = self.dir.read(CA, LARGEST)?.unwrap_or_default();
        let node = text::without_mark(node.expose_secret());
        let certificates = |pem| CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let parsed = PrivatePkcs8KeyDer::from_pem_slice(node)
            .and_then(|key| {
                Ok((
                    Secret::new(key.secret_pkcs8_der()),
                    certificates(node)?,
                    certificates(text::without_mark(&ca))?,
                ))
            })
            // The parser's own words may repeat what it read.
            .map_err(|_| {
                UnusableCredentials("it does not hold a private key and certificates in PEM".to_owned())
            });
        Ok(match parsed.and_then(|(key, chain, ca)| Credentials::new(key, chain, ca)) {
            Ok(credentials) => StoredCredentials::Credentials(credentials),
            Err(error) => StoredCredentials::Unusable(path, error),
        })
    }

    /// Writes credentials so that a crash leaves either the old ones or the new ones. Blocks. The CA is
    /// written first: an old certificate works with a newer CA, because the server sends every CA that it
    /// still uses.
    pub(crate) fn save(&self, credentials: &Credentials, entropy: &dyn Entropy) -> Result<(), NodeError> {
        self.save_ca(credentials, entropy)?;
        let mut text = Vec::new();
        pem(&mut text, "PRIVATE KEY", credentials.key().expose_secret());
        for certificate in credentials.chain() {
            pem(&mut text, "CERTIFICATE", certificate);
        }
        let text = Secret::new(text);
        Ok(self.dir.replace(NODE, 0o600, text.expose_secret(), entropy)?)
    }

    /// Writes the CA's certificates alone. Blocks.
    pub(crate) fn save_ca(&self, credentials: &Credentials, entropy: &dyn Entropy) -> Result<(), NodeError> {
        let mut text = Vec::new();
        for certificate in credentials.ca() {
            pem(&mut text, "CERTIFICATE", certificate);
        }
        Ok(self.dir.replace(CA, 0o600, &text, entropy)?)
    }
}

/// Appends `der` in PEM (RFC 7468 §2).
fn pem(out: &mut Vec<u8>, label: &str, der: &[u8]) {
    let text = Secret::new(STANDARD.encode(der));
    out.extend_from_slice(format!("-----BEGIN {label}-----\n").as_bytes());
    for line in text.expose_secret().chunks(64) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::{NODE, Storage, StoredCredentials};
    use crate::credentials::Credentials;
    use crate::error::NodeError;
    use mandate_core::{Secret, SystemEntropy};
    use rcgen::{CertificateParams, KeyPair, SanType};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn credentials(name: &str) -> Credentials {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names =
            vec![SanType::URI(format!("spiffe://acme.example/node/{name}").try_into().unwrap())];
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Credentials::new(
            Secret::new(key.serialize_der()),
            vec![certificate.clone()],
            vec![certificate.clone(), certificate],
        )
        .unwrap()
    }

    fn loaded(storage: &Storage) -> Credentials {
        match storage.load().unwrap() {
            StoredCredentials::Credentials(credentials) => credentials,
            StoredCredentials::Nothing => panic!("nothing"),
            StoredCredentials::Unusable(_, error) => panic!("{error}"),
        }
    }

    #[test]
    fn what_is_saved_is_loaded_and_only_the_owner_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/node");
        let storage = Storage::open(&path).unwrap();
        assert!(matches!(storage.load().unwrap(), StoredCredentials::Nothing));
        for name in ["1", "2"] {
            let credentials = credentials(name);
            storage.save(&credentials, &SystemEntropy).unwrap();
            let loaded = loaded(&storage);
            assert_eq!(loaded.spiffe_id(), credentials.spiffe_id());
            assert_eq!(
                (loaded.key(), loaded.chain(), loaded.ca()),
                (credentials.key(), credentials.chain(), credentials.ca())
            );
        }
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        // Others may pass the directory, so that its socket can be reached, and read nothing in it.
        assert_eq!(
            (mode(&path), mode(&path.join(NODE)), mode(&path.join("ca.pem")), mode(&path.join("lock"))),
            (0o711, 0o600, 0o600, 0o600)
        );
        let mut names: Vec<_> = fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["ca.pem", "lock", "node.pem"], "no temporary file remains");
    }

    #[test]
    fn damaged_files_are_reported_without_their_content() {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(dir.path()).unwrap();
        storage.save(&credentials("1"), &SystemEntropy).unwrap();
        let good = fs::read_to_string(dir.path().join(NODE)).unwrap();
        let (key, rest) = good.split_at(good.find("-----BEGIN CERT").unwrap());
        for text in ["", "nonsense", key, rest, &good.replacen('M', "*", 1)] {
            fs::write(dir.path().join(NODE), text).unwrap();
            let StoredCredentials::Unusable(path, error) = storage.load().unwrap() else { panic!("{text}") };
            assert_eq!(path, dir.path().join(NODE));
            assert!(!error.to_string().contains(&key[40..60]), "{error}");
        }
        fs::write(dir.path().join(NODE), &good).unwrap();
        fs::remove_file(dir.path().join("ca.pem")).unwrap();
        assert!(matches!(storage.load().unwrap(), StoredCredentials::Unusable(..)));
    }

    #[test]
    fn a_directory_or_file_that_is_open_to_others_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node");
        let set = |path: &std::path::Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let storage = Storage::open(&path).unwrap();
        storage.save(&credentials("1"), &SystemEntropy).unwrap();
        for (name, bad, good) in [(NODE, 0o640, 0o600), (NODE, 0o604, 0o600), ("ca.pem", 0o660, 0o644)] {
            set(&path.join(name), bad);
            let error = storage.load().err().unwrap();
            assert!(matches!(&error, NodeError::Unsafe(found) if found.path() == path.join(name)), "{error}");
            assert!(error.to_string().contains("run chmod "), "{error}");
            set(&path.join(name), good);
            assert!(matches!(storage.load().unwrap(), StoredCredentials::Credentials(_)), "{name}");
        }
        drop(storage);
        for (mode, opens) in [(0o777, false), (0o731, false), (0o755, true), (0o700, true)] {
            set(&path, mode);
            assert_eq!(Storage::open(&path).is_ok(), opens, "{mode:o}");
        }
    }

    #[test]
    fn links_are_not_followed_and_the_directory_of_another_user_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join("node"), dir.path().join("victim"));
        fs::write(&victim, "precious").unwrap();
        let storage = Storage::open(&path).unwrap();
        std::os::unix::fs::symlink(&victim, path.join(NODE)).unwrap();
        assert!(matches!(storage.load(), Err(NodeError::Unsafe(_))), "a link is no key of ours");
        storage.save(&credentials("1"), &SystemEntropy).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        drop(storage);
        fs::remove_file(path.join("lock")).unwrap();
        std::os::unix::fs::symlink(&victim, path.join("lock")).unwrap();
        assert!(Storage::open(&path).is_err());
        fs::remove_file(path.join("lock")).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(4711), None).unwrap();
            let error = Storage::open(&path).unwrap_err().to_string();
            assert!(error.contains("belongs to user 4711") && error.contains("chown 0"), "{error}");
        }
    }

    #[test]
    fn credentials_with_a_byte_order_mark_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(dir.path()).unwrap();
        storage.save(&credentials("1"), &SystemEntropy).unwrap();
        for name in [NODE, "ca.pem"] {
            let text = fs::read(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name), [b"\xef\xbb\xbf", text.as_slice()].concat()).unwrap();
        }
        assert_eq!(loaded(&storage).spiffe_id().as_str(), "spiffe://acme.example/node/1");
    }

    #[test]
    fn two_nodes_never_share_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = Storage::open(dir.path()).unwrap();
        assert!(matches!(Storage::open(dir.path()), Err(NodeError::InUse { .. })));
        drop(first);
        assert!(Storage::open(dir.path()).is_ok());
    }
}
