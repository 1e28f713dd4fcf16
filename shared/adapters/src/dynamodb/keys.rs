//! Emergency keys: one row per actor, tries claimed by a conditional update.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{AttributeValue, Put, ReturnValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::emergency::{KEY_TRIES, KeyStore, StoredKey};
use domain::ids::UserId;
use domain::ports::{PortResult, Step};
use domain::rate::SlotChange;
use domain::time::Epoch;

use super::Dynamo;
use super::item::{self, Item, Reader, corrupt, failed, key, n, s};
use super::jobs::{cancelled_step, transact_put};

/// Where an actor's key is.
pub(super) fn key_of(actor: &UserId) -> Item {
    key(format!("E#{actor}"), "-")
}

#[async_trait]
impl KeyStore for Dynamo {
    async fn put_key(&self, actor: &UserId, stored: &StoredKey, slot: &SlotChange) -> PortResult<Step> {
        let mut item = key_of(actor);
        item.insert("id".to_owned(), s(&stored.id));
        item.insert("mac".to_owned(), s(STANDARD.encode(stored.mac)));
        item.insert("tries".to_owned(), n(0));
        item.insert("ttl".to_owned(), n(stored.expires_at.0));
        let put = Put::builder().table_name(&self.tables.jobs).set_item(Some(item));
        let sent = self
            .client
            .transact_write_items()
            .transact_items(self.slot_update(slot)?)
            .transact_items(transact_put(put)?)
            .send()
            .await;
        sent.map_or_else(cancelled_step, |_| Ok(Step::Taken))
    }

    async fn try_key(&self, actor: &UserId, now: Epoch) -> PortResult<Option<StoredKey>> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.tables.jobs)
            .set_key(Some(key_of(actor)))
            .update_expression("SET tries = tries + :one")
            .condition_expression("tries < :most AND #ttl > :now AND attribute_not_exists(used_by)")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":most", n(KEY_TRIES))
            .expression_attribute_values(":now", n(now.0))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        let item = match sent {
            Ok(updated) => updated.attributes.unwrap_or_default(),
            Err(error) if item::condition_failed(&error) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        read(item).map(Some)
    }
}

fn read(item: std::collections::HashMap<String, AttributeValue>) -> PortResult<StoredKey> {
    let item = Reader(item);
    let mac = STANDARD.decode(item.text("mac")?).ok().and_then(|mac| mac.try_into().ok());
    let mac = mac.ok_or_else(|| corrupt("an emergency key whose hash is none"))?;
    Ok(StoredKey { id: item.text("id")?.to_owned(), mac, expires_at: item.epoch("ttl")? })
}
