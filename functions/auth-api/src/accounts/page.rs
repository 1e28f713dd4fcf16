//! The page that a person sees after signing in at a provider: self-contained, without a script, and without anything
//! that the browser brought.

use askama::Template;
use axum::response::{IntoResponse as _, Response};
use domain::accounts::{Failure, Status};
use domain::notice::Language;
use http::{HeaderName, HeaderValue, StatusCode, header};

#[derive(Template)]
#[template(path = "callback.html")]
struct Page<'a> {
    lang: &'static str,
    title: &'static str,
    message: &'a str,
    next: &'a str,
}

/// Nothing is loaded, run, framed or sent; the one style is known by its hash.
const POLICY: &str = "default-src 'none'; style-src 'sha256-XGgHQO7NC3ni5i/X0n7mMLR412uiwkOm1jiPUMkctl8='; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The address holds the code: it is given to nobody, and kept nowhere.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
];

fn written(status: StatusCode, page: &Page<'_>) -> Response {
    let html = page.render().unwrap_or_else(|error| {
        tracing::error!(%error, "the page could not be written");
        page.title.to_owned()
    });
    let mut answer = (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response();
    for (name, value) in HEADERS {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    answer
}

/// The code is on its way.
pub fn received(language: Language) -> Response {
    let (title, next) = match language {
        Language::English => ("You are signed in", "You can close this page. The account is ready in a moment."),
        Language::Korean => ("로그인되었습니다", "이 창을 닫아도 됩니다. 잠시 뒤 계정을 사용할 수 있습니다."),
    };
    let message = Status::CallbackReceived.message(language);
    written(StatusCode::OK, &Page { lang: language.tag(), title, message, next })
}

/// It came to nothing.
pub fn failed(status: StatusCode, failure: &Failure, language: Language) -> Response {
    let advice = failure.advice(language);
    let title = match language {
        Language::English => "The account was not signed in",
        Language::Korean => "계정이 로그인되지 않았습니다",
    };
    written(status, &Page { lang: language.tag(), title, message: &advice.message, next: advice.next })
}

/// Nobody can tell at the moment.
pub fn not_now(language: Language) -> Response {
    let (title, message, next) = match language {
        Language::English => {
            ("One moment, please", "A part of the system does not answer.", "Load this page again in a moment.")
        }
        Language::Korean => {
            ("잠시만 기다려 주세요", "시스템의 일부가 응답하지 않습니다.", "잠시 뒤 이 페이지를 새로 고치세요.")
        }
    };
    written(StatusCode::SERVICE_UNAVAILABLE, &Page { lang: language.tag(), title, message, next })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn account_the_pages_policy_allows_its_own_style_and_nothing_else() {
        let page = Page { lang: "en", title: "<script>", message: "&", next: "\"" }.render().unwrap();
        let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
        let hash = format!("'sha256-{}'", STANDARD.encode(Sha256::digest(style)));
        assert!(POLICY.contains(&hash), "{hash}");
        assert!(!page.contains("<script"), "{page}");
    }
}
