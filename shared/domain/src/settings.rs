//! What configuration decides, as plain values: read in one crate, used in another.

use std::fmt;
use std::time::Duration;

/// The tables' names.
#[derive(Debug, Clone)]
pub struct Tables {
    /// Tokens and sessions.
    pub tokens: String,
    /// Users, groups, memberships, clients.
    pub directory: String,
    /// Jobs, chunk results, affected users.
    pub jobs: String,
    /// The durable denylist.
    pub denylist: String,
    /// The audit's entries.
    pub audit: String,
    /// Accounts and their sign-ins.
    pub accounts: String,
}

/// One kind of work's queues, by priority.
#[derive(Debug, Clone)]
pub struct Queues {
    /// Of ordinary jobs.
    pub normal: String,
    /// Of jobs that go before them.
    pub high: String,
    /// Of emergencies.
    pub immediate: String,
}

/// Who is told of everything critical.
#[derive(Debug, Clone)]
pub struct SecurityTeam {
    /// The team's address.
    pub address: String,
    /// Its language: Korean for `ko`, else English.
    pub locale: Option<String>,
}

/// The queues that the audit's entries go out by.
#[derive(Debug, Clone)]
pub struct Outlets {
    /// Events for the SIEM.
    pub siem: String,
    /// Alerts for the security team.
    pub alerts: String,
    /// What cannot be handed on.
    pub dead_letters: String,
}

/// Which tokens the daily clean-up revokes: none if neither is given.
#[derive(Debug, Clone, Copy)]
pub struct CleanUp {
    /// Unused for more days than this.
    pub inactive_days: Option<u32>,
    /// Issued more days ago than this.
    pub max_token_age_days: Option<u32>,
}

/// The issuer of the tokens.
#[derive(Clone)]
pub struct Issuer {
    /// `iss`.
    pub issuer: String,
    /// Where its keys are; else its discovery document says so.
    pub jwks_uri: Option<String>,
    /// The `aud` that tokens must carry, if any.
    pub audience: Option<String>,
    /// A claim that marks access tokens, such as `token_use=access`.
    pub required_claim: Option<(String, String)>,
    /// The claim that names the sign-in: `sid`, unless the issuer calls it otherwise.
    pub session_claim: String,
    /// The claim that names the client; without it `client_id` (RFC 9068 §2.2), else `azp`.
    pub client_claim: Option<String>,
    /// The claim whose values are role names, if any.
    pub roles_claim: Option<String>,
    /// The secret of HS256 signatures, for issuers that share one with us. Without it HS256 is refused.
    pub hs256_secret: Option<Vec<u8>>,
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One member is a secret.
        f.debug_struct("Issuer").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// Where the issuer's endpoints are; what is not given is taken from its discovery document.
#[derive(Debug, Clone, Default)]
pub struct Endpoints {
    /// Where users sign in.
    pub authorization: Option<String>,
    /// The token endpoint.
    pub token: Option<String>,
    /// `userinfo`.
    pub userinfo: Option<String>,
    /// Revocation (RFC 7009).
    pub revocation: Option<String>,
    /// The older way to ask who a token belongs to, such as `https://…/api/v1/auth/me`.
    pub auth_me: Option<String>,
}

/// Who at the issuer is asked whether a token is good, before it is taken at its word (`[CHECK-1]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorityKind {
    /// `userinfo`.
    Userinfo,
    /// The older `/api/v1/auth/me`.
    AuthMe,
}

/// How long sessions live.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Seconds without use after which a session is over.
    pub idle: i64,
    /// Seconds after the sign-in at which it is over in any case.
    pub absolute: i64,
    /// Seconds after the sign-in for which its row is kept at least: for so long its tokens may live.
    pub kept: i64,
}

/// The cache, and how long to wait for it.
#[derive(Clone)]
pub struct Cache {
    /// `redis://…` or `rediss://…`.
    pub url: String,
    /// Replicas that must have a cutoff before it counts as written (`[CUT-5]`).
    pub replicas: u32,
    /// How long a verifier waits for an answer before it asks the durable denylist (`[CHECK-3]`).
    pub budget: Duration,
    /// User and cache name for IAM authentication, on AWS.
    pub iam: Option<(String, String)>,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A URL may hold a password.
        f.debug_struct("Cache").field("replicas", &self.replicas).field("budget", &self.budget).finish_non_exhaustive()
    }
}

/// Somebody who is told of every monthly report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auditor {
    /// The address.
    pub address: String,
    /// Language of the mail, as a BCP 47 tag.
    pub locale: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_of_the_configuration_shows_in_a_log() {
        let issuer = Issuer {
            issuer: "https://issuer.example".to_owned(),
            jwks_uri: None,
            audience: None,
            required_claim: None,
            session_claim: "sid".to_owned(),
            client_claim: None,
            roles_claim: None,
            hs256_secret: Some(b"XYZZY".to_vec()),
        };
        let url = "rediss://user:XYZZY@cache.example".to_owned();
        let cache = Cache { url, replicas: 2, budget: Duration::from_millis(50), iam: None };
        let shown = format!("{issuer:?} {cache:?}");
        assert!(shown.contains("https://issuer.example") && shown.contains("replicas: 2"), "{shown}");
        // Bytes are shown as numbers.
        assert!(!shown.contains("XYZZY") && !shown.contains("88"), "{shown}");
    }
}
