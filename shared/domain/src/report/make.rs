//! Making a month's report, in as many runs as it takes.
//!
//! The month is read slice by slice, a day each, and what was added up is kept as a draft when the time is up and every
//! so often before: whoever comes next, or comes after a crash, goes on from there. A slice that does not fit into a run
//! is read in halves by the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

use super::burst::WINDOW;
use super::gather::{Gathered, Known, Slice};
use super::habit::{self, Habit, LOOK_BACK};
use super::month::{Month, Zone};
use super::page::{Language, page};
use super::view::{Published, PublishedHead, Report, VERSION};
use crate::audit::chain::Hash;
use crate::audit::check::AuditReader;
use crate::audit::head::{HeadStore, LATENESS, Publication};
use crate::audit::verify::Found;
use crate::error::PortError;
use crate::ids::{JobId, UserId};
use crate::job::Status;
use crate::ports::{JobStore, PortResult, Step};
use crate::time::Clock;

/// A slice at first, and at least.
const SLICE: TimeDelta = TimeDelta::days(1);
const LEAST_SLICE: TimeDelta = TimeDelta::minutes(1);
/// How often a draft is kept while there is time.
const KEEP_DRAFT: TimeDelta = TimeDelta::seconds(20);
/// For how long a draft of the running month is gone on with; later, what it lacks is worth a new one.
const DRAFT_LIFETIME: TimeDelta = TimeDelta::minutes(15);
/// Look-ups at the same time.
const LOOK_UPS_AT_ONCE: usize = 8;
/// Heads that a report names.
const HEADS: usize = 20;
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

/// Where reports are kept, each under its name.
#[async_trait]
pub trait ReportStore: Send + Sync {
    /// What is kept under a name.
    async fn read(&self, name: &str) -> PortResult<Option<String>>;
    /// Keeps something for good. Lost if there is something under the name already.
    async fn keep(&self, name: &str, media_type: &str, text: &str) -> PortResult<Step>;
    /// Keeps something for now, in place of what was there.
    async fn replace(&self, name: &str, text: &str) -> PortResult<()>;
    /// Takes something away.
    async fn remove(&self, name: &str) -> PortResult<()>;
}

/// Makes reports.
#[derive(Clone)]
pub struct Reporter {
    /// The audit trail.
    pub trail: Arc<dyn AuditReader>,
    /// What was published of it.
    pub heads: Arc<dyn HeadStore>,
    /// Jobs: what admins did before, and what became of cancelled jobs.
    pub jobs: Arc<dyn JobStore>,
    /// Where reports are kept.
    pub store: Arc<dyn ReportStore>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where months begin and end.
    pub zone: Zone,
}

