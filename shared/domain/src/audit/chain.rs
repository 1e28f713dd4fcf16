//! Chains: an entry's place, its hash, and who may write next.

use std::fmt;
use std::sync::Arc;

use futures::lock::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Entry;
use crate::error::PortError;
use crate::ids::ChainId;
use crate::source::IdSource;

/// What is hashed first: what this is, and how the rest is laid out.
const LAYOUT: &[u8] = b"batch-logout audit entry, layout 1\n";

/// A SHA-256 hash; as text it is lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash([u8; 32]);

/// A text that is no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no SHA-256 in lower-case hex")]
pub struct NoHash;

impl Hash {
    /// What a chain's first entry, and the first publication, name as the one before.
    pub const NOTHING: Self = Self([0; 32]);

    /// The hash of a text.
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// The hash of an entry at its place. Everything whose length may vary comes with its length.
    fn of_entry(chain: &ChainId, seq: u64, prev: Self, text: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(LAYOUT);
        hasher.update((chain.as_str().len() as u64).to_be_bytes());
        hasher.update(chain.as_str());
        hasher.update(seq.to_be_bytes());
        hasher.update(prev.0);
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
        Self(hasher.finalize().into())
    }
}

impl TryFrom<String> for Hash {
    type Error = NoHash;
    fn try_from(text: String) -> Result<Self, NoHash> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(&text, &mut bytes).map_err(|_| NoHash)?;
        let hash = Self(bytes);
        // Of the many ways to spell it only one is ours.
        if hash.to_string() == text { Ok(hash) } else { Err(NoHash) }
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An entry at its place, as it is stored.
///
/// What is hashed is the text that is stored, not what a program reads in it: no later version of this program,
/// whatever it adds to [`Entry`], changes the hash of what was written before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The writer's chain.
    pub chain: ChainId,
    /// The place in it, from 0.
    pub seq: u64,
    /// The hash of the entry before.
    pub prev: Hash,
    /// The hash of all this.
    pub hash: Hash,
    /// The entry, in JSON.
    pub text: String,
}

impl Sealed {
    /// Puts a text at a place.
    pub fn new(chain: ChainId, seq: u64, prev: Hash, text: String) -> Self {
        let hash = Hash::of_entry(&chain, seq, prev, &text);
        Self { chain, seq, prev, hash, text }
    }

    /// Whether the hash is that of the rest.
    pub fn is_whole(&self) -> bool {
        Hash::of_entry(&self.chain, self.seq, self.prev, &self.text) == self.hash
    }

    /// The entry.
    pub fn entry(&self) -> Result<Entry, serde_json::Error> {
        serde_json::from_str(&self.text)
    }
}

/// The end of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tip {
    chain: ChainId,
    seq: u64,
    prev: Hash,
}

impl Tip {
    /// A chain that has no entry yet.
    pub fn start(chain: ChainId) -> Self {
        Self { chain, seq: 0, prev: Hash::NOTHING }
    }

    /// An entry at this place.
    pub fn seal(&self, entry: &Entry) -> Result<Sealed, PortError> {
        let text = serde_json::to_string(entry).map_err(|cause| PortError::Corrupt {
            service: "the audit trail",
            cause: format!("an entry cannot be written down: {cause}"),
        })?;
        Ok(Sealed::new(self.chain.clone(), self.seq, self.prev, text))
    }

    /// The place after an entry.
    pub fn after(sealed: &Sealed) -> Self {
        Self { chain: sealed.chain.clone(), seq: sealed.seq + 1, prev: sealed.hash }
    }
}

/// Hands out the places of this process's chain, one at a time.
///
/// A chain begins with the first entry, and is left for good as soon as nobody can tell whether a place is taken: after
/// a time-out, an error, or a writer that was dropped while it wrote.
#[derive(Clone)]
pub struct Pen {
    ids: Arc<dyn IdSource>,
    tip: Arc<Mutex<Option<Tip>>>,
}

impl fmt::Debug for Pen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pen").finish_non_exhaustive()
    }
}

