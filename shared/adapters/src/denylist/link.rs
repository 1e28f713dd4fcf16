//! The connection to Redis: opened when it is first needed, shared by all commands, and left when it is of no use.
//!
//! A connection can look whole and be dead: nothing comes any more from a server that is gone without a word, and a
//! server that became a replica in a failover takes no writes. The next command after such a one opens another
//! connection, by name, and so finds the server that the name now leads to.
//!
//! Whoever opens a connection asks which server it leads to. The cache's marker names its server, too, so that what a
//! failover forgot is not believed from the first question on, without a further question for every check.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::error::PortError;
use domain::ports::PortResult;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult};

/// How long opening a connection may take.
const OPENING: Duration = Duration::from_secs(2);
/// A connection on which so much time was waited in vain, without an answer in between, is left.
const SILENCE_MILLIS: u64 = 700;

/// An open connection.
pub struct Line {
    connection: MultiplexedConnection,
    server: Mutex<Named>,
    /// Milliseconds waited in vain since the last answer.
    silence: AtomicU64,
}

type Opening = Shared<BoxFuture<'static, RedisResult<Arc<Line>>>>;

/// The way to Redis.
pub struct Link {
    client: Client,
    config: AsyncConnectionConfig,
    current: Mutex<Option<Opening>>,
}

/// An error as the domain knows it.
pub fn failed(error: RedisError) -> PortError {
    PortError::Unavailable { service: "Redis", cause: error.to_string() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A server's name: its replication id, which changes with every restart and every failover.
struct Named {
    id: Arc<str>,
    /// Whether it keeps this name for as long as it runs. A replica takes another when it is promoted.
    lasting: bool,
}

async fn name_of(connection: &mut impl ConnectionLike) -> RedisResult<Named> {
    let info: String = redis::cmd("INFO").arg("replication").query_async(connection).await?;
    let id = info.lines().find_map(|line| line.strip_prefix("master_replid:"));
    let id = id.ok_or((ErrorKind::UnexpectedReturnType, "INFO names no master_replid"))?;
    Ok(Named { id: id.trim().into(), lasting: info.lines().any(|line| line.trim() == "role:master") })
}

/// Whether another connection may do better. Errors from within a script carry the server's word in their text only.
fn leads_nowhere(error: &RedisError) -> bool {
    let text = error.to_string();
    let from_a_replica = |word| error.code() == Some(word) || text.contains(word);
    error.is_unrecoverable_error()
        || (error.is_io_error() && !error.is_timeout())
        || ["READONLY", "MASTERDOWN"].into_iter().any(from_a_replica)
}

impl Line {
    /// The connection itself.
    pub fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// The server it leads to, if that is known without asking. A primary may get another name, too, once it has had no
    /// replica for an hour.
    pub fn known_server(&self) -> Option<Arc<str>> {
        let name = lock(&self.server);
        name.lasting.then(|| Arc::clone(&name.id))
    }

    /// Asks the server for its name, and leaves it if it is a replica: one may be behind without end, and once it is
    /// replaced no write waits for it.
    pub async fn primary(&self) -> RedisResult<Arc<str>> {
        self.server().await?;
        self.known_server().ok_or_else(|| (ErrorKind::Io, "the connection leads to a replica").into())
    }

    /// Asks the server for its name.
    pub async fn server(&self) -> RedisResult<Arc<str>> {
        let name = name_of(&mut self.connection()).await?;
        let id = Arc::clone(&name.id);
        *lock(&self.server) = name;
        Ok(id)
    }
}

impl Link {
    /// A way to a server. Nothing is opened yet.
    pub fn new(client: Client, config: AsyncConnectionConfig) -> Self {
        // Every call has a limit of its own.
        let config = config.set_connection_timeout(Some(OPENING)).set_response_timeout(None);
        Self { client, config, current: Mutex::new(None) }
    }

    /// Makes a call within a limit of time.
    pub async fn call<T, F>(&self, limit: Duration, call: impl FnOnce(Arc<Line>) -> F) -> PortResult<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let mut used = None;
        let answered = async {
            let line = self.line().await?;
            used = Some(Arc::clone(&line));
            call(line).await
        };
        let answered = tokio::time::timeout(limit, answered).await;
        if let Some(line) = used {
            let of_no_use = match &answered {
                Ok(Ok(_)) => {
                    line.silence.store(0, Ordering::Relaxed);
                    false
                }
                Ok(Err(error)) => leads_nowhere(error),
                Err(_) => {
                    let waited = millis(limit);
                    line.silence.fetch_add(waited, Ordering::Relaxed).saturating_add(waited) >= SILENCE_MILLIS
                }
            };
            if of_no_use {
                self.leave(&line);
            }
        }
        answered
            .map_err(|_| PortError::Unavailable {
                service: "Redis",
                cause: format!("no answer within {} ms", limit.as_millis()),
            })?
            .map_err(failed)
    }

    async fn line(&self) -> RedisResult<Arc<Line>> {
        let opening = self.opening();
        let opened = opening.clone().await;
        if opened.is_err() {
            self.forget(|current| current.ptr_eq(&opening));
        }
        opened
    }

    /// The connection that is open or being opened, else a new one.
    fn opening(&self) -> Opening {
        let mut current = lock(&self.current);
        if let Some(opening) = current.as_ref() {
            return opening.clone();
        }
        let (client, config) = (self.client.clone(), self.config.clone());
        let opening = async move {
            let open = async {
                let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
                let server = Mutex::new(name_of(&mut connection).await?);
                Ok(Arc::new(Line { connection, server, silence: AtomicU64::new(0) }))
            };
            let late = || (ErrorKind::Io, "the connection was not open in time").into();
            tokio::time::timeout(OPENING, open).await.unwrap_or_else(|_| Err(late()))
        };
        let opening = opening.boxed().shared();
        // Goes on when whoever asked first has no time left: opening may take longer than an answer may.
        tokio::spawn(opening.clone());
        *current = Some(opening.clone());
        opening
    }

    fn leave(&self, line: &Arc<Line>) {
        self.forget(|current| matches!(current.peek(), Some(Ok(open)) if Arc::ptr_eq(open, line)));
    }

    fn forget(&self, which: impl Fn(&Opening) -> bool) {
        let mut current = lock(&self.current);
        if current.as_ref().is_some_and(which) {
            *current = None;
        }
    }
}
