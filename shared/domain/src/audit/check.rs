//! Checking a stored trail: all at once, or every day in parts that a run has the time for.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

use super::alarm::Alarm;
use super::head::{HeadStore, Published};
use super::verify::{ChainCheck, Defect, Fault, Found, Place, Verdict};
use crate::error::PortError;
use crate::ids::{ChainId, JobId};
use crate::ports::{JobStore, Page, PortResult};
use crate::time::Clock;

/// Chains read at the same time.
const CHAINS_AT_ONCE: usize = 8;
/// Published chains looked for between two looks at the clock.
const CHAINS_PER_STEP: usize = 200;

/// Reads the trail. What is read was acknowledged before, unless it says otherwise.
#[async_trait]
pub trait AuditReader: Send + Sync {
    /// A page of the chains there are, and the keys of items that belong to none. A chain may come again.
    async fn chains(&self, from: Option<&str>) -> PortResult<Page<Result<ChainId, String>>>;
    /// A page of a chain, in the order of places.
    async fn chain(&self, chain: &ChainId, from: Option<&str>) -> PortResult<Page<Found>>;
    /// The last entry of a chain.
    async fn last(&self, chain: &ChainId) -> PortResult<Option<Found>>;
    /// A page of the entries of a time, by their own clocks, in no particular order. The newest may still be missing.
    async fn between(&self, since: DateTime<Utc>, until: DateTime<Utc>, from: Option<&str>) -> PortResult<Page<Found>>;
}

/// How far a check has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Looking at the chains there are.
    Stored {
        /// Where the list of chains goes on.
        from: Option<String>,
    },
    /// Looking for the chains that were published.
    Published {
        /// After which.
        after: Option<ChainId>,
    },
    /// Through.
    Through,
}

impl Stage {
    /// At the beginning.
    pub const START: Self = Self::Stored { from: None };
}

/// Checks the trail.
#[derive(Clone)]
pub struct Examiner {
    /// The trail.
    pub trail: Arc<dyn AuditReader>,
    /// What was published of it.
    pub heads: Arc<dyn HeadStore>,
}

/// A check under way.
pub struct Examination<'a> {
    examiner: &'a Examiner,
    /// What was published, read before anything else: what it names must be there.
    pub published: Published,
    /// How far it has come.
    pub stage: Stage,
    /// What it found so far, in this run.
    pub verdict: Verdict,
    seen: HashSet<ChainId>,
}

impl Examiner {
    /// Begins, or goes on where another left off.
    pub async fn begin(&self, stage: Stage) -> PortResult<Examination<'_>> {
        let published = Published::read(self.heads.as_ref()).await?;
        let verdict = Verdict { defects: published.defects().to_vec(), ..Verdict::default() };
        Ok(Examination { examiner: self, published, stage, verdict, seen: HashSet::new() })
    }

    /// Checks everything.
    pub async fn examine(&self) -> PortResult<Examination<'_>> {
        let mut examination = self.begin(Stage::START).await?;
        while examination.stage != Stage::Through {
            examination.step().await?;
        }
        Ok(examination)
    }

    async fn check(&self, chain: &ChainId, published: &Published) -> PortResult<Verdict> {
        let (mut check, mut from) = (ChainCheck::new(chain, published), None);
        loop {
            let page = self.trail.chain(chain, from.as_deref()).await?;
            for found in page.items {
                check.see(found);
            }
            match page.next {
                Some(next) => from = Some(next),
                None => return Ok(check.finish()),
            }
        }
    }
}

