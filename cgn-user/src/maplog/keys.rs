//! The keys that sign a day's manifest: Ed25519 (RFC 8032), in the files that OpenSSL makes.
//!
//! ```sh
//! (umask 077; openssl genpkey -algorithm ed25519 -out /etc/cgn/log.key)
//! openssl pkey -in /etc/cgn/log.key -pubout -out log.pub
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use thiserror::Error;

use crate::secret::{self, SecretError};

/// What stands before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410 section 4).
const PUBLIC_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// A key that cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyError {
    #[error("cannot read the key {path}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("{path} is no Ed25519 private key in PEM: make one with `openssl genpkey -algorithm ed25519 -out {path}`", path = path.display())]
    NotPrivate { path: PathBuf },
    #[error("{path} is no Ed25519 public key in PEM: make it of the private one with `openssl pkey -in KEY -pubout -out {path}`", path = path.display())]
    NotPublic { path: PathBuf },
}

/// Signs.
#[derive(Debug)]
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// Reads a private key, PKCS #8 in PEM.
    ///
    /// # Errors
    /// It is none, or group or others may read the file.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let pem = secret::read(path)?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(&pem).ok();
        let key = key.and_then(|der| {
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).ok()
        });
        key.map(Self)
            .ok_or_else(|| KeyError::NotPrivate { path: path.into() })
    }

    /// The 64 bytes of the signature of `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

/// Checks signatures.
#[derive(Debug)]
pub struct VerifyingKey([u8; 32]);

impl VerifyingKey {
    /// Reads a public key, SubjectPublicKeyInfo in PEM.
    ///
    /// # Errors
    /// It is none.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let pem = fs::read(path).map_err(|source| KeyError::Io {
            path: path.into(),
            source,
        })?;
        let key = SubjectPublicKeyInfoDer::from_pem_slice(&pem).ok();
        let key = key.and_then(|der| der.strip_prefix(&PUBLIC_PREFIX[..])?.try_into().ok());
        key.map(Self)
            .ok_or_else(|| KeyError::NotPublic { path: path.into() })
    }

    /// Whether `signature` is this key's of `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(message, signature)
            .is_ok()
    }
}
