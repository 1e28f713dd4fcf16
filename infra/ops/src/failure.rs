//! What can go wrong, in one line for the operator.

/// A failure with its reason.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// The outcome of an operation.
pub type Result<T> = std::result::Result<T, Failure>;

/// Names what was being done when something failed.
pub trait Context<T> {
    /// Puts a description in front of the cause.
    fn context(self, doing: impl std::fmt::Display) -> Result<T>;
}

impl<T, E: std::fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, doing: impl std::fmt::Display) -> Result<T> {
        self.map_err(|cause| Failure(format!("{doing}: {cause}")))
    }
}

/// Fails unless a claim holds.
pub fn ensure(holds: bool, claim: impl std::fmt::Display) -> Result<()> {
    if holds { Ok(()) } else { Err(Failure(claim.to_string())) }
}
