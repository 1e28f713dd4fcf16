//! Cookies: the session's id, the sign-in a browser remembers, and its last attempt at one (`[SESS-1]`, `[CUT-4]`).

use std::time::Duration;

use cookie::{Cookie, SameSite};
use domain::ids::{SessionId, UserId};
use domain::ports::PortResult;
use domain::sign_in::Remembered;
use domain::time::Epoch;
use domain::vault::Vault;
use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};

/// The session's id; also a header of this name with `X-` in front.
pub const SESSION_ID: &str = "session_id";
/// What the browser remembers of its last sign-in, sealed.
pub const SIGN_IN: &str = "sign_in";
/// The PKCE challenge of the browser's last attempt to sign in. It was in the browser's address bar.
pub const ATTEMPT: &str = "sign_in_attempt";
/// How long an attempt is remembered.
pub const ATTEMPT_LIFE: Duration = Duration::from_mins(10);

/// What clients keep tokens in, if they keep them in cookies, and our own: all of them go at a logout.
const CLEARED: [&str; 4] = ["access_token", "refresh_token", SESSION_ID, SIGN_IN];

/// What the sealed cookie is sealed for.
const PURPOSE: &str = "sign-in cookie 1";

#[derive(Serialize, Deserialize)]
struct Sealed {
    user: UserId,
    session: SessionId,
    at: Epoch,
}

/// A cookie of a request.
pub fn get(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut cookies = lines.flat_map(|line| Cookie::split_parse(line.to_owned())).filter_map(Result::ok);
    cookies.find(|cookie| cookie.name() == name).map(|cookie| cookie.value().to_owned())
}

fn add(headers: &mut HeaderMap, name: &str, value: &str, life: Duration) {
    // Some values come from clients or issuers; what would need quoting is not worth remembering.
    if !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)) {
        return;
    }
    let life = i64::try_from(life.as_secs()).unwrap_or(i64::MAX);
    let cookie = Cookie::build((name, value))
        .path("/")
        .secure(true)
        .http_only(true)
        // A sign-in comes back from the issuer's site.
        .same_site(SameSite::Lax)
        .max_age(cookie::time::Duration::seconds(life));
    if let Ok(value) = HeaderValue::try_from(cookie.to_string()) {
        headers.append(header::SET_COOKIE, value);
    }
}

/// Sets a cookie that only this API reads.
pub fn set(headers: &mut HeaderMap, name: &str, value: &str, life: Duration) {
    add(headers, name, value, life);
}

/// Clears all cookies of a sign-in.
pub fn clear(headers: &mut HeaderMap) {
    for name in CLEARED {
        add(headers, name, "", Duration::ZERO);
    }
}

/// The form in which a browser remembers a sign-in.
pub async fn seal(vault: &dyn Vault, remembered: &Remembered) -> PortResult<String> {
    let Remembered { user, session, at } = remembered.clone();
    let plain = serde_json::to_vec(&Sealed { user, session, at });
    vault.seal(PURPOSE, &plain.unwrap_or_else(|_| unreachable!("texts and numbers are JSON"))).await
}

/// The sign-in a browser remembers; nothing if it remembers none, or one that we did not seal.
pub async fn remembered(vault: &dyn Vault, headers: &HeaderMap) -> PortResult<Option<Remembered>> {
    let Some(sealed) = get(headers, SIGN_IN) else { return Ok(None) };
    let opened = vault.open(PURPOSE, &sealed).await?;
    let read = opened.and_then(|opened| serde_json::from_slice::<Sealed>(&opened.plain).ok());
    Ok(read.map(|Sealed { user, session, at }| Remembered { user, session, at }))
}

/// The session a caller names.
pub fn named_session(headers: &HeaderMap) -> Option<SessionId> {
    SessionId::parse(headers.get("x-session-id")?.to_str().ok()?).ok()
}

/// The session of the browser's last sign-in.
pub fn session(headers: &HeaderMap) -> Option<SessionId> {
    SessionId::parse(get(headers, SESSION_ID)?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use domain::testing::MemoryVault;

    use super::*;

    fn sent(name: &str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::try_from(format!("a=b; {name}={value}; c=d")).unwrap())])
    }

    #[test]
    fn sess_1_cookies_are_secure_http_only_and_same_site_and_a_logout_clears_all_of_them() {
        let mut headers = HeaderMap::new();
        set(&mut headers, SESSION_ID, "abc", Duration::from_secs(5));
        assert_eq!(headers[header::SET_COOKIE], "session_id=abc; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=5");
        let mut headers = HeaderMap::new();
        clear(&mut headers);
        let cleared: Vec<&str> =
            headers.get_all(header::SET_COOKIE).iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(cleared.len(), CLEARED.len());
        assert!(cleared.iter().all(|line| line.contains("=; ") && line.ends_with("Max-Age=0")), "{cleared:?}");
    }

    #[tokio::test]
    async fn cut_4_a_browser_remembers_its_sign_in_and_cannot_make_one_up() {
        let vault = MemoryVault::default();
        let remembered_at = Remembered {
            user: UserId::parse("사용자").unwrap(),
            session: SessionId::parse("s").unwrap(),
            at: Epoch(5),
        };
        let sealed = seal(&vault, &remembered_at).await.unwrap();
        assert_eq!(remembered(&vault, &sent(SIGN_IN, &sealed)).await.unwrap(), Some(remembered_at));
        assert_eq!(remembered(&vault, &sent(SIGN_IN, "invented")).await.unwrap(), None);
        assert_eq!(remembered(&vault, &HeaderMap::new()).await.unwrap(), None);
    }

    #[test]
    fn sess_1_a_caller_names_a_session_by_the_header_and_a_browser_keeps_one_in_a_cookie() {
        let mut headers = sent(SESSION_ID, "cookie");
        assert_eq!((named_session(&headers), session(&headers).unwrap().as_str()), (None, "cookie"));
        headers.insert("x-session-id", HeaderValue::from_static("header"));
        assert_eq!(
            (named_session(&headers).unwrap().as_str(), session(&headers).unwrap().as_str()),
            ("header", "cookie")
        );
    }
}
