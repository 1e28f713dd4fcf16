//! A running stack, as `stack.json` describes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use adapters::denylist::RedisDenylist;
use adapters::dynamodb::Dynamo;
use aws_config::SdkConfig;
use domain::settings::{Cache, Tables};
use domain::time::SystemClock;
use serde::Deserialize;

use crate::failure::{Context as _, Failure, Result};

/// The description.
#[derive(Clone, Deserialize)]
pub struct Stack {
    /// The API's root.
    pub api_url: String,
    /// The function that checks tokens for other APIs.
    pub authorizer: String,
    /// The root of `infra/sample-api`, which it protects.
    pub sample_api_url: String,
    /// The local AWS.
    pub endpoint_url: String,
    /// Its region.
    pub region: String,
    /// Its made-up credentials.
    pub access_key_id: String,
    /// The other half of them.
    pub secret_access_key: String,
    /// The cache.
    pub redis_url: String,
    /// The tables' names.
    pub tables: TableNames,
    /// The bucket of the audit's published heads.
    pub audit_heads_bucket: String,
    /// The bucket of the monthly reports.
    pub reports_bucket: String,
    /// The function that does the scheduled work.
    pub scheduled: String,
    /// The function that tells others of the audit trail.
    pub export_audit: String,
    /// The queues' URLs.
    pub queues: Queues,
    /// `iss` of the issuer.
    pub issuer: String,
    /// Where its keys are.
    pub jwks_uri: String,
    /// The app client that people sign in with.
    pub client_id: String,
    /// Where the app client is called back at; nothing listens there.
    pub redirect_uri: String,
    /// The issuer's own name for itself among others.
    pub user_pool_id: String,
    /// The issuer's private key, for signing many tokens at once (local stack only).
    pub signing_key_file: PathBuf,
    /// People who can sign in.
    pub users: Vec<Person>,
}

/// The tables' names.
#[derive(Debug, Clone, Deserialize)]
pub struct TableNames {
    /// Tokens and sessions.
    pub tokens: String,
    /// Users, groups, memberships, clients.
    pub directory: String,
    /// Jobs.
    pub jobs: String,
    /// The durable denylist.
    pub denylist: String,
    /// The audit's entries.
    pub audit: String,
    /// Accounts and their sign-ins.
    pub accounts: String,
}

/// The queues' URLs.
#[derive(Debug, Clone, Deserialize)]
pub struct Queues {
    /// Jobs to plan.
    pub plan: String,
    /// Those of high priority.
    pub plan_high: String,
    /// Emergencies.
    pub plan_immediate: String,
    /// Chunks to settle.
    pub chunk: String,
    /// Those of high priority.
    pub chunk_high: String,
    /// Those of emergencies.
    pub chunk_immediate: String,
    /// Affected users to be told.
    pub notice: String,
    /// What the mail service says of mails later.
    pub mail_event: String,
    /// Accounts' codes to be exchanged.
    pub account: String,
    /// Records from elsewhere.
    pub ingest: String,
    /// Events for the SIEM.
    pub siem: String,
    /// Alerts for the security team.
    pub alert: String,
    /// What the others' workers gave up, by names such as `chunk_dlq`.
    #[serde(flatten)]
    pub dead_letters: BTreeMap<String, String>,
}

/// Somebody who can sign in.
#[derive(Clone, Deserialize)]
pub struct Person {
    /// `sub`.
    pub id: String,
    /// E-mail address.
    pub email: String,
    /// Directory roles.
    pub roles: Vec<String>,
    /// The password (local stack only).
    pub password: String,
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Person({} {:?})", self.email, self.roles)
    }
}

impl Stack {
    /// Reads the description.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .context(format!("{} (start the stack with `cargo xtask up`)", path.display()))?;
        serde_json::from_str(&text).context(path.display())
    }

    /// The SDK, pointed at this stack.
    pub async fn aws(&self) -> SdkConfig {
        let (id, secret) = (&self.access_key_id, &self.secret_access_key);
        adapters::aws::local(&self.endpoint_url, &self.region, id, secret).await
    }

    /// The tables' names.
    pub fn tables(&self) -> Tables {
        let names = self.tables.clone();
        Tables {
            tokens: names.tokens,
            directory: names.directory,
            jobs: names.jobs,
            denylist: names.denylist,
            audit: names.audit,
            accounts: names.accounts,
        }
    }

    /// The stores.
    pub async fn store(&self) -> Arc<Dynamo> {
        Arc::new(Dynamo::new(&self.aws().await, self.tables()))
    }

    /// The cache.
    pub async fn cache(&self) -> Result<Arc<RedisDenylist>> {
        let cache = Cache { url: self.redis_url.clone(), replicas: 0, budget: Duration::from_secs(2), iam: None };
        let cache = RedisDenylist::connect(&self.aws().await, cache, Arc::new(SystemClock));
        Ok(Arc::new(cache.context("Redis")?))
    }

    /// Somebody who can sign in.
    pub fn person(&self, email: &str) -> Result<&Person> {
        self.users.iter().find(|person| person.email == email).ok_or_else(|| {
            let known: Vec<&str> = self.users.iter().map(|person| person.email.as_str()).collect();
            Failure(format!("nobody signs in as {email}; these can: {}", known.join(", ")))
        })
    }
}
