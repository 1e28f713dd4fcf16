//! The batch-logout API: accepting jobs, saying where they stand, stopping them (spec §2).
//!
//! How to add a call: write its handler with its OpenAPI description in a module, name it in [`calls`] and in
//! `template.yaml`, give it a row in `tests/it/stack/roles.rs`, and run `cargo xtask openapi`.

mod affected;
mod answers;
mod audit;
mod cancel;
mod create;
mod emergency_key;
mod jobs;
mod openapi;
mod paging;
mod refusal;
mod report;
pub mod requests;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use domain::accept::Acceptor;
use domain::audit::check::AuditReader;
use domain::audit::head::HeadStore;
use domain::audit::{AuditLog, Auditor, JobTrail};
use domain::cancel::Canceller;
use domain::decision::Limits;
use domain::effect::Effector;
use domain::emergency::{EmergencyDesk, KeyStore};
use domain::estimate::Estimator;
use domain::lists::Lister;
use domain::mail::Mailer;
use domain::ports::{DenylistCache, DenylistStore, Directory, JobStore, TokenStore, WorkQueue};
use domain::report::{ReportStore, Reporter, Zone};
use domain::source::IdSource;
use domain::time::Clock;
use domain::vault::Vault;
use lambda_kit::caller::Callers;
use lambda_kit::problem;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Where the API lives.
pub const BASE: &str = "/api/admin/oauth/batch-logout";

/// What the handlers need.
#[derive(Clone)]
pub struct Deps {
    /// Who calls.
    pub callers: Callers,
    /// Accepting jobs.
    pub acceptor: Acceptor,
    /// Emergency keys.
    pub desk: EmergencyDesk,
    /// Stopping jobs.
    pub canceller: Canceller,
    /// Reading jobs.
    pub lister: Lister,
    /// Making reports.
    pub reporter: Reporter,
}

/// What the function needs of the world beside its tables.
pub struct Outside {
    /// Redis.
    pub cache: Arc<dyn DenylistCache>,
    /// The planners' queues.
    pub queue: Arc<dyn WorkQueue>,
    /// Keyed hashes and seals.
    pub vault: Arc<dyn Vault>,
    /// Mail.
    pub mailer: Arc<dyn Mailer>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// New ids and random digits.
    pub ids: Arc<dyn IdSource>,
    /// The verifiers' limits.
    pub limits: Limits,
    /// What is published of the audit.
    pub heads: Arc<dyn HeadStore>,
    /// Where reports are kept.
    pub reports: Arc<dyn ReportStore>,
    /// Where their months begin and end.
    pub zone: Zone,
}

/// The tables, as one store.
pub trait Tables:
    Directory + TokenStore + JobStore + KeyStore + DenylistStore + AuditLog + AuditReader + JobTrail + 'static
{
}
impl<S> Tables for S where
    S: Directory + TokenStore + JobStore + KeyStore + DenylistStore + AuditLog + AuditReader + JobTrail + 'static
{
}

impl Deps {
    /// Puts the rules together over one store.
    pub fn new<S: Tables>(store: &Arc<S>, callers: Callers, outside: Outside) -> Self {
        let Outside { cache, queue, vault, mailer, clock, ids, limits, heads, reports, zone } = outside;
        let auditor = Auditor { log: store.clone(), clock: clock.clone(), ids: ids.clone() };
        let desk = EmergencyDesk {
            keys: store.clone(),
            jobs: store.clone(),
            vault: vault.clone(),
            mailer,
            auditor: auditor.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
        };
        let acceptor = Acceptor {
            directory: store.clone(),
            estimator: Estimator { directory: store.clone(), tokens: store.clone() },
            effector: Effector {
                jobs: store.clone(),
                denylist: store.clone(),
                cache,
                clock: clock.clone(),
                ids,
                limits,
            },
            queue,
            auditor: auditor.clone(),
        };
        let canceller = Canceller { jobs: store.clone(), auditor, clock: clock.clone() };
        let lister = Lister { jobs: store.clone(), trail: store.clone(), vault, clock: clock.clone() };
        let reporter = Reporter { trail: store.clone(), heads, jobs: store.clone(), store: reports, clock, zone };
        Self { callers, acceptor, desk, canceller, lister, reporter }
    }
}

/// The calls under [`BASE`], each with its description.
fn calls() -> OpenApiRouter<Deps> {
    OpenApiRouter::new()
        .routes(routes!(create::group))
        .routes(routes!(create::client))
        .routes(routes!(create::time_based))
        .routes(routes!(create::conditional))
        .routes(routes!(create::emergency))
        .routes(routes!(emergency_key::request))
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::get, cancel::cancel))
        .routes(routes!(affected::list))
        .routes(routes!(audit::list))
        .routes(routes!(report::get))
}

/// All calls of this function, open to pages of these origins.
pub fn router(deps: Deps, cors_origins: &[String]) -> Router {
    let cors = lambda_kit::cors::layer(cors_origins);
    Router::new()
        .nest(BASE, calls().into())
        .route(openapi::PATH, get(openapi::serve))
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(axum::middleware::from_fn(problem::layer))
        .layer(cors)
        .with_state(deps)
}

/// This function's part of the OpenAPI document, made from the types of its handlers (`[API-10]`).
pub fn described() -> utoipa::openapi::OpenApi {
    let (_, calls) = OpenApiRouter::new().nest(BASE, calls()).routes(routes!(openapi::serve)).split_for_parts();
    calls
}
