//! The report, as it is stored and handed out. Lists have an end: what is not in them is counted beside them.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::audit::chain::Hash;
use crate::conditions::JobType;
use crate::directory::Actor;

/// How a report is to be read: this is what is written and understood.
pub const VERSION: u32 = 1;

macro_rules! documents {
    ($($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $field:ident: $kind:ty),+ $(,)? })+) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub struct $name { $($(#[$of])* pub $field: $kind),+ }
    )+ };
}

documents! {
    /// What was done by batch logouts in a month (`[AUDIT-4]`). Counted are jobs; dry runs are counted apart.
    Report {
        /// How to read it: 1.
        version: u32,
        /// The month, such as `2026-11`.
        month: String,
        /// The time zone in which the month begins and ends, and in which hours and days are counted.
        time_zone: String,
        /// When the month begins.
        from: DateTime<Utc>,
        /// Up to when the audit was read: the end of the month, or when the report was made if that is earlier.
        until: DateTime<Utc>,
        /// Whether the month was over, and all of its entries were surely written. Otherwise the report is not kept.
        finished: bool,
        /// When it was made.
        made_at: DateTime<Utc>,
        /// The sums.
        totals: Totals,
        /// By kind of job, all kinds.
        by_type: Vec<OfType>,
        /// By whom, those with the most jobs first.
        by_user: ByUser,
        /// By day, every day of the month.
        by_day: Vec<OfDay>,
        /// Jobs by the hour of the day, from 0 to 23.
        by_hour: Vec<u64>,
        /// Emergency logouts and their drills.
        emergencies: Emergencies,
        /// The most frequent reasons, in the admins' words; without the daily clean-up's.
        top_reasons: Reasons,
        /// Jobs that failed and had not been finished since.
        failed_operations: Failures,
        /// What was refused.
        refusals: Refusals,
        /// What somebody should look at.
        suspicious: Suspicious,
        /// The audit trail that all this was read from.
        audit: Trail,
    }

    /// The sums. A job counts in the month it was made in; what it did, in the month it ended in.
    Totals {
        /// Jobs that were made, those of the daily clean-up among them.
        jobs: u64,
        /// Those of the daily clean-up.
        scheduled_jobs: u64,
        /// Dry runs that were made, drills among them.
        dry_runs: u64,
        /// Jobs that were completed.
        completed: u64,
        /// Jobs that failed and had not been finished since.
        failed: u64,
        /// Jobs that were cancelled.
        cancelled: u64,
        /// Jobs that were made and had not ended.
        open: u64,
        /// Emergency logouts.
        emergencies: u64,
        /// Users who made jobs.
        users: u64,
        /// Users who lost something, once for each job that took it.
        affected_users: u64,
        /// Access tokens that were revoked.
        access_tokens: u64,
        /// Refresh tokens that were revoked.
        refresh_tokens: u64,
        /// Sessions that were ended.
        sessions: u64,
    }

    /// The jobs of a kind.
    OfType {
        /// The kind.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        #[serde(rename = "type")]
        job_type: JobType,
        /// Jobs that were made.
        jobs: u64,
        /// Jobs that were completed.
        completed: u64,
        /// Jobs that failed and had not been finished since.
        failed: u64,
        /// Jobs that were cancelled.
        cancelled: u64,
        /// Users who lost something, once for each job.
        affected_users: u64,
        /// Tokens that were revoked.
        tokens: u64,
    }

    /// Somebody.
    Person {
        /// User id; `system:schedule` is the daily clean-up.
        id: String,
        /// Name.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        name: Option<String>,
        /// E-mail address.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        email: Option<String>,
    }

    /// Those who made jobs or dry runs in the month.
    ByUser {
        /// Those with the most jobs.
        items: Vec<OfUser>,
        /// Users who are not in the list.
        other_users: u64,
        /// Their jobs.
        other_jobs: u64,
    }

    /// Somebody's jobs.
    OfUser {
        /// Who.
        user: Person,
        /// Jobs that were made.
        jobs: u64,
        /// Dry runs that were made.
        dry_runs: u64,
        /// Jobs that failed and had not been finished since.
        failed: u64,
        /// Jobs that were cancelled, by whomever.
        cancelled: u64,
        /// Users who lost something, once for each job.
        affected_users: u64,
        /// Tokens that were revoked.
        tokens: u64,
    }

    /// A day's jobs.
    OfDay {
        /// The day.
        date: NaiveDate,
        /// Jobs that were made.
        jobs: u64,
        /// Dry runs that were made.
        dry_runs: u64,
    }

    /// Emergency logouts and their drills.
    Emergencies {
        /// The first of the month.
        items: Vec<Emergency>,
        /// How many more.
        others: u64,
    }

    /// An emergency logout.
    Emergency {
        /// The job.
        job_id: String,
        /// When it was made.
        at: DateTime<Utc>,
        /// By whom.
        user: Person,
        /// Who authorised it, in the admin's words.
        authorized_by: String,
        /// Why, in the admin's words.
        reason: String,
        /// Whether it was a drill, which ends nothing.
        drill: bool,
        /// How it ended: `completed`, `failed` or `cancelled`; nothing of drills and of what had not ended.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        ended: Option<String>,
        /// Users who lost something.
        affected_users: u64,
    }

    /// Reasons of jobs.
    Reasons {
        /// The most frequent.
        items: Vec<Reason>,
        /// Jobs with another reason.
        other_jobs: u64,
    }

    /// A reason.
    Reason {
        /// In the admins' words.
        reason: String,
        /// Jobs that were made for it.
        jobs: u64,
    }

    /// Jobs that failed.
    Failures {
        /// The first of the month.
        items: Vec<Failure>,
        /// How many more.
        others: u64,
    }

    /// A job that failed.
    Failure {
        /// The job.
        job_id: String,
        /// When it was given up.
        at: DateTime<Utc>,
        /// Who made it.
        user: Person,
        /// Its kind.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        #[serde(rename = "type")]
        job_type: JobType,
        /// Chunks that could not be settled.
        chunks_failed: u64,
    }

    /// What was refused.
    Refusals {
        /// For want of a permission.
        permission_denied: u64,
        /// For want of a free slot.
        rate_limited: u64,
        /// For a wrong emergency key.
        wrong_keys: u64,
        /// Whom, those who were refused most often first.
        items: Vec<Refused>,
        /// Refusals of those who are not in the list.
        others: u64,
    }

    /// How often somebody was refused.
    Refused {
        /// Who.
        user: Person,
        /// For want of a permission.
        permission_denied: u64,
        /// For want of a free slot.
        rate_limited: u64,
        /// For a wrong emergency key.
        wrong_keys: u64,
    }

    /// What somebody should look at. Neither dry runs nor the daily clean-up are suspicious.
    Suspicious {
        /// More than ten jobs in the month.
        excessive: Excessive,
        /// More than three jobs within an hour.
        rapid_succession: Rapid,
        /// Jobs outside the hours at which their users made theirs in the 90 days before the month.
        unusual_hours: Unusual,
    }

    /// Those who made more than ten jobs in the month.
    Excessive {
        /// Those with the most jobs.
        items: Vec<Many>,
        /// How many more.
        others: u64,
    }

    /// Somebody who made many jobs.
    Many {
        /// Who.
        user: Person,
        /// Jobs in the month.
        jobs: u64,
    }

    /// More than three jobs within an hour.
    Rapid {
        /// The first of the month.
        items: Vec<Succession>,
        /// How many more.
        others: u64,
    }

    /// Jobs in rapid succession.
    Succession {
        /// Who.
        user: Person,
        /// The first job, which may be of the hour before the month.
        first: DateTime<Utc>,
        /// The last job.
        last: DateTime<Utc>,
        /// How many.
        jobs: u64,
    }

    /// Jobs at unusual hours.
    Unusual {
        /// Those with the most of them.
        items: Vec<UnusualHours>,
        /// How many more users.
        others: u64,
        /// Users of whose habits too little is known (fewer than 20 jobs or dry runs, or on fewer than 5 days, in the 90 days
        /// before the month): of them nothing is said.
        without_history: u64,
        /// The first of them.
        not_judged: Vec<Person>,
    }

    /// Somebody's jobs at unusual hours.
    UnusualHours {
        /// Who.
        user: Person,
        /// How many jobs.
        jobs: u64,
        /// The first of them.
        examples: Vec<Example>,
        /// The user's usual hours, from 0 to 23.
        usual_hours: Vec<u8>,
        /// Jobs and dry runs that say so.
        history: u64,
    }

    /// A job.
    Example {
        /// The job.
        job_id: String,
        /// When it was made.
        at: DateTime<Utc>,
    }

    /// The audit trail that the report was read from (`[AUDIT-2]`).
    Trail {
        /// Entries of the month, each once.
        entries: u64,
        /// Entries that say nothing or are not what was written. The check of the audit names them.
        unreadable: u64,
        /// Emergency keys that were mailed.
        emergency_keys: u64,
        /// Tokens that clients revoked.
        tokens_revoked: u64,
        /// Users who signed out.
        sign_outs: u64,
        /// The newest publication of the audit's heads when the report was made, if there was any. Its hash vouches for all
        /// publications before it, and so for every entry that they cover.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        published: Option<Published>,
    }

    /// A publication of the audit's heads.
    Published {
        /// Its number.
        number: u64,
        /// When it was looked for new entries.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        at: Option<DateTime<Utc>>,
        /// SHA-256 of the published text; none if that is gone.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
        sha256: Option<Hash>,
        /// Whether something else was published under the number later, or it was deleted.
        overwritten: bool,
        /// The heads that it names, the first of them.
        heads: Vec<PublishedHead>,
        /// How many more.
        other_heads: u64,
    }

    /// The last entry of a chain.
    PublishedHead {
        /// The chain.
        chain: String,
        /// The entry's place.
        seq: u64,
        /// Its hash.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        sha256: Hash,
    }
}

impl Report {
    /// How many findings somebody should look at.
    pub fn findings(&self) -> u64 {
        let of = |items: usize, others: u64| items as u64 + others;
        let Suspicious { excessive, rapid_succession, unusual_hours } = &self.suspicious;
        of(excessive.items.len(), excessive.others)
            + of(rapid_succession.items.len(), rapid_succession.others)
            + of(unusual_hours.items.len(), unusual_hours.others)
    }

    /// How often something was refused.
    pub fn refused(&self) -> u64 {
        self.refusals.permission_denied + self.refusals.rate_limited + self.refusals.wrong_keys
    }
}

impl From<&Actor> for Person {
    fn from(actor: &Actor) -> Self {
        Self { id: actor.id.to_string(), name: actor.name.clone(), email: actor.email.clone() }
    }
}
