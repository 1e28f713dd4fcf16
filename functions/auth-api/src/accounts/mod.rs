//! Account sign-in (spec §13): service accounts at their mail providers. The rules are in [`domain::accounts`].

pub mod bulk;
pub mod callback;
pub mod clean_up;
pub mod list;
mod page;
pub mod start;
pub mod status;

use domain::accounts::Failure;
use domain::accounts::session::AT_ONCE;
use domain::accounts::start::NotStarted;
use domain::audit::{Action, Origin};
use domain::directory::User;
use domain::notice::Language;
use domain::permissions::Permission;
use http::{HeaderMap, header};
use lambda_kit::problem::Problem;

use crate::Deps;

/// The language of an answer: Korean or English, whichever the caller likes better (RFC 9110 §12.5.4).
fn language(headers: &HeaderMap) -> Language {
    let wanted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let ranges = wanted.split(',').filter_map(|range| {
        let (tag, quality) = range.split_once(';').unwrap_or((range, "q=1"));
        let quality: f32 = quality.trim().strip_prefix("q=").and_then(|quality| quality.parse().ok())?;
        let tag = tag.trim();
        let known = ["ko", "en"].into_iter().find(|known| {
            tag.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(known))
                && !tag[2..].starts_with(char::is_alphanumeric)
        })?;
        (quality > 0.0).then_some((known, quality))
    });
    // Of equally good ones the first.
    let best = ranges.fold(None, |best: Option<(&str, f32)>, range| match best {
        Some(best) if best.1 >= range.1 => Some(best),
        _ => Some(range),
    });
    Language::of(best.map(|(tag, _)| tag))
}

/// The caller, if they may manage accounts. A refusal is audited (`[AUTHZ-2]`).
async fn manager(deps: &Deps, headers: &HeaderMap, from: &Origin) -> Result<User, Problem> {
    let caller = deps.callers.user(headers).await?;
    if caller.may(Permission::ManageAccounts) {
        return Ok(caller);
    }
    let wanted = Permission::ManageAccounts.as_str();
    let metadata = serde_json::json!({ "permission": wanted });
    deps.auditor.refused(Action::PermissionDenied, &caller, None, from, metadata).await;
    Err(Problem::forbidden(format!("You need the permission {wanted}.")))
}

/// What happened and what to do next, in one text.
fn told(failure: &Failure, language: Language) -> String {
    failure.advice(language).text()
}

/// What a sign-in that was not begun looks like from outside.
fn not_started(error: NotStarted, language: Language) -> Problem {
    match error {
        NotStarted::Refused(failure @ Failure::NotEnrolled) => Problem::not_found(told(&failure, language)),
        NotStarted::Refused(failure) => Problem::conflict(told(&failure, language)),
        NotStarted::Full(seconds) => Problem::busy(told(&Failure::Full, language), u32::from(AT_ONCE), seconds),
        NotStarted::Provider(error) => Problem::provider_away(&error),
        NotStarted::Port(error) => Problem::unavailable(&error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use http::HeaderValue;

    use super::*;

    #[test]
    fn account_people_are_told_in_the_language_they_like_better() {
        for (header, wanted) in [
            ("", "en"),
            ("ko", "ko"),
            ("ko-KR,ko;q=0.9,en-US;q=0.8", "ko"),
            ("en-GB,ko;q=0.5", "en"),
            ("fr, ko;q=0.3, en;q=0.2", "ko"),
            ("kok, en", "en"),
            ("ko;q=0", "en"),
            ("*", "en"),
            ("한국어", "en"),
        ] {
            let headers =
                HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, HeaderValue::from_bytes(header.as_bytes()).unwrap())]);
            assert_eq!(language(&headers).tag(), wanted, "{header}");
        }
    }
}
