//! Keeping the cache honest: its marker says "this cache holds everything", and only a rebuild may set it (`[CUT-5]`).
//!
//! A server that throws keys out when it is full may say "not revoked" of a revoked token. One that is set to do so is
//! not believed at all; one that did so is rebuilt.

use std::collections::HashMap;

use serde::Serialize;

use crate::cutoff::Cutoff;
use crate::ids::{JobId, TokenId, UserId};
use crate::ports::{DenylistCache, DenylistStore, Entry, FrozenJob, PortResult};
use crate::source::IdSource;
use crate::time::{Clock, Epoch};

/// How long a marker stands without being renewed, in seconds. The guard runs every minute.
pub const LEASE_SECONDS: u64 = 300;

/// The only `maxmemory-policy` under which nothing is forgotten: a full cache refuses to write.
pub const NO_EVICTION: &str = "noeviction";

/// What the guard found and did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Guarded {
    /// The server would throw keys out when it is full. Nobody believes it any more; the durable denylist is asked.
    Forgetful {
        /// Its `maxmemory-policy`.
        eviction_policy: String,
    },
    /// The cache is complete; its lease is renewed.
    Complete,
    /// It was not; it is now.
    Rebuilt {
        /// Entries written.
        entries: u64,
    },
    /// It changed under the rebuild; the next run tries again.
    Interrupted,
}

/// Makes sure that no verifier trusts the cache before it is rebuilt: a write to it has failed.
///
/// The new generation is durable, so that nobody renews the old marker; taking the marker away at once is tried,
/// too, but a cache that cannot be written usually cannot be voided either, and then the lease runs out.
pub async fn distrust(store: &dyn DenylistStore, cache: &dyn DenylistCache, ids: &dyn IdSource) -> PortResult<()> {
    store.renew_generation(&ids.uuid()).await?;
    if let Err(error) = cache.void().await {
        tracing::warn!(%error, "the cache could not be voided; its lease will run out");
    }
    Ok(())
}

/// Renews the marker of a complete cache, rebuilds any other, and takes that of a forgetful one away.
pub async fn guard(
    store: &dyn DenylistStore,
    cache: &dyn DenylistCache,
    clock: &dyn Clock,
    ids: &dyn IdSource,
) -> PortResult<Guarded> {
    let memory = cache.memory().await?;
    if memory.eviction_policy != NO_EVICTION {
        cache.void().await?;
        return Ok(Guarded::Forgetful { eviction_policy: memory.eviction_policy });
    }
    let generation = store.generation().await?;
    // What was thrown out since the rebuild makes the cache as incomplete as another generation does.
    let marker = format!("{generation}-{}", memory.evicted_keys);
    if cache.renew(&marker).await? {
        return Ok(Guarded::Complete);
    }
    let rebuild = ids.uuid();
    cache.begin_rebuild(&rebuild).await?;
    let entries = project_all(store, cache, clock).await?;
    // A writer that could not reach the cache in the meantime has replaced the generation.
    let same = store.generation().await? == generation && cache.memory().await? == memory;
    if !same || !cache.finish_rebuild(&rebuild, &marker).await? {
        return Ok(Guarded::Interrupted);
    }
    Ok(Guarded::Rebuilt { entries })
}

async fn project_all(store: &dyn DenylistStore, cache: &dyn DenylistCache, clock: &dyn Clock) -> PortResult<u64> {
    let now = Epoch::from(clock.now());
    // A job that becomes active after this line projects its own users.
    let active: HashMap<JobId, FrozenJob> =
        store.active().await?.into_iter().map(|job| (job.job.clone(), job)).collect();
    let mut written = 0;
    let mut from = None;
    loop {
        let page = store.entries(from.as_deref()).await?;
        let mut cutoffs: Vec<Cutoff> = Vec::new();
        let mut tokens: Vec<(TokenId, Epoch)> = Vec::new();
        let mut spared: Vec<(JobId, UserId, Epoch)> = Vec::new();
        for entry in page.items {
            match entry {
                Entry::Cutoff(cutoff) => cutoffs.push(cutoff),
                Entry::Token(token, retires_at) => tokens.push((token, retires_at)),
                Entry::Spared(job, user, retires_at) => spared.push((job, user, retires_at)),
                Entry::Chunk(job, chunk) => {
                    if let Some(job) = active.get(&job) {
                        cutoffs.extend(chunk.users.iter().flat_map(|user| job.cutoffs(user)));
                    }
                }
            }
        }
        cutoffs.retain(|cutoff| cutoff.retires_at > now);
        tokens.retain(|(_, retires_at)| *retires_at > now);
        spared.retain(|(_, _, retires_at)| *retires_at > now);
        written += (cutoffs.len() + tokens.len() + spared.len()) as u64;
        cache.put_cutoffs(&cutoffs).await?;
        cache.put_tokens(&tokens).await?;
        cache.put_spared(&spared).await?;
        match page.next {
            Some(next) => from = Some(next),
            None => return Ok(written),
        }
    }
}
