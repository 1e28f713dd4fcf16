//! What the service that runs the cache says of it, and what of that cannot be trusted (spec §12).
//!
//! [`guard`](crate::guard) asks the server itself every minute, and acts. This looks at how the server is set up, so that
//! somebody is told before a restart, a failover or a full cache makes it matter.

use std::fmt;

use async_trait::async_trait;
use serde::Serialize;

use crate::guard::NO_EVICTION;
use crate::ports::PortResult;

/// How the cache is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// Its status, such as `available`.
    pub status: String,
    /// Its engine, such as `valkey`.
    pub engine: String,
    /// Whether another node takes over by itself.
    pub automatic_failover: bool,
    /// Whether its nodes are in more than one zone.
    pub multi_zone: bool,
    /// Whether connections to it are encrypted.
    pub encrypted_in_transit: bool,
    /// Its nodes, the primary among them.
    pub nodes: Vec<Node>,
}

/// A server of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its status.
    pub status: String,
    /// The `maxmemory-policy` of its parameters; none if they do not say.
    pub eviction_policy: Option<String>,
    /// Whether its parameters are in effect, such as `in-sync`.
    pub parameters: String,
}

/// Why the cache, as it is set up, cannot be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "concern", rename_all = "snake_case")]
pub enum Concern {
    /// It is being created, deleted, or broken.
    Status {
        /// Which node; none for the whole.
        node: Option<String>,
        /// Its status.
        status: String,
    },
    /// Another product than those whose behaviour is known.
    Engine {
        /// Its engine.
        engine: String,
    },
    /// A node that throws keys out when it is full.
    Forgetful {
        /// Which.
        node: String,
        /// Its `maxmemory-policy`.
        eviction_policy: Option<String>,
    },
    /// A node whose parameters are not those that are in effect.
    NotInEffect {
        /// Which.
        node: String,
        /// Where its parameters stand.
        parameters: String,
    },
    /// Fewer replicas than each write waits for: every write voids the cache.
    TooFewReplicas {
        /// How many there are.
        replicas: usize,
        /// How many a write waits for.
        wanted: u32,
    },
    /// Nobody takes over if the primary is lost.
    NoFailover,
    /// A zone's failure takes all nodes.
    OneZone,
    /// What is written can be read on the way.
    NotEncrypted,
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { node: None, status } => write!(f, "the cache is {status}"),
            Self::Status { node: Some(node), status } => write!(f, "node {node} is {status}"),
            Self::Engine { engine } => write!(f, "its engine is {engine}, not valkey or redis"),
            Self::Forgetful { node, eviction_policy } => {
                let policy = eviction_policy.as_deref().unwrap_or("not given");
                write!(f, "maxmemory-policy of node {node} is {policy}, not {NO_EVICTION}")
            }
            Self::NotInEffect { node, parameters } => {
                write!(f, "the parameters of node {node} are {parameters}, not in-sync")
            }
            Self::TooFewReplicas { replicas, wanted } => {
                write!(f, "it has {replicas} replicas, and writes wait for {wanted}")
            }
            Self::NoFailover => f.write_str("automatic failover is not enabled"),
            Self::OneZone => f.write_str("its nodes are in one zone"),
            Self::NotEncrypted => f.write_str("connections to it are not encrypted"),
        }
    }
}

/// Statuses in which a cache serves: also while it is changed or backed up.
const SERVING: [&str; 3] = ["available", "modifying", "snapshotting"];
const ENGINES: [&str; 2] = ["valkey", "redis"];

