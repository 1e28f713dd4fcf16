//! Published heads in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::audit::head::{HeadStore, Kept};
use crate::ports::{Page, PortResult, Step};

/// Keeps what is published.
#[derive(Debug, Default)]
pub struct MemoryHeads(Mutex<BTreeMap<u64, String>>);

impl MemoryHeads {
    /// What was published, by number.
    pub fn published(&self) -> BTreeMap<u64, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl HeadStore for MemoryHeads {
    async fn publish(&self, number: u64, text: &str) -> PortResult<Step> {
        let mut published = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if published.contains_key(&number) {
            return Ok(Step::Lost);
        }
        published.insert(number, text.to_owned());
        Ok(Step::Taken)
    }

    async fn newest_first(&self, from: Option<&str>) -> PortResult<Page<Kept>> {
        let below = from.and_then(|from| from.parse().ok()).unwrap_or(u64::MAX);
        let published = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Small pages, so that every test turns some.
        let kept = published.range(..below).rev().take(2);
        let kept = kept.map(|(number, text)| Kept { number: *number, text: Some(text.clone()), overwritten: false });
        let items: Vec<Kept> = kept.collect();
        let next = items.last().filter(|last| last.number > 1).map(|last| last.number.to_string());
        Ok(Page { items, next })
    }
}
