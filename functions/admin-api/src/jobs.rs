//! `GET /jobs` and `GET /jobs/{id}`: where jobs stand.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use domain::ids::{JobId, UserId};
use domain::lists::{Filter, Listed, NoPage};
use http::HeaderMap;
use lambda_kit::problem::{Problem, ProblemDocument};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Deps;
use crate::answers::EveryAnswer;
use crate::paging::{self, Paging};
use crate::refusal::{self, Asked};
use crate::view::{JobStatus, JobTypeName, StatusName};

/// Which jobs are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// In this state.
    status: Option<StatusName>,
    /// Of this kind.
    job_type: Option<JobTypeName>,
    /// Of this actor. Without `batch_logout:view` there are only the caller's own.
    #[param(min_length = 1, max_length = 512)]
    initiated_by: Option<String>,
    /// Items on a page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of jobs, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobPage {
    /// The jobs.
    items: Vec<JobStatus>,
    /// Asks for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Jobs, newest first. Without `batch_logout:view` only the caller's own.
#[utoipa::path(get, path = "/jobs", tag = "jobs", params(Wanted), responses(
    (status = 200, description = "A page of jobs.", body = JobPage),
    (status = 422, description = "A parameter is wrong.", body = ProblemDocument, content_type = "application/problem+json"),
    EveryAnswer,
))]
pub async fn list(
    State(deps): State<Deps>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Json<JobPage>, Problem> {
    let caller = deps.callers.user(&headers).await?;
    let wanted: Wanted = paging::query(query.as_deref())?;
    let paging = Paging::new(wanted.limit, wanted.cursor)?;
    let initiated_by = wanted.initiated_by.map(UserId::parse).transpose();
    let filter = Filter {
        status: wanted.status.map(Into::into),
        job_type: wanted.job_type.map(Into::into),
        initiated_by: initiated_by.map_err(|error| Problem::invalid("/initiated_by", error.to_string()))?,
    };
    let listed = deps.lister.jobs(&caller, filter, paging.limit, paging.cursor.as_deref()).await;
    let Listed { items, next_cursor } = listed.map_err(refusal::no_page)?;
    Ok(Json(JobPage {
        items: items.into_iter().map(|(job, tally)| JobStatus::new(job, &tally)).collect(),
        next_cursor,
    }))
}

/// A job's status and numbers: for those with `batch_logout:view`, and for whoever made it.
#[utoipa::path(get, path = "/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "The job.")), responses(
    (status = 200, description = "Where the job stands.", body = JobStatus),
    (status = 404, description = "There is no such job, or it is not the caller's to see.", body = ProblemDocument, content_type = "application/problem+json"),
    EveryAnswer,
))]
pub async fn get(
    State(deps): State<Deps>,
    Path(id): Path<String>,
    request: axum::extract::Request,
) -> Result<Json<JobStatus>, Problem> {
    let caller = deps.callers.user(request.headers()).await?;
    let asked = Asked::of(&request);
    let id = JobId::parse(id).map_err(|_| refusal::no_page(NoPage::Unknown))?;
    match deps.lister.job(&caller, &id).await {
        Ok((job, tally)) => Ok(Json(JobStatus::new(job, &tally))),
        Err(error) => Err(asked.refused(&deps, &caller, &id, error).await),
    }
}
