//! A mail provider in memory: people sign in at it, codes are exchanged once, refresh tokens rotate. It keeps to PKCE, to
//! the redirect URI and to the client's secret, and fails as it is told. And where secrets are kept, and the queue.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::accounts::ports::{Client, ClientSecret, ExchangeQueue, MailProvider, SecretStore};
use crate::accounts::{Provider, SecretRef};
use crate::error::PortError;
use crate::ids::SignInId;
use crate::ports::PortResult;
use crate::sign_in::challenge_of;
use crate::upstream::{Form, Issued, Refused, UpstreamError};

/// What the provider does instead of what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It does not answer.
    Silent,
    /// It answers 5xx, or garbage.
    Failing,
    /// It refuses with a status and an error code.
    Refusing(u16, &'static str),
    /// It issues something that is no token.
    Empty,
}

struct Code {
    challenge: String,
    redirect_uri: String,
    person: String,
}

#[derive(Default)]
struct State {
    number: u64,
    codes: HashMap<String, Code>,
    refresh: HashMap<String, String>,
    moods: VecDeque<Mood>,
    asked: u64,
    secret: Option<String>,
}

/// The provider.
#[derive(Default)]
pub struct FakeMailProvider(Mutex<State>);

/// What somebody's browser is sent back with.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// `code`.
    pub code: String,
    /// `state`.
    pub state: String,
}

/// Encodes for a query.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%');
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A parameter of an address; empty if it has none of that name.
pub fn parameter(url: &str, name: &str) -> String {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| decoded(value)).unwrap_or_default()
}

fn refused(status: u16, error: &str) -> UpstreamError {
    let body = Map::from_iter([("error".to_owned(), Value::from(error))]);
    UpstreamError::Refused(Refused { status, body })
}

impl FakeMailProvider {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The secret that clients must have.
    pub fn expect_secret(&self, secret: &str) {
        self.lock().secret = Some(secret.to_owned());
    }

    /// What it does with the next questions to its token endpoint, one each.
    pub fn behave(&self, moods: impl IntoIterator<Item = Mood>) {
        self.lock().moods.extend(moods);
    }

    /// How often its token endpoint was asked.
    pub fn asked(&self) -> u64 {
        self.lock().asked
    }

    /// Signs somebody in who was sent to an address.
    pub fn sign_in(&self, auth_url: &str, person: &str) -> SignedIn {
        let mut state = self.lock();
        state.number += 1;
        let code = format!("mail-code-{}", state.number);
        let (challenge, redirect_uri) = (parameter(auth_url, "code_challenge"), parameter(auth_url, "redirect_uri"));
        state.codes.insert(code.clone(), Code { challenge, redirect_uri, person: person.to_owned() });
        SignedIn { code, state: parameter(auth_url, "state") }
    }

    /// Takes all refresh tokens back.
    pub fn forget_refresh_tokens(&self) {
        self.lock().refresh.clear();
    }

    fn issue(state: &mut State, person: &str) -> Issued {
        state.number += 1;
        let number = state.number;
        let refresh = format!("mail-refresh-{number}");
        state.refresh.insert(refresh.clone(), person.to_owned());
        let claims = URL_SAFE_NO_PAD.encode(json!({ "preferred_username": person }).to_string());
        let body = json!({
            "access_token": format!("mail-access-{number}"), "token_type": "Bearer", "expires_in": 3_600,
            "refresh_token": refresh, "scope": "Mail.Send offline_access", "id_token": format!("h.{claims}.s"),
        });
        Issued { body: body.as_object().cloned().unwrap_or_default() }
    }
}

#[async_trait]
impl MailProvider for FakeMailProvider {
    async fn authorization_url(
        &self,
        provider: &Provider,
        parameters: &[(String, String)],
    ) -> Result<String, UpstreamError> {
        if let Provider::Oidc { issuer, .. } = provider
            && issuer.contains("away")
        {
            return Err(UpstreamError::Failed("its discovery document cannot be had".to_owned()));
        }
        let query: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        Ok(format!("https://login.example.com/authorize?{}", query.join("&")))
    }

    async fn token(&self, _: &Provider, client: Client<'_>, form: &Form, _: u32) -> Result<Issued, UpstreamError> {
        let mut state = self.lock();
        state.asked += 1;
        match state.moods.pop_front() {
            Some(Mood::Silent) => return Err(UpstreamError::TimedOut("told to be silent".to_owned())),
            Some(Mood::Failing) => return Err(UpstreamError::Failed("told to fail".to_owned())),
            Some(Mood::Refusing(status, error)) => return Err(refused(status, error)),
            Some(Mood::Empty) => return Ok(Issued { body: Map::new() }),
            None => {}
        }
        if state.secret.as_deref() != client.secret.map(ClientSecret::reveal) {
            return Err(refused(401, "invalid_client"));
        }
        let invalid = || refused(400, "invalid_grant");
        let person = match form.get("grant_type") {
            Some("authorization_code") => {
                let code = state.codes.remove(form.get("code").unwrap_or_default()).ok_or_else(invalid)?;
                let verifier = form.get("code_verifier").unwrap_or_default();
                if challenge_of(verifier) != code.challenge
                    || form.get("redirect_uri") != Some(code.redirect_uri.as_str())
                {
                    return Err(invalid());
                }
                code.person
            }
            _ => state.refresh.remove(form.get("refresh_token").unwrap_or_default()).ok_or_else(invalid)?,
        };
        Ok(Self::issue(&mut state, &person))
    }
}

/// Secrets in memory.
#[derive(Default)]
pub struct MemorySecrets(Mutex<HashMap<String, String>>);

impl MemorySecrets {
    /// Keeps a secret.
    pub fn put(&self, reference: &SecretRef, secret: &str) {
        let mut secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.insert(reference.to_string(), secret.to_owned());
    }

    /// Has none any more.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[async_trait]
impl SecretStore for MemorySecrets {
    async fn secret(&self, reference: &SecretRef) -> PortResult<Option<ClientSecret>> {
        let secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(secrets.get(&reference.to_string()).map(ClientSecret::new))
    }
}

/// The exchange queue in memory.
#[derive(Default)]
pub struct MemoryExchanges {
    sent: Mutex<Vec<SignInId>>,
    down: Mutex<bool>,
}

impl MemoryExchanges {
    /// Takes the messages out.
    pub fn take(&self) -> Vec<SignInId> {
        std::mem::take(&mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the queue fail, or work again.
    pub fn set_down(&self, down: bool) {
        *self.down.lock().unwrap_or_else(PoisonError::into_inner) = down;
    }
}

#[async_trait]
impl ExchangeQueue for MemoryExchanges {
    async fn send_exchange(&self, sign_in: &SignInId) -> PortResult<()> {
        if *self.down.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(PortError::Unavailable { service: "queue", cause: "switched off".to_owned() });
        }
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(sign_in.clone());
        Ok(())
    }
}
