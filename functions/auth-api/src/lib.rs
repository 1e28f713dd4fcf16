//! The user-facing half: signing in through us, signing out, and whether a token is good.
//!
//! How to add a call: write its handler in a module of its own, check the caller with [`Deps::callers`] (or, for
//! clients, `clients::authenticate`), and name it in [`calls`] and in `template.yaml`. A route that forgets the check
//! fails the inventory in `tests/it/inventory.rs`.

mod accounts;
mod answers;
mod authorize;
mod clients;
mod cookies;
mod form;
mod health;
mod introspect;
mod logout;
mod oauth_error;
mod revoke;
mod sessions;
mod token;
mod userinfo;

use std::sync::Arc;

use axum::Router;
use domain::accounts::ports::{AccountStore, ExchangeQueue, MailProvider};
use domain::accounts::{Desk, Keeper};
use domain::audit::{AuditLog, Auditor};
use domain::decision::Limits;
use domain::deny::Denier;
use domain::inspect::Inspector;
use domain::ports::{DenylistCache, DenylistStore, Directory, SignInStore, TokenStore};
use domain::session::Sessions;
use domain::settings::SessionLimits;
use domain::sign_in::SignIns;
use domain::sign_out::SignOuts;
use domain::source::IdSource;
use domain::time::Clock;
use domain::upstream::{Authority, Upstream};
use domain::vault::Vault;
use lambda_kit::caller::Callers;
use lambda_kit::problem;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What the handlers need.
#[derive(Clone)]
pub struct Deps {
    /// Who calls.
    pub callers: Callers,
    /// Signing in, and, in it, signing out.
    pub sign_ins: SignIns,
    /// Accounts at their mail providers.
    pub accounts: Desk,
    /// The audit trail.
    pub auditor: Auditor,
    /// What browsers remember, sealed.
    pub vault: Arc<dyn Vault>,
    /// How the issuer was when somebody last asked.
    pub seen: health::Seen,
}

/// What lies outside of the store.
pub struct Outside {
    /// The check of tokens.
    pub inspector: Inspector,
    /// The issuer.
    pub upstream: Arc<dyn Upstream>,
    /// Who says who a new token belongs to.
    pub profiles: Arc<dyn Authority>,
    /// Redis.
    pub cache: Arc<dyn DenylistCache>,
    /// Seals.
    pub vault: Arc<dyn Vault>,
    /// Accounts' providers.
    pub provider: Arc<dyn MailProvider>,
    /// Where their codes are exchanged.
    pub queue: Arc<dyn ExchangeQueue>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids and randomness.
    pub ids: Arc<dyn IdSource>,
    /// The verifiers' limits.
    pub limits: Limits,
    /// How long sessions live.
    pub session_limits: SessionLimits,
}

impl Deps {
    /// Everything, over one store.
    pub fn new<S>(store: &Arc<S>, outside: Outside) -> Self
    where
        S: Directory + TokenStore + SignInStore + DenylistStore + AuditLog + AccountStore + 'static,
    {
        let Outside {
            inspector,
            upstream,
            profiles,
            cache,
            vault,
            provider,
            queue,
            clock,
            ids,
            limits,
            session_limits,
        } = outside;
        let sessions = Sessions {
            store: store.clone(),
            tokens: store.clone(),
            vault: vault.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            limits: session_limits,
        };
        let sign_outs = SignOuts {
            tokens: store.clone(),
            denier: Denier { denylist: store.clone(), cache, ids: ids.clone(), limits },
            clock: clock.clone(),
        };
        let auditor = Auditor { log: store.clone(), clock: clock.clone(), ids: ids.clone() };
        let accounts = Desk {
            store: store.clone(),
            keeper: Keeper::new(store, vault.clone(), clock.clone(), ids.clone(), limits),
            provider,
            queue,
            vault: vault.clone(),
            auditor: auditor.clone(),
            clock: clock.clone(),
            ids,
        };
        let callers = Callers { inspector: inspector.clone(), directory: store.clone(), clock: clock.clone() };
        let sign_ins = SignIns {
            inspector,
            upstream,
            profiles,
            sessions,
            store: store.clone(),
            tokens: store.clone(),
            denylist: store.clone(),
            sign_outs,
            clock,
        };
        Self { callers, sign_ins, accounts, auditor, vault, seen: health::Seen::default() }
    }
}

/// The calls, each with its description.
fn calls() -> OpenApiRouter<Deps> {
    OpenApiRouter::new()
        .routes(routes!(authorize::authorize))
        .routes(routes!(token::token))
        .routes(routes!(userinfo::userinfo))
        .routes(routes!(revoke::revoke))
        .routes(routes!(introspect::introspect))
        .routes(routes!(introspect::validate))
        .routes(routes!(logout::logout))
        .routes(routes!(logout::logout_all))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::end))
        .routes(routes!(accounts::start::start))
        .routes(routes!(accounts::status::status))
        .routes(routes!(accounts::bulk::bulk))
        .routes(routes!(accounts::clean_up::clean_up))
        .routes(routes!(accounts::list::list))
        .routes(routes!(accounts::callback::callback))
        .routes(routes!(health::health))
}

/// This function's part of the OpenAPI document, made from the types of its handlers (`[API-10]`).
pub fn described() -> utoipa::openapi::OpenApi {
    calls().into_openapi()
}

/// All calls of this function, open to pages of these origins.
pub fn router(deps: Deps, cors_origins: &[String]) -> Router {
    let cors = lambda_kit::cors::layer(cors_origins);
    Router::from(calls())
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(axum::middleware::from_fn(problem::layer))
        .layer(cors)
        .with_state(deps)
}
