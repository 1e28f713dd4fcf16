//! `GET /oauth/authorize`: on to the issuer, where users sign in.

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use domain::ids::ClientId;
use domain::sign_in::{LastAttempt, challenge_of};
use domain::upstream::{Form, UpstreamError};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::oauth_error::{OauthAnswer, OauthError};
use crate::{Deps, cookies, form};

/// Sends a browser on to the issuer, with all parameters. After a cutoff that an earlier sign-in of this browser falls
/// under, the issuer is asked for a fresh one (`prompt=login`).
#[utoipa::path(get, path = "/oauth/authorize", tag = "sign-in", security(()),
    params(
        ("client_id" = String, Query, description = "The client (RFC 6749 §4.1.1)."),
        ("response_type" = Option<String>, Query, description = "Passed on, as are all other parameters."),
        ("code_challenge" = Option<String>, Query, description = "PKCE (RFC 7636 §4.3)."),
    ),
    responses(
        (status = 302, description = "On to the issuer.", headers(("Location" = String, description = "The issuer's authorization endpoint."))),
        OauthAnswer,
    ),
)]
pub async fn authorize(
    State(deps): State<Deps>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, OauthError> {
    let mut asked = form::query(query.as_deref().unwrap_or_default())?;
    let client = asked.get("client_id").ok_or(OauthError::InvalidRequest("The parameter client_id is missing."))?;
    let client = ClientId::parse(client).map_err(|_| OauthError::InvalidRequest("client_id is no client's id."))?;
    let endpoint = deps.sign_ins.upstream.authorization_endpoint().await.map_err(OauthError::from)?;
    let challenge = challenge(&asked);
    if must_be_fresh(&deps, &client, &headers, challenge.is_some()).await {
        ask_for_fresh_sign_in(&mut asked);
    }
    limit_age(&mut asked, deps.sign_ins.sign_outs.denier.limits.max_sign_in_age);
    let location = with_query(&endpoint, &asked)?;
    let mut answer = (StatusCode::FOUND, [(header::LOCATION, location)]).into_response();
    if let Some(challenge) = challenge {
        cookies::set(answer.headers_mut(), cookies::ATTEMPT, &challenge, cookies::ATTEMPT_LIFE);
    }
    Ok(answer)
}

/// The PKCE challenge as the token endpoint will tell it from the verifier, which a plain one is (RFC 7636 §4.2, §4.3).
fn challenge(asked: &Form) -> Option<String> {
    let challenge = asked.get("code_challenge")?;
    match asked.get("code_challenge_method") {
        Some("S256") => Some(challenge.to_owned()),
        None | Some("plain") => Some(challenge_of(challenge)),
        Some(_) => None,
    }
}

/// Where nobody can tell, a password too many is asked for: the tokens are checked in any case.
async fn must_be_fresh(deps: &Deps, client: &ClientId, headers: &HeaderMap, uses_pkce: bool) -> bool {
    let attempt = cookies::get(headers, cookies::ATTEMPT);
    let last = match attempt.as_deref() {
        _ if !uses_pkce => LastAttempt::Unmarked,
        Some(challenge) => LastAttempt::With(challenge),
        None => LastAttempt::None,
    };
    let fresh = async {
        let remembered = cookies::remembered(deps.vault.as_ref(), headers).await?;
        deps.sign_ins.must_be_fresh(client, remembered.as_ref(), last).await
    };
    fresh.await.unwrap_or_else(|error| {
        tracing::warn!(%error, "nobody can tell whether an earlier sign-in is still good");
        true
    })
}

fn set(form: &mut Form, name: &str, value: String) {
    form.fields.retain(|(field, _)| field != name);
    form.fields.push((name.to_owned(), value));
}

/// OpenID Connect Core §3.1.2.1. `none` forbids every page, so that only the age can say it: the issuer then answers
/// `login_required`.
fn ask_for_fresh_sign_in(asked: &mut Form) {
    let prompt = asked.get("prompt").unwrap_or_default().to_owned();
    let mut prompts: Vec<&str> = prompt.split(' ').filter(|prompt| !prompt.is_empty()).collect();
    if prompts == ["none"] {
        set(asked, "max_age", "0".to_owned());
        return;
    }
    if !prompts.contains(&"login") {
        prompts.insert(0, "login");
    }
    set(asked, "prompt", prompts.join(" "));
}

/// Asks for no older sign-in than verifiers take. With `max_age` the ID token must say when it was (OpenID Connect Core
/// §2, `auth_time`), which is what cutoffs compare.
fn limit_age(asked: &mut Form, longest: i64) {
    let is_openid = asked.get("scope").is_some_and(|scope| scope.split(' ').any(|scope| scope == "openid"));
    let given = asked.get("max_age").and_then(|age| age.parse::<i64>().ok());
    if is_openid && given.is_none_or(|given| given > longest) {
        set(asked, "max_age", longest.to_string());
    }
}

fn with_query(endpoint: &str, asked: &Form) -> Result<HeaderValue, OauthError> {
    let failed = || OauthError::from(UpstreamError::Failed("its authorization endpoint is no address".to_owned()));
    let query = serde_urlencoded::to_string(&asked.fields).map_err(|_| failed())?;
    let separator = if endpoint.contains('?') { '&' } else { '?' };
    HeaderValue::try_from(format!("{endpoint}{separator}{query}")).map_err(|_| failed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(fields: &[(&str, &str)]) -> Form {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Form { fields, authorization: None }
    }

    #[test]
    fn cut_4_a_fresh_sign_in_is_asked_for_beside_whatever_else_the_client_asks() {
        for (prompt, wanted) in [("", "login"), ("consent", "login consent"), ("login consent", "login consent")] {
            let mut asked = form(&[("prompt", prompt)]);
            ask_for_fresh_sign_in(&mut asked);
            assert_eq!(asked.get("prompt"), Some(wanted));
        }
        let mut silent = form(&[("prompt", "none")]);
        ask_for_fresh_sign_in(&mut silent);
        assert_eq!((silent.get("prompt"), silent.get("max_age")), (Some("none"), Some("0")));
    }

    #[test]
    fn cut_4_the_issuer_is_asked_to_say_when_the_sign_in_was_and_a_stricter_client_stays_stricter() {
        for (scope, given, wanted) in [
            ("openid email", None, Some("100")),
            ("email", None, None),
            ("openid", Some("30"), Some("30")),
            ("openid", Some("300"), Some("100")),
        ] {
            let mut asked = form(&[("scope", scope)]);
            asked.fields.extend(given.map(|given| ("max_age".to_owned(), given.to_owned())));
            limit_age(&mut asked, 100);
            assert_eq!(asked.get("max_age"), wanted, "{scope:?} {given:?}");
        }
    }

    #[test]
    fn an_endpoint_with_a_query_of_its_own_keeps_it() {
        let asked = form(&[("state", "ㄱ&=+")]);
        let state = "state=%E3%84%B1%26%3D%2B";
        assert_eq!(with_query("https://a/b", &asked).ok(), HeaderValue::try_from(format!("https://a/b?{state}")).ok());
        assert_eq!(
            with_query("https://a/b?p=1", &asked).ok(),
            HeaderValue::try_from(format!("https://a/b?p=1&{state}")).ok()
        );
    }
}
