//! For tests: ports in memory, a clock and ids that are set by hand, and the contract suites for real stores.

mod accepting;
mod auditing;
mod book;
pub mod contract;
mod enrolling;
mod heads;
mod issuer;
mod mail_provider;
mod mailer;
mod memory;
pub mod ocsf;
mod outlet;
mod reports;
mod signing_in;
mod telling;
mod trail;
mod vault;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};

pub use enrolling::account;
pub use heads::MemoryHeads;
pub use issuer::{FakeIssuer, Habits};
pub use mail_provider::{FakeMailProvider, MemoryExchanges, MemorySecrets, Mood, SignedIn, parameter};
pub use mailer::{MemoryMailer, MemoryPost, Reply};
pub use memory::{Memory, MemoryQueue};
pub use outlet::{MemoryOutlet, Taken};
pub use reports::MemoryReports;
pub use vault::MemoryVault;

use crate::source::IdSource;
use crate::time::Clock;

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct TestClock {
    moment: Arc<Mutex<DateTime<Utc>>>,
    ahead: TimeDelta,
}

impl TestClock {
    /// A clock at this moment.
    pub fn at(now: DateTime<Utc>) -> Self {
        Self { moment: Arc::new(Mutex::new(now)), ahead: TimeDelta::zero() }
    }

    /// Another machine's clock: it moves with this one, and is so much ahead of it.
    #[must_use]
    pub fn ahead_by(&self, ahead: TimeDelta) -> Self {
        Self { moment: Arc::clone(&self.moment), ahead: self.ahead + ahead }
    }

    /// Moves it.
    pub fn advance(&self, by: TimeDelta) {
        *self.moment.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += by;
    }
}

impl Clock for TestClock {
    fn now(&self) -> DateTime<Utc> {
        *self.moment.lock().unwrap_or_else(std::sync::PoisonError::into_inner) + self.ahead
    }
}

/// Ids that count up from a seed.
#[derive(Debug, Default)]
pub struct SeededIds(AtomicU64);

impl SeededIds {
    /// Starts at a number; different numbers far apart never meet.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl IdSource for SeededIds {
    fn random_16(&self) -> [u8; 16] {
        let next = self.0.fetch_add(1, Ordering::SeqCst);
        (u128::from(next) << 64 | u128::from(next.wrapping_mul(0x9E37_79B9_7F4A_7C15))).to_be_bytes()
    }
}
