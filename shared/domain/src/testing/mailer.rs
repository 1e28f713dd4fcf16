//! Mailers that keep what they are given.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};

use super::TestClock;
use crate::error::PortError;
use crate::mail::{Mail, MailOnce, Mailer, NotSent, Post};
use crate::notify::Mark;
use crate::ports::PortResult;
use crate::time::Clock as _;

/// Keeps mails instead of sending them.
#[derive(Debug, Default)]
pub struct MemoryMailer {
    sent: Mutex<Vec<Mail>>,
    down: Mutex<bool>,
}

impl MemoryMailer {
    /// The mails so far.
    pub fn sent(&self) -> Vec<Mail> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes every call fail, or work again.
    pub fn set_down(&self, down: bool) {
        *self.down.lock().unwrap_or_else(PoisonError::into_inner) = down;
    }
}

#[async_trait]
impl Mailer for MemoryMailer {
    async fn send(&self, mail: &Mail) -> PortResult<()> {
        if *self.down.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(PortError::Unavailable { service: "mail", cause: "switched off".to_owned() });
        }
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(mail.clone());
        Ok(())
    }
}

/// What a mail service does with a notice, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Takes it.
    Taken,
    /// Takes it, but the answer is lost.
    TakenUnsaid,
    /// Does not take it, and says why.
    Not(NotSent),
}

type Says = Box<dyn FnMut(&Mail) -> Reply + Send>;

/// A mail service whose time passes with every mail.
pub struct MemoryPost {
    clock: Arc<TestClock>,
    pace: TimeDelta,
    says: Mutex<Says>,
    sent: Mutex<Vec<(Mail, Mark)>>,
    once: Mutex<Vec<Mail>>,
}

impl MemoryPost {
    /// One that takes a mail every so often.
    pub fn new(clock: Arc<TestClock>, pace: TimeDelta) -> Self {
        Self {
            clock,
            pace,
            says: Mutex::new(Box::new(|_| Reply::Taken)),
            sent: Mutex::default(),
            once: Mutex::default(),
        }
    }

    /// From now on it says this.
    pub fn set(&self, says: impl FnMut(&Mail) -> Reply + Send + 'static) {
        *self.says.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(says);
    }

    /// The mails it took.
    pub fn sent(&self) -> Vec<(Mail, Mark)> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those without a row that waits for them.
    pub fn sent_once(&self) -> Vec<Mail> {
        self.once.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Post for MemoryPost {
    async fn turn(&self, deadline: DateTime<Utc>) -> bool {
        self.clock.advance(self.pace);
        self.clock.now() < deadline
    }

    async fn post(&self, mail: &Mail, mark: &Mark) -> Result<(), NotSent> {
        let reply = self.says.lock().unwrap_or_else(PoisonError::into_inner)(mail);
        if matches!(reply, Reply::Taken | Reply::TakenUnsaid) {
            self.sent.lock().unwrap_or_else(PoisonError::into_inner).push((mail.clone(), mark.clone()));
        }
        match reply {
            Reply::Taken => Ok(()),
            Reply::TakenUnsaid => Err(NotSent::Unknown("the answer was lost".to_owned())),
            Reply::Not(why) => Err(why),
        }
    }
}

#[async_trait]
impl MailOnce for MemoryPost {
    async fn send_once(&self, mail: &Mail) -> Result<(), NotSent> {
        let reply = self.says.lock().unwrap_or_else(PoisonError::into_inner)(mail);
        if matches!(reply, Reply::Taken | Reply::TakenUnsaid) {
            self.once.lock().unwrap_or_else(PoisonError::into_inner).push(mail.clone());
        }
        match reply {
            Reply::Taken => Ok(()),
            Reply::TakenUnsaid => Err(NotSent::Unknown("the answer was lost".to_owned())),
            Reply::Not(why) => Err(why),
        }
    }
}
