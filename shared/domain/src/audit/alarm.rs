//! What nobody asked for, but somebody has to see at once: the audit trail was tampered with, the cache is not safe.
//!
//! An alarm is an entry of the trail like any other, of level critical: so it goes to the SIEM and, by mail, to the
//! security team. It is raised once for each occasion, however often it is looked at.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::chain::Hash;
use super::verify::{Defect, Place};
use super::{Action, Auditor, Entry, Level, Origin};
use crate::directory::Actor;
use crate::error::PortError;
use crate::ids::{ChainId, JobId};
use crate::ports::{JobStore, PortResult};

/// Findings that an entry names.
const NAMED: usize = 20;

/// Raises alarms.
#[derive(Clone)]
pub struct Alarm {
    /// Writes them down.
    pub auditor: Auditor,
    /// Remembers which were raised.
    pub jobs: Arc<dyn JobStore>,
}

impl Alarm {
    /// Raises an alarm unless it was raised on this occasion before, and says whether it did. `occasion` is short text
    /// such as a day. Interrupted half-way it may be written down twice, under one id.
    pub async fn raise(&self, action: Action, occasion: &str, metadata: Value) -> PortResult<bool> {
        let id = format!("{}#{occasion}", action.as_str());
        let corrupt = |cause: crate::ids::InvalidId| PortError::Corrupt { service: "alarms", cause: cause.to_string() };
        let mark = JobId::parse(format!("alarm-{id}")).map_err(corrupt)?;
        if self.jobs.checkpoint(&mark, 0).await?.is_some() {
            return Ok(false);
        }
        let entry = self.auditor.entry(action, Actor::schedule(), None, &Origin::default());
        let entry = Entry { id, level: Level::Critical, success: false, metadata, ..entry };
        self.auditor.log.append(&entry).await?;
        self.jobs.save_checkpoint(&mark, 0, &entry.at.to_rfc3339()).await?;
        tracing::error!(action = action.as_str(), entry = entry.id, "alarm");
        Ok(true)
    }

    /// Raises the alarm about a trail that is not what was written: once a day for the same defects.
    pub async fn tampered(&self, defects: &[Defect]) -> PortResult<bool> {
        let found = defects.iter().map(ToString::to_string).collect();
        self.once_a_day(Action::AuditChainBroken, found, named(defects)).await
    }

    /// Raises the alarm about a cache that may forget what it must not: once a day for the same concerns.
    pub async fn cache_not_safe(&self, concerns: &[String]) -> PortResult<bool> {
        self.once_a_day(Action::CacheNotSafe, concerns.iter().cloned().collect(), concerns.to_vec()).await
    }

    async fn once_a_day(&self, action: Action, found: BTreeSet<String>, named: Vec<String>) -> PortResult<bool> {
        if found.is_empty() {
            return Ok(false);
        }
        let day = self.auditor.clock.now().format("%Y-%m-%d");
        let set = Hash::of(&found.iter().map(String::as_str).collect::<Vec<_>>().join("\n"));
        let metadata = json!({ "count": found.len(), "found": named.iter().take(NAMED).collect::<Vec<_>>() });
        self.raise(action, &format!("{day}#{set}"), metadata).await
    }
}

/// What is wrong, in words: of each chain the first place, and how many more, so that one long chain does not hide the
/// others.
fn named(defects: &[Defect]) -> Vec<String> {
    let mut named: Vec<(Option<&ChainId>, String, usize)> = Vec::new();
    for defect in defects {
        let chain = match &defect.place {
            Place::Entry(chain, _) => Some(chain),
            Place::Elsewhere(_) | Place::Publication(_) => None,
        };
        match named.iter_mut().find(|(other, ..)| chain.is_some() && *other == chain) {
            Some((_, _, more)) => *more += 1,
            None => named.push((chain, defect.to_string(), 0)),
        }
    }
    let words = |(_, first, more): (_, String, usize)| match more {
        0 => first,
        more => format!("{first} (and {more} more of this chain)"),
    };
    named.into_iter().map(words).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::audit::verify::Fault;

    #[test]
    fn audit_3_one_long_chain_does_not_hide_what_else_is_wrong() {
        let at = |name: &str, seq| Place::Entry(ChainId::parse(name).unwrap(), seq);
        let places = (0..50).map(|seq| at("long", seq)).chain([at("short", 3), Place::Elsewhere("x y".to_owned())]);
        let defects: Vec<Defect> = places.map(|place| Defect { place, fault: Fault::Altered }).collect();
        let words = named(&defects);
        assert_eq!(
            words,
            [
                "chain long, entry 0: was altered (and 49 more of this chain)",
                "chain short, entry 3: was altered",
                "item x y: was altered"
            ]
        );
    }
}
