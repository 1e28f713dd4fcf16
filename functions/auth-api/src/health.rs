//! `GET /health`: the function runs; if asked, whether the issuer answers, too.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use chrono::{DateTime, TimeDelta, Utc};
use lambda_kit::problem::{Problem, ProblemDocument};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use utoipa::{IntoParams, ToSchema};

use crate::Deps;

/// The issuer is asked at most this often, whoever asks how it is: a monitor, or somebody who means no good, must not be
/// able to load it.
const LOOK_EVERY: TimeDelta = TimeDelta::seconds(10);

/// What was seen of the issuer, and when.
pub type Seen = Arc<Mutex<Option<(DateTime<Utc>, UpstreamHealth)>>>;

/// What to tell besides.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct HealthQuery {
    /// Whether to tell how the issuer is.
    #[serde(default)]
    #[param(required = false, default = false)]
    upstream: bool,
}

/// How the issuer is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct UpstreamHealth {
    /// `healthy` or `unhealthy`
    status: &'static str,
    /// Seconds until it answered, or until it was given up.
    response_time: f64,
}

/// How the function is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `healthy`
    status: &'static str,
    /// `batch-logout`
    service: &'static str,
    /// The issuer, if asked for; seen within the last ten seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    upstream: Option<UpstreamHealth>,
}

/// The function runs. Nobody is asked for that, so that a monitor cannot load the stores.
#[utoipa::path(get, path = "/health", tag = "service", security(()), params(HealthQuery),
    responses(
        (status = 200, description = "The function runs.", body = Health),
        (status = 400, description = "The query cannot be read.", content_type = "application/problem+json", body = ProblemDocument),
        (status = 429, description = "The stage's throttle.", content_type = "application/problem+json", body = ProblemDocument),
    ),
)]
pub async fn health(State(deps): State<Deps>, RawQuery(query): RawQuery) -> Result<Json<Health>, Problem> {
    let asked: HealthQuery = serde_urlencoded::from_str(query.as_deref().unwrap_or_default())
        .map_err(|_| Problem::malformed("", "upstream must be true or false, and be sent at most once"))?;
    let upstream = if asked.upstream { Some(look(&deps).await) } else { None };
    Ok(Json(Health { status: "healthy", service: "batch-logout", upstream }))
}

async fn look(deps: &Deps) -> UpstreamHealth {
    // Whoever comes while somebody looks waits for what they see.
    let mut seen = deps.seen.lock().await;
    let now = deps.sign_ins.clock.now();
    if let Some((at, health)) = seen.as_ref()
        && (TimeDelta::zero()..LOOK_EVERY).contains(&(now - *at))
    {
        return health.clone();
    }
    let answered = deps.sign_ins.upstream.reachable().await;
    if let Err(error) = &answered {
        tracing::warn!(%error, "the issuer is not reachable");
    }
    let taken = deps.sign_ins.clock.now() - now;
    let health = UpstreamHealth {
        status: if answered.is_ok() { "healthy" } else { "unhealthy" },
        response_time: taken.as_seconds_f64(),
    };
    *seen = Some((now, health.clone()));
    health
}
