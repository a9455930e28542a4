//! The sealing key under a passphrase: argon2id (RFC 9106) and AES-256-GCM.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mandate_core::{Entropy, Secret};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::BackupError;

/// The format of the member.
const FORMAT: &str = "mandate-sealed-key/1";

/// Memory in KiB, passes and lanes: the second recommended option of RFC 9106 §4, with one lane.
const COST: Cost = Cost { memory_kib: 64 * 1024, passes: 3, lanes: 1 };

/// The highest cost that a backup may ask for: its author must not decide how much memory a restore uses.
const MOST: Cost = Cost { memory_kib: 1024 * 1024, passes: 16, lanes: 4 };

const KEY_LEN: usize = 32;
const SALT_LEN: usize = 16;

/// The shortest passphrase, in characters.
pub const MIN_PASSPHRASE: usize = 12;

/// The passphrase is too easy to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a passphrase has at least {MIN_PASSPHRASE} characters: an attacker who has the backup can try any number of passphrases"
)]
pub struct PassphraseTooShort;

/// Refuses a passphrase that is too easy to guess.
pub fn check_passphrase(passphrase: &Secret) -> Result<(), PassphraseTooShort> {
    let length =
        passphrase.expose_secret_str().map_or(passphrase.expose_secret().len(), |text| text.chars().count());
    if length < MIN_PASSPHRASE { Err(PassphraseTooShort) } else { Ok(()) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    format: String,
    argon2id: Cost,
    salt: String,
    nonce: String,
    ciphertext: String,
}

fn wrapping_key(passphrase: &Secret, salt: &[u8], cost: Cost) -> Result<LessSafeKey, BackupError> {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(KEY_LEN))
        .map_err(|_| BackupError::Sealing)?;
    let mut key = Zeroizing::new([0u8; KEY_LEN]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose_secret(), salt, key.as_mut_slice())
        .map_err(|_| BackupError::Sealing)?;
    UnboundKey::new(&AES_256_GCM, key.as_slice()).map(LessSafeKey::new).map_err(|_| BackupError::Sealing)
}

/// Binds the key to the database that it opens.
fn context(database: &str) -> Aad<Vec<u8>> {
    Aad::from(format!("{FORMAT}\n{database}").into_bytes())
}

/// Seals a key under a passphrase, for the database with that digest.
pub(crate) fn seal(
    key: &Secret,
    passphrase: &Secret,
    database: &str,
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, BackupError> {
    let (mut salt, mut nonce) = ([0u8; SALT_LEN], [0u8; NONCE_LEN]);
    entropy.fill(&mut salt);
    entropy.fill(&mut nonce);
    let mut sealed = key.expose_secret().to_vec();
    // The key is used once, so any nonce will do.
    wrapping_key(passphrase, &salt, COST)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), context(database), &mut sealed)
        .map_err(|_| BackupError::Sealing)?;
    let sealed = Sealed {
        format: FORMAT.to_owned(),
        argon2id: COST,
        salt: STANDARD.encode(salt),
        nonce: STANDARD.encode(nonce),
        ciphertext: STANDARD.encode(sealed),
    };
    serde_json::to_vec(&sealed).map_err(|_| BackupError::Sealing)
}

/// Opens what [`seal`] made.
pub(crate) fn open(member: &[u8], passphrase: &Secret, database: &str) -> Result<Secret, BackupError> {
    let malformed = || BackupError::Damaged("its sealed key is malformed".to_owned());
    let sealed: Sealed = serde_json::from_slice(member).map_err(|_| malformed())?;
    let Cost { memory_kib, passes, lanes } = sealed.argon2id;
    if sealed.format != FORMAT || memory_kib > MOST.memory_kib || passes > MOST.passes || lanes > MOST.lanes {
        return Err(malformed());
    }
    let bytes = |text: &str| STANDARD.decode(text).map_err(|_| malformed());
    let (salt, nonce) = (bytes(&sealed.salt)?, bytes(&sealed.nonce)?);
    let nonce = Nonce::try_assume_unique_for_key(&nonce).map_err(|_| malformed())?;
    let mut body = Zeroizing::new(bytes(&sealed.ciphertext)?);
    let key = wrapping_key(passphrase, &salt, sealed.argon2id).map_err(|_| malformed())?;
    let plain =
        key.open_in_place(nonce, context(database), &mut body).map_err(|_| BackupError::Passphrase)?;
    Ok(Secret::new(&*plain))
}

#[cfg(test)]
mod tests {
    use mandate_core::{Secret, SystemEntropy};

    use super::{check_passphrase, open, seal};
    use crate::BackupError;

    #[test]
    fn opens_with_its_passphrase_for_its_database_alone() {
        let (key, passphrase) = (Secret::new([7u8; 32]), Secret::new("correct horse battery"));
        let sealed = seal(&key, &passphrase, "d1", &SystemEntropy).unwrap();
        assert!(!sealed.windows(32).any(|window| window == [7u8; 32]));
        assert_eq!(open(&sealed, &passphrase, "d1").unwrap(), key);
        for (passphrase, database) in [("correct horse batterY", "d1"), ("correct horse battery", "d2")] {
            assert!(matches!(
                open(&sealed, &Secret::new(passphrase), database),
                Err(BackupError::Passphrase)
            ));
        }
    }

    #[test]
    fn a_backup_does_not_decide_how_much_memory_is_taken() {
        let text =
            String::from_utf8(seal(&Secret::new([7u8; 32]), &Secret::new("x"), "d", &SystemEntropy).unwrap())
                .unwrap();
        for (from, to) in [
            ("65536", "4294967295"),
            ("\"passes\":3", "\"passes\":4000000"),
            ("/1\"", "/2\""),
            ("\"salt\":\"", "\"salt\":\"!"),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            assert!(
                matches!(open(changed.as_bytes(), &Secret::new("x"), "d"), Err(BackupError::Damaged(_))),
                "{to}"
            );
        }
    }

    #[test]
    fn a_short_passphrase_is_refused() {
        assert!(check_passphrase(&Secret::new("elevenchars")).is_err());
        assert!(check_passphrase(&Secret::new("twelve chars")).is_ok());
        assert!(check_passphrase(&Secret::new("ääääääääääää")).is_ok());
    }
}
