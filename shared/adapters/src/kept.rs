//! A document of the issuer that is fetched when it is first needed, kept, and kept in use while the issuer is away.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use domain::time::Clock;
use domain::upstream::UpstreamError;

/// What is needed and not there makes us fetch at most this often, so that nobody can make us flood the issuer.
const FETCH_EVERY: TimeDelta = TimeDelta::seconds(5);
/// What is there and merely old is fetched again at most this often: while the issuer is away, one call a minute waits.
const RENEW_EVERY: TimeDelta = TimeDelta::seconds(60);

struct State<T> {
    value: Option<Arc<T>>,
    fetched_at: Option<DateTime<Utc>>,
    tried_at: Option<DateTime<Utc>>,
    failure: Option<UpstreamError>,
}

/// One document.
pub(crate) struct Kept<T> {
    what: &'static str,
    fresh_for: TimeDelta,
    clock: Arc<dyn Clock>,
    state: Mutex<State<T>>,
    /// Held while it is fetched: whoever needs it meanwhile waits for that one fetch.
    fetching: tokio::sync::Mutex<()>,
}

impl<T> Kept<T> {
    /// A document that has still to be fetched. After `fresh_for` it is fetched again.
    pub(crate) fn new(what: &'static str, fresh_for: TimeDelta, clock: Arc<dyn Clock>) -> Self {
        let state = State { value: None, fetched_at: None, tried_at: None, failure: None };
        Self { what, fresh_for, clock, state: Mutex::new(state), fetching: tokio::sync::Mutex::new(()) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The document, fetched if there is none yet, if the one there is does not suit, or if it is old. One that does
    /// not suit is given when no better one can be had; only without any there is an error.
    pub(crate) async fn get(
        &self,
        suits: impl Fn(&T) -> bool + Send + Sync,
        fetch: impl Future<Output = Result<T, UpstreamError>> + Send,
    ) -> Result<Arc<T>, UpstreamError> {
        match self.suiting(&suits) {
            Some((value, true)) => return Ok(value),
            Some((_, false)) => {
                if let Ok(_fetching) = self.fetching.try_lock() {
                    self.refresh(RENEW_EVERY, fetch).await;
                }
            }
            None => {
                let _fetching = self.fetching.lock().await;
                // Somebody else may have fetched it in the meantime.
                if self.suiting(&suits).is_none() {
                    self.refresh(FETCH_EVERY, fetch).await;
                }
            }
        }
        let state = self.state();
        let missing =
            || state.failure.clone().unwrap_or_else(|| UpstreamError::Failed("asked a moment ago".to_owned()));
        state.value.clone().ok_or_else(missing)
    }

    /// The document if it suits, and whether it is fresh.
    fn suiting(&self, suits: &impl Fn(&T) -> bool) -> Option<(Arc<T>, bool)> {
        let state = self.state();
        let value = state.value.clone().filter(|value| suits(value))?;
        let fresh = state.fetched_at.is_some_and(|at| self.clock.now() - at <= self.fresh_for);
        Some((value, fresh))
    }

    /// Fetches it unless that was tried a moment ago.
    async fn refresh(&self, every: TimeDelta, fetch: impl Future<Output = Result<T, UpstreamError>> + Send) {
        let now = self.clock.now();
        {
            let mut state = self.state();
            if state.tried_at.is_some_and(|tried| now - tried < every) {
                return;
            }
            state.tried_at = Some(now);
        }
        let fetched = fetch.await;
        let mut state = self.state();
        match fetched {
            Ok(value) => (state.value, state.fetched_at, state.failure) = (Some(Arc::new(value)), Some(now), None),
            Err(error) => {
                tracing::warn!(what = self.what, %error, "could not be fetched from the issuer");
                state.failure = Some(error);
            }
        }
    }
}
