//! An issuer in memory: it signs users in, hands out tokens, refreshes and revokes them, vouches for them, and can be
//! switched off.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::decision::TokenFacts;
use crate::identity::{Profile, VerificationSource};
use crate::ids::{ClientId, RawToken, SessionId, TokenId, UserId};
use crate::ports::{Claims, TokenVerifier, VerifyError};
use crate::time::{Clock, Epoch};
use crate::token::TokenKind;
use crate::upstream::{Authority, Form, Issued, Refused, Upstream, UpstreamError};

/// What an issuer is like.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "each is a habit of its own, and all combinations occur")]
pub struct Habits {
    /// Access tokens are JWTs rather than opaque.
    pub jwt: bool,
    /// Tokens say when the user signed in.
    pub says_auth_time: bool,
    /// Tokens name the sign-in.
    pub says_sid: bool,
    /// A refresh brings a new refresh token, and the old one is good no more.
    pub rotates: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self { jwt: true, says_auth_time: true, says_sid: true, rotates: true }
    }
}

/// One sign-in, or a client's own grant.
#[derive(Debug, Clone)]
struct Grant {
    user: Option<UserId>,
    client: ClientId,
    at: Epoch,
    sid: SessionId,
}

#[derive(Default)]
struct State {
    number: u64,
    codes: BTreeMap<String, Grant>,
    refresh: BTreeMap<String, Grant>,
    access: BTreeMap<String, (Claims, Grant)>,
    revoked: Vec<String>,
    ended: BTreeSet<SessionId>,
    down: bool,
    silent: bool,
    seconds_ahead: i64,
}

/// The issuer.
pub struct FakeIssuer {
    habits: Habits,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// Seconds until an access token expires.
const ACCESS_LIFE: i64 = 3_600;

impl FakeIssuer {
    /// An issuer of such habits.
    pub fn new(habits: Habits, clock: Arc<dyn Clock>) -> Self {
        Self { habits, clock, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn up(&self) -> Result<MutexGuard<'_, State>, UpstreamError> {
        let state = self.lock();
        match (state.down, state.silent) {
            (true, _) => Err(UpstreamError::Failed("switched off".to_owned())),
            (_, true) => Err(UpstreamError::TimedOut("told to be silent".to_owned())),
            _ => Ok(state),
        }
    }

    /// Makes every call fail, or work again. Keys stay known.
    pub fn set_down(&self, down: bool) {
        self.lock().down = down;
    }

    /// Makes every call time out, or work again.
    pub fn set_silent(&self, silent: bool) {
        self.lock().silent = silent;
    }

    /// Sets the issuer's clock ahead of everybody else's.
    pub fn set_ahead(&self, seconds: i64) {
        self.lock().seconds_ahead = seconds;
    }

    /// A code for a user who signed in at a moment.
    pub fn code(&self, user: &UserId, client: &ClientId, at: Epoch) -> String {
        let sid = SessionId::try_from(format!("sid-{}", self.lock().number + 1));
        self.code_under(user, client, at, &sid.unwrap_or_else(|_| unreachable!("a valid id")))
    }

    /// The same under the issuer's name for an earlier sign-in, which some issuers' clients share.
    pub fn code_under(&self, user: &UserId, client: &ClientId, at: Epoch, sid: &SessionId) -> String {
        let mut state = self.lock();
        state.number += 1;
        let code = format!("code-{}", state.number);
        let grant = Grant { user: Some(user.clone()), client: client.clone(), at, sid: sid.clone() };
        state.codes.insert(code.clone(), grant);
        code
    }

    /// Takes a refresh token again that was replaced by another.
    pub fn take_again(&self, replaced: &str, by: &str) {
        let mut state = self.lock();
        if let Some(grant) = state.refresh.get(by).cloned() {
            state.refresh.insert(replaced.to_owned(), grant);
        }
    }

    /// The tokens that were revoked here, in the order in which that was asked.
    pub fn revoked(&self) -> Vec<String> {
        self.lock().revoked.clone()
    }

    fn issue(&self, state: &mut State, grant: &Grant, with_refresh: bool) -> Issued {
        state.number += 1;
        let (number, now) = (state.number, Epoch::from(self.clock.now()).plus(state.seconds_ahead));
        let text = if self.habits.jwt { format!("h.{number}.s") } else { format!("opaque-{number}") };
        let facts = TokenFacts {
            id: TokenId::try_from(format!("jti-{number}")).unwrap_or_else(|_| unreachable!("a valid id")),
            kind: TokenKind::Access,
            user: grant.user.clone(),
            client: Some(grant.client.clone()),
            session: self.habits.says_sid.then(|| grant.sid.clone()),
            issued_at: now,
            signed_in_at: if self.habits.says_auth_time { grant.at } else { now },
            expires_at: now.plus(ACCESS_LIFE),
        };
        let claims = Claims {
            facts,
            has_auth_time: self.habits.says_auth_time,
            issuer: "https://issuer.test".to_owned(),
            audience: Vec::new(),
            scope: Some("openid".to_owned()),
            username: None,
            profile: Profile::default(),
        };
        state.access.insert(text.clone(), (claims, grant.clone()));
        let mut body = Map::from_iter([
            ("access_token".to_owned(), json!(text)),
            ("token_type".to_owned(), json!("Bearer")),
            ("expires_in".to_owned(), json!(ACCESS_LIFE)),
        ]);
        if let (Some(user), true) = (&grant.user, self.habits.says_auth_time) {
            // OpenID Connect Core §12.2: a refresh does not change when the sign-in was.
            let mut claims = json!({ "sub": user, "auth_time": grant.at.0 });
            if self.habits.says_sid {
                claims["sid"] = json!(grant.sid);
            }
            let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
            body.insert("id_token".to_owned(), json!(format!("h.{claims}.s")));
        }
        if with_refresh {
            let refresh = format!("refresh-{number}");
            state.refresh.insert(refresh.clone(), grant.clone());
            body.insert("refresh_token".to_owned(), json!(refresh));
        }
        Issued { body }
    }

    fn claims(&self, token: &RawToken) -> Result<Claims, VerifyError> {
        let state = self.lock();
        let known = state.access.get(token.reveal()).map(|(claims, _)| claims.clone());
        known.ok_or(VerifyError::Invalid("not of this issuer"))
    }
}

fn invalid_grant() -> UpstreamError {
    let body = Map::from_iter([("error".to_owned(), Value::from("invalid_grant"))]);
    UpstreamError::Refused(Refused { status: 400, body })
}

#[async_trait]
impl Upstream for FakeIssuer {
    async fn authorization_endpoint(&self) -> Result<String, UpstreamError> {
        drop(self.up()?);
        Ok("https://issuer.test/authorize".to_owned())
    }