impl Setup {
    /// What is wrong with it. `replicas` is how many each write waits for.
    pub fn concerns(&self, replicas: u32) -> Vec<Concern> {
        let mut concerns = Vec::new();
        if !SERVING.contains(&self.status.as_str()) {
            concerns.push(Concern::Status { node: None, status: self.status.clone() });
        }
        if !ENGINES.contains(&self.engine.as_str()) {
            concerns.push(Concern::Engine { engine: self.engine.clone() });
        }
        concerns.extend(self.nodes.iter().flat_map(Node::concerns));
        let has = self.nodes.len().saturating_sub(1);
        if u32::try_from(has).is_ok_and(|has| has < replicas) {
            concerns.push(Concern::TooFewReplicas { replicas: has, wanted: replicas });
        }
        for (good, concern) in [
            (self.automatic_failover, Concern::NoFailover),
            (self.multi_zone, Concern::OneZone),
            (self.encrypted_in_transit, Concern::NotEncrypted),
        ] {
            if !good {
                concerns.push(concern);
            }
        }
        concerns
    }
}

impl Node {
    fn concerns(&self) -> Vec<Concern> {
        let mut concerns = Vec::new();
        let node = || self.name.clone();
        // Nodes have more statuses than the whole, such as "rebooting cache cluster nodes".
        if !SERVING.contains(&self.status.as_str()) {
            concerns.push(Concern::Status { node: Some(node()), status: self.status.clone() });
        }
        if self.eviction_policy.as_deref() != Some(NO_EVICTION) {
            concerns.push(Concern::Forgetful { node: node(), eviction_policy: self.eviction_policy.clone() });
        }
        if self.parameters != "in-sync" {
            concerns.push(Concern::NotInEffect { node: node(), parameters: self.parameters.clone() });
        }
        concerns
    }
}

/// Says how the cache is set up.
#[async_trait]
pub trait CacheService: Send + Sync {
    /// The setup of our cache.
    async fn setup(&self) -> PortResult<Setup>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Node {
        Node {
            name: name.to_owned(),
            status: "available".to_owned(),
            eviction_policy: Some(NO_EVICTION.to_owned()),
            parameters: "in-sync".to_owned(),
        }
    }

    fn good() -> Setup {
        Setup {
            status: "available".to_owned(),
            engine: "valkey".to_owned(),
            automatic_failover: true,
            multi_zone: true,
            encrypted_in_transit: true,
            nodes: vec![node("a"), node("b")],
        }
    }

    #[test]
    fn cut_5_a_cache_set_up_as_it_must_be_gives_no_concern() {
        assert_eq!(good().concerns(1), []);
        assert_eq!(Setup { status: "modifying".to_owned(), engine: "redis".to_owned(), ..good() }.concerns(0), []);
    }

    #[test]
    fn cut_5_every_way_in_which_a_cache_cannot_be_trusted_is_named_in_words() {
        let forgetful = Node { eviction_policy: Some("volatile-lru".to_owned()), ..node("b") };
        let silent = Node { eviction_policy: None, ..node("b") };
        let stale = Node { parameters: "pending-reboot".to_owned(), ..node("b") };
        let gone = Node { status: "deleting".to_owned(), ..node("b") };
        let with = |second: Node| Setup { nodes: vec![node("a"), second], ..good() };
        for (setup, words) in [
            (Setup { status: "create-failed".to_owned(), ..good() }, "the cache is create-failed"),
            (Setup { engine: "memcached".to_owned(), ..good() }, "its engine is memcached, not valkey or redis"),
            (with(forgetful), "maxmemory-policy of node b is volatile-lru, not noeviction"),
            (with(silent), "maxmemory-policy of node b is not given, not noeviction"),
            (with(stale), "the parameters of node b are pending-reboot, not in-sync"),
            (with(gone), "node b is deleting"),
            (Setup { nodes: vec![node("a")], ..good() }, "it has 0 replicas, and writes wait for 1"),
            (Setup { nodes: vec![], ..good() }, "it has 0 replicas, and writes wait for 1"),
            (Setup { automatic_failover: false, ..good() }, "automatic failover is not enabled"),
            (Setup { multi_zone: false, ..good() }, "its nodes are in one zone"),
            (Setup { encrypted_in_transit: false, ..good() }, "connections to it are not encrypted"),
        ] {
            let said: Vec<String> = setup.concerns(1).iter().map(ToString::to_string).collect();
            assert_eq!(said, [words]);
        }
    }
}
