//! The calls that make jobs: `POST /group`, `/client`, `/time-based`, `/conditional`, `/emergency`.

use axum::extract::{Request, State};
use axum::response::Response;
use domain::accept::{Accepted, By, Request as Asked};
use domain::emergency::PresentedKey;
use http::HeaderMap;
use lambda_kit::metrics::{self, Unit};
use lambda_kit::problem::{FieldError, Problem};
use lambda_kit::{json, origin, rate_headers};
use serde::de::DeserializeOwned;

use crate::answers::{BodyAnswer, EmergencyHeaders, EveryAnswer, JobAnswer, JobHeaders};
use crate::requests::{ClientLogout, ConditionalLogout, EmergencyLogout, GroupLogout, TimeBasedLogout};
use crate::{Deps, refusal, view};

const EMERGENCY_KEY: &str = "x-emergency-key";
const IDEMPOTENCY_KEY: &str = "idempotency-key";
const IDEMPOTENCY_KEY_CHARS: std::ops::RangeInclusive<usize> = 1..=255;

/// Accepts a job, or counts what it would do.
async fn create<Body>(deps: Deps, request: Request) -> Result<Response, Problem>
where
    Body: DeserializeOwned,
    Asked: TryFrom<Body, Error = Problem>,
{
    // Who calls comes first: a stranger learns nothing about the form of a request.
    let caller = deps.callers.user(request.headers()).await?;
    let idempotency_key = idempotency_key(request.headers())?;
    let emergency_key = request.headers().get(EMERGENCY_KEY).map(|key| {
        // What is no text is no key either; it still costs a try.
        PresentedKey::new(key.to_str().unwrap_or_default())
    });
    let origin = origin::of(&request);
    let body: Body = json::read(request).await?;
    let asked = Asked { idempotency_key, emergency_key, origin, ..Asked::try_from(body)? };
    let answer =
        deps.acceptor.accept(By::User { user: &caller, desk: &deps.desk }, asked).await.map_err(refusal::refused)?;
    if let (Accepted::Started { job, .. }, Some(_)) = (&answer.accepted, &answer.standing)
        && let Some(effective_at) = job.effective_at
    {
        let millis = u64::try_from((effective_at - job.created_at).num_milliseconds()).unwrap_or_default();
        let clock = deps.acceptor.effector.clock.as_ref();
        metrics::emit(clock, "TimeToEffective", Unit::Milliseconds, millis, &[("job_id", job.id.as_str())]);
    }
    let standing = answer.standing;
    let mut response = view::accepted(answer.accepted);
    if let Some(standing) = &standing {
        rate_headers::write(response.headers_mut(), standing);
    }
    Ok(response)
}

/// The `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header).
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = key.to_str().unwrap_or_default();
    if !IDEMPOTENCY_KEY_CHARS.contains(&key.len()) {
        let detail = "must be 1 to 255 printable ASCII characters long, such as a UUID".to_owned();
        let error = FieldError { pointer: "Idempotency-Key".to_owned(), detail };
        return Err(Problem::malformed(error.pointer, error.detail));
    }
    Ok(Some(key.to_owned()))
}

/// Logs out the members of a group. Needs `batch_logout:execute:group`.
#[utoipa::path(post, path = "/group", tag = "jobs", params(JobHeaders), request_body = GroupLogout, responses(JobAnswer, BodyAnswer, EveryAnswer))]
pub async fn group(State(deps): State<Deps>, request: Request) -> Result<Response, Problem> {
    create::<GroupLogout>(deps, request).await
}

/// Logs out a client. Needs `batch_logout:execute:client`.
#[utoipa::path(post, path = "/client", tag = "jobs", params(JobHeaders), request_body = ClientLogout, responses(JobAnswer, BodyAnswer, EveryAnswer))]
pub async fn client(State(deps): State<Deps>, request: Request) -> Result<Response, Problem> {
    create::<ClientLogout>(deps, request).await
}

/// Ends old or unused tokens. Needs `batch_logout:execute:time`.
#[utoipa::path(post, path = "/time-based", tag = "jobs", params(JobHeaders), request_body = TimeBasedLogout, responses(JobAnswer, BodyAnswer, EveryAnswer))]
pub async fn time_based(State(deps): State<Deps>, request: Request) -> Result<Response, Problem> {
    create::<TimeBasedLogout>(deps, request).await
}

/// Logs out by conditions. Needs `batch_logout:execute:conditional`.
#[utoipa::path(post, path = "/conditional", tag = "jobs", params(JobHeaders), request_body = ConditionalLogout, responses(JobAnswer, BodyAnswer, EveryAnswer))]
pub async fn conditional(State(deps): State<Deps>, request: Request) -> Result<Response, Problem> {
    create::<ConditionalLogout>(deps, request).await
}

/// Logs out everybody. Needs `batch_logout:execute:emergency` and, unless it is a drill, an emergency key.
#[utoipa::path(post, path = "/emergency", tag = "jobs", params(EmergencyHeaders), request_body = EmergencyLogout, responses(JobAnswer, BodyAnswer, EveryAnswer))]
pub async fn emergency(State(deps): State<Deps>, request: Request) -> Result<Response, Problem> {
    create::<EmergencyLogout>(deps, request).await
}
