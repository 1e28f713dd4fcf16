//! What others are told of the audit trail (`[AUDIT-3]`): warnings and criticals go to the SIEM as OCSF events
//! ([`ocsf`]), criticals also to the security team by mail ([`alert`]).
//!
//! The trail itself is the outbox: an entry that is written comes here by the table's stream, and again until all of
//! it is handed on. So an event may come twice, under the same `metadata.uid`, but none is lost. What cannot be read
//! is set aside for a person instead of holding up what comes after it.

pub mod alert;
pub mod ocsf;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::audit::check::AuditReader;
use crate::audit::verify::Found;
use crate::audit::{Entry, Level};
use crate::ports::PortResult;
use crate::time::Clock;

/// Takes what is told to others. After an error some of it may have been taken; all of it comes again.
#[async_trait]
pub trait Outlet: Send + Sync {
    /// OCSF events for the SIEM.
    async fn events(&self, events: &[Value]) -> PortResult<()>;
    /// Entries that the security team gets by mail.
    async fn alerts(&self, entries: &[Entry]) -> PortResult<()>;
    /// What could not be read, for a person to look at.
    async fn set_aside(&self, unreadable: &[Value]) -> PortResult<()>;
}

/// Hands the trail's entries on.
#[derive(Clone)]
pub struct Exporter {
    /// Where to.
    pub outlet: Arc<dyn Outlet>,
    /// The trail, for sending a time of it again.
    pub trail: Arc<dyn AuditReader>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// What was handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exported {
    /// Events for the SIEM.
    pub events: usize,
    /// Entries for the security team.
    pub alerts: usize,
    /// What could not be read.
    pub set_aside: usize,
}

/// What is sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Period {
    /// From here on.
    pub since: DateTime<Utc>,
    /// Up to here.
    pub until: DateTime<Utc>,
    /// Where an earlier run left off.
    pub from: Option<String>,
}

impl Exporter {
    /// Hands on what matters of these entries.
    pub async fn export(&self, found: Vec<Found>) -> PortResult<Exported> {
        let (mut events, mut alerts, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
        for found in found {
            match read(found) {
                Ok((_, entry)) if entry.level < Level::Warning => {}
                Ok((place, entry)) => {
                    events.push(ocsf::event(&entry, &place));
                    if entry.level == Level::Critical {
                        alerts.push(entry);
                    }
                }
                Err(item) => {
                    tracing::error!(%item, "an audit entry cannot be told to the SIEM: it cannot be read");
                    unreadable.push(item);
                }
            }
        }
        // The mail first: an alert that is late is the worse of the two.
        if !alerts.is_empty() {
            self.outlet.alerts(&alerts).await?;
        }
        if !events.is_empty() {
            self.outlet.events(&events).await?;
        }
        if !unreadable.is_empty() {
            self.outlet.set_aside(&unreadable).await?;
        }
        Ok(Exported { events: events.len(), alerts: alerts.len(), set_aside: unreadable.len() })
    }

    /// Hands on a time of the trail again, as far as there is time, and says where to go on.
    pub async fn replay(&self, period: Period, deadline: DateTime<Utc>) -> PortResult<(Exported, Option<String>)> {
        let (mut done, mut from) = (Exported::default(), period.from);
        loop {
            let page = self.trail.between(period.since, period.until, from.as_deref()).await?;
            let exported = self.export(page.items).await?;
            done.events += exported.events;
            done.alerts += exported.alerts;
            done.set_aside += exported.set_aside;
            match page.next {
                Some(next) if self.clock.now() < deadline => from = Some(next),
                next => return Ok((done, next)),
            }
        }
    }
}

/// An entry with its place, or what there is instead.
fn read(found: Found) -> Result<(ocsf::At, Entry), Value> {
    match found {
        Found::Entry(sealed) => {
            let place = json!({ "chain": sealed.chain, "seq": sealed.seq, "text": sealed.text });
            let problem = match sealed.entry() {
                Ok(entry) if sealed.is_whole() => return Ok((ocsf::At::from(&sealed), entry)),
                Ok(_) => "its hash is not that of its text".to_owned(),
                Err(cause) => cause.to_string(),
            };
            Err(json!({ "problem": problem, "entry": place }))
        }
        Found::Unreadable(place, problem) => Err(json!({ "problem": problem, "place": place.to_string() })),
    }
}
