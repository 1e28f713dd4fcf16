//! Users, groups, memberships and clients.

use std::collections::BTreeSet;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::KeysAndAttributes;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::directory::{Client, Group, User};
use domain::error::PortError;
use domain::ids::{ClientId, GroupId, UserId};
use domain::ports::{Directory, PortResult};
use domain::records::{ClientRecord, GroupRecord, UserRecord};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};

use super::Dynamo;
use super::item::{self, Item, Reader, failed, key, s};

/// The partition that lists the users who are admins.
pub(super) const ADMINS: &str = "ADMINS";
/// How often unprocessed keys of a batch are asked for again.
const BATCH_TRIES: usize = 5;
/// Keys in one `BatchGetItem`.
const BATCH: usize = 100;
const BATCHES_AT_ONCE: usize = 4;

/// Where it is noted that somebody has this name: under its hash, so that the key is short and nobody's name stays.
pub(super) fn name_item(name: &str) -> Item {
    key(name_key(name), "-")
}

fn name_key(name: &str) -> String {
    format!("N#{}", URL_SAFE_NO_PAD.encode(Sha256::digest(name.as_bytes())))
}

impl Dynamo {
    async fn directory_item(&self, pk: String, sk: &str) -> PortResult<Option<Reader>> {
        let got = self.client.get_item().table_name(&self.tables.directory).set_key(Some(key(pk, sk)));
        let item = got.consistent_read(true).send().await.map_err(failed)?.item;
        Ok(item.map(Reader).filter(|item| !item.flag("deleted")))
    }

    /// Those of at most 100 items that are there, marks of removed ones among them.
    async fn directory_items(&self, mut wanted: Vec<Item>) -> PortResult<Vec<Reader>> {
        let mut found = Vec::with_capacity(wanted.len());
        for _ in 0..BATCH_TRIES {
            if wanted.is_empty() {
                return Ok(found);
            }
            let keys = KeysAndAttributes::builder().set_keys(Some(wanted)).consistent_read(true).build();
            let keys = keys.map_err(|cause| item::corrupt(cause.to_string()))?;
            let request = self.client.batch_get_item().request_items(&self.tables.directory, keys);
            let answer = request.send().await.map_err(failed)?;
            let items = answer.responses.into_iter().flatten().flat_map(|(_, items)| items);
            found.extend(items.map(Reader));
            let unprocessed = answer.unprocessed_keys.into_iter().flatten();
            wanted = unprocessed.flat_map(|(_, keys)| keys.keys).collect();
        }
        if wanted.is_empty() {
            return Ok(found);
        }
        Err(PortError::Unavailable { service: "DynamoDB", cause: "batch read kept being throttled".to_owned() })
    }
}

impl Dynamo {
    /// Those of at most 100 texts that are names.
    async fn known_of(&self, texts: Vec<String>) -> PortResult<Vec<String>> {
        let found = self.directory_items(texts.iter().map(|text| name_item(text)).collect()).await?;
        let found: BTreeSet<&str> = found.iter().filter_map(|item| item.text_opt("pk")).collect();
        let is_known = |text: &String| found.contains(name_key(text).as_str());
        Ok(texts.into_iter().filter(is_known).collect())
    }
}

#[async_trait]
impl Directory for Dynamo {
    async fn user(&self, id: &UserId) -> PortResult<Option<User>> {
        let item = self.directory_item(format!("U#{id}"), "-").await?;
        item.map(|item| item.json::<UserRecord>("data").map(User::from)).transpose()
    }

    async fn users(&self, ids: &[UserId]) -> PortResult<Vec<User>> {
        let wanted = ids.iter().map(|id| key(format!("U#{id}"), "-")).collect();
        let found = self.directory_items(wanted).await?.into_iter();
        let there = found.filter(|item| !item.flag("deleted"));
        there.map(|item| Ok(item.json::<UserRecord>("data")?.into())).collect()
    }

    async fn known_names(&self, texts: &[String]) -> PortResult<BTreeSet<String>> {
        let batches = stream::iter(texts.chunks(BATCH).map(<[String]>::to_vec));
        let known = batches.map(|texts| self.known_of(texts)).buffer_unordered(BATCHES_AT_ONCE);
        Ok(known.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }

    async fn groups(&self) -> PortResult<Vec<Group>> {
        let query = self.client.query().table_name(&self.tables.directory).consistent_read(true);
        let query = query.key_condition_expression("pk = :pk").expression_attribute_values(":pk", s("GROUPS"));
        let mut pages = query.into_paginator().items().send();
        let mut groups = Vec::new();
        while let Some(item) = pages.next().await {
            let item = Reader(item.map_err(failed)?);
            if !item.flag("deleted") {
                groups.push(item.json::<GroupRecord>("data")?.into());
            }
        }
        Ok(groups)
    }

    async fn members(&self, group: &GroupId, after: Option<&UserId>, limit: usize) -> PortResult<Vec<UserId>> {
        let mut start = after.map(|user| key(format!("M#{group}"), user.as_str()));
        // Removed memberships leave a mark behind, so that a page may come back empty before the end.
        loop {
            let page = self
                .client
                .query()
                .table_name(&self.tables.directory)
                .consistent_read(true)
                .key_condition_expression("pk = :pk")
                .filter_expression("attribute_not_exists(deleted)")
                .projection_expression("sk")
                .expression_attribute_values(":pk", s(format!("M#{group}")))
                .limit(i32::try_from(limit).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(failed)?;
            let members: Vec<UserId> =
                page.items.into_iter().flatten().map(|item| Reader(item).id("sk")).collect::<Result<_, _>>()?;
            if !members.is_empty() || page.last_evaluated_key.is_none() {
                return Ok(members);
            }
            start = page.last_evaluated_key;
        }
    }

    async fn client(&self, id: &ClientId) -> PortResult<Option<Client>> {
        let item = self.directory_item(format!("C#{id}"), "-").await?;
        item.map(|item| item.json::<ClientRecord>("data").map(Client::from)).transpose()
    }

    async fn admins(&self) -> PortResult<Vec<UserId>> {
        let query = self.client.query().table_name(&self.tables.directory).consistent_read(true);
        let query = query.key_condition_expression("pk = :pk").expression_attribute_values(":pk", s(ADMINS));
        let mut items = query.into_paginator().items().send();
        let mut admins = Vec::new();
        while let Some(item) = items.next().await {
            admins.push(Reader(item.map_err(failed)?).id("sk")?);
        }
        Ok(admins)
    }
}
