//! How the cache is set up, as ElastiCache says it. Its data is [`denylist`](crate::denylist).

use std::collections::HashMap;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_elasticache::Client;
use aws_sdk_elasticache::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_elasticache::types::{AutomaticFailoverStatus, CacheCluster, MultiAzStatus, ReplicationGroup};
use domain::cache_service::{CacheService, Node, Setup};
use domain::error::PortError;
use domain::ports::PortResult;

use crate::aws;

const SERVICE: &str = "ElastiCache";
const POLICY: &str = "maxmemory-policy";

/// A replication group of ElastiCache.
#[derive(Debug, Clone)]
pub struct ElastiCache {
    client: Client,
    group: String,
}

impl ElastiCache {
    /// Builds the client once, before the first event.
    pub fn new(config: &SdkConfig, group: String) -> Self {
        Self { client: Client::new(config), group }
    }

    async fn group(&self) -> PortResult<ReplicationGroup> {
        let asked = self.client.describe_replication_groups().replication_group_id(&self.group).send().await;
        let found = asked.map_err(failed)?.replication_groups.unwrap_or_default();
        found.into_iter().next().ok_or_else(|| unavailable(format!("there is no replication group {}", self.group)))
    }

    async fn node(&self, name: &str) -> PortResult<CacheCluster> {
        let asked = self.client.describe_cache_clusters().cache_cluster_id(name).send().await;
        let found = asked.map_err(failed)?.cache_clusters.unwrap_or_default();
        found.into_iter().next().ok_or_else(|| unavailable(format!("there is no node {name}")))
    }

    async fn eviction_policy(&self, parameters: &str) -> PortResult<Option<String>> {
        let asked = self.client.describe_cache_parameters().cache_parameter_group_name(parameters);
        let mut pages = asked.into_paginator().send();
        while let Some(page) = pages.next().await {
            let found = page.map_err(failed)?.parameters.unwrap_or_default();
            if let Some(policy) = found.into_iter().find(|found| found.parameter_name() == Some(POLICY)) {
                return Ok(policy.parameter_value);
            }
        }
        Ok(None)
    }
}

fn unavailable(cause: String) -> PortError {
    PortError::Unavailable { service: SERVICE, cause }
}

fn failed<E, R>(error: SdkError<E, R>) -> PortError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    aws::failed(SERVICE, error)
}

#[async_trait]
impl CacheService for ElastiCache {
    async fn setup(&self) -> PortResult<Setup> {
        let group = self.group().await?;
        // Nodes usually share their parameters.
        let mut policies: HashMap<String, Option<String>> = HashMap::new();
        let mut nodes = Vec::new();
        for name in group.member_clusters() {
            let node = self.node(name).await?;
            let parameters = node.cache_parameter_group();
            let mut eviction_policy = None;
            if let Some(group) = parameters.and_then(|group| group.cache_parameter_group_name()) {
                if !policies.contains_key(group) {
                    policies.insert(group.to_owned(), self.eviction_policy(group).await?);
                }
                eviction_policy = policies.get(group).cloned().flatten();
            }
            nodes.push(Node {
                name: name.clone(),
                status: node.cache_cluster_status().unwrap_or_default().to_owned(),
                eviction_policy,
                parameters: parameters.and_then(|group| group.parameter_apply_status()).unwrap_or_default().to_owned(),
            });
        }
        Ok(Setup {
            status: group.status().unwrap_or_default().to_owned(),
            engine: group.engine().unwrap_or_default().to_owned(),
            automatic_failover: group.automatic_failover() == Some(&AutomaticFailoverStatus::Enabled),
            multi_zone: group.multi_az() == Some(&MultiAzStatus::Enabled),
            encrypted_in_transit: group.transit_encryption_enabled().unwrap_or_default(),
            nodes,
        })
    }
}
