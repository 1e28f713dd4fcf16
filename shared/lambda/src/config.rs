//! Configuration: the one place that reads the environment.

use std::time::Duration;

use domain::decision::Limits;
use domain::report::Zone;
use domain::settings::{Auditor, AuthorityKind, Cache, CleanUp, Endpoints, Issuer, Outlets, Queues};
use domain::settings::{SecurityTeam, SessionLimits, Tables};
use http::Uri;

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

/// The six tables: `TOKENS_TABLE`, `DIRECTORY_TABLE`, `JOBS_TABLE`, `DENYLIST_TABLE`, `AUDIT_TABLE`, `ACCOUNTS_TABLE`.
pub fn tables() -> Result<Tables, ConfigError> {
    Ok(Tables {
        tokens: required("TOKENS_TABLE")?,
        directory: required("DIRECTORY_TABLE")?,
        jobs: required("JOBS_TABLE")?,
        denylist: required("DENYLIST_TABLE")?,
        audit: required("AUDIT_TABLE")?,
        accounts: required("ACCOUNTS_TABLE")?,
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

/// The queue of users to be told: `NOTICE_QUEUE_URL`.
pub fn notice_queue() -> Result<String, ConfigError> {
    required("NOTICE_QUEUE_URL")
}

/// The queue of accounts' codes to be exchanged: `ACCOUNT_QUEUE_URL`.
pub fn account_queue() -> Result<String, ConfigError> {
    required("ACCOUNT_QUEUE_URL")
}

/// Where the mail service reports what becomes of notices: `MAIL_CONFIGURATION_SET`; nowhere by default.
pub fn configuration_set() -> Option<String> {
    var("MAIL_CONFIGURATION_SET")
}

/// Who sends mail: `MAIL_FROM`.
pub fn mail_from() -> Result<String, ConfigError> {
    required("MAIL_FROM")
}

/// Who is told of everything critical: `SECURITY_TEAM_EMAIL`, in the language of `SECURITY_TEAM_LOCALE`; nobody by
/// default.
pub fn security_team() -> Option<SecurityTeam> {
    var("SECURITY_TEAM_EMAIL").map(|address| SecurityTeam { address, locale: var("SECURITY_TEAM_LOCALE") })
}

/// Where the audit's entries go: `SIEM_QUEUE_URL`, `ALERT_QUEUE_URL`, `EXPORT_DEAD_LETTERS_URL`.
pub fn outlets() -> Result<Outlets, ConfigError> {
    Ok(Outlets {
        siem: required("SIEM_QUEUE_URL")?,
        alerts: required("ALERT_QUEUE_URL")?,
        dead_letters: required("EXPORT_DEAD_LETTERS_URL")?,
    })
}

/// Which secret in Secrets Manager is ours: `APP_SECRET_ID`, its ARN or name.
pub fn app_secret() -> Result<String, ConfigError> {
    required("APP_SECRET_ID")
}

/// The bucket that the heads of the audit's chains are published in: `AUDIT_HEADS_BUCKET`.
pub fn audit_heads_bucket() -> Result<String, ConfigError> {
    required("AUDIT_HEADS_BUCKET")
}

/// The replication group in ElastiCache that is the cache: `CACHE_ID`.
pub fn cache_id() -> Result<String, ConfigError> {
    required("CACHE_ID")
}

/// The bucket that monthly reports are kept in: `REPORTS_BUCKET`.
pub fn reports_bucket() -> Result<String, ConfigError> {
    required("REPORTS_BUCKET")
}

/// The time zone of monthly reports, by its name in the IANA database: `REPORT_TIME_ZONE`, UTC by default.
pub fn report_zone() -> Result<Zone, ConfigError> {
    let name = "REPORT_TIME_ZONE";
    let zone = var(name).map_or(Ok(Zone::UTC), |zone| Zone::parse(zone.trim()));
    zone.map_err(|error| ConfigError { name, problem: error.to_string() })
}

/// Who is told of monthly reports: `AUDITOR_EMAILS`, addresses separated by commas, each with its language if that is not
/// English (`kim@example.com=ko`); nobody by default.
pub fn auditors() -> Result<Vec<Auditor>, ConfigError> {
    auditors_of(&var("AUDITOR_EMAILS").unwrap_or_default())
}

fn auditors_of(list: &str) -> Result<Vec<Auditor>, ConfigError> {
    let auditor = |entry: &str| {
        let (local, domain) =
            entry.rsplit_once('@').filter(|(local, domain)| !local.is_empty() && !domain.is_empty())?;
        let (domain, locale) = domain.split_once('=').map_or((domain, None), |(domain, locale)| (domain, Some(locale)));
        let locale = locale.map(str::to_owned);
        Some(Auditor { address: format!("{local}@{domain}"), locale })
    };
    let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let auditors = entries.map(|entry| {
        let problem = || format!("{entry:?} is no address, with or without =ko");
        auditor(entry).ok_or_else(|| ConfigError { name: "AUDITOR_EMAILS", problem: problem() })
    });
    auditors.collect()
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
/// `OIDC_CLIENT_CLAIM`, `OIDC_ROLES_CLAIM`, and `OIDC_HS256_SECRET` if it signs with a secret that it shares with us.
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
        client_claim: var("OIDC_CLIENT_CLAIM"),
        roles_claim: var("OIDC_ROLES_CLAIM"),
        hs256_secret: var("OIDC_HS256_SECRET").map(hs256_secret).transpose()?,
    })
}

/// RFC 7518 §3.2: a key of at least the hash's size.
fn hs256_secret(text: String) -> Result<Vec<u8>, ConfigError> {
    const MIN_BYTES: usize = 32;
    if text.len() < MIN_BYTES {
        let problem = format!("is shorter than {MIN_BYTES} bytes");
        return Err(ConfigError { name: "OIDC_HS256_SECRET", problem });
    }
    Ok(text.into_bytes())
}

/// Where the issuer's endpoints are, if its discovery document is not to say so: `OIDC_AUTHORIZATION_ENDPOINT`,
/// `OIDC_TOKEN_ENDPOINT`, `OIDC_USERINFO_ENDPOINT`, `OIDC_REVOCATION_ENDPOINT`, `OIDC_AUTH_ME_ENDPOINT`.
pub fn endpoints() -> Result<Endpoints, ConfigError> {
    let address = |name| var(name).map(|text| address(name, text)).transpose();
    Ok(Endpoints {
        authorization: address("OIDC_AUTHORIZATION_ENDPOINT")?,
        token: address("OIDC_TOKEN_ENDPOINT")?,
        userinfo: address("OIDC_USERINFO_ENDPOINT")?,
        revocation: address("OIDC_REVOCATION_ENDPOINT")?,
        auth_me: address(AUTH_ME_ENDPOINT)?,
    })
}

const AUTH_ME_ENDPOINT: &str = "OIDC_AUTH_ME_ENDPOINT";

fn address(name: &'static str, text: String) -> Result<String, ConfigError> {
    let uri = text.parse::<Uri>().ok();
    match uri.as_ref().and_then(Uri::scheme_str) {
        Some("http" | "https") => Ok(text),
        _ => Err(ConfigError { name, problem: format!("{text:?} is no http or https address") }),
    }
}

/// `OIDC_AUTHORITIES`: `userinfo`, `auth_me` or both, separated by commas, in the order they are asked; none by
/// default. `auth_me` needs `OIDC_AUTH_ME_ENDPOINT`.
pub fn authorities() -> Result<Vec<AuthorityKind>, ConfigError> {
    authority_kinds(&var("OIDC_AUTHORITIES").unwrap_or_default(), var(AUTH_ME_ENDPOINT).is_some())
}

fn authority_kinds(list: &str, has_auth_me: bool) -> Result<Vec<AuthorityKind>, ConfigError> {
    let wrong = |problem| Err(ConfigError { name: "OIDC_AUTHORITIES", problem });
    let mut kinds = Vec::new();
    for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let kind = match word {
            "userinfo" => AuthorityKind::Userinfo,
            "auth_me" if has_auth_me => AuthorityKind::AuthMe,
            "auth_me" => return wrong(format!("auth_me needs {AUTH_ME_ENDPOINT}")),
            other => return wrong(format!("{other:?} is neither userinfo nor auth_me")),
        };
        if kinds.contains(&kind) {
            return wrong(format!("{word} is named twice"));
        }
        kinds.push(kind);
    }
    Ok(kinds)
}

