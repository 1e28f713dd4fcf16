//! A sign-in on its way, and what the clock makes of it.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use crate::directory::Actor;
use crate::ids::{SignInId, UserId};
use crate::notice::Language;

/// Sign-ins under way at the same time, all accounts together.
pub const AT_ONCE: u8 = 100;
/// A sign-in that is not called back by then is over, unless its bulk said otherwise.
pub const LIFETIME: TimeDelta = TimeDelta::minutes(10);
/// Once called back, it may take so long until the tokens are there, whatever was left of [`LIFETIME`].
pub const EXCHANGE_WITHIN: TimeDelta = TimeDelta::minutes(5);

/// Where a sign-in stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Somebody has to sign in at the provider.
    Pending,
    /// The provider has sent a code; it is being exchanged.
    CallbackReceived,
    /// The tokens are kept.
    Completed,
    /// It came to nothing.
    Failed,
    /// Nobody signed in in time.
    Expired,
}

impl Status {
    /// Whether nothing more will happen.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Expired)
    }

    /// What it means, in words.
    pub fn message(self, language: Language) -> &'static str {
        match (self, language) {
            (Self::Pending, Language::English) => "Waiting for somebody to sign in at the provider.",
            (Self::Pending, Language::Korean) => "사용자 인증 대기 중입니다. 브라우저에서 인증을 진행하세요.",
            (Self::CallbackReceived, Language::English) => "The provider has answered; the tokens are being obtained.",
            (Self::CallbackReceived, Language::Korean) => "콜백을 수신했습니다. 토큰을 교환하고 있습니다.",
            (Self::Completed, Language::English) => "The account is signed in; its tokens can be used.",
            (Self::Completed, Language::Korean) => "인증이 완료되었습니다. 토큰을 사용할 수 있습니다.",
            (Self::Failed, Language::English) => "The sign-in failed; see the error message.",
            (Self::Failed, Language::Korean) => "인증에 실패했습니다. 오류 메시지를 확인하세요.",
            (Self::Expired, Language::English) => "The sign-in has expired and must be started again.",
            (Self::Expired, Language::Korean) => "세션이 만료되었습니다. 다시 인증하세요.",
        }
    }

    /// As the contract spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::CallbackReceived => "CALLBACK_RECEIVED",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Expired => "EXPIRED",
        }
    }
}

/// Who is at work on something that must not be done twice, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Unique.
    pub id: String,
    /// Since when.
    pub at: DateTime<Utc>,
}

/// A sign-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignIn {
    /// Its id.
    pub id: SignInId,
    /// The account.
    pub user: UserId,
    /// Who asked for it.
    pub by: Actor,
    /// Where it stands, but for what time alone changes: see [`Self::at`].
    pub status: Status,
    /// Hash of `state`.
    pub state: String,
    /// The address to sign in at and the PKCE verifier, sealed. Gone once it is over.
    pub sealed: Option<String>,
    /// The code, sealed, until it is exchanged.
    pub code: Option<String>,
    /// Which worker exchanges the code.
    pub claim: Option<Claim>,
    /// Why it came to nothing.
    pub failure: Option<Failure>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When the provider called back.
    pub received_at: Option<DateTime<Utc>>,
    /// When it is over, whatever happens.
    pub expires_at: DateTime<Utc>,
    /// The slot it holds while it is under way.
    pub slot: u8,
    /// Counts the changes, so that none is made to what is no longer there.
    pub revision: u32,
}

impl SignIn {
    /// Where it stands at a moment: time ends it without anybody writing that down.
    pub fn at(&self, now: DateTime<Utc>) -> (Status, Option<Failure>) {
        match self.status {
            Status::Pending if now >= self.expires_at => (Status::Expired, Some(Failure::Expired)),
            Status::CallbackReceived if now >= self.expires_at => (Status::Failed, Some(Failure::Interrupted)),
            status => (status, self.failure.clone()),
        }
    }

    fn changed(&self) -> Self {
        Self { revision: self.revision + 1, ..self.clone() }
    }

    /// Called back with a code: PENDING → `CALLBACK_RECEIVED`.
    #[must_use]
    pub fn received(&self, code: String, now: DateTime<Utc>) -> Self {
        Self {
            status: Status::CallbackReceived,
            code: Some(code),
            received_at: Some(now),
            expires_at: self.expires_at.max(now + EXCHANGE_WITHIN),
            ..self.changed()
        }
    }

    /// Taken by a worker. From here on no other may exchange the code.
    #[must_use]
    pub fn claimed(&self, claim: Claim) -> Self {
        Self { claim: Some(claim), ..self.changed() }
    }

    /// Over: nothing that could be used for anything is left of it.
    #[must_use]
    pub fn over(&self, status: Status, failure: Option<Failure>) -> Self {
        Self { status, failure, sealed: None, code: None, ..self.changed() }
    }

    /// Came to nothing.
    #[must_use]
    pub fn failed(&self, failure: Failure) -> Self {
        self.over(Status::Failed, Some(failure))
    }
}

/// One of [`AT_ONCE`] places, and the sign-in that holds it. One whose time has passed is as good as free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Which.
    pub number: u8,
    /// Held by.
    pub sign_in: SignInId,
    /// Of the account.
    pub user: UserId,
    /// Until when at most.
    pub expires_at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_a_sign_ins_state_is_spelled_as_in_the_contract_and_explained_in_both_languages() {
        use Status as S;
        let is_korean = |text: &str| text.chars().any(|letter| ('가'..='힣').contains(&letter));
        for (status, name, korean) in [
            (S::Pending, "PENDING", "대기"),
            (S::CallbackReceived, "CALLBACK_RECEIVED", "콜백"),
            (S::Completed, "COMPLETED", "완료"),
            (S::Failed, "FAILED", "실패"),
            (S::Expired, "EXPIRED", "만료"),
        ] {
            assert_eq!(status.as_str(), name);
            assert_eq!(serde_json::to_value(status).ok(), Some(name.into()));
            assert!(status.message(Language::Korean).contains(korean), "{name}");
            assert!(!is_korean(status.message(Language::English)), "{name}");
        }
    }
}
