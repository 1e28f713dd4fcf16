//! Many jobs of one actor within an hour (`[AUDIT-4]`).
//!
//! The rule: a job is one of a burst if, with it, its actor has made more than [`MOST_AN_HOUR`] jobs in the sixty minutes
//! that end with it (two jobs exactly an hour apart are not in one). The month it is in reports it; the jobs of the hour
//! before the month are looked at for that, and belong to the burst. Bursts that share a job are one.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// Jobs that one actor may make in any hour without being noticed.
pub const MOST_AN_HOUR: usize = 3;
/// How far back to look.
pub const WINDOW: TimeDelta = TimeDelta::hours(1);
/// Bursts of one actor that are told apart; more are counted.
const KEPT: usize = 50;

/// Jobs in rapid succession.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Burst {
    /// The first job.
    pub first: DateTime<Utc>,
    /// The last job.
    pub last: DateTime<Utc>,
    /// How many.
    pub jobs: u64,
    /// Which of the actor's jobs the last one is.
    number: u64,
}

/// What is known of one actor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bursts {
    seen: u64,
    recent: VecDeque<(DateTime<Utc>, u64)>,
    /// In the order of time.
    pub found: Vec<Burst>,
    /// Bursts beyond those.
    pub more: u64,
}

impl Bursts {
    /// The actor's next job, in the order of time. Those of before the month count for others, and are not reported.
    pub fn see(&mut self, at: DateTime<Utc>, of_the_month: bool) {
        self.seen += 1;
        self.recent.push_back((at, self.seen));
        while self.recent.front().is_some_and(|(earlier, _)| *earlier <= at - WINDOW) {
            self.recent.pop_front();
        }
        let Some((first, number)) = self.recent.front().copied() else { return };
        if !of_the_month || self.recent.len() <= MOST_AN_HOUR {
            return;
        }
        let many = self.found.len() >= KEPT;
        match self.found.last_mut() {
            Some(burst) if burst.number >= number => {
                burst.jobs += self.seen - burst.number;
                (burst.last, burst.number) = (at, self.seen);
            }
            _ if many => self.more += 1,
            _ => self.found.push(Burst { first, last: at, jobs: self.recent.len() as u64, number: self.seen }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use proptest::prelude::*;

    use super::*;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)
    }

    fn bursts(minutes: &[i64], month: i64) -> Vec<(i64, i64, u64)> {
        let mut bursts = Bursts::default();
        for minute in minutes {
            bursts.see(at(*minute), *minute >= month);
        }
        let minute = |at: DateTime<Utc>| at.timestamp() / 60;
        bursts.found.iter().map(|burst| (minute(burst.first), minute(burst.last), burst.jobs)).collect()
    }

    #[test]
    fn audit_4_more_than_three_jobs_within_an_hour_are_a_burst_and_an_hour_apart_is_not_within() {
        assert_eq!(bursts(&[0, 20, 40], 0), []);
        assert_eq!(bursts(&[0, 20, 40, 60], 0), []);
        assert_eq!(bursts(&[0, 20, 40, 59], 0), [(0, 59, 4)]);
        assert_eq!(bursts(&[5, 5, 5, 5], 0), [(5, 5, 4)]);
    }

    #[test]
    fn audit_4_bursts_that_share_a_job_are_one() {
        assert_eq!(bursts(&[0, 10, 20, 30, 40, 75, 85], 0), [(0, 85, 7)]);
        assert_eq!(bursts(&[0, 10, 20, 30, 200, 210, 220, 230], 0), [(0, 30, 4), (200, 230, 4)]);
    }

    #[test]
    fn audit_4_a_burst_over_the_months_edge_is_reported_by_the_month_of_its_fourth_job() {
        assert_eq!(bursts(&[-20, -15, -10, 5], 0), [(-20, 5, 4)]);
        assert_eq!(bursts(&[-20, 5, 10, 15], 0), [(-20, 15, 4)]);
        assert_eq!(bursts(&[-20, -15, -10, -5], 0), []);
        assert_eq!(bursts(&[-70, -65, -61, 5], 0), []);
    }

    proptest! {
        /// The contract's words, without any of the code above: some hour has more than three jobs.
        #[test]
        fn audit_4_the_sliding_hour_agrees_with_trying_every_hour(mut minutes in prop::collection::vec(-59..400_i64, 0..24)) {
            minutes.sort_unstable();
            let mut found = Bursts::default();
            for minute in &minutes {
                found.see(at(*minute), *minute >= 0);
            }
            // Every hour that begins with a minute; a job of the month is among the fourth and later of it.
            let hour = |start: i64| minutes.iter().filter(move |minute| (start..start + 60).contains(*minute));
            let in_burst = |minute: &i64| {
                (-200..460).any(|start| hour(start).count() > 3 && hour(start).skip(3).any(|late| *late >= 0)
                    && hour(start).any(|other| other == minute)
                    // What comes before the month's first offending job belongs to it by the hour that ends there.
                    && hour(start).skip(3).filter(|late| **late >= 0).any(|late| minute <= late))
            };
            let expected = minutes.iter().filter(|minute| in_burst(minute)).count();
            let jobs: u64 = found.found.iter().map(|burst| burst.jobs).sum();
            prop_assert_eq!(jobs, expected as u64, "{:?} {:?}", minutes, found.found);
        }
    }
}