/// How long sessions live: `SESSION_IDLE_SECONDS`, an hour by default, and `SESSION_ABSOLUTE_SECONDS`, 30 days.
pub fn session_limits() -> Result<SessionLimits, ConfigError> {
    let seconds = |name, default| positive(name, number(name, default)?);
    Ok(SessionLimits {
        idle: seconds("SESSION_IDLE_SECONDS", 3_600)?,
        absolute: seconds("SESSION_ABSOLUTE_SECONDS", 30 * 24 * 3_600)?,
        kept: limits()?.max_sign_in_age,
    })
}

fn positive(name: &'static str, number: i64) -> Result<i64, ConfigError> {
    if number > 0 { Ok(number) } else { Err(ConfigError { name, problem: format!("{number} is not positive") }) }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The result, with the error as it would be printed.
    fn told<T>(result: Result<T, ConfigError>) -> Result<T, String> {
        result.map_err(|error| format!("{error} {error:?}"))
    }

    #[test]
    fn a_shared_secret_of_less_than_32_bytes_is_refused_and_not_printed() {
        assert_eq!(told(hs256_secret("x".repeat(32))), Ok(vec![b'x'; 32]));
        assert!(told(hs256_secret("hush".repeat(7))).is_err_and(|text| !text.contains("hush")));
    }

    #[test]
    fn authorities_are_asked_in_the_order_they_are_named() {
        use AuthorityKind::{AuthMe, Userinfo};
        assert_eq!(told(authority_kinds("", false)), Ok(vec![]));
        assert_eq!(told(authority_kinds("userinfo", false)), Ok(vec![Userinfo]));
        assert_eq!(told(authority_kinds(" auth_me, userinfo,", true)), Ok(vec![AuthMe, Userinfo]));
    }

    #[test]
    fn unknown_and_repeated_authorities_are_refused_and_so_is_one_without_an_address() {
        for (list, has_auth_me) in [("user_info", true), ("userinfo,userinfo", true), ("userinfo,auth_me", false)] {
            assert!(authority_kinds(list, has_auth_me).is_err(), "{list}");
        }
    }

    #[test]
    fn an_endpoint_is_a_whole_address() {
        for good in ["https://issuer.example/token", "http://127.0.0.1:8080/oauth2/token?x=1"] {
            assert_eq!(told(address("X", good.to_owned())), Ok(good.to_owned()));
        }
        for bad in ["/token", "issuer.example/token", "ftp://issuer.example/", "a b"] {
            assert!(address("X", bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn auditors_are_addresses_each_with_its_language() {
        let auditor = |address: &str, locale: Option<&str>| Auditor {
            address: address.to_owned(),
            locale: locale.map(str::to_owned),
        };
        assert_eq!(told(auditors_of("")), Ok(vec![]));
        let (kim, lee) = (auditor("kim=1@example.com", Some("ko")), auditor("lee@example.com", None));
        assert_eq!(told(auditors_of(" kim=1@example.com=ko,lee@example.com,")), Ok(vec![kim, lee]));
        for bad in ["kim", "@example.com", "kim@", "lee@example.com,ko"] {
            assert!(auditors_of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sessions_live_for_a_positive_time() {
        assert_eq!(told(positive("X", 1)), Ok(1));
        assert!(positive("X", 0).is_err() && positive("X", -1).is_err());
    }
}
