//! `POST /group`: logging out a group.

use axum::extract::{Request, State};
use axum::response::Response;
use domain::accept::{Refused, Request as Job};
use domain::ids::{GroupId, InvalidId, JobId};
use domain::job::{Conditions, Priority};
use lambda_kit::json;
use lambda_kit::problem::Problem;
use serde::Deserialize;

use crate::{Deps, view};

/// The body. Unknown members are refused, so that a misspelt safety is noticed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "the contract's own members")]
struct GroupLogout {
    group_id: String,
    #[serde(default)]
    include_subgroups: bool,
    #[serde(default = "yes")]
    exclude_admin_users: bool,
    reason: String,
    #[serde(default = "yes")]
    notify_users: bool,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    plan_id: Option<String>,
    #[serde(default)]
    confirmation_code: Option<String>,
    #[serde(default)]
    priority: RequestedPriority,
}

/// What may be asked for; `immediate` is the emergency's alone.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RequestedPriority {
    #[default]
    Normal,
    High,
}

fn yes() -> bool {
    true
}

fn wrong_id(pointer: &'static str) -> impl Fn(InvalidId) -> Problem {
    move |error| Problem::invalid(pointer, error.to_string())
}

impl TryFrom<GroupLogout> for Job {
    type Error = Problem;

    fn try_from(body: GroupLogout) -> Result<Self, Problem> {
        Ok(Self {
            conditions: Conditions::GroupBased {
                group_id: GroupId::parse(body.group_id).map_err(wrong_id("/group_id"))?,
                include_subgroups: body.include_subgroups,
                exclude_admin_users: body.exclude_admin_users,
            },
            reason: body.reason,
            notify_users: body.notify_users,
            dry_run: body.dry_run,
            priority: match body.priority {
                RequestedPriority::Normal => Priority::Normal,
                RequestedPriority::High => Priority::High,
            },
            plan_id: body.plan_id.map(JobId::parse).transpose().map_err(wrong_id("/plan_id"))?,
            confirmation_code: body.confirmation_code,
        })
    }
}

/// Accepts a group logout, or counts what it would do.
pub async fn create(State(deps): State<Deps>, request: Request) -> Result<Response, Problem> {
    // Who calls comes first: a stranger learns nothing about the form of a request.
    let caller = deps.callers.user(request.headers()).await?;
    let body: GroupLogout = json::read(request).await?;
    let accepted = deps.acceptor.accept(&caller, body.try_into()?).await.map_err(problem)?;
    Ok(view::accepted(accepted))
}

/// What each refusal looks like from outside.
fn problem(refused: Refused) -> Problem {
    let detail = refused.to_string();
    match refused {
        Refused::Forbidden(_) | Refused::UnmanagedGroup => Problem::forbidden(detail),
        Refused::UnknownGroup(_) => Problem::not_found(detail),
        Refused::GroupCycle(_) => Problem::invalid("/include_subgroups", detail),
        Refused::Invalid { pointer, detail } => Problem::invalid(pointer, detail),
        Refused::Unconfirmed { .. } | Refused::NeedsPlan => Problem::unconfirmed(detail),
        Refused::StalePlan(_) => Problem::conflict(detail),
        Refused::Port(error) => Problem::unavailable(&error),
    }
}
