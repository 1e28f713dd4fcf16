//! The denylist's projection in Redis or Valkey.
//!
//! | key | value | lives until |
//! |---|---|---|
//! | `bl:c:<scope>` | one line per variety of cutoff: `variety at job retires_at` | the last line retires |
//! | `bl:t:<token>` | `1` | the token has expired, plus leeway |
//! | `bl:x:<user>` | one line per job that spares the user: `job retires_at` | the last line retires |
//! | `bl:marker` | `generation-evicted@server`: "this server holds everything" | its lease ends |
//! | `bl:rebuild` | `rebuild@server`: a rebuild began here | an hour |
//!
//! One question is one round trip: an `MGET` over all of them, and an `EXISTS` over the same keys, as a key of another
//! type than ours reads as if it were not there. Writes merge by script, so that no cutoff moves back whoever comes
//! last. `server` is the replication id, which changes with every restart and failover; a marker that names another
//! server than the one that is connected is not believed.
//!
//! What cannot be read is never "nothing there": the question fails, so that DynamoDB is asked (`[CHECK-3]`). Whoever
//! finds such a key, to ask or to write, takes the marker away with it, and the rebuild that follows writes anew
//! whatever belongs there.

mod iam;
pub mod lines;
mod link;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use domain::cutoff::{Cutoff, Scope};
use domain::decision::{Answer, TokenFacts};
use domain::error::PortError;
use domain::guard::LEASE_SECONDS;
use domain::ids::{JobId, TokenId, UserId};
use domain::ports::{CacheAnswer, DenylistCache, PortResult, ServerMemory};
use domain::settings::Cache;
use domain::time::{Clock, Epoch};
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, RedisResult, Script};
use tokio::time::Instant;

use iam::IamAuth;
use link::{Line, Link, failed};

const MARKER: &str = "bl:marker";
const REBUILD: &str = "bl:rebuild";
const REBUILD_SECONDS: u64 = 3_600;
/// Commands in one pipeline.
const PIPELINE: usize = 2_500;
/// How long a write may wait for its replicas, in milliseconds.
const WAIT_MILLIS: u64 = 1_000;
/// How long a write may take, its replicas included.
const WRITE: Duration = Duration::from_secs(5);
/// How long taking the marker away may take: whoever does has waited for Redis in vain already.
const VOID: Duration = Duration::from_secs(1);

