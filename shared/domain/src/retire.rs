//! Forgetting cutoffs that no token can match any more (spec §12, `[CUT-5]`).
//!
//! The table's own expiry does so, too, without cost, but up to two days late. For what belongs to one user, client or
//! token that does not matter. Cutoffs of everything, and the list of jobs with frozen users, are read by every question
//! that the cache cannot answer, so that these are kept short. The cache drops its entries by the second.

use crate::ports::{DenylistStore, PortResult};
use crate::time::{Clock, Epoch};

/// How long a retired cutoff is kept all the same, in seconds: this clock may be ahead of a verifier's.
const MARGIN_SECONDS: i64 = 3_600;

/// Forgets what retired long enough ago. Says how many there were.
pub async fn retire(store: &dyn DenylistStore, clock: &dyn Clock) -> PortResult<u64> {
    store.forget_retired(Epoch::from(clock.now()).plus(-MARGIN_SECONDS)).await
}
