//! The denylist's projection in Redis or Valkey.
//!
//! | key | value | lives until |
//! |---|---|---|
//! | `bl:c:<scope>` | one line per variety of cutoff: `variety at job retires_at` | the last line retires |
//! | `bl:t:<token>` | `1` | the token has expired, plus leeway |
//! | `bl:x:<user>` | one line per job that spares the user: `job retires_at` | the last line retires |
//! | `bl:marker` | `generation@server`: "this server holds everything" | its lease ends |
//! | `bl:rebuild` | `rebuild@server`: a rebuild began here | an hour |
//!
//! One question is one `MGET` over all of them. Writes merge by script, so that no cutoff moves back whoever comes
//! last. `server` is the replication id, which changes with every restart and failover.

mod iam;
mod lines;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use domain::cutoff::Cutoff;
use domain::decision::{Answer, TokenFacts};
use domain::error::PortError;
use domain::guard::LEASE_SECONDS;
use domain::ids::{JobId, TokenId, UserId};
use domain::ports::{CacheAnswer, DenylistCache, PortResult};
use domain::settings::Cache;
use domain::time::{Clock, Epoch};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Cmd, Pipeline, RedisError, Script};

use iam::IamAuth;

const MARKER: &str = "bl:marker";
const REBUILD: &str = "bl:rebuild";
const REBUILD_SECONDS: u64 = 3_600;
/// Commands in one pipeline.
const PIPELINE: usize = 2_500;
/// How long a write may wait for its replicas, in milliseconds.
const WAIT_MILLIS: u64 = 1_000;

