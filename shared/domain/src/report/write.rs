//! From what was gathered to the report: sorted, and cut where lists end.

use chrono::{DateTime, Utc};

use super::burst::Burst;
use super::gather::{Gathered, OfActor};
use super::month::{Month, Zone};
use super::view::{
    ByUser, Emergencies, Example, Excessive, Failures, Many, OfDay, OfType, OfUser, Person, Published, Rapid, Reason,
    Reasons, Refusals, Refused, Report, Succession, Suspicious, Totals, Trail, Unusual, UnusualHours, VERSION,
};
use crate::conditions::JobType;
use crate::directory::SCHEDULE;

/// Jobs that one actor may make in a month without being noticed.
pub const MOST_A_MONTH: u64 = 10;
/// Lines of a list.
const LINES: usize = 50;
/// Reasons, and users who were refused something.
const SHORT: usize = 20;

/// The first lines of a list, and how many more there are.
fn cut<T>(mut items: Vec<T>, limit: usize) -> (Vec<T>, u64) {
    let others = items.len().saturating_sub(limit) as u64;
    items.truncate(limit);
    (items, others)
}

impl Gathered {
    pub(super) fn report(
        &self,
        month: Month,
        zone: Zone,
        (from, until): (DateTime<Utc>, DateTime<Utc>),
        finished: bool,
        made_at: DateTime<Utc>,
        published: Option<Published>,
    ) -> Report {
        let days = month.days().map(|date| {
            let of = self.by_day.get(&date).copied().unwrap_or_default();
            OfDay { date, jobs: of.jobs, dry_runs: of.dry_runs }
        });
        let (failed, other_failures) = cut(self.failures(), LINES);
        let emergencies = Emergencies { items: self.emergencies.clone(), others: self.other_emergencies };
        Report {
            version: VERSION,
            month: month.to_string(),
            time_zone: zone.name().to_owned(),
            from,
            until,
            finished,
            made_at,
            totals: self.totals(),
            by_type: JobType::ALL.into_iter().map(|job_type| self.of_type(job_type)).collect(),
            by_user: self.by_user(),
            by_day: days.collect(),
            by_hour: self.by_hour.to_vec(),
            emergencies,
            top_reasons: self.top_reasons(),
            failed_operations: Failures { items: failed, others: other_failures },
            refusals: self.refusals(),
            suspicious: Suspicious {
                excessive: self.excessive(),
                rapid_succession: self.rapid(),
                unusual_hours: self.unusual(),
            },
            audit: Trail {
                entries: self.entries,
                unreadable: self.unreadable,
                emergency_keys: self.emergency_keys,
                tokens_revoked: self.tokens_revoked,
                sign_outs: self.sign_outs,
                published,
            },
        }
    }

    /// Users, without the daily clean-up.
    fn users(&self) -> impl Iterator<Item = &OfActor> {
        self.by_actor.values().filter(|of| of.actor.id.as_str() != SCHEDULE)
    }

    fn totals(&self) -> Totals {
        Totals {
            jobs: self.sum.jobs,
            scheduled_jobs: self.scheduled_jobs,
            dry_runs: self.sum.dry_runs,
            completed: self.sum.completed,
            failed: self.sum.failed,
            cancelled: self.sum.cancelled,
            open: self.open(),
            emergencies: self.real_emergencies,
            users: self.users().filter(|of| of.sum.jobs > 0).count() as u64,
            affected_users: self.sum.statistics.total_users_affected,
            access_tokens: self.sum.statistics.access_tokens_revoked,
            refresh_tokens: self.sum.statistics.refresh_tokens_revoked,
            sessions: self.sum.statistics.sessions_terminated,
        }
    }

    fn of_type(&self, job_type: JobType) -> OfType {
        let sum = self.by_type.get(job_type.as_str()).copied().unwrap_or_default();
        OfType {
            job_type,
            jobs: sum.jobs,
            completed: sum.completed,
            failed: sum.failed,
            cancelled: sum.cancelled,
            affected_users: sum.statistics.total_users_affected,
            tokens: sum.statistics.tokens(),
        }
    }

