//! How often an actor may do what (spec §3): sliding windows, taken in the transaction that does the thing, so that
//! two hundred requests at once take exactly as many slots as there are.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::conditions::JobType;
use crate::ids::{JobId, UserId};

/// How often something may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The name under which its slots are kept and headers speak of it.
    pub name: &'static str,
    /// How often.
    pub count: usize,
    /// In how long.
    pub window: TimeDelta,
}

/// Emergency keys: at most three in an hour (`[EKEY-1]`).
pub const EMERGENCY_KEYS: Limit = Limit { name: "emergency_key", count: 3, window: TimeDelta::hours(1) };

impl Limit {
    /// The limit of a kind of job; dry runs of all kinds share one.
    pub fn of(job_type: JobType, dry_run: bool) -> Self {
        let hours = TimeDelta::hours;
        if dry_run {
            return Self { name: "dry_run", count: 30, window: hours(1) };
        }
        let (count, window) = match job_type {
            JobType::GroupBased => (10, hours(1)),
            JobType::ClientBased => (5, hours(1)),
            JobType::TimeBased => (3, hours(24)),
            JobType::Conditional => (5, hours(6)),
            JobType::Emergency => (1, hours(24)),
        };
        Self { name: job_type.as_str(), count, window }
    }
}

/// The slots an actor has taken: when, in milliseconds since 1970, and for which job.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slots(pub Vec<(i64, JobId)>);

/// Where an actor stands with a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The limit.
    pub limit: Limit,
    /// How many slots are left.
    pub remaining: usize,
    /// Seconds until the oldest slot is free again; the whole window if none is taken.
    pub reset_seconds: u64,
}

/// Taking a slot: what is stored must still be `before`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotChange {
    /// Whose.
    pub actor: UserId,
    /// Of which limit.
    pub name: &'static str,
    /// What was read.
    pub before: Slots,
    /// What takes its place.
    pub after: Slots,
    /// When the last slot of it is free again, in seconds since 1970.
    pub expires_at: i64,
}

impl Slots {
    /// Forgets what has left the window.
    #[must_use]
    pub fn within(&self, limit: Limit, now: DateTime<Utc>) -> Self {
        let start = (now - limit.window).timestamp_millis();
        Self(self.0.iter().filter(|(at, _)| *at > start).cloned().collect())
    }

    /// Where the actor stands.
    pub fn standing(&self, limit: Limit, now: DateTime<Utc>) -> Standing {
        let taken = self.within(limit, now);
        let window = limit.window.num_milliseconds();
        let until_free = taken.0.iter().map(|(at, _)| at + window - now.timestamp_millis()).min().unwrap_or(window);
        let seconds = until_free.max(0).cast_unsigned().div_ceil(1_000);
        Standing { limit, remaining: limit.count.saturating_sub(taken.0.len()), reset_seconds: seconds }
    }

    /// The change that takes a slot. The caller has looked whether one is left.
    pub fn take(self, actor: &UserId, limit: Limit, now: DateTime<Utc>, job: &JobId) -> SlotChange {
        let mut after = self.within(limit, now);
        after.0.push((now.timestamp_millis(), job.clone()));
        let expires_at = (now + limit.window).timestamp() + 1;
        SlotChange { actor: actor.clone(), name: limit.name, before: self, after, expires_at }
    }
}

impl Standing {
    /// The standing after one more slot is taken.
    #[must_use]
    pub fn after_one(self) -> Self {
        Self { remaining: self.remaining.saturating_sub(1), ..self }
    }