impl Pen {
    /// A pen that has not written yet. Chains are named by `ids`.
    pub fn new(ids: Arc<dyn IdSource>) -> Self {
        Self { ids, tip: Arc::default() }
    }

    /// Waits for its turn and puts an entry at the next place. Whoever is handed the turn writes the entry, and says
    /// what became of it; who does not say it leaves the chain.
    pub async fn seal(&self, entry: &Entry) -> Result<(Sealed, Turn<'_>), PortError> {
        let mut guard = self.tip.lock().await;
        let tip = match guard.take() {
            Some(tip) => tip,
            None => Tip::start(self.new_chain()?),
        };
        let sealed = match tip.seal(entry) {
            Ok(sealed) => sealed,
            Err(error) => {
                *guard = Some(tip);
                return Err(error);
            }
        };
        let next = Tip::after(&sealed);
        Ok((sealed, Turn { guard, tip, next }))
    }

    fn new_chain(&self) -> Result<ChainId, PortError> {
        let corrupt = |cause: crate::ids::InvalidId| PortError::Corrupt { service: "ids", cause: cause.to_string() };
        ChainId::parse(self.ids.uuid()).map_err(corrupt)
    }
}

/// The right to write at one place.
#[must_use = "a chain whose turn is dropped is left"]
pub struct Turn<'a> {
    guard: futures::lock::MutexGuard<'a, Option<Tip>>,
    tip: Tip,
    next: Tip,
}

impl Turn<'_> {
    /// The entry is written.
    pub fn written(mut self) {
        *self.guard = Some(self.next);
    }

    /// The entry is certainly not written: its place is free.
    pub fn unwritten(mut self) {
        *self.guard = Some(self.tip);
    }

    /// Nobody knows. The next entry begins another chain.
    pub fn unknown(self) {
        tracing::warn!(chain = %self.tip.chain, seq = self.tip.seq, "an audit chain is left: its end is not known");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::audit::{Action, Level, Origin};
    use crate::directory::Actor;
    use crate::testing::SeededIds;

    fn entry() -> Entry {
        Entry {
            id: "e".to_owned(),
            at: DateTime::<Utc>::UNIX_EPOCH,
            action: Action::UserLogout,
            level: Level::Info,
            actor: Actor::schedule(),
            job_id: None,
            success: true,
            metadata: serde_json::Value::Null,
            origin: Origin::default(),
        }
    }

    #[tokio::test]
    async fn audit_2_a_place_that_is_written_is_never_handed_out_again_and_one_that_is_not_always() {
        let (pen, entry) = (Pen::new(Arc::new(SeededIds::new(1))), entry());
        let (first, turn) = pen.seal(&entry).await.unwrap();
        assert_eq!((first.seq, first.prev), (0, Hash::NOTHING));
        turn.written();
        let (second, turn) = pen.seal(&entry).await.unwrap();
        assert_eq!((&second.chain, second.seq, second.prev), (&first.chain, 1, first.hash));
        turn.unwritten();
        let (again, turn) = pen.seal(&entry).await.unwrap();
        assert_eq!(again, second, "no gap is left, which would look like a removal");
        turn.unknown();
        let (elsewhere, turn) = pen.seal(&entry).await.unwrap();
        assert_ne!(elsewhere.chain, first.chain, "the place may be taken");
        assert_eq!((elsewhere.seq, elsewhere.prev), (0, Hash::NOTHING));
        drop(turn);
        let (dropped, _turn) = pen.seal(&entry).await.unwrap();
        assert_ne!(dropped.chain, elsewhere.chain, "a writer that was stopped while it wrote knows as little");
    }

    #[test]
    fn audit_2_a_hash_has_one_spelling() {
        let text = Hash::of("entry").to_string();
        assert_eq!(Hash::try_from(text.clone()), Ok(Hash::of("entry")));
        assert_eq!(format!("{:?}", Hash::of("entry")), text);
        for other in [text.to_uppercase(), text[1..].to_owned(), format!("{text}0"), format!("{}g", &text[1..])] {
            assert_eq!(Hash::try_from(other), Err(NoHash));
        }
    }
}
