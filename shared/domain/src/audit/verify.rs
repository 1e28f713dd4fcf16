//! What is wrong with a trail, and where: edits, removals, insertions, changes of order, chains cut short or written
//! anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, Utc};

use super::chain::{Hash, Sealed};
use super::head::Published;
use crate::ids::ChainId;

/// Where something is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A place of a chain.
    Entry(ChainId, u64),
    /// Something in the trail that is at no place of any chain: its key.
    Elsewhere(String),
    /// A publication of heads, by its number.
    Publication(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(chain, seq) => write!(f, "chain {chain}, entry {seq}"),
            Self::Elsewhere(key) => write!(f, "item {key}"),
            Self::Publication(number) => write!(f, "publication {number}"),
        }
    }
}

/// What is wrong at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is not what was written: it no longer has the hash it had.
    Altered,
    /// It does not name the one before it: one of the two was replaced, inserted or moved.
    Unlinked,
    /// It is gone, and with it all up to this number.
    Missing {
        /// The last one that is gone.
        until: u64,
    },
    /// It is there more than once.
    Twice,
    /// It is not the entry whose hash was published: it, or entries since the publication before, were written anew.
    NotAsPublished {
        /// The publication.
        number: u64,
        /// The last place before that is as it was published.
        since: Option<u64>,
    },
    /// By its own time it should have been published long ago: it was put there later.
    NeverPublished,
    /// What was published was written over or deleted; it is read in its first version.
    Overwritten,
    /// It cannot be read, or contradicts itself.
    Unreadable(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Altered => f.write_str("was altered"),
            Self::Unlinked => f.write_str("does not follow the one before: one of the two was replaced or moved"),
            Self::Missing { until } => write!(f, "is missing, and all up to {until}"),
            Self::Twice => f.write_str("is there more than once"),
            Self::NotAsPublished { number, since: Some(since) } => {
                write!(f, "is not as publication {number} says: something after entry {since} was written anew")
            }
            Self::NotAsPublished { number, since: None } => {
                write!(f, "is not as publication {number} says: the chain was written anew")
            }
            Self::NeverPublished => f.write_str("is older than the last publication, but was never published"),
            Self::Overwritten => f.write_str("was written over or deleted; its first version is still there"),
            Self::Unreadable(problem) => write!(f, "cannot be read: {problem}"),
        }
    }
}

/// Something wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    /// Where.
    pub place: Place,
    /// What.
    pub fault: Fault,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.fault)
    }
}

/// Something found in a stored trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// An entry.
    Entry(Sealed),
    /// Something that is none, or whose parts contradict each other.
    Unreadable(Place, String),
}

/// What a verification looked at, and what it found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Entries looked at.
    pub entries: u64,
    /// Chains looked at.
    pub chains: u64,
    /// What is wrong.
    pub defects: Vec<Defect>,
}

impl Verdict {
    /// Adds what was found elsewhere.
    pub fn add(&mut self, other: Self) {
        self.entries += other.entries;
        self.chains += other.chains;
        self.defects.extend(other.defects);
    }
}

/// Looks at one chain, entry after entry.
#[derive(Debug)]
pub struct ChainCheck<'a> {
    chain: &'a ChainId,
    /// What was published of it, by place.
    published: &'a [(u64, Hash, u64)],
    /// Entries of before this must have been published.
    covered_until: Option<DateTime<Utc>>,
    /// The last place that was come to.
    last: Option<u64>,
    /// The hash of the entry before, if it is known.
    prev: Option<Hash>,
    /// The last place that is as it was published.
    good: Option<u64>,
    verdict: Verdict,
}

impl<'a> ChainCheck<'a> {
    /// Begins with a chain.
    pub fn new(chain: &'a ChainId, published: &'a Published) -> Self {
        Self {
            chain,
            published: published.of_chain(chain),
            covered_until: published.covered_until(),
            last: None,
            prev: Some(Hash::NOTHING),
            good: None,
            verdict: Verdict { chains: 1, ..Verdict::default() },
        }
    }

    fn defect(&mut self, seq: u64, fault: Fault) {
        self.verdict.defects.push(Defect { place: Place::Entry(self.chain.clone(), seq), fault });
    }