/// Merges one cutoff into its scope: per variety the later time stays. `domain::cutoff::CutoffSet::add` in Lua.
const MERGE_CUTOFF: &str = r"
local variety, at, job, retires, now = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local kept, last = {}, 0
for v, a, j, r in string.gmatch(redis.call('GET', KEYS[1]) or '', '(%S+) (%-?%d+) (%S+) (%d+)\n') do
  a, r = tonumber(a), tonumber(r)
  if v == variety then
    retires = math.max(retires, r)
    if a >= at then at, job = a, j end
  elseif r > now then
    kept[#kept + 1] = string.format('%s %d %s %d\n', v, a, j, r)
    last = math.max(last, r)
  end
end
kept[#kept + 1] = string.format('%s %d %s %d\n', variety, at, job, retires)
redis.call('SET', KEYS[1], table.concat(kept), 'EXAT', math.max(last, retires))
";

/// Merges one sparing job into its user.
const MERGE_SPARED: &str = r"
local job, retires, now = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local kept, last = {}, retires
for j, r in string.gmatch(redis.call('GET', KEYS[1]) or '', '(%S+) (%d+)\n') do
  r = tonumber(r)
  if j ~= job and r > now then
    kept[#kept + 1] = string.format('%s %d\n', j, r)
    last = math.max(last, r)
  end
end
kept[#kept + 1] = string.format('%s %d\n', job, retires)
redis.call('SET', KEYS[1], table.concat(kept), 'EXAT', last)
";

const RENEW: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('EXPIRE', KEYS[1], ARGV[2])
";

const FINISH: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
return 1
";

/// The denylist in Redis.
#[derive(Clone)]
pub struct RedisDenylist {
    connection: ConnectionManager,
    replicas: u32,
    budget: Duration,
    clock: Arc<dyn Clock>,
}

fn failed(error: RedisError) -> PortError {
    PortError::Unavailable { service: "Redis", cause: error.to_string() }
}

impl RedisDenylist {
    /// Prepares the connection without waiting for it: a verifier must start while Redis is away, too.
    pub fn connect(aws: &SdkConfig, cache: Cache, clock: Arc<dyn Clock>) -> PortResult<Self> {
        let client = redis::Client::open(cache.url).map_err(failed)?;
        let mut config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(1)))
            .set_response_timeout(Some(Duration::from_secs(5)))
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(10))
            .set_max_delay(Duration::from_millis(50));
        if let Some((user, name)) = cache.iam {
            config = config.set_credentials_provider(IamAuth::new(aws, user, name, Arc::clone(&clock))?);
        }
        let connection = ConnectionManager::new_lazy_with_config(client, config).map_err(failed)?;
        Ok(Self { connection, replicas: cache.replicas, budget: cache.budget, clock })
    }

    /// Opens the connection, so that the first question does not wait for it. Whether it succeeds does not matter yet.
    pub async fn warm_up(&self) {
        let mut connection = self.connection.clone();
        let _ = tokio::time::timeout(self.budget, redis::cmd("PING").query_async::<()>(&mut connection)).await;
    }

    fn now(&self) -> i64 {
        Epoch::from(self.clock.now()).0
    }

    /// Runs commands in pipelines, each followed by a wait for the replicas.
    async fn run(&self, script: Option<&str>, commands: Vec<Cmd>) -> PortResult<()> {
        let mut connection = self.connection.clone();
        for batch in commands.chunks(PIPELINE) {
            let mut pipeline = Pipeline::new();
            if let Some(script) = script {
                // Loading it every time costs a few hundred bytes and survives every flush and failover.
                pipeline.cmd("SCRIPT").arg("LOAD").arg(script).ignore();
            }
            for command in batch {
                pipeline.add_command(command.clone()).ignore();
            }
            pipeline.query_async::<()>(&mut connection).await.map_err(failed)?;
        }
        if self.replicas > 0 {
            let acknowledged: u32 = redis::cmd("WAIT")
                .arg(self.replicas)
                .arg(WAIT_MILLIS)
                .query_async(&mut connection)
                .await
                .map_err(failed)?;
            if acknowledged < self.replicas {
                let cause = format!("{acknowledged} of {} replicas have it", self.replicas);
                return Err(PortError::Unavailable { service: "Redis", cause });
            }
        }
        Ok(())
    }

    /// Names the server by its replication id: it changes with every restart and every failover.
    async fn server(&self) -> PortResult<String> {
        let mut connection = self.connection.clone();
        let info: String = redis::cmd("INFO").arg("replication").query_async(&mut connection).await.map_err(failed)?;
        let id = info.lines().find_map(|line| line.strip_prefix("master_replid:"));
        id.map(|id| id.trim().to_owned())
            .ok_or_else(|| PortError::Unavailable { service: "Redis", cause: "INFO names no master_replid".to_owned() })
    }
}

fn cutoff_key(scope: &domain::cutoff::Scope) -> String {
    format!("bl:c:{}", scope.key())
}

fn token_key(token: &TokenId) -> String {
    format!("bl:t:{token}")
}

fn spared_key(user: &UserId) -> String {
    format!("bl:x:{user}")
}

#[async_trait]
impl DenylistCache for RedisDenylist {
    async fn ask(&self, token: &TokenFacts) -> PortResult<CacheAnswer> {
        let scopes = token.scopes();
        let mut question = redis::cmd("MGET");
        question.arg(MARKER).arg(token_key(&token.id));
        // A service token has no user to spare; asking for the token's key again keeps the answer's shape.
        question.arg(token.user.as_ref().map_or_else(|| token_key(&token.id), spared_key));
        for scope in &scopes {
            question.arg(cutoff_key(scope));
        }
        let mut connection = self.connection.clone();
        let answer = tokio::time::timeout(self.budget, question.query_async::<Vec<Option<String>>>(&mut connection));
        let answer = answer.await.map_err(|_| PortError::Unavailable {
            service: "Redis",
            cause: format!("no answer within {} ms", self.budget.as_millis()),
        })?;
        let mut values = answer.map_err(failed)?.into_iter();
        let (marker, denied, spared) = (values.next().flatten(), values.next().flatten(), values.next().flatten());
        if marker.is_none() {
            return Ok(CacheAnswer::Incomplete);
        }
        let mut cutoffs = Vec::new();
        for (scope, value) in scopes.iter().zip(values) {
            lines::read_cutoffs(scope, value.as_deref().unwrap_or_default(), &mut cutoffs)?;
        }
        let spared_by = match &token.user {
            Some(_) => lines::read_spared(spared.as_deref().unwrap_or_default())?,
            None => Vec::new(),
        };
        Ok(CacheAnswer::Complete(Answer {
            cutoffs: cutoffs.into_iter().collect(),
            token_revoked: denied.is_some(),
            spared_by,
        }))
    }

    async fn put_cutoffs(&self, cutoffs: &[Cutoff]) -> PortResult<()> {
        let script = Script::new(MERGE_CUTOFF);
        let now = self.now();
        let commands = cutoffs.iter().filter(|cutoff| cutoff.retires_at.0 > now).map(|cutoff| {
            let mut command = redis::cmd("EVALSHA");
            command.arg(script.get_hash()).arg(1).arg(cutoff_key(&cutoff.scope)).arg(lines::write_variety(cutoff));
            command.arg(cutoff.at.0).arg(cutoff.job.as_str()).arg(cutoff.retires_at.0).arg(now);
            command
        });
        let commands = commands.collect();
        self.run(Some(MERGE_CUTOFF), commands).await
    }

    async fn put_tokens(&self, tokens: &[(TokenId, Epoch)]) -> PortResult<()> {
        let now = self.now();
        let commands = tokens.iter().filter(|(_, retires_at)| retires_at.0 > now).map(|(token, retires_at)| {
            let mut command = redis::cmd("SET");
            command.arg(token_key(token)).arg("1").arg("EXAT").arg(retires_at.0);
            command
        });
        let commands = commands.collect();
        self.run(None, commands).await
    }

    async fn put_spared(&self, spared: &[(JobId, UserId, Epoch)]) -> PortResult<()> {
        let script = Script::new(MERGE_SPARED);
        let now = self.now();
        let commands = spared.iter().filter(|(_, _, retires_at)| retires_at.0 > now).map(|(job, user, retires_at)| {
            let mut command = redis::cmd("EVALSHA");
            command.arg(script.get_hash()).arg(1).arg(spared_key(user));
            command.arg(job.as_str()).arg(retires_at.0).arg(now);
            command
        });
        let commands = commands.collect();
        self.run(Some(MERGE_SPARED), commands).await
    }

    async fn renew(&self, generation: &str) -> PortResult<bool> {
        let marker = format!("{generation}@{}", self.server().await?);
        let mut connection = self.connection.clone();
        let renewed = Script::new(RENEW).key(MARKER).arg(marker).arg(LEASE_SECONDS).invoke_async(&mut connection).await;
        renewed.map_err(failed)
    }

    async fn begin_rebuild(&self, rebuild: &str) -> PortResult<()> {
        let note = format!("{rebuild}@{}", self.server().await?);
        let mut connection = self.connection.clone();
        let set =
            redis::cmd("SET").arg(REBUILD).arg(note).arg("EX").arg(REBUILD_SECONDS).query_async(&mut connection).await;
        set.map_err(failed)
    }

    async fn finish_rebuild(&self, rebuild: &str, generation: &str) -> PortResult<bool> {
        let server = self.server().await?;
        let mut connection = self.connection.clone();
        let script = Script::new(FINISH);
        let mut finish = script.key(REBUILD);
        finish.key(MARKER).arg(format!("{rebuild}@{server}")).arg(format!("{generation}@{server}")).arg(LEASE_SECONDS);
        finish.invoke_async(&mut connection).await.map_err(failed)
    }

    async fn void(&self) -> PortResult<()> {
        let mut connection = self.connection.clone();
        redis::cmd("DEL").arg(MARKER).query_async(&mut connection).await.map_err(failed)
    }
}
