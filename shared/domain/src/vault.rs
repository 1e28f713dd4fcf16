//! What only the application's secret can do: hashes that nobody else can make, and texts that nobody else can read
//! or change.

use async_trait::async_trait;

use crate::ports::PortResult;

/// What was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The bytes.
    pub plain: Vec<u8>,
    /// Whether the key that seals now sealed them. What an older one sealed can be opened until that key is replaced,
    /// too: whoever keeps it longer seals it again.
    pub current: bool,
}

/// Hashes and seals with keys that nobody else has. The key may be rotated: what the last one made is still good, what
/// an older one made is not.
///
/// A purpose keeps uses apart: the same data has another hash for another purpose, and what was sealed for one does
/// not open for another. Every use names its own, such as `emergency key`.
#[async_trait]
pub trait Vault: Send + Sync {
    /// The keyed hash of data: always the same for one purpose, until the key is rotated.
    async fn mac(&self, purpose: &str, data: &[u8]) -> PortResult<[u8; 32]>;
    /// Whether a stored hash is that of data, by the key that hashes now or the one before it. The comparison takes as
    /// long whatever it finds.
    async fn mac_matches(&self, purpose: &str, data: &[u8], stored: &[u8]) -> PortResult<bool>;
    /// Encrypts and authenticates bytes. The text fits into a URL as it is, and is another one every time.
    async fn seal(&self, purpose: &str, plain: &[u8]) -> PortResult<String>;
    /// What was sealed. `None` if the text was not sealed by us for this purpose: invented, changed or cut off.
    async fn open(&self, purpose: &str, sealed: &str) -> PortResult<Option<Opened>>;
}