    fn by_user(&self) -> ByUser {
        let mut sorted: Vec<&OfActor> = self.by_actor.values().collect();
        sorted.sort_by_key(|of| std::cmp::Reverse((of.sum.jobs, of.sum.dry_runs)));
        let others = sorted.split_off(LINES.min(sorted.len()));
        let line = |of: &&OfActor| OfUser {
            user: Person::from(&of.actor),
            jobs: of.sum.jobs,
            dry_runs: of.sum.dry_runs,
            failed: of.sum.failed,
            cancelled: of.sum.cancelled,
            affected_users: of.sum.statistics.total_users_affected,
            tokens: of.sum.statistics.tokens(),
        };
        ByUser {
            items: sorted.iter().map(line).collect(),
            other_users: others.len() as u64,
            other_jobs: others.iter().map(|of| of.sum.jobs).sum(),
        }
    }

    fn top_reasons(&self) -> Reasons {
        let (top, others) = self.reasons.top(SHORT, |jobs| *jobs);
        let items = top.into_iter().map(|(reason, jobs)| Reason { reason: reason.to_owned(), jobs: *jobs });
        Reasons { items: items.collect(), other_jobs: others.sum() }
    }

    fn refusals(&self) -> Refusals {
        let (top, others) = self.refusals.top(SHORT, super::gather::RefusedSum::all);
        let (mut permission_denied, mut rate_limited, mut wrong_keys, mut beyond) = (0, 0, 0, 0);
        let mut items = Vec::new();
        for (_, of) in top {
            permission_denied += of.permission_denied;
            rate_limited += of.rate_limited;
            wrong_keys += of.wrong_keys;
            items.extend(of.actor.as_ref().map(|actor| Refused {
                user: Person::from(actor),
                permission_denied: of.permission_denied,
                rate_limited: of.rate_limited,
                wrong_keys: of.wrong_keys,
            }));
        }
        for of in others {
            permission_denied += of.permission_denied;
            rate_limited += of.rate_limited;
            wrong_keys += of.wrong_keys;
            beyond += of.all();
        }
        Refusals { permission_denied, rate_limited, wrong_keys, items, others: beyond }
    }

    fn excessive(&self) -> Excessive {
        let many = self.users().filter(|of| of.sum.jobs > MOST_A_MONTH);
        let mut many: Vec<Many> = many.map(|of| Many { user: Person::from(&of.actor), jobs: of.sum.jobs }).collect();
        many.sort_by_key(|many| std::cmp::Reverse(many.jobs));
        let (items, others) = cut(many, LINES);
        Excessive { items, others }
    }

    fn rapid(&self) -> Rapid {
        let (mut found, mut beyond) = (Vec::new(), 0);
        for of in self.users() {
            let Some(bursts) = self.bursts.get(&of.actor.id) else { continue };
            beyond += bursts.more;
            found.extend(bursts.found.iter().map(|burst| (of, burst)));
        }
        found.sort_by_key(|(_, burst): &(&OfActor, &Burst)| burst.first);
        let line = |(of, burst): (&OfActor, &Burst)| Succession {
            user: Person::from(&of.actor),
            first: burst.first,
            last: burst.last,
            jobs: burst.jobs,
        };
        let (items, others) = cut(found, LINES);
        Rapid { items: items.into_iter().map(line).collect(), others: others + beyond }
    }

    fn unusual(&self) -> Unusual {
        let mut odd: Vec<&OfActor> = self.users().filter(|of| of.odd > 0).collect();
        odd.sort_by_key(|of| std::cmp::Reverse(of.odd));
        let (odd, others) = cut(odd, LINES);
        let example = |(id, at): &(crate::ids::JobId, DateTime<Utc>)| Example { job_id: id.to_string(), at: *at };
        let line = |of: &OfActor| UnusualHours {
            user: Person::from(&of.actor),
            jobs: of.odd,
            examples: of.odd_examples.iter().map(example).collect(),
            usual_hours: of.habit.usual.clone().unwrap_or_default(),
            history: of.habit.jobs,
        };
        let unknown = || self.users().filter(|of| of.sum.jobs > 0 && of.habit.usual.is_none());
        Unusual {
            items: odd.into_iter().map(line).collect(),
            others,
            without_history: unknown().count() as u64,
            not_judged: unknown().take(SHORT).map(|of| Person::from(&of.actor)).collect(),
        }
    }
}
