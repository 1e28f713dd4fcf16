//! Mails, and who sends them.

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::notify::Mark;
use crate::ports::PortResult;

/// A mail to one address, as text and as HTML. Made by [`Mail::new`], so that its headers are single lines.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mail {
    /// The address.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// The body for readers that show text only.
    pub text: String,
    /// The body as HTML.
    pub html: String,
}

impl Mail {
    /// Puts a mail together. A line break in the address or the subject would begin another header, so they become
    /// single lines.
    pub fn new(to: &str, subject: &str, text: String, html: String) -> Self {
        Self { to: one_line(to), subject: one_line(subject), text, html }
    }
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The bodies may hold a key, and the address is somebody's.
        f.debug_struct("Mail").field("subject", &self.subject).finish_non_exhaustive()
    }
}

/// The text without control characters and line separators: a space stands for each run of them.
pub fn one_line(text: &str) -> String {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.split(breaks).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Sends mails.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Hands a mail over for delivery. After an error it may have gone out all the same.
    async fn send(&self, mail: &Mail) -> PortResult<()>;
}

/// Why a notice was not sent, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// It was certainly not sent, and may be tried again.
    #[error("not now: {0}")]
    Later(String),
    /// It was certainly not sent, and trying again will not help. A code, without anybody's address.
    #[error("refused: {0}")]
    Rejected(String),
    /// It may have been sent. It must not be tried again.
    #[error("nobody knows: {0}")]
    Unknown(String),
}

/// Sends mails that must not go out twice, and are too few for a pace.
#[async_trait]
pub trait MailOnce: Send + Sync {
    /// Hands a mail over for delivery, once, and says what is known of it if that fails.
    async fn send_once(&self, mail: &Mail) -> Result<(), NotSent>;
}

/// Sends notices: many, no faster than the mail service allows, and none of them twice.
#[async_trait]
pub trait Post: Send + Sync {
    /// Waits until one more may be sent. False if that is not before `deadline`.
    async fn turn(&self, deadline: DateTime<Utc>) -> bool;
    /// Hands a notice over for delivery, once, with what finds its row again.
    async fn post(&self, mail: &Mail, mark: &Mark) -> Result<(), NotSent>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_begins_a_header_of_its_own() {
        for breaks in ["\r\n", "\n", "\r", "\u{B}", "\u{C}", "\u{85}", "\u{2028}", "\u{2029}", "\0", "\r\n\t\r\n "] {
            let text = format!("{breaks}위험{breaks}Bcc: everyone@example.com{breaks}");
            let mail = Mail::new(&text, &text, text.clone(), text.clone());
            assert_eq!(mail.subject, "위험 Bcc: everyone@example.com", "{breaks:?}");
            assert_eq!(mail.to, mail.subject);
            assert_eq!(mail.text, text, "a body is not touched");
        }
    }

    #[test]
    fn a_mail_does_not_print_its_bodies_nor_its_address() {
        let mail = Mail::new("kim@example.com", "Key", "123456".to_owned(), "<b>123456</b>".to_owned());
        assert_eq!(format!("{mail:?}"), "Mail { subject: \"Key\", .. }");
    }
}
