//! No faster than the account may send (`[MAIL-3]`): turns that are handed out evenly, and a pause when SES asks for one.
//!
//! Every worker paces itself, without asking the others: the queue lets at most [`WORKERS`] of them run, and together
//! they stay below the account's rate, so that an emergency key finds room beside a thousand notices.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many workers send at the same time (`MaximumConcurrency` of the notices' queue in `template.yaml`; a test holds
/// the two together).
pub const WORKERS: u32 = 2;
/// What they take of the account's rate, all together.
const SHARE: f64 = 0.9;
/// The rate of an account of which nothing is known: that of a new one.
pub const LEAST_RATE: f64 = 1.0;
/// How long to wait after the first refusal, and at most.
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30);

/// Hands out turns.
#[derive(Debug, Default)]
pub struct Pace(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: Option<Instant>,
    pause: Option<Pause>,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    until: Instant,
    length: Duration,
}

/// The time between two turns of one worker, at an account's rate in mails per second.
fn interval(rate: f64) -> Duration {
    let rate = if rate.is_finite() && rate > 0.0 { rate } else { LEAST_RATE };
    Duration::from_secs_f64(f64::from(WORKERS) / (rate * SHARE))
}

impl Pace {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn.
    pub async fn turn(&self, rate: f64) {
        loop {
            let now = Instant::now();
            tokio::time::sleep(self.book(rate, now) - now).await;
            // A pause that came up while waiting is for those who wait, too.
            if self.state().pause.is_none_or(|pause| pause.until <= Instant::now()) {
                return;
            }
        }
    }

    /// The moment of the next turn.
    fn book(&self, rate: f64, now: Instant) -> Instant {
        let mut state = self.state();
        let resumes_at = state.pause.map(|pause| pause.until);
        let at = now.max(state.next.unwrap_or(now)).max(resumes_at.unwrap_or(now));
        state.next = Some(at + interval(rate));
        at
    }

    /// SES wants no more for now. Each pause is twice as long as the one before.
    pub fn slow_down(&self) {
        self.pause_at(Instant::now());
    }

    fn pause_at(&self, now: Instant) {
        let pause = &mut self.state().pause;
        let length = match *pause {
            // Those who were on their way together are refused together.
            Some(pause) if pause.until > now => return,
            Some(pause) => (2 * pause.length).min(*PAUSES.end()),
            None => *PAUSES.start(),
        };
        *pause = Some(Pause { until: now + length, length });
    }

    /// SES takes mail.
    pub fn go_on(&self) {
        self.state().pause = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_3_all_workers_together_stay_below_the_accounts_rate() {
        let now = Instant::now();
        for rate in [1.0, 14.0, 50.0] {
            let pace = Pace::default();
            let turns: Vec<Instant> = (0..101).map(|_| pace.book(rate, now)).collect();
            let per_second = f64::from(WORKERS) * 100.0 / (turns[100] - turns[0]).as_secs_f64();
            assert!(per_second < rate && per_second > 0.8 * rate, "{per_second} of {rate}");
        }
        for unknown in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(interval(unknown), interval(LEAST_RATE));
        }
    }

    #[test]
    fn mail_3_waiting_earns_no_burst() {
        let (pace, now) = (Pace::default(), Instant::now());
        pace.book(10.0, now);
        let later = now + Duration::from_mins(1);
        let turns: Vec<Instant> = (0..11).map(|_| pace.book(10.0, later)).collect();
        assert_eq!((turns[0], turns[10]), (later, later + 10 * interval(10.0)));
    }

    #[test]
    fn mail_3_a_throttle_pauses_longer_each_time_until_mail_is_taken_again() {
        let (pace, mut now) = (Pace::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..7 {
            pace.pause_at(now);
            pace.pause_at(now);
            let at = pace.book(1_000.0, now);
            waits.push((at - now).as_secs());
            now = at;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        pace.go_on();
        assert!(pace.book(1_000.0, now) - now < Duration::from_millis(10));
        pace.pause_at(now);
        assert_eq!((pace.book(1_000.0, now) - now).as_secs(), 1);
    }

    #[tokio::test]
    async fn mail_3_a_pause_holds_back_those_who_wait_already() {
        let pace = Pace::default();
        let (begun, rate) = (Instant::now(), 100.0);
        pace.turn(rate).await;
        let waiting = pace.turn(rate);
        let refused = async {
            tokio::task::yield_now().await;
            pace.slow_down();
        };
        futures::join!(waiting, refused);
        assert!(begun.elapsed() >= *PAUSES.start());
    }
}
