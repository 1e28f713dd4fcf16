//! What each refusal looks like from outside: one exhaustive mapping (`[API-8]`).

use axum::extract::Request;
use domain::accept::Refused;
use domain::audit::{Action, Origin};
use domain::cancel::NotCancelled;
use domain::directory::User;
use domain::emergency::NoKey;
use domain::ids::JobId;
use domain::lists::NoPage;
use domain::permissions::Permission;
use lambda_kit::origin;
use lambda_kit::problem::Problem;

use crate::Deps;

/// Of a job, a key or a cancel.
pub fn refused(refused: Refused) -> Problem {
    let detail = refused.to_string();
    match refused {
        Refused::Forbidden(_) | Refused::UnmanagedGroup | Refused::WrongKey(_) => Problem::forbidden(detail),
        Refused::UnknownGroup(_) | Refused::UnknownClient(_) => Problem::not_found(detail),
        Refused::GroupCycle(_) => Problem::invalid("/include_subgroups", detail),
        Refused::Invalid(errors) => Problem::invalid_fields(errors),
        Refused::Unconfirmed { .. } | Refused::NeedsPlan => Problem::unconfirmed(detail),
        Refused::StalePlan(_) => Problem::conflict(detail),
        Refused::KeyReused => Problem::key_reused(detail),
        Refused::RateLimited(standing) => Problem::rate_limited(detail, &standing),
        Refused::Port(error) => Problem::unavailable(&error),
    }
}

/// Of an emergency key.
pub fn no_key(error: NoKey) -> Problem {
    match error {
        NoKey::Refused(error) => refused(error),
        NoKey::NoAddress => Problem::conflict(error.to_string()),
    }
}

/// Of a cancel.
pub fn not_cancelled(error: NotCancelled) -> Problem {
    match error {
        NotCancelled::Refused(error) => refused(error),
        NotCancelled::Unknown => Problem::not_found(error.to_string()),
        NotCancelled::Ended(_) => Problem::conflict(error.to_string()),
    }
}

/// Of a job or a list.
pub fn no_page(error: NoPage) -> Problem {
    match error {
        NoPage::Cursor => Problem::invalid("/cursor", error.to_string()),
        NoPage::Unknown => Problem::not_found(error.to_string()),
        NoPage::Forbidden(_) => Problem::forbidden(error.to_string()),
        NoPage::Port(error) => Problem::unavailable(&error),
    }
}

/// What a caller asked for who may not see it.
pub struct Asked {
    origin: Origin,
    path: String,
}

impl Asked {
    /// Of a request.
    pub fn of(request: &Request) -> Self {
        Self { origin: origin::of(request), path: request.uri().path().to_owned() }
    }

    /// Of what the caller may not see at all, which is written down.
    pub async fn forbidden(self, deps: &Deps, caller: &User, wanted: Permission) -> Problem {
        let metadata = serde_json::json!({ "asked_for": self.path });
        let auditor = &deps.acceptor.auditor;
        auditor.refused(Action::PermissionDenied, caller, None, &self.origin, metadata).await;
        refused(Refused::Forbidden(wanted.as_str()))
    }

    /// Of a job that the caller may not see, which is written down.
    pub async fn refused(self, deps: &Deps, caller: &User, id: &JobId, error: NoPage) -> Problem {
        if matches!(error, NoPage::Unknown | NoPage::Forbidden(_)) && !caller.may(Permission::View) {
            let metadata = serde_json::json!({ "asked_for": self.path });
            let auditor = &deps.acceptor.auditor;
            auditor.refused(Action::PermissionDenied, caller, Some(id), &self.origin, metadata).await;
        }
        no_page(error)
    }
}
