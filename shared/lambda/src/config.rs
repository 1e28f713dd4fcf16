//! Configuration: the one place that reads the environment.

use std::time::Duration;

use domain::decision::Limits;
use domain::settings::{Cache, CleanUp, Issuer, Mail, Queues, Tables};

/// A variable is missing or wrong. The function refuses to start.
#[derive(Debug, thiserror::Error)]
#[error("environment variable {name}: {problem}")]
pub struct ConfigError {
    name: &'static str,
    problem: String,
}

/// Reads variables; an empty one counts as absent, as templates cannot leave one out.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn required(name: &'static str) -> Result<String, ConfigError> {
    var(name).ok_or_else(|| ConfigError { name, problem: "is not set".to_owned() })
}

fn number<T: std::str::FromStr>(name: &'static str, default: T) -> Result<T, ConfigError> {
    match var(name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| ConfigError { name, problem: format!("{text:?} is no whole number") }),
    }
}

/// The region, as Lambda says it: `AWS_REGION`.
pub fn region() -> Result<String, ConfigError> {
    required("AWS_REGION")
}

/// The address of AWS, where it is not AWS's own: `AWS_ENDPOINT_URL`.
pub fn aws_endpoint() -> Option<String> {
    var("AWS_ENDPOINT_URL")
}

/// The five tables: `TOKENS_TABLE`, `DIRECTORY_TABLE`, `JOBS_TABLE`, `DENYLIST_TABLE`, `AUDIT_TABLE`.
pub fn tables() -> Result<Tables, ConfigError> {
    Ok(Tables {
        tokens: required("TOKENS_TABLE")?,
        directory: required("DIRECTORY_TABLE")?,
        jobs: required("JOBS_TABLE")?,
        denylist: required("DENYLIST_TABLE")?,
        audit: required("AUDIT_TABLE")?,
    })
}

/// The planners' queues: `PLAN_QUEUE_URL`, `PLAN_QUEUE_URL_HIGH`, `PLAN_QUEUE_URL_IMMEDIATE`.
pub fn plan_queues() -> Result<Queues, ConfigError> {
    Ok(Queues {
        normal: required("PLAN_QUEUE_URL")?,
        high: required("PLAN_QUEUE_URL_HIGH")?,
        immediate: required("PLAN_QUEUE_URL_IMMEDIATE")?,
    })
}

/// The settling workers' queues: `CHUNK_QUEUE_URL`, `CHUNK_QUEUE_URL_HIGH`, `CHUNK_QUEUE_URL_IMMEDIATE`.
pub fn chunk_queues() -> Result<Queues, ConfigError> {
    Ok(Queues {
        normal: required("CHUNK_QUEUE_URL")?,
        high: required("CHUNK_QUEUE_URL_HIGH")?,
        immediate: required("CHUNK_QUEUE_URL_IMMEDIATE")?,
    })
}

/// Mail: `MAIL_FROM`, and `SECURITY_TEAM_EMAIL` if anybody is told of emergencies.
pub fn mail() -> Result<Mail, ConfigError> {
    Ok(Mail { from: required("MAIL_FROM")?, security_team: var("SECURITY_TEAM_EMAIL") })
}

/// Which secret in Secrets Manager is ours: `APP_SECRET_ID`, its ARN or name.
pub fn app_secret() -> Result<String, ConfigError> {
    required("APP_SECRET_ID")
}

/// The clean-up: `CLEAN_UP_INACTIVE_DAYS`, `CLEAN_UP_MAX_TOKEN_AGE_DAYS`; 0, the default, counts as not given.
pub fn clean_up() -> Result<CleanUp, ConfigError> {
    let days = |name| number(name, 0).map(|days| Some(days).filter(|days| *days > 0));
    Ok(CleanUp {
        inactive_days: days("CLEAN_UP_INACTIVE_DAYS")?,
        max_token_age_days: days("CLEAN_UP_MAX_TOKEN_AGE_DAYS")?,
    })
}

/// The issuer: `OIDC_ISSUER`, `OIDC_JWKS_URI`, `OIDC_AUDIENCE`, `OIDC_REQUIRED_CLAIM`, `OIDC_SESSION_CLAIM`,
/// `OIDC_ROLES_CLAIM`.
pub fn issuer() -> Result<Issuer, ConfigError> {
    let name = "OIDC_REQUIRED_CLAIM";
    let required_claim = match var(name) {
        None => None,
        Some(text) => match text.split_once('=') {
            Some((claim, value)) => Some((claim.to_owned(), value.to_owned())),
            None => return Err(ConfigError { name, problem: "must be claim=value".to_owned() }),
        },
    };
    Ok(Issuer {
        issuer: required("OIDC_ISSUER")?,
        jwks_uri: var("OIDC_JWKS_URI"),
        audience: var("OIDC_AUDIENCE"),
        required_claim,
        session_claim: var("OIDC_SESSION_CLAIM").unwrap_or_else(|| "sid".to_owned()),
        roles_claim: var("OIDC_ROLES_CLAIM"),
        hs256_secret: None,
    })
}

/// The cache: `REDIS_URL`, `REDIS_REPLICAS`, `REDIS_BUDGET_MILLIS`, `REDIS_IAM_USER` with `REDIS_IAM_CACHE`.
pub fn cache() -> Result<Cache, ConfigError> {
    Ok(Cache {
        url: required("REDIS_URL")?,
        replicas: number("REDIS_REPLICAS", 0)?,
        budget: Duration::from_millis(number("REDIS_BUDGET_MILLIS", 250)?),
        iam: var("REDIS_IAM_USER").zip(var("REDIS_IAM_CACHE")),
    })
}

/// The verifiers' limits: `MAX_SIGN_IN_AGE_SECONDS`, 90 days by default.
pub fn limits() -> Result<Limits, ConfigError> {
    Ok(Limits { max_sign_in_age: number("MAX_SIGN_IN_AGE_SECONDS", 90 * 24 * 3_600)? })
}

/// `CORS_ORIGINS`: the origins whose pages may call the API, separated by commas; none by default.
pub fn cors_origins() -> Vec<String> {
    let list = var("CORS_ORIGINS").unwrap_or_default();
    list.split(',').map(str::trim).filter(|origin| !origin.is_empty()).map(str::to_owned).collect()
}

/// `LOG_LEVEL`, such as `info` or `warn,adapters=debug`.
pub fn log_level() -> String {
    var("LOG_LEVEL").unwrap_or_else(|| "info".to_owned())
}

/// The function's name in logs and metrics.
pub fn service() -> String {
    var("POWERTOOLS_SERVICE_NAME")
        .or_else(|| var("AWS_LAMBDA_FUNCTION_NAME"))
        .unwrap_or_else(|| "batch-logout".to_owned())
}
