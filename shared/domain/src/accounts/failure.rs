//! Every way in which a sign-in can come to nothing: what happened, and what to do next.
//!
//! None of the texts holds anything a provider or a browser sent, but for the provider's error code.

use serde::{Deserialize, Serialize};

use crate::notice::Language;

/// Why a sign-in came to nothing, or was not begun, or tokens are not refreshed any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Failure {
    /// The account has no settings here.
    NotEnrolled,
    /// The account is switched off.
    Inactive,
    /// As many sign-ins are under way as may be.
    Full,
    /// Something did not answer before it was begun.
    NotBegun,
    /// There is no such sign-in, or not any more.
    Unknown,
    /// A `state` that was used.
    Used,
    /// Nobody signed in in time.
    Expired,
    /// An admin ended it.
    CleanedUp,
    /// The person at the provider said no.
    AccessDenied,
    /// The provider sent an error instead of a code.
    ProviderError {
        /// Its code (RFC 6749 §4.1.2.1), if it is one.
        error: String,
    },
    /// The provider sent neither a code nor an error.
    NoCode,
    /// The answer was another issuer's (RFC 9207).
    WrongIssuer,
    /// The exchange could not be handed to its worker.
    NotQueued,
    /// The client's secret is not where the enrolment says.
    NoSecret,
    /// The provider does not take the client: 401, `invalid_client`, `unauthorized_client`.
    ClientRefused {
        /// The status.
        status: u16,
    },
    /// The provider does not take the code: used, too old, of another sign-in (PKCE), or of another redirect URI.
    CodeRefused {
        /// The status.
        status: u16,
    },
    /// The provider refused otherwise.
    Refused {
        /// The status.
        status: u16,
        /// Its error code, if it sent one.
        error: String,
    },
    /// The provider did not answer in time, three times.
    TimedOut,
    /// The provider failed, or answered what makes no sense, three times.
    ProviderFailed,
    /// The provider sent no access token that can be used.
    NoToken,
    /// Somebody else signed in.
    WrongPerson,
    /// The exchange was begun and not finished, or never begun.
    Interrupted,
    /// The account's tokens were ended while it signed in, or since.
    LoggedOut,
    /// The provider takes the refresh token no more.
    RefreshRefused {
        /// The status.
        status: u16,
    },
    /// The sign-in is older than any may be.
    TooOld,
    /// The tokens were sealed with a key that is gone.
    Unreadable,
}

/// What happened, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// What happened.
    pub message: String,
    /// What to do next.
    pub next: &'static str,
}

impl Advice {
    /// Both in one text.
    pub fn text(&self) -> String {
        format!("{} {}", self.message, self.next)
    }
}

/// An error code of RFC 6749, or nothing: what a provider or a browser sends is shown to people.
pub fn error_code(sent: &str) -> String {
    let is_code = (1..=64).contains(&sent.len()) && sent.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if is_code { sent.to_owned() } else { "unknown".to_owned() }
}

impl Failure {
    /// What to tell people.
    pub fn advice(&self, language: Language) -> Advice {
        match language {
            Language::English => self.english(),
            Language::Korean => self.korean(),
        }
    }

