//! A mailer that keeps what it is given.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::error::PortError;
use crate::mail::{Mail, Mailer};
use crate::ports::PortResult;

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
