//! Randomness and new identifiers: the one place they come from.

use crate::ids::JobId;

/// Makes unpredictable bytes and ids. Tests use a seeded one.
pub trait IdSource: Send + Sync {
    /// Sixteen bytes nobody can guess.
    fn random_16(&self) -> [u8; 16];

    /// A new random UUID (version 4), as text.
    fn uuid(&self) -> String {
        uuid::Builder::from_random_bytes(self.random_16()).into_uuid().to_string()
    }

    /// A new job id.
    fn job_id(&self) -> JobId {
        // A UUID is never empty, too long or made of control characters.
        JobId::parse(self.uuid()).unwrap_or_else(|_| unreachable!("a UUID is a valid id"))
    }
}

/// The operating system's random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemIds;

impl IdSource for SystemIds {
    fn random_16(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        // Without randomness no id is unique: there is nothing sensible to go on with.
        getrandom::fill(&mut bytes).unwrap_or_else(|cause| panic!("the operating system has no randomness: {cause}"));
        bytes
    }
}