    /// Looks at what comes next in the chain.
    pub fn see(&mut self, found: Found) {
        self.verdict.entries += 1;
        match found {
            Found::Entry(entry) => self.see_entry(&entry),
            Found::Unreadable(Place::Entry(chain, seq), problem) if &chain == self.chain => {
                self.arrive(seq);
                self.prev = None;
                self.defect(seq, Fault::Unreadable(problem));
            }
            Found::Unreadable(place, problem) => {
                self.verdict.defects.push(Defect { place, fault: Fault::Unreadable(problem) });
            }
        }
    }

    /// The place after the last, unless that is the last there can be.
    fn next(&self) -> Option<u64> {
        self.last.map_or(Some(0), |last| last.checked_add(1))
    }

    /// Moves on to a place.
    fn arrive(&mut self, seq: u64) {
        match self.next() {
            Some(next) if seq == next => {}
            Some(next) if seq > next => {
                self.defect(next, Fault::Missing { until: seq - 1 });
                self.prev = None;
            }
            _ => {
                self.defect(seq, Fault::Twice);
                self.prev = None;
                return;
            }
        }
        self.last = Some(seq);
    }

    fn see_entry(&mut self, entry: &Sealed) {
        let seq = entry.seq;
        self.arrive(seq);
        if &entry.chain != self.chain || !entry.is_whole() {
            self.defect(seq, Fault::Altered);
        } else {
            if self.prev.is_some_and(|prev| prev != entry.prev) {
                self.defect(seq, Fault::Unlinked);
            }
            self.see_content(entry);
        }
        self.prev = Some(entry.hash);
        let first = self.published.partition_point(|(place, ..)| *place < seq);
        for (_, hash, number) in self.published[first..].iter().take_while(|(place, ..)| *place == seq) {
            if *hash == entry.hash {
                self.good = Some(seq);
            } else {
                self.defect(seq, Fault::NotAsPublished { number: *number, since: self.good });
            }
        }
    }

    fn see_content(&mut self, sealed: &Sealed) {
        match sealed.entry() {
            Err(cause) => self.defect(sealed.seq, Fault::Unreadable(cause.to_string())),
            Ok(entry) => {
                let published = self.published.last().is_some_and(|(last, ..)| sealed.seq <= *last);
                if !published && self.covered_until.is_some_and(|until| entry.at < until) {
                    self.defect(sealed.seq, Fault::NeverPublished);
                }
            }
        }
    }

    /// The chain is at its end.
    pub fn finish(mut self) -> Verdict {
        let published = self.published.last().map(|(last, ..)| *last);
        if let (Some(until), Some(next)) = (published, self.next())
            && until >= next
        {
            self.defect(next, Fault::Missing { until });
        }
        self.verdict
    }
}

/// Looks at a whole trail, in whatever order it comes.
pub fn verify(trail: impl IntoIterator<Item = Found>, published: &Published) -> Verdict {
    let mut verdict = Verdict { defects: published.defects().to_vec(), ..Verdict::default() };
    let mut chains: BTreeMap<ChainId, Vec<(u64, Found)>> = BTreeMap::new();
    for found in trail {
        match &found {
            Found::Entry(Sealed { chain, seq, .. }) | Found::Unreadable(Place::Entry(chain, seq), _) => {
                let seq = *seq;
                chains.entry(chain.clone()).or_default().push((seq, found));
            }
            Found::Unreadable(place, problem) => {
                let fault = Fault::Unreadable(problem.clone());
                verdict.defects.push(Defect { place: place.clone(), fault });
                verdict.entries += 1;
            }
        }
    }
    let seen: BTreeSet<ChainId> = chains.keys().cloned().collect();
    for (chain, mut entries) in chains {
        entries.sort_by_key(|(seq, _)| *seq);
        let mut check = ChainCheck::new(&chain, published);
        for (_, found) in entries {
            check.see(found);
        }
        verdict.add(check.finish());
    }
    for chain in published.chains().filter(|chain| !seen.contains(chain)) {
        verdict.add(Verdict { chains: 0, ..ChainCheck::new(chain, published).finish() });
    }
    verdict
}

#[cfg(test)]
mod tests;
