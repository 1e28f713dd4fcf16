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
        let cache = Cache { url: self.url(), replicas, budget: Duration::from_secs(1), iam: None };
        Arc::new(RedisDenylist::connect(&crate::store::no_aws().await, cache, clock).unwrap())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}
