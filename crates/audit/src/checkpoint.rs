//! Checkpoints: the size and root of the tree, signed (C2SP tlog-checkpoint inside a signed-note).

use std::fmt;
use std::sync::Arc;

use mandate_core::{Entropy, Secret};
use rand_core::{CryptoRng, RngCore};
use signed_note::{Note, StandardSigner, StandardVerifier, Verifier, VerifierList};

use crate::tree::Hash;

/// Why a checkpoint or its key is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The origin cannot name a key: empty, or with a space or `+` (C2SP signed-note).
    #[error("{0:?} cannot be an audit log's origin: it must not be empty nor have spaces or '+'")]
    Origin(String),
    /// The signing key is not a note key, or is not the one of its verifier key.
    #[error("the checkpoint signing key is malformed")]
    SigningKey,
    /// The text is not a verifier key.
    #[error("the verifier key is malformed; expected <origin>+<8 hex digits>+<base64>")]
    VerifierKey,
    /// Not a signed note with a checkpoint.
    #[error("the checkpoint is malformed")]
    Malformed,
    /// Not signed by the expected key.
    #[error("the checkpoint is not signed by {0}")]
    Signature(String),
    /// Signed, but for another log.
    #[error("the checkpoint is of the log {found:?}, not {expected:?}")]
    OtherLog {
        /// The origin in the checkpoint.
        found: String,
        /// The origin of the log that it should belong to.
        expected: String,
    },
}

/// The size and root of a tree, from a checkpoint whose signature was verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The origin of the log.
    pub origin: String,
    /// How many records the tree has.
    pub size: u64,
    /// The root hash over all of them.
    pub root: Hash,
}

impl Checkpoint {
    /// Whether a note has the form of a signed checkpoint. Says nothing about who signed it: see
    /// [`CheckpointVerifier::open`].
    pub fn is_well_formed(note: &[u8]) -> bool {
        Self::origin_of(note).is_some()
    }

    /// The origin of the log that a note claims to belong to, if it has the form of a signed checkpoint. Says
    /// nothing about who signed it.
    pub fn origin_of(note: &[u8]) -> Option<String> {
        let note = Note::from_bytes(note).ok()?;
        tlog_tiles::Checkpoint::from_bytes(note.text()).ok().map(|body| body.origin().to_owned())
    }
}

struct FromEntropy<'a>(&'a dyn Entropy);

impl RngCore for FromEntropy<'_> {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rand_core::Error> {
        self.0.fill(out);
        Ok(())
    }
}

impl CryptoRng for FromEntropy<'_> {}

/// Signs checkpoints, and nothing else. An Ed25519 key whose name is the log's origin.
#[derive(Clone)]
pub struct CheckpointSigner {
    signer: Arc<StandardSigner>,
    verifier: CheckpointVerifier,
}

impl fmt::Debug for CheckpointSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointSigner").field("vkey", &self.verifier.vkey).finish_non_exhaustive()
    }
}

impl CheckpointSigner {
    /// Makes a new key for the log named `origin`. Returns the signer and the private key to keep: see
    /// [`CheckpointSigner::from_secret`].
    pub fn generate(origin: &str, entropy: &dyn Entropy) -> Result<(Self, Secret), CheckpointError> {
        if !signed_note::is_key_name_valid(origin) || origin.chars().any(char::is_control) {
            return Err(CheckpointError::Origin(origin.to_owned()));
        }
        let (skey, vkey) = signed_note::generate_key(&mut FromEntropy(entropy), origin);
        // Both halves are kept: the crate derives no verifier key from a signing key.
        let secret = Secret::new(format!("{skey}\n{vkey}"));
        Ok((Self::from_secret(&secret)?, secret))
    }

    /// From what [`CheckpointSigner::generate`] returned: the note signing key and, on a second line, its
    /// verifier key.
    pub fn from_secret(secret: &Secret) -> Result<Self, CheckpointError> {
        let text = secret.expose_secret_str().ok_or(CheckpointError::SigningKey)?;
        let (skey, vkey) = text.split_once('\n').ok_or(CheckpointError::SigningKey)?;
        let signer = StandardSigner::new(skey).map_err(|_| CheckpointError::SigningKey)?;
        let verifier = CheckpointVerifier::new(vkey)?;
        let signer = Self { signer: Arc::new(signer), verifier };
        // A pair that does not belong together would sign checkpoints that nobody can verify.
        let probe = signer.first_checkpoint()?;
        signer.verifier.open(&probe).map_err(|_| CheckpointError::SigningKey)?;
        Ok(signer)
    }

    /// The origin of the log: the name of the key.
    pub fn origin(&self) -> &str {
        self.verifier.origin()
    }

    /// The verifier of what this key signs.
    pub fn verifier(&self) -> &CheckpointVerifier {
        &self.verifier
    }

    /// Signs the first checkpoint, of the log without records. The caller stores it together with the key, so
    /// that every log has a checkpoint: a log whose records were deleted cannot pass for a new one.
    pub fn first_checkpoint(&self) -> Result<Vec<u8>, CheckpointError> {
        self.sign(0, tlog_tiles::EMPTY_HASH)
    }

    /// A signed note over the tree's size and root.
    pub fn sign(&self, size: u64, root: Hash) -> Result<Vec<u8>, CheckpointError> {
        let body = tlog_tiles::Checkpoint::new(self.origin(), size, root, "")
            .map_err(|_| CheckpointError::Malformed)?;
        let mut note = Note::new(&body.to_bytes(), &[]).map_err(|_| CheckpointError::Malformed)?;
        note.add_sigs(&[self.signer.as_ref()]).map_err(|_| CheckpointError::SigningKey)?;
        Ok(note.to_bytes())
    }
}

/// Verifies checkpoints of one log.
#[derive(Clone)]
pub struct CheckpointVerifier {
    verifier: StandardVerifier,
    vkey: String,
}

impl fmt::Debug for CheckpointVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CheckpointVerifier").field(&self.vkey).finish()
    }
}

impl CheckpointVerifier {
    /// From a verifier key: `<origin>+<key id>+<base64>` (C2SP signed-note).
    pub fn new(vkey: &str) -> Result<Self, CheckpointError> {
        let vkey = vkey.trim();
        let verifier = StandardVerifier::new(vkey).map_err(|_| CheckpointError::VerifierKey)?;
        Ok(Self { verifier, vkey: vkey.to_owned() })
    }

    /// The origin of the log: the name of the key.
    pub fn origin(&self) -> &str {
        self.verifier.name()
    }

    /// The verifier key, `<origin>+<key id>+<base64>`.
    pub fn vkey(&self) -> &str {
        &self.vkey
    }

    /// Verifies a signed checkpoint, and returns its content.
    pub fn open(&self, note: &[u8]) -> Result<Checkpoint, CheckpointError> {
        let note = Note::from_bytes(note).map_err(|_| CheckpointError::Malformed)?;
        let known = VerifierList::new(vec![Box::new(self.verifier.clone())]);
        note.verify(&known).map_err(|_| CheckpointError::Signature(self.vkey.clone()))?;
        let body = tlog_tiles::Checkpoint::from_bytes(note.text()).map_err(|_| CheckpointError::Malformed)?;
        if body.origin() != self.origin() {
            return Err(CheckpointError::OtherLog {
                found: body.origin().to_owned(),
                expected: self.origin().to_owned(),
            });
        }
        Ok(Checkpoint { origin: body.origin().to_owned(), size: body.size(), root: *body.hash() })
    }
}

#[cfg(test)]
mod tests;
