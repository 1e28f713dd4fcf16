//! What can go wrong at a port, seen from the rules.

/// A store, queue or cache did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// No answer, or a refusal that may pass (time-out, throttle, connection lost). The write may have happened.
    #[error("{service} did not answer: {cause}")]
    Unavailable {
        /// Who was asked.
        service: &'static str,
        /// What it said, for the log only.
        cause: String,
    },
    /// The stored data cannot be understood. Trying again will not help.
    #[error("{service} holds something unreadable: {cause}")]
    Corrupt {
        /// Who was asked.
        service: &'static str,
        /// What was wrong with it, for the log only.
        cause: String,
    },
}

/// Whether a worker should see its message again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WorkError {
    /// The message should come again: the cause may have gone by then.
    #[error("to be retried: {0}")]
    Retry(String),
    /// The message can never succeed; it is logged and let go.
    #[error("dropped: {0}")]
    Drop(String),
}

impl From<PortError> for WorkError {
    fn from(error: PortError) -> Self {
        // Unreadable data also stays in the queue, so that it ends in the dead-letter queue where somebody sees it.
        Self::Retry(error.to_string())
    }
}
