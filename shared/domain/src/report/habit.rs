//! The hours of the day at which an actor usually makes jobs (`[AUDIT-4]`).
//!
//! The rule: looked at are the actor's jobs and dry runs of the [`LOOK_BACK`] before the month, at most [`MOST`] of them,
//! in the report's time zone. From fewer than [`LEAST_JOBS`], or fewer than [`LEAST_DAYS`] different days, nothing is
//! concluded. An hour is usual if at least one in [`ONE_IN`] of them, and no less than two, were made within an hour of
//! it; the hour after 23 is 0. The month's own jobs say nothing of what is usual: a bad night does not become a habit.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::month::Zone;

/// How far back an actor's history is looked at.
pub const LOOK_BACK: TimeDelta = TimeDelta::days(90);
/// Jobs looked at, the newest.
pub const MOST: usize = 500;
/// Jobs from which on something can be said.
pub const LEAST_JOBS: usize = 20;
/// Days from which on something can be said.
pub const LEAST_DAYS: usize = 5;
/// The share of the jobs that makes an hour a usual one.
pub const ONE_IN: usize = 20;

/// An actor's usual hours, if they are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Habit {
    /// Jobs that were looked at.
    pub jobs: u64,
    /// Hours of the day, from 0 to 23; none if too little is known.
    pub usual: Option<Vec<u8>>,
}

impl Habit {
    /// What an actor's earlier jobs say.
    pub fn of(times: &[DateTime<Utc>], zone: Zone) -> Self {
        let days: BTreeSet<_> = times.iter().map(|at| zone.date(*at)).collect();
        let mut hours = [0_usize; 24];
        for at in times {
            hours[usize::from(zone.hour(*at))] += 1;
        }
        let enough = 2.max(times.len().div_ceil(ONE_IN));
        let around = |hour: usize| hours[(hour + 23) % 24] + hours[hour] + hours[(hour + 1) % 24];
        let usual = || (0..24_u8).filter(|hour| around(usize::from(*hour)) >= enough).collect();
        let known = times.len() >= LEAST_JOBS && days.len() >= LEAST_DAYS;
        Self { jobs: times.len() as u64, usual: known.then(usual) }
    }

    /// Whether an hour is surely not a usual one.
    pub fn is_odd(&self, hour: u8) -> bool {
        self.usual.as_ref().is_some_and(|usual| !usual.contains(&hour))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    /// Jobs at these hours, one a day.
    fn history(hours: &[i64]) -> Vec<DateTime<Utc>> {
        let days = hours.iter().zip(0..);
        days.map(|(hour, day)| DateTime::UNIX_EPOCH + TimeDelta::days(day) + TimeDelta::hours(*hour)).collect()
    }

    #[test]
    fn audit_4_an_hour_beside_a_usual_one_is_usual_also_over_midnight() {
        let habit = Habit::of(&history(&[23; 20]), Zone::UTC);
        assert_eq!(habit.usual, Some(vec![0, 22, 23]));
        assert!(habit.is_odd(1) && habit.is_odd(21) && !habit.is_odd(0));
        let morning = Habit::of(&history(&[[9; 10], [17; 10]].concat()), Zone::UTC);
        assert_eq!(morning.usual, Some(vec![8, 9, 10, 16, 17, 18]), "noon is not usual because it lies between");
    }

    #[test]
    fn audit_4_one_stray_night_makes_no_night_usual() {
        let mut hours = vec![10; 39];
        hours.push(3);
        assert!(Habit::of(&history(&hours), Zone::UTC).is_odd(3));
        hours.push(3);
        // Two in 41 are less than one in twenty.
        assert!(Habit::of(&history(&hours), Zone::UTC).is_odd(3));
        hours.push(4);
        assert!(!Habit::of(&history(&hours), Zone::UTC).is_odd(3));
    }

    #[test]
    fn audit_4_from_too_little_nothing_is_concluded() {
        for few in [vec![], history(&[9; 19]), history(&[9; 4]).repeat(10)] {
            let habit = Habit::of(&few, Zone::UTC);
            assert_eq!(habit.usual, None, "{} jobs", few.len());
            assert!((0..24).all(|hour| !habit.is_odd(hour)));
        }
    }

    #[test]
    fn audit_4_hours_are_those_of_the_time_zone() {
        let seoul = Zone::parse("Asia/Seoul").unwrap();
        assert_eq!(Habit::of(&history(&[0; 20]), seoul).usual, Some(vec![8, 9, 10]));
    }
}
