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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::cutoff::{Basis, Cutoff, Kinds, Scope, Spares};
    use crate::ids::JobId;
    use crate::testing::{Memory, TestClock};
    use crate::time::from_millis;

    #[tokio::test]
    async fn cut_5_a_cutoff_of_everything_is_forgotten_an_hour_after_it_retired_and_not_a_second_before() {
        let store = Memory::default();
        let cutoff = |job: &str, retires_at| Cutoff {
            scope: Scope::Everything,
            basis: Basis::SignIn,
            kinds: Kinds::Both,
            spares: Spares::default(),
            at: Epoch(0),
            job: JobId::parse(job).unwrap(),
            retires_at: Epoch(retires_at),
        };
        DenylistStore::put_cutoffs(&store, &[cutoff("old", 10_000), cutoff("new", 10_001)]).await.unwrap();
        let forgotten = async |at: i64| retire(&store, &TestClock::at(from_millis(at * 1_000))).await.unwrap();
        assert_eq!(forgotten(10_000 + 3_599).await, 0);
        assert_eq!(forgotten(10_000 + 3_600).await, 1);
        let left = store.entries(None).await.unwrap().items;
        assert_eq!(left, [crate::ports::Entry::Cutoff(cutoff("new", 10_001))]);
    }
}
