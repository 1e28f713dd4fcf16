//! A Redis of a test's own: started, stopped, emptied and started again on the same port.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapters::denylist::RedisDenylist;
use domain::settings::Cache;
use domain::time::Clock;

use crate::environment;

/// A running (or stopped) server.
pub struct RedisServer {
    port: u16,
    process: Option<Child>,
}

impl RedisServer {
    /// Starts one on a free port.
    pub fn start() -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut server = Self { port, process: None };
        server.run();
        server
    }

    /// Starts it again, empty.
    pub fn run(&mut self) {
        let child = Command::new(environment::redis_server())
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the Redis server starts");
        self.process = Some(child);
        let begun = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "Redis does not answer");
            std::thread::yield_now();
        }
    }

    /// Kills it.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Says something to it, on a connection of its own.
    pub async fn say<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let (command, arguments) = words.split_first().unwrap();
        redis::cmd(command).arg(arguments).query_async(&mut connection).await.unwrap()
    }

    /// Makes it another's replica, and waits until it has all that the other has.
    pub async fn follow(&self, primary: &Self) {
        // From memory to memory: no files are left behind.
        for setting in [["repl-diskless-sync", "yes"], ["repl-diskless-sync-delay", "0"]] {
            primary.say::<()>(&["CONFIG", "SET", setting[0], setting[1]]).await;
        }
        self.say::<()>(&["CONFIG", "SET", "repl-diskless-load", "swapdb"]).await;
        self.say::<()>(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]).await;
        let begun = Instant::now();
        while !self.say::<String>(&["INFO", "replication"]).await.contains("master_link_status:up") {
            assert!(begun.elapsed() < Duration::from_secs(20), "the replica does not catch up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The denylist in it.
    pub async fn denylist(&self, clock: Arc<dyn Clock>) -> Arc<RedisDenylist> {
        self.denylist_of(clock, 0).await
    }

    /// The denylist in it, which wants so many replicas to have each write.
    pub async fn denylist_of(&self, clock: Arc<dyn Clock>, replicas: u32) -> Arc<RedisDenylist> {
        denylist_at(self.url(), clock, replicas, Duration::from_secs(1)).await
    }
}

/// The denylist at an address, which wants so many replicas to have each write and has so much time for an answer.
pub async fn denylist_at(url: String, clock: Arc<dyn Clock>, replicas: u32, budget: Duration) -> Arc<RedisDenylist> {
    let cache = Cache { url, replicas, budget, iam: None };
    Arc::new(RedisDenylist::connect(&crate::store::no_aws().await, cache, clock).unwrap())
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}
