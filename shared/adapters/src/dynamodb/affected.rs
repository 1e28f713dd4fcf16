//! What became of a chunk's owners, many to an item: an item of its own for each would cost as much as a token's end.
//!
//! Items are added, never changed: one is named by the hash of what it says, so that saying it again writes the same one,
//! and two workers that saw different things leave two. Whoever reads takes the larger of an owner's numbers.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::job::Facts;
use domain::ports::PortResult;
use domain::time::from_millis;
use domain::token::Owner;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::item::{Item, Reader, corrupt, key, n, s};
use super::tokens;

/// What the sort keys of parts begin with.
pub const PART: &str = "P#";
/// Owners in one part: with the longest names there are still well below the 400 KB of an item.
const OWNERS: usize = 100;

/// An owner's line: who, and the access tokens, refresh tokens and sessions.
#[derive(Serialize, Deserialize)]
struct Line(String, u64, u64, u64);

/// Some owners in one item.
pub struct Part {
    lines: String,
}

/// Splits owners into parts, in an order that does not depend on who was done first.
pub fn parts(owners: &[(Owner, Facts)]) -> PortResult<Vec<Part>> {
    let mut sorted: Vec<_> = owners.iter().collect();
    sorted.sort_by_key(|(owner, _)| owner);
    let part = |owners: &[&(Owner, Facts)]| {
        let line = |(owner, facts): &&(Owner, Facts)| {
            Line(tokens::owner_key(owner), facts.access_tokens, facts.refresh_tokens, facts.sessions)
        };
        let lines = serde_json::to_string(&owners.iter().map(line).collect::<Vec<_>>());
        Ok(Part { lines: lines.map_err(|cause| corrupt(cause.to_string()))? })
    };
    sorted.chunks(OWNERS).map(part).collect()
}

impl Part {
    /// The part as an item of a chunk's partition.
    pub fn item(self, pk: String, at: DateTime<Utc>) -> Item {
        let mut item = key(pk, format!("{PART}{:x}", Sha256::digest(&self.lines)));
        item.insert("owners".to_owned(), s(self.lines));
        item.insert("processed_at".to_owned(), n(at.timestamp_millis()));
        item
    }
}

/// What parts say together, by owner: the largest numbers, and the latest time.
#[derive(Default)]
pub struct Known(pub BTreeMap<Owner, (Facts, DateTime<Utc>)>);

impl Known {
    /// Adds what a part says.
    pub fn add(&mut self, item: &Reader) -> PortResult<()> {
        let at = from_millis(item.number("processed_at")?);
        for Line(owner, access_tokens, refresh_tokens, sessions) in item.json::<Vec<Line>>("owners")? {
            let known = self.0.entry(tokens::read_owner(&owner)?).or_insert((Facts::default(), at));
            let facts = Facts { access_tokens, refresh_tokens, sessions };
            *known = (known.0.max(facts), known.1.max(at));
        }
        Ok(())
    }
}
