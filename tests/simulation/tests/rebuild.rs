//! The cache is rebuilt while somebody's write to it fails: what it lacks then, no verifier may take for all there is.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::pin::pin;
use std::sync::Arc;

use chrono::DateTime;
use domain::check::Degraded;
use domain::cutoff::{Basis, Cutoff, Kinds, Scope, Spares};
use domain::decision::{Refusal, TokenFacts};
use domain::deny::Denier;
use domain::error::PortError;
use domain::guard::{Guarded, guard};
use domain::ids::{JobId, TokenId};
use domain::ports::{DenylistStore as _, PortResult};
use domain::testing::{Memory, contract};
use domain::time::Epoch;
use futures::poll;
use simulation::fleet::Fleet;
use simulation::rail::{Dice, Rail, Weather};

const NOW: i64 = 1_900_000_000;

type Site = Fleet<Memory, Memory>;

/// A store that holds one denied token and one cutoff, and a cache that holds nothing yet.
async fn site() -> Site {
    let site = Fleet::in_memory(DateTime::from_timestamp(NOW, 0).unwrap());
    let until = Epoch(NOW + 1_000);
    site.store.put_tokens(&[(TokenId::parse("earlier").unwrap(), until)]).await.unwrap();
    let cutoff = Cutoff {
        scope: Scope::Client(token().client.unwrap()),
        basis: Basis::Issued,
        kinds: Kinds::Both,
        spares: Spares::default(),
        at: Epoch(NOW - 100),
        job: JobId::parse("earlier").unwrap(),
        retires_at: until,
    };
    site.store.put_cutoffs(&[cutoff]).await.unwrap();
    site
}

/// A token that nobody has anything against.
fn token() -> TokenFacts {
    contract::facts("r", "t", NOW - 50)
}

/// A token that the cutoff refuses.
fn old_token() -> TokenFacts {
    contract::facts("r", "old", NOW - 150)
}

/// A way on which one call in so many fails; 0 for none.
fn way<P>(to: &Arc<P>, one_in: u64) -> Rail<P> {
    Rail::new(to.clone(), Arc::new(Weather::new(Arc::new(Dice::new(0)), one_in)))
}

/// A guard whose every call to the store and to the cache is a step.
async fn guard_by_steps(site: &Site) -> PortResult<Guarded> {
    guard(&way(&site.store, 0), &way(&site.cache, 0), site.clock.as_ref(), site.ids.as_ref()).await
}

/// Denies the token. The store takes it; from where this writer is nobody reaches the cache, not even to void it.
async fn deny_in_vain(site: &Site) {
    let denier = Denier { cache: Arc::new(way(&site.cache, 1)), ..site.denier() };
    let outcome = denier.tokens([(token().id, token().expires_at)]).await;
    assert!(matches!(outcome, Err(PortError::Unavailable { .. })), "{outcome:?}");
}

async fn verdict(site: &Site, token: &TokenFacts) -> (Option<Refusal>, Option<Degraded>) {
    let checked = site.checker().check(token).await.unwrap();
    (checked.refusal, checked.degraded)
}

/// The writer takes no part in what follows: it may have died.
#[tokio::test]
async fn cut_5_whenever_a_write_to_the_cache_fails_the_next_guard_brings_it_what_it_lacks() {
    for moment in 0.. {
        let site = site().await;
        let mut guard = pin!(guard_by_steps(&site));
        let mut through = false;
        for _ in 0..moment {
            through = through || poll!(guard.as_mut()).is_ready();
        }
        deny_in_vain(&site).await;
        if !through {
            guard.await.unwrap();
        }
        site.guard().await.unwrap();
        assert_eq!(verdict(&site, &token()).await, (Some(Refusal::TokenRevoked), None), "after step {moment}");
        if through {
            assert!(moment > 20, "a rebuild is no more than {moment} steps");
            return;
        }
    }
}

/// Takes a rebuild to where it has read what there is and written it.
async fn rebuild_until_written(site: &Site, mut guard: std::pin::Pin<&mut impl Future>) {
    while site.cache.denylist_size()[1] == 0 {
        assert!(poll!(guard.as_mut()).is_pending(), "it ends before it has written anything");
    }
}

#[tokio::test]
async fn cut_5_a_rebuild_under_which_a_write_failed_does_not_pass_for_complete() {
    let site = site().await;
    let mut guard = pin!(guard_by_steps(&site));
    rebuild_until_written(&site, guard.as_mut()).await;
    deny_in_vain(&site).await;
    assert_eq!(guard.await.unwrap(), Guarded::Interrupted);
    assert_eq!(verdict(&site, &token()).await, (Some(Refusal::TokenRevoked), Some(Degraded::Incomplete)));
}

#[tokio::test]
async fn cut_5_a_rebuild_of_which_something_was_thrown_out_does_not_pass_for_complete() {
    let site = site().await;
    let mut guard = pin!(guard_by_steps(&site));
    rebuild_until_written(&site, guard.as_mut()).await;
    site.cache.evict();
    assert_eq!(guard.await.unwrap(), Guarded::Interrupted);
    let (refusal, degraded) = verdict(&site, &old_token()).await;
    assert!(matches!(refusal, Some(Refusal::CutOff(_))), "{refusal:?}");
    assert_eq!(degraded, Some(Degraded::Incomplete));
}
