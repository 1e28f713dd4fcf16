//! Reports in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::ports::{PortResult, Step};
use crate::report::ReportStore;

/// Keeps what it is given.
#[derive(Debug, Default)]
pub struct MemoryReports(Mutex<BTreeMap<String, String>>);

impl MemoryReports {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept, by name.
    pub fn kept(&self) -> BTreeMap<String, String> {
        self.lock().clone()
    }
}

#[async_trait]
impl ReportStore for MemoryReports {
    async fn read(&self, name: &str) -> PortResult<Option<String>> {
        Ok(self.lock().get(name).cloned())
    }
    async fn keep(&self, name: &str, _media_type: &str, text: &str) -> PortResult<Step> {
        let mut kept = self.lock();
        if kept.contains_key(name) {
            return Ok(Step::Lost);
        }
        kept.insert(name.to_owned(), text.to_owned());
        Ok(Step::Taken)
    }
    async fn replace(&self, name: &str, text: &str) -> PortResult<()> {
        self.lock().insert(name.to_owned(), text.to_owned());
        Ok(())
    }
    async fn remove(&self, name: &str) -> PortResult<()> {
        self.lock().remove(name);
        Ok(())
    }
}
