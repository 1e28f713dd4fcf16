//! Leaves the issuer alone when it fails again and again (`[OAUTH-3]`).

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use domain::time::Clock;
use domain::upstream::UpstreamError;

/// So many calls in a row without a usable answer open the breaker.
const FAILURES: u32 = 5;
/// An open breaker lets nothing through for so long.
const OPEN_FOR: TimeDelta = TimeDelta::seconds(5);

#[derive(Clone, Copy)]
enum State {
    /// All is well but for so many failures in a row.
    Closed(u32),
    /// Nothing goes through until then.
    OpenUntil(DateTime<Utc>),
    /// One call is on its way that decides.
    Trying,
}

/// The breaker of one endpoint: if `userinfo` is down, grants need not be.
pub(super) struct Breaker {
    what: &'static str,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// A call on its way. One that is dropped took too long for whoever waited: a failure.
struct Call<'a> {
    breaker: &'a Breaker,
    trial: bool,
    answered: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut state = self.breaker.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = match (*state, self.answered) {
            (State::Trying, true) if self.trial => State::Closed(0),
            (State::Trying, false) if self.trial => self.breaker.open(),
            (State::Closed(_), true) => State::Closed(0),
            (State::Closed(failures), false) if failures + 1 < FAILURES => State::Closed(failures + 1),
            (State::Closed(_), false) => self.breaker.open(),
            // What was on its way before the breaker opened decides nothing any more.
            (other, _) => other,
        };
    }
}

impl Breaker {
    pub(super) fn new(what: &'static str, clock: Arc<dyn Clock>) -> Self {
        Self { what, clock, state: Mutex::new(State::Closed(0)) }
    }

    fn open(&self) -> State {
        tracing::warn!(what = self.what, "failed too often: the issuer is left alone for a moment");
        State::OpenUntil(self.clock.now() + OPEN_FOR)
    }

    fn enter(&self) -> Result<Call<'_>, UpstreamError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let trial = match *state {
            State::Closed(_) => false,
            State::OpenUntil(until) if self.clock.now() >= until => {
                *state = State::Trying;
                true
            }
            State::OpenUntil(_) | State::Trying => {
                return Err(UpstreamError::Failed(format!("{}: too many failures just before", self.what)));
            }
        };
        Ok(Call { breaker: self, trial, answered: false })
    }

    /// Does the work unless the breaker is open. A refusal is an answer like any other.
    pub(super) async fn call<T>(
        &self,
        work: impl Future<Output = Result<T, UpstreamError>>,
    ) -> Result<T, UpstreamError> {
        let mut call = self.enter()?;
        let result = work.await;
        call.answered = !matches!(result, Err(UpstreamError::TimedOut(_) | UpstreamError::Failed(_)));
        result
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use std::future::{pending, ready};
    use std::time::Duration;

    use domain::testing::TestClock;
    use domain::upstream::Refused;
    use serde_json::Map;

    use super::*;

    fn breaker() -> (Breaker, Arc<TestClock>) {
        let clock = Arc::new(TestClock::at(DateTime::UNIX_EPOCH));
        (Breaker::new("test", clock.clone()), clock)
    }

    fn failure() -> Result<(), UpstreamError> {
        Err(UpstreamError::Failed("down".to_owned()))
    }

    async fn fail(breaker: &Breaker, times: usize) {
        for _ in 0..times {
            assert!(breaker.call(ready(failure())).await.unwrap_err().to_string().contains("down"));
        }
    }

    /// Whether it let a call through that is answered.
    async fn passes(breaker: &Breaker) -> bool {
        breaker.call(ready(Ok(()))).await.is_ok()
    }

    #[tokio::test]
    async fn five_failures_in_a_row_open_it_and_four_do_not() {
        let (breaker, _) = breaker();
        fail(&breaker, 4).await;
        assert!(passes(&breaker).await);
        fail(&breaker, 4).await;
        let timed_out: Result<(), _> = breaker.call(ready(Err(UpstreamError::TimedOut("late".to_owned())))).await;
        assert!(matches!(timed_out, Err(UpstreamError::TimedOut(_))));
        assert!(!passes(&breaker).await);
    }

    #[tokio::test]
    async fn a_refusal_is_an_answer() {
        let (breaker, _) = breaker();
        let refused = || UpstreamError::Refused(Refused { status: 400, body: Map::new() });
        for _ in 0..10 {
            assert!(matches!(breaker.call(ready(Err::<(), _>(refused()))).await, Err(UpstreamError::Refused(_))));
        }
        fail(&breaker, 4).await;
        let _: Result<(), _> = breaker.call(ready(Err(refused()))).await;
        fail(&breaker, 4).await;
        assert!(passes(&breaker).await);
    }

    #[tokio::test]
    async fn after_five_seconds_one_call_tries_and_closes_it() {
        let (breaker, clock) = breaker();
        fail(&breaker, 5).await;
        clock.advance(TimeDelta::milliseconds(4_999));
        assert!(!passes(&breaker).await);
        clock.advance(TimeDelta::milliseconds(1));
        let trial = breaker.call(async {
            assert!(!passes(&breaker).await, "one at a time");
            Ok(())
        });
        trial.await.unwrap();
        fail(&breaker, 4).await;
        assert!(passes(&breaker).await, "closed again, and counting from the start");
    }

    #[tokio::test]
    async fn a_trial_that_fails_or_is_given_up_opens_it_again() {
        let (breaker, clock) = breaker();
        fail(&breaker, 5).await;
        clock.advance(OPEN_FOR);
        fail(&breaker, 1).await;
        assert!(!passes(&breaker).await);
        clock.advance(OPEN_FOR);
        let given_up = tokio::time::timeout(Duration::ZERO, breaker.call(pending::<Result<(), _>>()));
        assert!(given_up.await.is_err());
        assert!(!passes(&breaker).await);
        clock.advance(OPEN_FOR);
        assert!(passes(&breaker).await);
    }
}