    async fn token(&self, form: &Form) -> Result<Issued, UpstreamError> {
        let mut state = self.up()?;
        match form.get("grant_type") {
            Some("authorization_code") => {
                let code = form.get("code").unwrap_or_default();
                let grant = state.codes.remove(code).ok_or_else(invalid_grant)?;
                Ok(self.issue(&mut state, &grant, true))
            }
            Some("refresh_token") => {
                let token = form.get("refresh_token").unwrap_or_default();
                let grant = state.refresh.get(token).cloned().ok_or_else(invalid_grant)?;
                if self.habits.rotates {
                    state.refresh.remove(token);
                }
                Ok(self.issue(&mut state, &grant, self.habits.rotates))
            }
            _ => {
                let client = ClientId::try_from(form.get("client_id").unwrap_or("service").to_owned());
                let client = client.map_err(|_| invalid_grant())?;
                let sid = SessionId::try_from("none".to_owned()).map_err(|_| invalid_grant())?;
                let grant = Grant { user: None, client, at: self.clock.now().into(), sid };
                Ok(self.issue(&mut state, &grant, false))
            }
        }
    }

    async fn revoke(&self, form: &Form) -> Result<(), UpstreamError> {
        let mut state = self.up()?;
        let token = form.get("token").unwrap_or_default().to_owned();
        // Signatures stay good whatever is revoked: only `vouch` knows.
        if let Some(grant) = state.refresh.remove(&token) {
            state.ended.insert(grant.sid);
        }
        state.revoked.push(token);
        Ok(())
    }

    async fn reachable(&self) -> Result<(), UpstreamError> {
        self.up().map(|_| ())
    }
}

#[async_trait]
impl Authority for FakeIssuer {
    fn source(&self) -> VerificationSource {
        VerificationSource::OauthUserinfo
    }

    async fn vouch(&self, token: &RawToken) -> Result<(UserId, Profile), UpstreamError> {
        let state = self.up()?;
        let grant = state.access.get(token.reveal()).map(|(_, grant)| grant);
        let user = grant.filter(|grant| !state.ended.contains(&grant.sid)).and_then(|grant| grant.user.clone());
        let user = user.ok_or_else(|| UpstreamError::Refused(Refused { status: 401, body: Map::new() }))?;
        let name = Some(format!("사용자 {user}"));
        Ok((user, Profile { name, ..Profile::default() }))
    }
}

#[async_trait]
impl TokenVerifier for FakeIssuer {
    fn peek(&self, token: &RawToken) -> Result<Claims, VerifyError> {
        self.claims(token)
    }

    async fn verify(&self, token: &RawToken) -> Result<Claims, VerifyError> {
        self.claims(token)
    }

    async fn verify_to_end(&self, token: &RawToken) -> Result<Claims, VerifyError> {
        self.claims(token)
    }
}
