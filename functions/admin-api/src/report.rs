//! `GET /reports/{month}`: a month's report, as JSON or as a page.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{Html, IntoResponse as _, Response};
use chrono::{DateTime, TimeDelta, Utc};
use domain::directory::User;
use domain::permissions::Permission;
use domain::report::{self, Language, Made, Month, NoReport, Report};
use http::{HeaderMap, HeaderName, StatusCode, header};
use lambda_kit::problem::{Problem, ProblemDocument};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Deps;
use crate::answers::EveryAnswer;
use crate::refusal::Asked;

/// How long a request works on a report. The gateway ends it after 29 s; the rest is for the page.
const TIME: TimeDelta = TimeDelta::seconds(18);

/// A report that takes longer than a request. Whoever asks again goes on with it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReportUnderWay {
    /// The month.
    month: String,
    /// `under_way`
    status: &'static str,
    /// Up to when the audit is read.
    read_until: DateTime<Utc>,
    /// Up to when it is to be read.
    until: DateTime<Utc>,
    /// What to do, in words.
    message: &'static str,
}

/// A month's report. A finished month's is made once and kept; the running month's is made anew. As a page with
/// `Accept: text/html`, in the language of `Accept-Language`, or else of the caller's locale (English or Korean).
#[utoipa::path(get, path = "/reports/{month}", operation_id = "report", tag = "reports", params(
    ("month" = String, Path, description = "The month, written YYYY-MM.", pattern = "^2[0-9]{3}-(0[1-9]|1[0-2])$", example = "2026-10"),
), responses(
    (status = 200, description = "The report.", content((Report = "application/json"), (String = "text/html"))),
    (status = 202, description = "There is much to read, and this is how far it is read; ask again to go on.", body = ReportUnderWay,
        headers(("Retry-After" = u64, description = "Seconds to wait."))),
    (status = 404, description = "The month has not begun.", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 422, description = "That is no month.", body = ProblemDocument, content_type = "application/problem+json"),
    EveryAnswer,
))]
pub async fn get(State(deps): State<Deps>, Path(month): Path<String>, request: Request) -> Result<Response, Problem> {
    let caller = deps.callers.user(request.headers()).await?;
    let asked = Asked::of(&request);
    if !caller.may(Permission::View) {
        return Err(asked.forbidden(&deps, &caller, Permission::View).await);
    }
    let month = Month::parse(&month).map_err(|error| Problem::invalid("/month", error.to_string()))?;
    let deadline = deps.reporter.clock.now() + TIME;
    match deps.reporter.report(month, deadline).await {
        Ok(Made::Report(report)) => Ok(shown(&report, request.headers(), &caller)),
        Ok(Made::UnderWay { read_until, until }) => {
            let message = "There is much to read. Ask again: each request reads on from where the last one stopped.";
            let body = ReportUnderWay { month: month.to_string(), status: "under_way", read_until, until, message };
            Ok((StatusCode::ACCEPTED, [(header::RETRY_AFTER, "1")], Json(body)).into_response())
        }
        Err(error @ NoReport::Future) => Err(Problem::not_found(error.to_string())),
        Err(NoReport::Port(error)) => Err(Problem::unavailable(&error)),
    }
}

/// The report in the form and language that is wanted.
fn shown(report: &Report, headers: &HeaderMap, caller: &User) -> Response {
    let vary = (header::VARY, "Accept, Accept-Language".to_owned());
    if !wants_page(headers) {
        return ([vary], Json(report)).into_response();
    }
    let language = language(headers, caller.locale.as_deref());
    let page = Html(report::page(report, language));
    let name = format!("inline; filename=\"batch-logout-{}.html\"", report.month);
    let policy = format!("{}; frame-ancestors 'none'; sandbox", report::policy());
    let headers = [
        vary,
        (header::CONTENT_LANGUAGE, language.tag().to_owned()),
        (header::CONTENT_DISPOSITION, name),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    (headers, page).into_response()
}

/// A header's list, whether it came as one line or as several.
fn list(headers: &HeaderMap, name: HeaderName) -> Vec<(String, f32)> {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let entries = lines.flat_map(|line| line.split(',')).map(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        // RFC 9110 §12.4.2: without a weight, 1; what is no weight wants nothing.
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        (name, weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0)))
    });
    entries.filter(|(name, _)| !name.is_empty()).collect()
}

/// How much a kind of answer is wanted (RFC 9110 §12.5.1): the most exact range decides.
fn weight(accepted: &[(String, f32)], kind: &str, whole: &str) -> f32 {
    let of = |range: &str| accepted.iter().find(|(name, _)| name == range).map(|(_, weight)| *weight);
    of(whole).or_else(|| of(&format!("{kind}/*"))).or_else(|| of("*/*")).unwrap_or(0.0)
}

/// Whether a page is wanted more than JSON.
fn wants_page(headers: &HeaderMap) -> bool {
    let accepted = list(headers, header::ACCEPT);
    weight(&accepted, "text", "text/html") > weight(&accepted, "application", "application/json")
}

/// The language that is wanted most of those there are; else the caller's own.
fn language(headers: &HeaderMap, locale: Option<&str>) -> Language {
    let wanted = list(headers, header::ACCEPT_LANGUAGE).into_iter().filter(|(tag, weight)| {
        let language = tag.split('-').next().unwrap_or_default();
        *weight > 0.0 && Language::ALL.iter().any(|known| known.tag() == language)
    });
    // Of several that are wanted as much the first.
    let best = wanted.reduce(|best, next| if next.1 > best.1 { next } else { best });
    Language::of(best.as_ref().map(|(tag, _)| tag.as_str()).or(locale))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn headers(name: HeaderName, lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (name.clone(), line.parse().unwrap())).collect()
    }

    #[test]
    fn audit_4_a_page_is_for_whoever_wants_one_more_than_json() {
        for page in [
            "text/html",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/*",
            "Text/HTML",
            "application/json;q=0.5, text/html",
        ] {
            assert!(wants_page(&headers(header::ACCEPT, &[page])), "{page}");
        }
        for json in [
            "",
            "*/*",
            "application/json",
            "application/json, text/html",
            "text/html;q=0, */*",
            "text/plain",
            "text/html;q=x",
            "application/json, text/html;q=0.9",
        ] {
            assert!(!wants_page(&headers(header::ACCEPT, &[json])), "{json}");
        }
        assert!(!wants_page(&HeaderMap::new()));
        assert!(wants_page(&headers(header::ACCEPT, &["application/json;q=0.1", "text/html"])));
    }

    #[test]
    fn audit_4_the_language_is_the_one_wanted_most_and_else_the_callers_own() {
        let said = |line: &str, locale| language(&headers(header::ACCEPT_LANGUAGE, &[line]), locale).tag();
        for (line, locale, tag) in [
            ("ko-KR,ko;q=0.9,en;q=0.8", None, "ko"),
            ("de, en;q=0.5, ko;q=0.4", Some("ko"), "en"),
            ("de", Some("ko-KR"), "ko"),
            ("ko;q=0", Some("en"), "en"),
            ("en, ko", None, "en"),
            ("*", Some("ko"), "ko"),
            ("kok", None, "en"),
        ] {
            assert_eq!(said(line, locale), tag, "{line}");
        }
        assert_eq!(language(&HeaderMap::new(), Some("ko")).tag(), "ko");
    }
}
