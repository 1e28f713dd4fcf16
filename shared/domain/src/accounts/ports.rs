//! What account sign-in needs from the outside world. The stores' contract is in `testing/accounts.rs`.

use std::fmt;

use async_trait::async_trait;

use super::account::{Account, Provider, SecretRef};
use super::keep::Kept;
use super::session::{SignIn, Slot};
use crate::ids::{ClientId, SignInId, UserId};
use crate::ports::{PortResult, Step};
use crate::upstream::{Form, Issued, UpstreamError};

/// An account with what is kept of its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// Its settings.
    pub account: Account,
    /// Its tokens, if it ever signed in.
    pub kept: Option<Kept>,
}

/// Accounts, their sign-ins and their tokens. Reads see every acknowledged write.
#[async_trait]
pub trait AccountStore: Send + Sync {
    /// Writes an account's settings. What is kept of its tokens stays.
    async fn enrol(&self, account: &Account) -> PortResult<()>;
    /// One account.
    async fn account(&self, user: &UserId) -> PortResult<Option<Enrolled>>;
    /// Up to `limit` accounts after one, in the byte order of their users' ids.
    async fn accounts(&self, after: Option<&UserId>, limit: usize) -> PortResult<Vec<Enrolled>>;
    /// All slots that are held, those whose time has passed included.
    async fn slots(&self) -> PortResult<Vec<Slot>>;
    /// Writes a new sign-in and takes its slot, all or nothing. Lost if the slot is not free: held by none, or by
    /// `instead_of`.
    async fn begin(&self, sign_in: &SignIn, instead_of: Option<&SignInId>) -> PortResult<Step>;
    /// One sign-in.
    async fn sign_in(&self, id: &SignInId) -> PortResult<Option<SignIn>>;
    /// The sign-in of a `state`, by its hash.
    async fn sign_in_of(&self, state: &str) -> PortResult<Option<SignInId>>;
    /// Replaces a sign-in, puts off its slot's end to its own or, once it is over, frees the slot, and with `kept`
    /// replaces what is kept of the account's tokens, all or nothing. Lost if the stored sign-in is no longer of the
    /// revision before.
    async fn change(&self, after: &SignIn, kept: Option<&Kept>) -> PortResult<Step>;
    /// Replaces what is kept of an account's tokens. Lost if it is no longer `before`.
    async fn change_kept(&self, user: &UserId, before: &Kept, after: &Kept) -> PortResult<Step>;
}

/// A client's secret. Its `Debug` form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSecret(String);

impl ClientSecret {
    /// Takes a secret from where it is kept.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the provider alone.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

/// Where clients' secrets are kept.
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// A secret; none if there is no such secret, or it is not for us to read.
    async fn secret(&self, reference: &SecretRef) -> PortResult<Option<ClientSecret>>;
}

/// Hands sign-ins to the worker that exchanges their codes.
#[async_trait]
pub trait ExchangeQueue: Send + Sync {
    /// A sign-in that was called back. The message names it, and holds nothing secret.
    async fn send_exchange(&self, sign_in: &SignInId) -> PortResult<()>;
}

/// Who asks the provider: a client, with its secret if it has one.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// Its id.
    pub id: &'a ClientId,
    /// Its secret.
    pub secret: Option<&'a ClientSecret>,
}

/// A provider's endpoints.
#[async_trait]
pub trait MailProvider: Send + Sync {
    /// Where somebody signs in, with these parameters.
    async fn authorization_url(
        &self,
        provider: &Provider,
        parameters: &[(String, String)],
    ) -> Result<String, UpstreamError>;
    /// Asks the token endpoint, once, for at most 30 s. Before any try but the first (0) it waits for a moment.
    async fn token(
        &self,
        provider: &Provider,
        client: Client<'_>,
        form: &Form,
        attempt: u32,
    ) -> Result<Issued, UpstreamError>;
}