    /// Whole minutes until a slot is free, at least one.
    pub fn minutes(&self) -> u64 {
        self.reset_seconds.div_ceil(60).max(1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn spec_3_the_limits_are_those_of_the_table() {
        let table = [
            (JobType::GroupBased, 10, 1),
            (JobType::ClientBased, 5, 1),
            (JobType::TimeBased, 3, 24),
            (JobType::Conditional, 5, 6),
            (JobType::Emergency, 1, 24),
        ];
        for (job_type, count, hours) in table {
            let limit = Limit::of(job_type, false);
            assert_eq!((limit.count, limit.window), (count, TimeDelta::hours(hours)), "{job_type:?}");
            let dry = Limit::of(job_type, true);
            assert_eq!((dry.count, dry.window, dry.name), (30, TimeDelta::hours(1), "dry_run"), "in all");
        }
    }

    #[test]
    fn spec_3_the_window_slides_and_says_when_the_oldest_slot_is_free() {
        let limit = Limit::of(JobType::TimeBased, false);
        let start = DateTime::from_timestamp(1_900_000_000, 0).unwrap();
        let (actor, job) = (UserId::parse("a").unwrap(), JobId::parse("j").unwrap());
        let mut slots = Slots::default();
        assert_eq!(slots.standing(limit, start).remaining, 3);
        for hour in 0..3 {
            slots = slots.take(&actor, limit, start + TimeDelta::hours(hour), &job).after;
        }
        let standing = slots.standing(limit, start + TimeDelta::hours(3));
        assert_eq!((standing.remaining, standing.minutes()), (0, 21 * 60));
        let last_second = start + TimeDelta::hours(24) - TimeDelta::seconds(1);
        assert_eq!(
            (slots.standing(limit, last_second).remaining, slots.standing(limit, last_second).minutes()),
            (0, 1)
        );
        assert_eq!(slots.standing(limit, start + TimeDelta::hours(24)).remaining, 1, "the first is free again");
        assert_eq!(slots.take(&actor, limit, start + TimeDelta::hours(24), &job).after.0.len(), 3, "and forgotten");
    }

    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// The oracle is a list of the times at which something was done, and looks at all of them every time.
        #[test]
        fn spec_3_the_window_is_that_of_a_naive_list_of_times(
            pauses in prop::collection::vec(prop_oneof![0..3_000i64, 0..2_000_000i64, Just(3_600_000i64), Just(1i64)], 1..60),
            kind in 0..7usize,
        ) {
            let limit = match kind {
                5 => Limit::of(JobType::GroupBased, true),
                6 => EMERGENCY_KEYS,
                kind => Limit::of(JobType::ALL[kind], false),
            };
            let window = limit.window.num_milliseconds();
            let (actor, job) = (UserId::parse("a").unwrap(), JobId::parse("j").unwrap());
            let (mut slots, mut done): (Slots, Vec<i64>) = (Slots::default(), Vec::new());
            let mut now = 1_900_000_000_000;
            for pause in pauses {
                now += pause;
                let at = crate::time::from_millis(now);
                let recent: Vec<i64> = done.iter().copied().filter(|then| now - then < window).collect();
                let standing = slots.standing(limit, at);
                prop_assert_eq!(standing.remaining, limit.count - recent.len());
                let wait = recent.first().map_or(window, |oldest| oldest + window - now);
                prop_assert_eq!(i64::try_from(standing.reset_seconds).unwrap(), (wait + 999) / 1_000);
                prop_assert_eq!(i64::try_from(standing.minutes()).unwrap(), ((wait + 59_999) / 60_000).max(1));
                if standing.remaining == 0 {
                    // A moment before the oldest is free again there is none, and then there is one.
                    let free = recent[0] + window;
                    prop_assert_eq!(slots.standing(limit, crate::time::from_millis(free - 1)).remaining, 0);
                    prop_assert!(slots.standing(limit, crate::time::from_millis(free)).remaining > 0);
                    continue;
                }
                prop_assert_eq!(standing.after_one().remaining, standing.remaining - 1);
                let change = slots.clone().take(&actor, limit, at, &job);
                prop_assert_eq!(&change.before, &slots);
                prop_assert!(change.expires_at * 1_000 > now + window, "it is kept until the last is free");
                prop_assert!(change.expires_at * 1_000 <= now + window + 1_000);
                slots = change.after;
                done.push(now);
                prop_assert!(slots.0.len() <= limit.count, "what is past is forgotten");
            }
        }
    }
}
