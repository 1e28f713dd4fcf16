//! What only the application's secret can do: hashes that nobody else can make, and texts that nobody else can read
//! or change.

use async_trait::async_trait;

use crate::ports::PortResult;

/// Hashes and seals with keys that nobody else has.
///
/// A purpose keeps uses apart: the same data has another hash for another purpose, and what was sealed for one does
/// not open for another. Every use names its own, such as `emergency key`.
#[async_trait]
pub trait Vault: Send + Sync {
    /// The keyed hash of data: always the same for one purpose. Whoever compares it with a given one does so in
    /// constant time.
    async fn mac(&self, purpose: &str, data: &[u8]) -> PortResult<[u8; 32]>;
    /// Encrypts and authenticates bytes. The text fits into a URL as it is, and is another one every time.
    async fn seal(&self, purpose: &str, plain: &[u8]) -> PortResult<String>;
    /// What was sealed. `None` if the text was not sealed by us for this purpose: invented, changed or cut off.
    async fn open(&self, purpose: &str, sealed: &str) -> PortResult<Option<Vec<u8>>>;
}