/// A report, or how far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// There it is.
    Report(Box<Report>),
    /// The time was up. Whoever asks again goes on.
    UnderWay {
        /// Up to when the month is read.
        read_until: DateTime<Utc>,
        /// Up to when it is to be read.
        until: DateTime<Utc>,
    },
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum NoReport {
    /// The month has not begun.
    #[error("the month has not begun")]
    Future,
    /// A store did not answer.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// How far a report has come.
#[derive(Debug, Serialize, Deserialize)]
struct Draft {
    version: u32,
    zone: String,
    until: DateTime<Utc>,
    next: DateTime<Utc>,
    slice_seconds: i64,
    gathered: Gathered,
}

fn corrupt(cause: impl ToString) -> PortError {
    PortError::Corrupt { service: "the monthly report", cause: cause.to_string() }
}

impl Reporter {
    /// A month's report: the one that is kept, or else a new one, which is kept if the month is over for good.
    pub async fn report(&self, month: Month, deadline: DateTime<Utc>) -> Result<Made, NoReport> {
        let (now, (from, end)) = (self.clock.now(), month.span(self.zone));
        if from > now {
            return Err(NoReport::Future);
        }
        let name = format!("reports/{month}.json");
        if let Some(text) = self.store.read(&name).await? {
            return Ok(Made::Report(serde_json::from_str(&text).map_err(corrupt)?));
        }
        let finished = now >= end + LATENESS;
        let until = if finished { end } else { now.min(end) };
        let mut draft = self.draft(month, from, until, finished).await?;
        if !self.read_on(month, &mut draft, deadline).await? {
            return Ok(Made::UnderWay { read_until: draft.next, until: draft.until });
        }
        let published = self.published().await?;
        let made_at = self.clock.now();
        let report = draft.gathered.report(month, self.zone, (from, draft.until), finished, made_at, published);
        if finished {
            for language in Language::ALL {
                let name = format!("reports/{month}.{}.html", language.tag());
                self.store.keep(&name, HTML, &page(&report, language)).await?;
            }
            // Last: with it the report counts as made, and whoever asks again reads it.
            let text = serde_json::to_string_pretty(&report).map_err(corrupt)?;
            if self.store.keep(&name, JSON, &text).await? == Step::Lost {
                let kept = self.store.read(&name).await?.ok_or_else(|| corrupt("a report was there and is gone"))?;
                return Ok(Made::Report(serde_json::from_str(&kept).map_err(corrupt)?));
            }
        }
        Ok(Made::Report(Box::new(report)))
    }

    /// The newest month that is over for good.
    pub fn last_month(&self) -> Month {
        Month::of(self.clock.now() - LATENESS, self.zone).before()
    }

    fn draft_name(month: Month) -> String {
        format!("drafts/{month}.json")
    }

    /// Where to go on.
    async fn draft(
        &self,
        month: Month,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
        finished: bool,
    ) -> PortResult<Draft> {
        let zone = self.zone.name();
        let good = |draft: &Draft| {
            let fresh = draft.until <= until && draft.until > until - DRAFT_LIFETIME;
            draft.version == VERSION && draft.zone == zone && (draft.until == until || !finished && fresh)
        };
        let kept = self.store.read(&Self::draft_name(month)).await?;
        // One that cannot be read was written by another version: a new one takes its place.
        let kept = kept.and_then(|text| serde_json::from_str::<Draft>(&text).ok()).filter(good);
        Ok(kept.unwrap_or_else(|| Draft {
            version: VERSION,
            zone: zone.to_owned(),
            until,
            next: from - WINDOW,
            slice_seconds: SLICE.num_seconds(),
            gathered: Gathered::default(),
        }))
    }

    async fn keep_draft(&self, month: Month, draft: &Draft) -> PortResult<()> {
        let text = serde_json::to_string(draft).map_err(corrupt)?;
        self.store.replace(&Self::draft_name(month), &text).await
    }

    /// Reads on to the end, or until the time is up.
    async fn read_on(&self, month: Month, draft: &mut Draft, deadline: DateTime<Utc>) -> PortResult<bool> {
        let (from, _) = month.span(self.zone);
        let mut kept_at = self.clock.now();
        while draft.next < draft.until {
            // The hour before the month is a slice of its own.
            let length = TimeDelta::seconds(draft.slice_seconds);
            let end =
                if draft.next < from { from.min(draft.next + length) } else { draft.until.min(draft.next + length) };
            let in_time = self.clock.now() < deadline;
            let slice = if in_time { self.slice(draft.next, end, deadline).await? } else { None };
            let Some(mut slice) = slice else {
                if in_time {
                    draft.slice_seconds = (draft.slice_seconds / 2).max(LEAST_SLICE.num_seconds());
                }
                self.keep_draft(month, draft).await?;
                return Ok(false);
            };
            draft.slice_seconds = (draft.slice_seconds * 2).min(SLICE.num_seconds());
            slice.sort();
            if draft.next < from {
                draft.gathered.add_before(&slice);
            } else {
                self.add(&mut draft.gathered, slice, from).await?;
            }
            draft.next = end;
            if self.clock.now() >= kept_at + KEEP_DRAFT {
                self.keep_draft(month, draft).await?;
                kept_at = self.clock.now();
            }
        }
        Ok(true)
    }

    /// The entries of a time, the end not included; nothing if the time was up.
    async fn slice(
        &self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
        deadline: DateTime<Utc>,
    ) -> PortResult<Option<Slice>> {
        let (mut slice, mut at) = (Slice::default(), None);
        loop {
            let page = self.trail.between(from, until - TimeDelta::milliseconds(1), at.as_deref()).await?;
            for found in page.items {
                let entry = match found {
                    Found::Entry(sealed) if sealed.is_whole() => sealed.entry().ok(),
                    Found::Entry(_) | Found::Unreadable(..) => None,
                };
                match entry {
                    Some(entry) if (from..until).contains(&entry.at) => slice.see(entry),
                    Some(_) => {}
                    None => slice.unreadable += 1,
                }
            }
            at = page.next;
            if at.is_none() {
                return Ok(Some(slice));
            }
            if self.clock.now() >= deadline {
                return Ok(None);
            }
        }
    }

    async fn add(&self, gathered: &mut Gathered, mut slice: Slice, from: DateTime<Utc>) -> PortResult<()> {
        let new = slice.new.iter().map(super::gather::NewJob::by).filter(|by| !gathered.by_actor.contains_key(*by));
        let new: std::collections::BTreeSet<UserId> = new.cloned().collect();
        let habits = stream::iter(new).map(|user| async move {
            let habit = self.habit(&user, from).await?;
            PortResult::Ok((user, habit))
        });
        let habits: BTreeMap<UserId, Habit> = habits.buffer_unordered(LOOK_UPS_AT_ONCE).try_collect().await?;
        let here = slice.new.iter().map(super::gather::NewJob::id);
        let here: std::collections::BTreeSet<&JobId> = here.collect();
        let mut elsewhere = BTreeMap::new();
        for ended in &mut slice.ended {
            if !gathered.known.contains_key(&ended.job)
                && !here.contains(&ended.job)
                && let Some(job) = self.jobs.get(&ended.job).await?
                && !job.dry_run
            {
                let (job_type, by) = (job.conditions.job_type(), job.initiated_by);
                let known = Known { job_type, by, dry_run: false, made_here: false, failed: None };
                elsewhere.insert(ended.job.clone(), known);
            }
            if ended.how == Status::Cancelled {
                ended.statistics = self.jobs.tally(&ended.job).await?.statistics;
            }
        }
        gathered.add(slice, self.zone, &habits, elsewhere);
        Ok(())
    }

    /// What an actor's jobs of before the month say.
    async fn habit(&self, user: &UserId, from: DateTime<Utc>) -> PortResult<Habit> {
        const STEP: usize = 100;
        // Before every id there is: only the time counts.
        let first = JobId::parse(" ").map_err(corrupt)?;
        let (mut times, mut after) = (Vec::new(), (from.timestamp_millis(), first));
        while times.len() < habit::MOST {
            let jobs = self.jobs.jobs_by_time(Some(user), Some(&after), STEP).await?;
            let count = jobs.len();
            let Some(last) = jobs.last() else { break };
            after = (last.created_at.timestamp_millis(), last.id.clone());
            let within = jobs.iter().map(|job| job.created_at).filter(|at| (from - LOOK_BACK..from).contains(at));
            let before = times.len();
            times.extend(within);
            if times.len() - before < count {
                break;
            }
        }
        times.truncate(habit::MOST);
        Ok(Habit::of(&times, self.zone))
    }

    /// The newest publication of heads.
    async fn published(&self) -> PortResult<Option<Published>> {
        let page = self.heads.newest_first(None).await?;
        let Some(kept) = page.items.into_iter().next() else { return Ok(None) };
        let publication = kept.text.as_deref().and_then(|text| serde_json::from_str::<Publication>(text).ok());
        let (at, mut heads) = publication.map_or((None, Vec::new()), |read| (Some(read.at), read.heads));
        let other_heads = heads.len().saturating_sub(HEADS) as u64;
        heads.truncate(HEADS);
        let heads = heads.into_iter();
        let head = |head: crate::audit::head::Head| PublishedHead {
            chain: head.chain.to_string(),
            seq: head.seq,
            sha256: head.hash,
        };
        Ok(Some(Published {
            number: kept.number,
            at,
            sha256: kept.text.as_deref().map(Hash::of),
            overwritten: kept.overwritten,
            heads: heads.map(head).collect(),
            other_heads,
        }))
    }
}
