//! What the security team is told of a critical entry.

use super::page::Language;
use crate::audit::Action;

/// What happened, as a subject and a first line say it.
pub(super) fn what(action: Action, language: Language) -> &'static str {
    match (action, language) {
        (Action::BatchLogoutInitiated, Language::English) => "an emergency logout was started",
        (Action::BatchLogoutInitiated, Language::Korean) => "긴급 로그아웃이 시작되었습니다",
        (Action::BatchLogoutCompleted, Language::English) => "an emergency logout is through",
        (Action::BatchLogoutCompleted, Language::Korean) => "긴급 로그아웃이 완료되었습니다",
        (Action::BatchLogoutFailed, Language::English) => "an emergency logout could not end everything",
        (Action::BatchLogoutFailed, Language::Korean) => "긴급 로그아웃을 끝까지 처리하지 못했습니다",
        (Action::BatchLogoutCancelled, Language::English) => "an emergency logout was cancelled",
        (Action::BatchLogoutCancelled, Language::Korean) => "긴급 로그아웃이 취소되었습니다",
        (Action::EmergencyKeyGenerated, Language::English) => "an emergency key was mailed",
        (Action::EmergencyKeyGenerated, Language::Korean) => "긴급 로그아웃 인증번호가 발송되었습니다",
        (Action::EmergencyKeyVerificationFailed, Language::English) => "an emergency key was wrong",
        (Action::EmergencyKeyVerificationFailed, Language::Korean) => "긴급 로그아웃 인증번호가 틀렸습니다",
        (Action::PermissionDenied, Language::English) => "a request was refused",
        (Action::PermissionDenied, Language::Korean) => "권한이 없는 요청이 거부되었습니다",
        (Action::RateLimited, Language::English) => "somebody asked too often",
        (Action::RateLimited, Language::Korean) => "요청 한도를 넘었습니다",
        (Action::TokenRevoked, Language::English) => "a token was revoked",
        (Action::TokenRevoked, Language::Korean) => "토큰이 폐기되었습니다",
        (Action::UserLogout, Language::English) => "a user signed out",
        (Action::UserLogout, Language::Korean) => "사용자가 로그아웃했습니다",
        (Action::AuditChainBroken, Language::English) => "the audit trail is not what was written",
        (Action::AuditChainBroken, Language::Korean) => "감사 기록이 위조 또는 변조되었습니다",
        (Action::CacheNotSafe, Language::English) => "the cache of revocations cannot be trusted",
        (Action::CacheNotSafe, Language::Korean) => "폐기 목록 캐시를 신뢰할 수 없습니다",
        (Action::AccountSignInStarted, Language::English) => "an account is to sign in at its provider",
        (Action::AccountSignInStarted, Language::Korean) => "계정 로그인이 시작되었습니다",
        (Action::AccountSignInCompleted, Language::English) => "an account was signed in at its provider",
        (Action::AccountSignInCompleted, Language::Korean) => "계정이 로그인되었습니다",
        (Action::AccountSignInFailed, Language::English) => "an account's sign-in came to nothing",
        (Action::AccountSignInFailed, Language::Korean) => "계정 로그인에 실패했습니다",
        (Action::AccountRefreshFailed, Language::English) => "an account's tokens could not be refreshed",
        (Action::AccountRefreshFailed, Language::Korean) => "계정의 토큰을 갱신하지 못했습니다",
        (Action::AccountSignInsCleanedUp, Language::English) => "sign-ins of accounts were ended",
        (Action::AccountSignInsCleanedUp, Language::Korean) => "진행 중이던 계정 로그인이 종료되었습니다",
    }
}

/// What to do about it.
pub(super) fn advice(action: Action, language: Language) -> &'static str {
    match (action, language) {
        (Action::AuditChainBroken, Language::English) => {
            "Find out who can write to the audit table. Keep the table and the published heads as they are."
        }
        (Action::AuditChainBroken, Language::Korean) => {
            "감사 테이블에 쓸 수 있는 계정을 즉시 조사하고, 테이블과 게시된 해시를 그대로 보존해 주십시오."
        }
        (Action::CacheNotSafe, Language::English) => {
            "Tokens are checked against the database until it is. Look at the cache's engine, state and parameters."
        }
        (Action::CacheNotSafe, Language::Korean) => {
            "해결될 때까지 토큰은 데이터베이스로 확인합니다. 캐시의 엔진, 상태, 설정을 점검해 주십시오."
        }
        (_, Language::English) => "If nobody expected this, look into the account at once.",
        (_, Language::Korean) => "예정에 없던 일이라면 해당 계정을 즉시 조사해 주시기 바랍니다.",
    }
}