impl Examination<'_> {
    /// Goes on by a page.
    pub async fn step(&mut self) -> PortResult<()> {
        self.stage = match &self.stage {
            Stage::Stored { from } => {
                let page = self.examiner.trail.chains(from.as_deref()).await?;
                self.check_stored(page.items).await?;
                match page.next {
                    Some(next) => Stage::Stored { from: Some(next) },
                    None => Stage::Published { after: None },
                }
            }
            Stage::Published { after } => {
                let after = after.clone();
                self.look_for(after.as_ref()).await?
            }
            Stage::Through => Stage::Through,
        };
        Ok(())
    }

    async fn check_stored(&mut self, listed: Vec<Result<ChainId, String>>) -> PortResult<()> {
        let mut chains = Vec::new();
        for listed in listed {
            match listed {
                Ok(chain) if self.seen.insert(chain.clone()) => chains.push(chain),
                Ok(_) => {}
                Err(key) => {
                    let fault = Fault::Unreadable("it belongs to no chain".to_owned());
                    self.verdict.entries += 1;
                    self.verdict.defects.push(Defect { place: Place::Elsewhere(key), fault });
                }
            }
        }
        let (examiner, published) = (self.examiner, &self.published);
        let verdicts = stream::iter(chains).map(|chain| async move { examiner.check(&chain, published).await });
        let verdicts: Vec<Verdict> = verdicts.buffered(CHAINS_AT_ONCE).try_collect().await?;
        for verdict in verdicts {
            self.verdict.add(verdict);
        }
        Ok(())
    }

    /// Whether published chains are there at all; those that are were looked at before, maybe by an earlier run.
    async fn look_for(&mut self, after: Option<&ChainId>) -> PortResult<Stage> {
        let chains = self.published.chains_after(after, CHAINS_PER_STEP);
        let Some(last) = chains.last().copied().cloned() else { return Ok(Stage::Through) };
        let unseen = chains.into_iter().filter(|chain| !self.seen.contains(*chain));
        let trail = self.examiner.trail.as_ref();
        let looks = stream::iter(unseen).map(|chain| async move { PortResult::Ok((chain, trail.last(chain).await?)) });
        let ends: Vec<(&ChainId, Option<Found>)> = looks.buffered(CHAINS_AT_ONCE).try_collect().await?;
        for (chain, _) in ends.iter().filter(|(_, end)| end.is_none()) {
            self.verdict.defects.extend(ChainCheck::new(chain, &self.published).finish().defects);
        }
        Ok(Stage::Published { after: Some(last) })
    }
}

/// The daily check: as much of it as a run has time for, each run going on where the last one stopped.
#[derive(Clone)]
pub struct DailyCheck {
    /// Checks.
    pub examiner: Examiner,
    /// Keeps how far the day's check has come.
    pub jobs: Arc<dyn JobStore>,
    /// Raised by what is wrong.
    pub alarm: Alarm,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl DailyCheck {
    /// Goes on with the day's check until it is through or the time is up.
    pub async fn run(&self, deadline: DateTime<Utc>) -> PortResult<(Stage, Verdict)> {
        let corrupt = |cause: String| PortError::Corrupt { service: "the audit check", cause };
        let day = self.clock.now().format("audit-check-%Y-%m-%d").to_string();
        let day = JobId::parse(day).map_err(|cause| corrupt(cause.to_string()))?;
        let kept = self.jobs.checkpoint(&day, 0).await?;
        let stage = kept.map_or(Ok(Stage::START), |kept| serde_json::from_str(&kept));
        let stage = stage.map_err(|cause| corrupt(cause.to_string()))?;
        if stage == Stage::Through {
            return Ok((stage, Verdict::default()));
        }
        let (mut examination, mut told) = (self.examiner.begin(stage).await?, 0);
        // What is wrong with the publications is found again by every run: by itself it is the same occasion.
        self.tell(&examination.verdict.defects, &mut told).await?;
        while examination.stage != Stage::Through && self.clock.now() < deadline {
            examination.step().await?;
            // Before the place is noted: after an error this part is looked at again.
            self.tell(&examination.verdict.defects, &mut told).await?;
            let stage = serde_json::to_string(&examination.stage).map_err(|cause| corrupt(cause.to_string()))?;
            self.jobs.save_checkpoint(&day, 0, &stage).await?;
        }
        Ok((examination.stage, examination.verdict))
    }

    /// Tells what was not told yet.
    async fn tell(&self, defects: &[Defect], told: &mut usize) -> PortResult<()> {
        for defect in &defects[*told..] {
            tracing::error!(place = %defect.place, fault = %defect.fault, "the audit trail was tampered with");
        }
        self.alarm.tampered(&defects[*told..]).await?;
        *told = defects.len();
        Ok(())
    }
}
