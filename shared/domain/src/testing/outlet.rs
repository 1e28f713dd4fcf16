//! An outlet that keeps what it is given, and takes as much of it as a test says.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::Value;

use crate::audit::Entry;
use crate::error::PortError;
use crate::ports::PortResult;
use crate::siem::Outlet;

/// What an outlet was given.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// Events for the SIEM.
    pub events: Vec<Value>,
    /// Entries for the security team.
    pub alerts: Vec<Entry>,
    /// What could not be read.
    pub set_aside: Vec<Value>,
}

/// Keeps instead of sending.
#[derive(Debug, Default)]
pub struct MemoryOutlet {
    taken: Mutex<Taken>,
    left: Mutex<Option<usize>>,
}

impl MemoryOutlet {
    fn taken_now(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it has so far.
    pub fn taken(&self) -> Taken {
        self.taken_now().clone()
    }

    /// From now on it takes so many things and then fails; none to take everything.
    pub fn fail_after(&self, things: Option<usize>) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = things;
    }

    /// How many of so many things are taken now.
    fn share(&self, asked: usize) -> (usize, PortResult<()>) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = left.map_or(asked, |left| left.min(asked));
        *left = left.map(|left| left - taken);
        let failed = PortError::Unavailable { service: "outlet", cause: "took only some".to_owned() };
        (taken, if taken < asked { Err(failed) } else { Ok(()) })
    }
}

#[async_trait]
impl Outlet for MemoryOutlet {
    async fn events(&self, events: &[Value]) -> PortResult<()> {
        let (taken, answer) = self.share(events.len());
        self.taken_now().events.extend_from_slice(&events[..taken]);
        answer
    }

    async fn alerts(&self, entries: &[Entry]) -> PortResult<()> {
        let (taken, answer) = self.share(entries.len());
        self.taken_now().alerts.extend_from_slice(&entries[..taken]);
        answer
    }

    async fn set_aside(&self, unreadable: &[Value]) -> PortResult<()> {
        let (taken, answer) = self.share(unreadable.len());
        self.taken_now().set_aside.extend_from_slice(&unreadable[..taken]);
        answer
    }
}
