//! What was written down of one job, as whoever looks into the job is shown it.

use async_trait::async_trait;

use super::Entry;
use super::chain::Hash;
use super::verify::{Fault, Found, Place};
use crate::ids::JobId;
use crate::ports::{Page, PortResult};

/// Reads entries by the job they are about.
#[async_trait]
pub trait JobTrail: Send + Sync {
    /// Up to `limit` entries of a job, newest first.
    async fn of_job(&self, job: &JobId, from: Option<&str>, limit: usize) -> PortResult<Page<Found>>;
}

/// A line of a job's trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailLine {
    /// Where it stands in the trail.
    pub place: Place,
    /// The entry and its hash, or why it cannot be shown.
    pub entry: Result<(Box<Entry>, Hash), Fault>,
}

impl From<Found> for TrailLine {
    fn from(found: Found) -> Self {
        let sealed = match found {
            Found::Unreadable(place, problem) => return Self { place, entry: Err(Fault::Unreadable(problem)) },
            Found::Entry(sealed) => sealed,
        };
        let entry = if sealed.is_whole() {
            let read = sealed.entry().map_err(|cause| Fault::Unreadable(cause.to_string()));
            read.map(|entry| (Box::new(entry), sealed.hash))
        } else {
            Err(Fault::Altered)
        };
        Self { place: Place::Entry(sealed.chain, sealed.seq), entry }
    }
}

impl TrailLine {
    /// The entry's own id. An entry whose first writing went unanswered may stand in two chains.
    pub fn id(&self) -> Option<&str> {
        self.entry.as_ref().ok().map(|(entry, _)| entry.id.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::audit::chain::Sealed;
    use crate::ids::ChainId;

    fn sealed(text: &str) -> Sealed {
        Sealed::new(ChainId::parse("c").unwrap(), 7, Hash::NOTHING, text.to_owned())
    }

    #[test]
    fn audit_2_a_line_that_was_altered_says_so_instead_of_showing_what_it_says_now() {
        let altered = Sealed { text: "{}".to_owned(), ..sealed("as it was") };
        let line = TrailLine::from(Found::Entry(altered));
        assert_eq!(line.place.to_string(), "chain c, entry 7");
        assert_eq!(line.id(), None);
        assert_eq!(line.entry, Err(Fault::Altered));
    }

    #[test]
    fn audit_2_what_is_no_entry_stands_in_the_list_with_its_problem() {
        assert!(matches!(TrailLine::from(Found::Entry(sealed("no entry"))).entry, Err(Fault::Unreadable(_))));
        let strange = Found::Unreadable(Place::Elsewhere("x y".to_owned()), "its key names no place".to_owned());
        let line = TrailLine::from(strange);
        assert_eq!(line.entry, Err(Fault::Unreadable("its key names no place".to_owned())));
    }
}