    fn english(&self) -> Advice {
        let (message, next): (String, &'static str) = match self {
            Self::NotEnrolled => (
                "There are no OAuth settings for this account.".into(),
                "Check its enrolment file and import it (cargo xtask accounts import DIR).",
            ),
            Self::Inactive => (
                "The account is inactive.".into(),
                "Set `active: true` in its enrolment file, import it, and start again.",
            ),
            Self::Full => (
                "100 sign-ins are under way already.".into(),
                "Wait until some are done (each ends after ten minutes at the latest), or clean up.",
            ),
            Self::NotBegun => (
                "The sign-in could not be begun.".into(),
                "Check whether the provider's address in the enrolment is right, and try again in a minute.",
            ),
            Self::Unknown => (
                "The session cannot be found.".into(),
                "It may have ended more than a day ago, or the address is not complete. Start the sign-in again.",
            ),
            Self::Used => (
                "This answer was received already.".into(),
                "Each sign-in can be answered once. You can close this page; if the account is not signed in, start again.",
            ),
            Self::Expired => {
                ("The sign-in was not completed in time.".into(), "Start it again, and sign in within ten minutes.")
            }
            Self::CleanedUp => ("An administrator ended this sign-in.".into(), "Start it again if it is still needed."),
            Self::AccessDenied => (
                "The sign-in or the consent was refused at the provider.".into(),
                "Start again and agree to the permissions; an administrator of the tenant may have to consent first.",
            ),
            Self::ProviderError { error } => (
                format!("The provider refused the sign-in: {error}."),
                "Check the client, its permissions and the redirect URI at the provider, then start again.",
            ),
            Self::NoCode => (
                "The provider sent neither a code nor an error.".into(),
                "Start again; if it happens again, check the redirect URI at the provider.",
            ),
            Self::WrongIssuer => (
                "The answer came from another provider than the account's.".into(),
                "Do not sign in there again, tell the security team, and start again from a fresh address.",
            ),
            Self::NotQueued => ("The code could not be handed on.".into(), "Start the sign-in again in a minute."),
            Self::NoSecret => (
                "The client's secret could not be read.".into(),
                "Check the reference in the enrolment file, and that the function may read what it refers to.",
            ),
            Self::ClientRefused { status } => (
                format!("Token exchange failed: {status}."),
                "Check the client's secret (it may have expired) and that the redirect URI is the registered one.",
            ),
            Self::CodeRefused { status } => (
                format!("Token exchange failed: {status}, the code was not taken."),
                "A code is good once, for minutes, and for its own sign-in only. Start again; if it happens again, \
                 check the redirect URI.",
            ),
            Self::Refused { status, error } => (
                format!("Token exchange failed: {status} ({error})."),
                "Check the client's settings and permissions at the provider, then start again.",
            ),
            Self::TimedOut => (
                "Token exchange failed: the provider did not answer in time, three times.".into(),
                "Check whether the provider works, then start again.",
            ),
            Self::ProviderFailed => (
                "Token exchange failed: the provider could not be reached or did not answer sensibly, three times."
                    .into(),
                "Check whether the provider works, then start again.",
            ),
            Self::NoToken => (
                "The provider sent no access token that can be used.".into(),
                "Check the client's settings at the provider, then start again.",
            ),
            Self::WrongPerson => (
                "Somebody else than the account's owner signed in.".into(),
                "Start again, and sign in under the account's own name (a private window helps).",
            ),
            Self::Interrupted => {
                ("The exchange was interrupted; a code cannot be used twice.".into(), "Start the sign-in again.")
            }
            Self::LoggedOut => (
                "The account was logged out.".into(),
                "Ask whoever ended its tokens whether it may sign in, then start again.",
            ),
            Self::RefreshRefused { status } => {
                (format!("The provider does not refresh the tokens any more: {status}."), "Sign the account in again.")
            }
            Self::TooOld => ("The account's sign-in is older than any may be.".into(), "Sign the account in again."),
            Self::Unreadable => ("The kept tokens cannot be read any more.".into(), "Sign the account in again."),
        };
        Advice { message, next }
    }

