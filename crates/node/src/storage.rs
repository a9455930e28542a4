//! The node's directory: `node.pem` (key and certificate chain, mode 0600), `ca.pem`, and a lock.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mandate_core::{Entropy, Secret};
use rustix::fs::{FlockOperation, flock};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

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
    dir: PathBuf,
    _lock: File,
}

/// What a directory holds.
pub(crate) enum Stored {
    /// Nothing: this node has not joined.
    Nothing,
    /// Credentials.
    Credentials(Credentials),
    /// Something that cannot be used.
    Unusable(PathBuf, UnusableCredentials),
}

fn failed(path: &Path) -> impl Fn(io::Error) -> NodeError {
    let path = path.to_owned();
    move |source| NodeError::File { path: path.clone(), source }
}

fn exposed(path: &Path, what: &str, mode: u32, better: &str) -> NodeError {
    let why = format!("others may {what} (mode {:o}); run chmod {better}", mode & 0o7777);
    NodeError::Exposed { path: path.to_owned(), why }
}

/// Makes the directory, and the ones above it for this user alone.
fn make_dir(dir: &Path) -> io::Result<()> {
    if let Some(above) = dir.parent().filter(|above| !above.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(above)?;
    }
    match DirBuilder::new().mode(0o711).create(dir) {
        // The umask may have closed it to the workloads.
        Ok(()) => fs::set_permissions(dir, fs::Permissions::from_mode(0o711)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

impl Storage {
    /// Opens the directory, making it if there is none. Two nodes never share one.
    ///
    /// It is made with mode 0711: other users may pass it to reach a socket in it, and can neither list it nor read its
    /// files, which are 0600.
    pub(crate) fn open(dir: &Path) -> Result<Self, NodeError> {
        make_dir(dir).map_err(failed(dir))?;
        let mode = fs::metadata(dir).map_err(failed(dir))?.mode();
        // Whoever may write to the directory may put other files in place of ours.
        if mode & 0o022 != 0 {
            return Err(exposed(dir, "write to it", mode, "711"));
        }
        let path = dir.join(LOCK);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(failed(&path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(NodeError::InUse { path: dir.to_owned() }),
            Err(error) => Err(failed(&path)(error.into())),
        }
    }

    /// Reads the credentials.
    pub(crate) fn load(&self) -> Result<Stored, NodeError> {
        let path = self.dir.join(NODE);
        let Some(node) = self.read(NODE)? else { return Ok(Stored::Nothing) };
        let ca = self.read(CA)?.unwrap_or_else(|| Secret::new(Vec::new()));
        let certificates = |pem: &Secret| CertificateDer::pem_slice_iter(pem.expose_secret()).collect::<Result<Vec<_>, _>>();
        let parsed = PrivatePkcs8KeyDer::from_pem_slice(node.expose_secret())
            .and_then(|key| Ok((Secret::new(key.secret_pkcs8_der()), certificates(&node)?, certificates(&ca)?)))
            // The parser's own words may repeat what it read.
            .map_err(|_| UnusableCredentials("it does not hold a private key and certificates in PEM".to_owned()));
        Ok(match parsed.and_then(|(key, chain, ca)| Credentials::new(key, chain, ca)) {
            Ok(credentials) => Stored::Credentials(credentials),
            Err(error) => Stored::Unusable(path, error),
        })
    }

    /// Writes credentials so that a crash leaves either the old ones or the new ones. The CA comes first: an old
    /// certificate goes with a newer CA, since the server hands over every CA it still uses.
    pub(crate) fn save(&self, credentials: &Credentials, entropy: &dyn Entropy) -> Result<(), NodeError> {
        self.save_ca(credentials, entropy)?;
        let mut text = Vec::new();
        pem(&mut text, "PRIVATE KEY", credentials.key().expose_secret());
        for certificate in credentials.chain() {
            pem(&mut text, "CERTIFICATE", certificate);
        }
        self.write(NODE, &Secret::new(text), entropy)
    }

    /// Writes the CA's certificates alone.
    pub(crate) fn save_ca(&self, credentials: &Credentials, entropy: &dyn Entropy) -> Result<(), NodeError> {
        let mut text = Vec::new();
        for certificate in credentials.ca() {
            pem(&mut text, "CERTIFICATE", certificate);
        }
        self.write(CA, &Secret::new(text), entropy)
    }

    fn read(&self, name: &str) -> Result<Option<Secret>, NodeError> {
        let path = self.dir.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&path)(error)),
        };
        let mode = file.metadata().map_err(failed(&path))?.mode();
        let (open_to_others, what) = if name == NODE { (0o077, "read it") } else { (0o022, "write to it") };
        if mode & open_to_others != 0 {
            return Err(exposed(&path, what, mode, "600"));
        }
        let mut bytes = Vec::new();
        file.take(LARGEST).read_to_end(&mut bytes).map_err(failed(&path))?;
        Ok(Some(Secret::new(bytes)))
    }

    fn write(&self, name: &str, content: &Secret, entropy: &dyn Entropy) -> Result<(), NodeError> {
        let mut random = [0; 8];
        entropy.fill(&mut random);
        let (path, temporary) = (self.dir.join(name), self.dir.join(format!(".{name}.{:016x}", u64::from_le_bytes(random))));
        let written = (|| {
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
            // The umask can only have taken permissions away; this makes the mode exact.
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
            file.write_all(content.expose_secret())?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(&self.dir)?.sync_all()
        })();
        written.map_err(|error| {
            // The temporary file may hold a key; if it cannot be removed either, the first error says why.
            let _ = fs::remove_file(&temporary);
            failed(&path)(error)
        })
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
    use super::{NODE, Storage, Stored};
    use crate::credentials::Credentials;
    use crate::error::NodeError;
    use mandate_core::{Secret, SystemEntropy};
    use rcgen::{CertificateParams, KeyPair, SanType};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn credentials(name: &str) -> Credentials {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(format!("spiffe://acme.example/node/{name}").try_into().unwrap())];
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Credentials::new(Secret::new(key.serialize_der()), vec![certificate.clone()], vec![certificate.clone(), certificate]).unwrap()
    }

    fn loaded(storage: &Storage) -> Credentials {
        match storage.load().unwrap() {
            Stored::Credentials(credentials) => credentials,
            Stored::Nothing => panic!("nothing"),
            Stored::Unusable(_, error) => panic!("{error}"),
        }
    }

    #[test]
    fn what_is_saved_is_loaded_and_only_the_owner_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/node");
        let storage = Storage::open(&path).unwrap();
        assert!(matches!(storage.load().unwrap(), Stored::Nothing));
        for name in ["1", "2"] {
            let credentials = credentials(name);
            storage.save(&credentials, &SystemEntropy).unwrap();
            let loaded = loaded(&storage);
            assert_eq!(loaded.spiffe_id(), credentials.spiffe_id());
            assert_eq!((loaded.key(), loaded.chain(), loaded.ca()), (credentials.key(), credentials.chain(), credentials.ca()));
        }
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        // Others may pass the directory, so that its socket can be reached, and read nothing in it.
        assert_eq!(
            (mode(&path), mode(&path.join(NODE)), mode(&path.join("ca.pem")), mode(&path.join("lock"))),
            (0o711, 0o600, 0o600, 0o600)
        );
        let mut names: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
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
            let Stored::Unusable(path, error) = storage.load().unwrap() else { panic!("{text}") };
            assert_eq!(path, dir.path().join(NODE));
            assert!(!error.to_string().contains(&key[40..60]), "{error}");
        }
        fs::write(dir.path().join(NODE), &good).unwrap();
        fs::remove_file(dir.path().join("ca.pem")).unwrap();
        assert!(matches!(storage.load().unwrap(), Stored::Unusable(..)));
    }

    #[test]
    fn a_directory_or_file_that_is_open_to_others_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node");
        let set = |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let storage = Storage::open(&path).unwrap();
        storage.save(&credentials("1"), &SystemEntropy).unwrap();
        for (name, bad, good) in [(NODE, 0o640, 0o600), (NODE, 0o604, 0o600), ("ca.pem", 0o660, 0o644)] {
            set(&path.join(name), bad);
            let error = storage.load().err().unwrap();
            assert!(matches!(&error, NodeError::Exposed { path: found, .. } if *found == path.join(name)), "{error}");
            assert!(error.to_string().ends_with("run chmod 600"), "{error}");
            set(&path.join(name), good);
            assert!(matches!(storage.load().unwrap(), Stored::Credentials(_)), "{name}");
        }
        drop(storage);
        for (mode, opens) in [(0o777, false), (0o731, false), (0o755, true), (0o700, true)] {
            set(&path, mode);
            assert_eq!(Storage::open(&path).is_ok(), opens, "{mode:o}");
        }
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
