//! `GET /jobs/{id}`: where a job stands.

use axum::Json;
use axum::extract::{Path, State};
use domain::ids::JobId;
use domain::permissions::Permission;
use http::HeaderMap;
use lambda_kit::problem::Problem;

use crate::{Deps, view};

/// A job's status and numbers: for those with `batch_logout:view`, and for whoever made it.
pub async fn get(
    State(deps): State<Deps>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<view::JobStatus>, Problem> {
    let caller = deps.callers.user(&headers).await?;
    // Another's job looks like one that is not there.
    let unknown = || Problem::not_found("There is no such job, or it is not yours to see.");
    let id = JobId::parse(id).map_err(|_| unknown())?;
    let unavailable = |error| Problem::unavailable(&error);
    let job = deps.acceptor.jobs.get(&id).await.map_err(unavailable)?.ok_or_else(unknown)?;
    if !caller.may(Permission::View) && job.initiated_by.id != caller.id {
        return Err(unknown());
    }
    let tally = deps.acceptor.jobs.tally(&id).await.map_err(unavailable)?;
    Ok(Json(view::JobStatus::new(job, &tally)))
}