/// Merges one cutoff into its scope: per variety the later time stays. `domain::cutoff::CutoffSet::add` in Lua.
///
/// `GET` fails for a key of another type. Such a key, or one with lines of another form, is replaced; what it should
/// have said is not known here, so that the marker and any rebuild under way (keys two and three) go with it.
const MERGE_CUTOFF: &str = r"
local variety, at, job, retires, now = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local value = redis.pcall('GET', KEYS[1]) or ''
local foreign = type(value) ~= 'string'
if foreign then value = '' end
local kept, last, read = {}, 0, 0
for from, v, a, j, r, to in string.gmatch(value, '()(%S+) (%-?%d+) (%S+) (%d+)\n()') do
  read = read + to - from
  a, r = tonumber(a), tonumber(r)
  if v == variety then
    retires = math.max(retires, r)
    if a >= at then at, job = a, j end
  elseif r > now then
    kept[#kept + 1] = string.format('%s %d %s %d\n', v, a, j, r)
    last = math.max(last, r)
  end
end
if foreign or read ~= #value then redis.call('DEL', KEYS[2], KEYS[3]) end
kept[#kept + 1] = string.format('%s %d %s %d\n', variety, at, job, retires)
redis.call('SET', KEYS[1], table.concat(kept), 'EXAT', math.max(last, retires))
";

/// Merges one sparing job into its user, by the same rules.
const MERGE_SPARED: &str = r"
local job, retires, now = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local value = redis.pcall('GET', KEYS[1]) or ''
local foreign = type(value) ~= 'string'
if foreign then value = '' end
local kept, last, read = {}, retires, 0
for from, j, r, to in string.gmatch(value, '()(%S+) (%d+)\n()') do
  read = read + to - from
  r = tonumber(r)
  if j ~= job and r > now then
    kept[#kept + 1] = string.format('%s %d\n', j, r)
    last = math.max(last, r)
  end
end
if foreign or read ~= #value then redis.call('DEL', KEYS[2], KEYS[3]) end
kept[#kept + 1] = string.format('%s %d\n', job, retires)
redis.call('SET', KEYS[1], table.concat(kept), 'EXAT', last)
";

/// Takes away keys that cannot be read (from the third on), and the marker and any rebuild under way with them, in one
/// step: nobody sees them gone and the marker standing. Those that were mended in the meantime stay: a key is taken if
/// its type is not ours, or it still says what was read.
const CAST_OUT: &str = r"
local bad = {}
for i = 3, #KEYS do
  local value = redis.pcall('GET', KEYS[i])
  if value and (type(value) ~= 'string' or value == ARGV[i - 2]) then bad[#bad + 1] = KEYS[i] end
end
if #bad > 0 then redis.call('DEL', KEYS[1], KEYS[2], unpack(bad)) end
return #bad
";

/// A key of another type is no marker: `pcall` makes it a table, which equals no text.
const RENEW: &str = r"
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('EXPIRE', KEYS[1], ARGV[2])
";

const FINISH: &str = r"
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
return 1
";

/// The denylist in Redis.
#[derive(Clone)]
pub struct RedisDenylist {
    link: Arc<Link>,
    replicas: u32,
    budget: Duration,
    clock: Arc<dyn Clock>,
}

impl RedisDenylist {
    /// Prepares the connection without waiting for it: a verifier must start while Redis is away, too.
    pub fn connect(aws: &SdkConfig, cache: Cache, clock: Arc<dyn Clock>) -> PortResult<Self> {
        let client = redis::Client::open(cache.url).map_err(failed)?;
        let mut config = AsyncConnectionConfig::new();
        if let Some((user, name)) = cache.iam {
            config = config.set_credentials_provider(IamAuth::new(aws, user, name, Arc::clone(&clock))?);
        }
        let link = Arc::new(Link::new(client, config));
        Ok(Self { link, replicas: cache.replicas, budget: cache.budget, clock })
    }

    /// Opens the connection, so that the first question does not wait for it. Whether it succeeds does not matter yet.
    pub async fn warm_up(&self) {
        let _ = self.link.call(self.budget, async |_| Ok(())).await;
    }

    fn now(&self) -> i64 {
        Epoch::from(self.clock.now()).0
    }

    /// Runs commands in pipelines, each of which ends with a wait for the replicas: a wait on another connection would
    /// know nothing of these writes, and say at once that everybody has them.
    async fn run(&self, script: Option<&str>, commands: Vec<Cmd>) -> PortResult<()> {
        for batch in commands.chunks(PIPELINE) {
            let mut pipeline = Pipeline::with_capacity(batch.len() + 2);
            if let Some(script) = script {
                // Loading it every time costs a few hundred bytes and survives every flush and failover.
                pipeline.cmd("SCRIPT").arg("LOAD").arg(script).ignore();
            }
            for command in batch {
                pipeline.add_command(command.clone()).ignore();
            }
            if self.replicas == 0 {
                self.write(async |line| pipeline.query_async::<()>(&mut line.connection()).await).await?;
                continue;
            }
            pipeline.cmd("WAIT").arg(self.replicas).arg(WAIT_MILLIS);
            let (acknowledged,): (u32,) =
                self.write(async |line| pipeline.query_async(&mut line.connection()).await).await?;
            if acknowledged < self.replicas {
                let cause = format!("{acknowledged} of {} replicas have it", self.replicas);
                return Err(PortError::Unavailable { service: "Redis", cause });
            }
        }
        Ok(())
    }

    async fn write<T, F>(&self, call: impl FnOnce(Arc<Line>) -> F) -> PortResult<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        self.link.call(WRITE, call).await
    }

    /// Whether a marker was set on the server that is connected, and that one is no replica.
    async fn is_of_this_server(&self, marker: &[u8], line: &Line) -> RedisResult<bool> {
        let names = |server: &str| marker.strip_suffix(server.as_bytes()).is_some_and(|rest| rest.ends_with(b"@"));
        // It is asked only where what is known of it does not agree with the marker, as after a failover.
        Ok(line.known_server().is_some_and(|server| names(&server)) || names(&line.primary().await?))
    }

    /// Takes away what cannot be read: keys, and what they were seen to hold. The next rebuild brings back what is
    /// missing, and until then nobody believes what is left.
    async fn cast_out(&self, suspects: &[(&String, &[u8])], limit: Duration) {
        let script = Script::new(CAST_OUT);
        let mut cast = script.key(MARKER);
        cast.key(REBUILD);
        for (key, seen) in suspects {
            cast.key(key).arg(seen);
        }
        let cast = self.link.call(limit, async |line| cast.invoke_async::<u64>(&mut line.connection()).await);
        match cast.await {
            Ok(0) => {}
            Ok(keys) => tracing::error!(keys, "the cache held something unreadable; it is to be rebuilt"),
            Err(error) => tracing::warn!(%error, "what is unreadable in the cache could not be taken away"),
        }
    }
}

/// What `INFO` says under a name.
fn info<'a>(text: &'a str, name: &str) -> RedisResult<&'a str> {
    let of_name = |line: &'a str| line.split_once(':').filter(|(key, _)| *key == name).map(|(_, value)| value.trim());
    text.lines().find_map(of_name).ok_or_else(|| (ErrorKind::UnexpectedReturnType, "INFO lacks a line").into())
}

fn cutoff_key(scope: &Scope) -> String {
    format!("bl:c:{}", scope.key())
}

fn token_key(token: &TokenId) -> String {
    format!("bl:t:{token}")
}

fn spared_key(user: &UserId) -> String {
    format!("bl:x:{user}")
}

/// What a key holds, if it is there and of our type.
type Value = Option<Vec<u8>>;

/// Reads what the token's own key, those of its scopes and that of its user hold. Says which one is unreadable.
fn read(token: &TokenFacts, scopes: &[Scope], values: &[Value]) -> Result<Answer, (usize, PortError)> {
    let [denied, values @ ..] = values else { return Ok(Answer::default()) };
    let mut cutoffs = Vec::new();
    for (at, (scope, value)) in scopes.iter().zip(values).enumerate() {
        if let Some(value) = value {
            lines::read_cutoffs(scope, value, &mut cutoffs).map_err(|error| (at + 1, error))?;
        }
    }
    let spared = token.user.as_ref().and_then(|_| values.get(scopes.len())?.as_deref());
    let spared_by = spared.map_or_else(|| Ok(Vec::new()), lines::read_spared);
    Ok(Answer {
        cutoffs: cutoffs.into_iter().collect(),
        token_revoked: denied.is_some(),
        spared_by: spared_by.map_err(|error| (scopes.len() + 1, error))?,
    })
}

#[async_trait]
impl DenylistCache for RedisDenylist {
    async fn memory(&self) -> PortResult<ServerMemory> {
        // `CONFIG GET` says the same, but managed services do not let anybody have it.
        let asked = async |line: Arc<Line>| {
            let mut question = Pipeline::with_capacity(2);
            question.cmd("INFO").arg("memory").cmd("INFO").arg("stats");
            let (memory, stats): (String, String) = question.query_async(&mut line.connection()).await?;
            let eviction_policy = info(&memory, "maxmemory_policy")?.to_owned();
            let evicted_keys = info(&stats, "evicted_keys")?.parse();
            let not_a_number = |_| (ErrorKind::UnexpectedReturnType, "evicted_keys is no number");
            Ok(ServerMemory { eviction_policy, evicted_keys: evicted_keys.map_err(not_a_number)? })
        };
        self.write(asked).await
    }

    async fn ask(&self, token: &TokenFacts) -> PortResult<CacheAnswer> {
        let begun = Instant::now();
        let scopes = token.scopes();
        let mut keys = vec![token_key(&token.id)];
        keys.extend(scopes.iter().map(cutoff_key));
        keys.extend(token.user.as_ref().map(spared_key));
        let mut question = Pipeline::with_capacity(2);
        question.cmd("MGET").arg(MARKER).arg(&keys).cmd("EXISTS").arg(&keys);
        let asked = async |line: Arc<Line>| {
            let (mut values, there): (Vec<Value>, usize) = question.query_async(&mut line.connection()).await?;
            let believed = match values.first_mut().and_then(Option::take) {
                Some(marker) => self.is_of_this_server(&marker, &line).await?,
                None => false,
            };
            Ok(believed.then_some((values, there)))
        };
        let Some((values, there)) = self.link.call(self.budget, asked).await? else {
            return Ok(CacheAnswer::Incomplete);
        };
        let Some((_, values)) = values.split_first().filter(|(_, values)| values.len() == keys.len()) else {
            let cause = "MGET answered more or less than it was asked".to_owned();
            return Err(PortError::Unavailable { service: "Redis", cause });
        };
        let (error, suspects) = if there > values.iter().flatten().count() {
            // Which of them it is, the script finds out; one that was just being written is none.
            let absent = keys.iter().zip(values).filter(|(_, value)| value.is_none());
            (lines::corrupt("a key of another type"), absent.map(|(key, _)| (key, &b""[..])).collect())
        } else {
            match read(token, &scopes, values) {
                Ok(answer) => return Ok(CacheAnswer::Complete(answer)),
                Err((at, error)) => (error, vec![(&keys[at], values[at].as_deref().unwrap_or_default())]),
            }
        };
        self.cast_out(&suspects, self.budget.saturating_sub(begun.elapsed())).await;
        Err(error)
    }

    async fn put_cutoffs(&self, cutoffs: &[Cutoff]) -> PortResult<()> {
        let script = Script::new(MERGE_CUTOFF);
        let now = self.now();
        let commands = cutoffs.iter().filter(|cutoff| cutoff.retires_at.0 > now).map(|cutoff| {
            let mut command = redis::cmd("EVALSHA");
            command.arg(script.get_hash()).arg(3).arg(cutoff_key(&cutoff.scope)).arg(MARKER).arg(REBUILD);
            command
                .arg(lines::write_variety(cutoff))
                .arg(cutoff.at.0)
                .arg(cutoff.job.as_str())
                .arg(cutoff.retires_at.0)
                .arg(now);
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
            command.arg(script.get_hash()).arg(3).arg(spared_key(user)).arg(MARKER).arg(REBUILD);
            command.arg(job.as_str()).arg(retires_at.0).arg(now);
            command
        });
        let commands = commands.collect();
        self.run(Some(MERGE_SPARED), commands).await
    }

    async fn renew(&self, generation: &str) -> PortResult<bool> {
        let renew = async |line: Arc<Line>| {
            let marker = format!("{generation}@{}", line.server().await?);
            let script = Script::new(RENEW);
            script.key(MARKER).arg(marker).arg(LEASE_SECONDS).invoke_async(&mut line.connection()).await
        };
        self.write(renew).await
    }

    async fn begin_rebuild(&self, rebuild: &str) -> PortResult<()> {
        let begin = async |line: Arc<Line>| {
            let note = format!("{rebuild}@{}", line.server().await?);
            let mut pipeline = Pipeline::with_capacity(2);
            // A marker of another generation or server may still stand; what is being rebuilt is not to be believed.
            pipeline.cmd("DEL").arg(MARKER).ignore();
            pipeline.cmd("SET").arg(REBUILD).arg(note).arg("EX").arg(REBUILD_SECONDS).ignore();
            pipeline.query_async(&mut line.connection()).await
        };
        self.write(begin).await
    }

    async fn finish_rebuild(&self, rebuild: &str, generation: &str) -> PortResult<bool> {
        let finish = async |line: Arc<Line>| {
            let server = line.server().await?;
            let script = Script::new(FINISH);
            let mut finish = script.key(REBUILD);
            finish.key(MARKER).arg(format!("{rebuild}@{server}")).arg(format!("{generation}@{server}"));
            finish.arg(LEASE_SECONDS).invoke_async(&mut line.connection()).await
        };
        self.write(finish).await
    }

    async fn void(&self) -> PortResult<()> {
        let void = async |line: Arc<Line>| redis::cmd("DEL").arg(MARKER).query_async(&mut line.connection()).await;
        self.link.call(VOID, void).await
    }
}
