//! The denylist's projection in Redis or Valkey.
//!
//! | key | members | lives until |
//! |---|---|---|
//! | `bl:c:<scope>` | one per variety of cutoff: `variety at job retires_at`, the first letter that of the scope's kind | the last one retires |
//! | `bl:t:<token>` | `T` | the token has expired, plus leeway |
//! | `bl:x:<user>` | one per job that spares the user: `X job retires_at` | the last one retires |
//! | `bl:marker` | `M generation-evicted@server`: "this server holds everything" | its lease ends |
//! | `bl:rebuild` | no set, but `rebuild@server`: a rebuild began here | an hour |
//!
//! One question is one command, `SUNION` over all of them: it answers with what there is, and fails if a single key is
//! no set, where `MGET` would read another's key as if it were not there. Writes merge by script, so that no cutoff
//! moves back whoever comes last. `server` is the replication id, which changes with every restart and failover; a
//! marker that names another server than the one that is connected is not believed.
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
use lines::Said;
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
/// A key of another type is replaced, and a member of another form goes; what it should have said is not known here, so
/// that the marker and any rebuild under way (keys two and three) go with it. Otherwise the first thing that is written
/// is what is new: a script that has taken something away before is let write over a full memory, too.
const MERGE_CUTOFF: &str = r"
local variety, at, job, retires, now = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local scope = string.sub(variety, 1, 1)
local members = redis.pcall('SMEMBERS', KEYS[1])
local foreign, stale, last = members.err ~= nil, {}, 0
if foreign then redis.call('DEL', KEYS[1]) end
for _, member in ipairs(members) do
  local v, a, j, r = string.match(member, '^(%S+) (%-?%d+) (%S+) (%d+)$')
  a, r = tonumber(a), tonumber(r)
  local ours = v and string.sub(v, 1, 1) == scope
  if ours and v ~= variety and r > now then
    last = math.max(last, r)
  else
    stale[#stale + 1] = member
    if not ours then
      foreign = true
    elseif v == variety then
      retires = math.max(retires, r)
      if a >= at then at, job = a, j end
    end
  end
end
if foreign then redis.call('DEL', KEYS[2], KEYS[3]) end
local merged = string.format('%s %d %s %d', variety, at, job, retires)
redis.call('SADD', KEYS[1], merged)
for _, member in ipairs(stale) do
  if member ~= merged then redis.call('SREM', KEYS[1], member) end
end
redis.call('EXPIREAT', KEYS[1], math.max(last, retires))
";

/// Merges one sparing job into its user, by the same rules.
const MERGE_SPARED: &str = r"
local job, retires, now = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local members = redis.pcall('SMEMBERS', KEYS[1])
local foreign, stale, last = members.err ~= nil, {}, retires
if foreign then redis.call('DEL', KEYS[1]) end
for _, member in ipairs(members) do
  local j, r = string.match(member, '^X (%S+) (%d+)$')
  r = tonumber(r)
  if j and j ~= job and r > now then
    last = math.max(last, r)
  else
    stale[#stale + 1] = member
    foreign = foreign or not j
  end
end
if foreign then redis.call('DEL', KEYS[2], KEYS[3]) end
local merged = string.format('X %s %d', job, retires)
redis.call('SADD', KEYS[1], merged)
for _, member in ipairs(stale) do
  if member ~= merged then redis.call('SREM', KEYS[1], member) end
end
redis.call('EXPIREAT', KEYS[1], last)
";

/// Denies one token. A key of another type could say no more than that.
const DENY_TOKEN: &str = r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'set' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('EXPIREAT', KEYS[1], ARGV[2])
";

/// Takes away those keys (from the second on) that are of another type or hold one of the members that nobody could
/// read, and the rebuild under way and the marker with them, in one step: nobody sees them gone and the marker standing.
/// A key that was mended in the meantime stays.
const CAST_OUT: &str = r"
local unreadable, bad = {}, {}
for _, member in ipairs(ARGV) do unreadable[member] = true end
for i = 2, #KEYS do
  local members = redis.pcall('SMEMBERS', KEYS[i])
  local foreign = members.err ~= nil
  for _, member in ipairs(members) do foreign = foreign or unreadable[member] end
  if foreign then bad[#bad + 1] = KEYS[i] end
end
if #bad > 0 then redis.call('DEL', KEYS[1], KEYS[2], unpack(bad)) end
return #bad
";

/// A marker beside another one is none.
const RENEW: &str = r"
local members = redis.pcall('SMEMBERS', KEYS[1])
if members.err or #members ~= 1 or members[1] ~= ARGV[1] then return 0 end
return redis.call('EXPIRE', KEYS[1], ARGV[2])
";

/// A key of another type is no note of a rebuild: `pcall` makes it a table, which equals no text.
const FINISH: &str = r"
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('SADD', KEYS[2], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[3])
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
    async fn run(&self, script: &str, commands: Vec<Cmd>) -> PortResult<()> {
        for batch in commands.chunks(PIPELINE) {
            let mut pipeline = Pipeline::with_capacity(batch.len() + 2);
            // Loading it every time costs a few hundred bytes and survives every flush and failover.
            pipeline.cmd("SCRIPT").arg("LOAD").arg(script).ignore();
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
    async fn is_of_this_server(&self, marker: &str, line: &Line) -> RedisResult<bool> {
        let names = |server: &str| marker.strip_suffix(server).is_some_and(|rest| rest.ends_with('@'));
        // It is asked only where what is known of it does not agree with the marker, as after a failover.
        Ok(line.known_server().is_some_and(|server| names(&server)) || names(&line.primary().await?))
    }

    /// Takes away what cannot be read: those of the keys that are of another type, or hold the member. The next rebuild
    /// brings back what is missing, and until then nobody believes what is left.
    async fn cast_out(&self, keys: &[String], unreadable: Option<&[u8]>, limit: Duration) {
        let script = Script::new(CAST_OUT);
        let mut cast = script.key(REBUILD);
        cast.key(keys);
        if let Some(member) = unreadable {
            cast.arg(member);
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

// Every check puts eight of these together, which `concat` does in half of the time of `format`.

fn cutoff_key(scope: &Scope) -> String {
    ["bl:c:", &scope.key()].concat()
}

fn token_key(token: &TokenId) -> String {
    ["bl:t:", token.as_str()].concat()
}

fn spared_key(user: &UserId) -> String {
    ["bl:x:", user.as_str()].concat()
}

/// What a question found.
enum Found {
    /// A denylist that is complete, by its marker.
    Members(Vec<Vec<u8>>),
    /// None, or one that is not of this server.
    Incomplete,
    /// A key that is no set, somewhere.
    AnotherType,
}

/// The marker among what was found. Where there are two, somebody else has written one.
fn marker(members: &[Vec<u8>]) -> Option<&str> {
    let mut markers = members.iter().filter_map(|member| match lines::read(member, &[]) {
        Some(Said::Marker(marker)) => Some(marker),
        _ => None,
    });
    markers.next().filter(|_| markers.next().is_none())
}

/// What was found, as an answer; else the member that nobody can read.
fn read(scopes: &[Scope], members: Vec<Vec<u8>>) -> Result<Answer, Vec<u8>> {
    let (mut cutoffs, mut token_revoked, mut spared_by) = (Vec::new(), false, Vec::new());
    for member in members {
        match lines::read(&member, scopes) {
            Some(Said::Marker(_)) => {}
            Some(Said::Denied) => token_revoked = true,
            Some(Said::Cutoff(cutoff)) => cutoffs.push(cutoff),
            Some(Said::SparedBy(job)) => spared_by.push(job),
            None => return Err(member),
        }
    }
    Ok(Answer { cutoffs: cutoffs.into_iter().collect(), token_revoked, spared_by })
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
        let mut keys = vec![MARKER.to_owned(), token_key(&token.id)];
        keys.extend(scopes.iter().map(cutoff_key));
        keys.extend(token.user.as_ref().map(spared_key));
        let mut question = Cmd::with_capacity(keys.len() + 1, 64 * keys.len());
        question.arg("SUNION").arg(&keys);
        let asked = async |line: Arc<Line>| {
            let members: Vec<Vec<u8>> = match question.query_async(&mut line.connection()).await {
                Err(error) if error.code() == Some("WRONGTYPE") => return Ok(Found::AnotherType),
                answered => answered?,
            };
            let believed = match marker(&members) {
                Some(marker) => self.is_of_this_server(marker, &line).await?,
                None => false,
            };
            Ok(if believed { Found::Members(members) } else { Found::Incomplete })
        };
        let (unreadable, error) = match self.link.call(self.budget, asked).await? {
            Found::Incomplete => return Ok(CacheAnswer::Incomplete),
            Found::AnotherType => (None, lines::corrupt("a key of another type")),
            Found::Members(members) => match read(&scopes, members) {
                Ok(answer) => return Ok(CacheAnswer::Complete(answer)),
                Err(member) => {
                    let error = lines::corrupt(&String::from_utf8_lossy(&member));
                    (Some(member), error)
                }
            },
        };
        self.cast_out(&keys, unreadable.as_deref(), self.budget.saturating_sub(begun.elapsed())).await;
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
        self.run(MERGE_CUTOFF, commands).await
    }

    async fn put_tokens(&self, tokens: &[(TokenId, Epoch)]) -> PortResult<()> {
        let now = self.now();
        let script = Script::new(DENY_TOKEN);
        let commands = tokens.iter().filter(|(_, retires_at)| retires_at.0 > now).map(|(token, retires_at)| {
            let mut command = redis::cmd("EVALSHA");
            command.arg(script.get_hash()).arg(1).arg(token_key(token)).arg(lines::DENIED).arg(retires_at.0);
            command
        });
        let commands = commands.collect();
        self.run(DENY_TOKEN, commands).await
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
        self.run(MERGE_SPARED, commands).await
    }

    async fn renew(&self, generation: &str) -> PortResult<bool> {
        let renew = async |line: Arc<Line>| {
            let marker = lines::marker(generation, &line.server().await?);
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
            finish.key(MARKER).arg(format!("{rebuild}@{server}")).arg(lines::marker(generation, &server));
            finish.arg(LEASE_SECONDS).invoke_async(&mut line.connection()).await
        };
        self.write(finish).await
    }

    async fn void(&self) -> PortResult<()> {
        let void = async |line: Arc<Line>| redis::cmd("DEL").arg(MARKER).query_async(&mut line.connection()).await;
        self.link.call(VOID, void).await
    }
}