    fn korean(&self) -> Advice {
        let (message, next): (String, &'static str) = match self {
            Self::NotEnrolled => (
                "계정별 OAuth 설정이 없습니다.".into(),
                "enrollment 파일을 확인하고 가져오기(cargo xtask accounts import DIR)를 실행하세요.",
            ),
            Self::Inactive => {
                ("비활성 계정입니다.".into(), "enrollment 파일에서 `active: true`로 바꾸고 가져온 뒤 다시 시작하세요.")
            }
            Self::Full => (
                "이미 100개의 인증이 진행 중입니다.".into(),
                "일부가 끝날 때까지 기다리거나(늦어도 10분 뒤에 끝납니다) 정리를 실행하세요.",
            ),
            Self::NotBegun => (
                "인증을 시작하지 못했습니다.".into(),
                "enrollment의 인증 서버 주소를 확인하고 1분 뒤에 다시 시도하세요.",
            ),
            Self::Unknown => (
                "세션을 찾을 수 없습니다.".into(),
                "끝난 지 하루가 지났거나 주소가 잘렸을 수 있습니다. 인증을 다시 시작하세요.",
            ),
            Self::Used => (
                "이미 처리된 응답입니다.".into(),
                "한 번의 인증에는 한 번만 응답할 수 있습니다. 창을 닫아도 됩니다. 계정이 로그인되지 않았다면 다시 시작하세요.",
            ),
            Self::Expired => {
                ("제한 시간 안에 인증이 완료되지 않았습니다.".into(), "다시 시작하고 10분 안에 로그인하세요.")
            }
            Self::CleanedUp => ("관리자가 이 인증을 종료했습니다.".into(), "아직 필요하다면 다시 시작하세요."),
            Self::AccessDenied => (
                "로그인 또는 동의가 거부되었습니다.".into(),
                "다시 시작하여 권한에 동의하세요. 테넌트 관리자의 동의가 먼저 필요할 수 있습니다.",
            ),
            Self::ProviderError { error } => (
                format!("인증 서버가 로그인을 거부했습니다: {error}."),
                "인증 서버의 클라이언트, 권한, 리다이렉트 URI 설정을 확인하고 다시 시작하세요.",
            ),
            Self::NoCode => (
                "인증 서버가 코드도 오류도 보내지 않았습니다.".into(),
                "다시 시작하고, 반복되면 리다이렉트 URI를 확인하세요.",
            ),
            Self::WrongIssuer => (
                "계정의 인증 서버가 아닌 곳에서 온 응답입니다.".into(),
                "그곳에 다시 로그인하지 말고 보안팀에 알린 뒤, 새 주소로 다시 시작하세요.",
            ),
            Self::NotQueued => ("코드를 전달하지 못했습니다.".into(), "1분 뒤에 인증을 다시 시작하세요."),
            Self::NoSecret => (
                "클라이언트 시크릿을 읽을 수 없습니다.".into(),
                "enrollment 파일의 참조와 함수의 읽기 권한을 확인하세요.",
            ),
            Self::ClientRefused { status } => (
                format!("토큰 교환 실패: {status}."),
                "클라이언트 시크릿(만료되었을 수 있음)과 리다이렉트 URI가 등록된 것과 같은지 확인하세요.",
            ),
            Self::CodeRefused { status } => (
                format!("토큰 교환 실패: {status}, 코드가 받아들여지지 않았습니다."),
                "코드는 한 번, 몇 분 동안, 해당 인증에만 쓸 수 있습니다. 다시 시작하고, 반복되면 리다이렉트 URI를 확인하세요.",
            ),
            Self::Refused { status, error } => (
                format!("토큰 교환 실패: {status} ({error})."),
                "인증 서버의 클라이언트 설정과 권한을 확인하고 다시 시작하세요.",
            ),
            Self::TimedOut => (
                "토큰 교환 실패: 인증 서버가 세 번 모두 제시간에 응답하지 않았습니다.".into(),
                "인증 서버가 동작하는지 확인하고 다시 시작하세요.",
            ),
            Self::ProviderFailed => (
                "토큰 교환 실패: 인증 서버에 연결할 수 없거나 응답이 올바르지 않습니다(3회 시도).".into(),
                "인증 서버가 동작하는지 확인하고 다시 시작하세요.",
            ),
            Self::NoToken => (
                "인증 서버가 사용할 수 있는 액세스 토큰을 보내지 않았습니다.".into(),
                "인증 서버의 클라이언트 설정을 확인하고 다시 시작하세요.",
            ),
            Self::WrongPerson => (
                "계정의 소유자가 아닌 사람이 로그인했습니다.".into(),
                "다시 시작하여 계정 본인의 이름으로 로그인하세요(시크릿 창을 권장합니다).",
            ),
            Self::Interrupted => {
                ("토큰 교환이 중단되었습니다. 코드는 두 번 쓸 수 없습니다.".into(), "인증을 다시 시작하세요.")
            }
            Self::LoggedOut => (
                "계정이 로그아웃되었습니다.".into(),
                "토큰을 종료한 담당자에게 다시 로그인해도 되는지 확인한 뒤 시작하세요.",
            ),
            Self::RefreshRefused { status } => {
                (format!("인증 서버가 더 이상 토큰을 갱신해 주지 않습니다: {status}."), "계정을 다시 로그인하세요.")
            }
            Self::TooOld => ("계정의 로그인이 허용된 기간을 넘었습니다.".into(), "계정을 다시 로그인하세요."),
            Self::Unreadable => ("보관된 토큰을 더 이상 읽을 수 없습니다.".into(), "계정을 다시 로그인하세요."),
        };
        Advice { message, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the contract's source: what went wrong, what the message says, and what to do.
    #[test]
    fn account_the_sources_error_table_row_by_row() {
        let table = [
            (Failure::NotEnrolled, "계정별 OAuth 설정이 없습니다", &["enrollment 파일", "가져오기"][..]),
            (Failure::ClientRefused { status: 401 }, "토큰 교환 실패: 401", &["클라이언트 시크릿", "리다이렉트 URI"]),
            (Failure::Unknown, "세션을 찾을 수 없습니다", &["다시 시작"]),
        ];
        for (failure, message, next) in table {
            let advice = failure.advice(Language::Korean);
            assert!(advice.message.starts_with(message), "{advice:?}");
            assert!(next.iter().all(|words| advice.next.contains(words)), "{advice:?}");
        }
        let table = [
            (Failure::NotEnrolled, "no OAuth settings", &["enrolment file", "import"][..]),
            (Failure::ClientRefused { status: 401 }, "Token exchange failed: 401", &["secret", "redirect URI"]),
            (Failure::Unknown, "session cannot be found", &["again"]),
        ];
        for (failure, message, next) in table {
            let advice = failure.advice(Language::English);
            assert!(advice.message.contains(message), "{advice:?}");
            assert!(next.iter().all(|words| advice.next.contains(words)), "{advice:?}");
        }
    }

    /// Every way there is; one that is added and not told of does not compile above, and is missing here.
    #[test]
    fn account_every_failure_says_what_happened_and_what_to_do_in_both_languages() {
        let status = 403;
        let error = || "invalid_scope".to_owned();
        let all = [
            Failure::NotEnrolled,
            Failure::Inactive,
            Failure::Full,
            Failure::NotBegun,
            Failure::Unknown,
            Failure::Used,
            Failure::Expired,
            Failure::CleanedUp,
            Failure::AccessDenied,
            Failure::ProviderError { error: error() },
            Failure::NoCode,
            Failure::WrongIssuer,
            Failure::NotQueued,
            Failure::NoSecret,
            Failure::ClientRefused { status },
            Failure::CodeRefused { status },
            Failure::Refused { status, error: error() },
            Failure::TimedOut,
            Failure::ProviderFailed,
            Failure::NoToken,
            Failure::WrongPerson,
            Failure::Interrupted,
            Failure::LoggedOut,
            Failure::RefreshRefused { status },
            Failure::TooOld,
            Failure::Unreadable,
        ];
        let is_korean = |text: &str| text.chars().any(|letter| ('가'..='힣').contains(&letter));
        let mut said = std::collections::BTreeSet::new();
        for failure in &all {
            let (english, korean) = (failure.advice(Language::English), failure.advice(Language::Korean));
            assert!(english.text().is_ascii() && english.message.ends_with('.'), "{english:?}");
            assert!(is_korean(&korean.message) && is_korean(korean.next), "{korean:?}");
            for advice in [&english, &korean] {
                assert!(advice.text().starts_with(&advice.message) && advice.text().ends_with(advice.next));
                let named = serde_json::to_value(failure).unwrap_or_default();
                for name in ["status", "error"] {
                    let sent = named[name].to_string();
                    let sent = sent.trim_matches('"');
                    assert!(sent == "null" || advice.message.contains(sent), "{advice:?} does not say {sent}");
                }
            }
            assert!(said.insert(english.message.clone()), "two failures say the same: {}", english.message);
        }
        assert_eq!(said.len(), all.len());
    }

    #[test]
    fn account_what_a_provider_sends_is_shown_only_if_it_is_an_error_code() {
        assert_eq!(error_code("invalid_scope"), "invalid_scope");
        for bad in ["", "<b>x</b>", "Invalid", "a b", &"x".repeat(65), "코드", "AADSTS65001: …"] {
            assert_eq!(error_code(bad), "unknown", "{bad}");
        }
    }
}
