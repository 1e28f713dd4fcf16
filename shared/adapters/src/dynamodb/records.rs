//! Records from elsewhere: conditional on their time, so that late and repeated ones change nothing.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, PutRequest, TransactWriteItem, Update, WriteRequest};
use domain::directory::User;
use domain::ids::UserId;
use domain::notice::name_key;
use domain::ports::{Applied, PortResult, RecordStore, Step};
use domain::records::{Change, Entity, Key, Record};
use domain::token::{Owner, SessionRow, TokenRow};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::directory::{ADMINS, name_item};
use super::item::{self, Item, corrupt, failed, key, n, s};
use super::jobs::{cancelled_step, transact_update};
use super::tokens::{row_key, session_attributes, signpost, token_attributes};
use super::{Dynamo, RETENTION_SECONDS};

/// What was removed leaves a mark for this long, so that a late record cannot bring it back.
const TOMBSTONE_SECONDS: i64 = RETENTION_SECONDS;
const NEWER: &str = "attribute_not_exists(#at) OR #at < :at";
/// Items in one `BatchWriteItem`.
const BATCH: usize = 25;
const BATCHES_AT_ONCE: usize = 8;
const BATCH_TRIES: usize = 8;

/// Where a record goes: the table, its key, and the attributes it sets (`Some`) or takes away (`None`).
struct Row {
    tokens_table: bool,
    key: Item,
    attributes: Vec<(&'static str, Option<AttributeValue>)>,
    /// Attributes that are set only if they are not there yet.
    once: Vec<(&'static str, AttributeValue)>,
}

fn directory_key(key_of: &Key) -> Item {
    match key_of {
        Key::User(user) => key(format!("U#{}", user.id), "-"),
        Key::Group(group) => key("GROUPS", group.id.as_str()),
        Key::Client(client) => key(format!("C#{}", client.id), "-"),
        Key::Membership(member) => key(format!("M#{}", member.group_id), member.user_id.as_str()),
        Key::Token(token) => row_key(&token.owner(), format!("T#{}", token.id)),
        Key::Session(session) => row_key(&Owner::User(session.user_id.clone()), format!("S#{}", session.id)),
    }
}

fn row(record: &Record) -> PortResult<Row> {
    let there = |key, data| Row {
        tokens_table: false,
        key,
        attributes: vec![("data", data), ("deleted", None), ("ttl", None)],
        once: vec![],
    };
    Ok(match &record.change {
        Change::Upsert(Entity::User(user)) => there(key(format!("U#{}", user.id), "-"), Some(item::json(user)?)),
        Change::Upsert(Entity::Group(group)) => there(key("GROUPS", group.id.as_str()), Some(item::json(group)?)),
        Change::Upsert(Entity::Client(client)) => {
            there(key(format!("C#{}", client.id), "-"), Some(item::json(client)?))
        }
        Change::Upsert(Entity::Membership(member)) => {
            there(key(format!("M#{}", member.group_id), member.user_id.as_str()), None)
        }
        Change::Upsert(Entity::Token(token)) => {
            let row = TokenRow::from(token.clone());
            let revoked = row.revoked.iter();
            Row {
                tokens_table: true,
                key: row_key(&row.owner, format!("T#{}", row.id)),
                attributes: token_attributes(&row),
                once: revoked
                    .flat_map(|revoked| [("revoked_at", n(revoked.at.0)), ("revoked_by", s(revoked.by.as_str()))])
                    .collect(),
            }
        }
        Change::Upsert(Entity::Session(session)) => {
            let row = SessionRow::from(session.clone());
            Row {
                tokens_table: true,
                key: row_key(&Owner::User(row.user.clone()), format!("S#{}", row.id)),
                attributes: session_attributes(&row),
                once: vec![],
            }
        }
        Change::Delete(gone) => {
            let at = record.at / 1_000;
            let ttl = at + TOMBSTONE_SECONDS;
            let ended = |names: [&'static str; 2]| vec![(names[0], n(at)), (names[1], s("issuer"))];
            let (tokens_table, once) = match gone {
                Key::Token(_) => (true, ended(["revoked_at", "revoked_by"])),
                Key::Session(_) => (true, ended(["ended_at", "ended_by"])),
                Key::User(_) | Key::Group(_) | Key::Client(_) | Key::Membership(_) => (false, vec![]),
            };
            let attributes = if tokens_table {
                vec![("ttl", Some(n(ttl)))]
            } else {
                vec![("data", None), ("deleted", Some(AttributeValue::Bool(true))), ("ttl", Some(n(ttl)))]
            };
            Row { tokens_table, key: directory_key(gone), attributes, once }
        }
    })
}

fn put_request(item: Item) -> PortResult<WriteRequest> {
    let put = PutRequest::builder().set_item(Some(item)).build().map_err(|cause| corrupt(cause.to_string()))?;
    Ok(WriteRequest::builder().put_request(put).build())
}

impl Dynamo {
    fn table_of(&self, row: &Row) -> &str {
        if row.tokens_table { &self.tables.tokens } else { &self.tables.directory }
    }

    /// The items that upserts make in an empty stack, with the table of each.
    pub fn items_of(&self, records: &[Record]) -> PortResult<Vec<(String, Item)>> {
        let mut names = HashSet::new();
        let mut items = Vec::with_capacity(records.len());
        for record in records {
            let row = row(record)?;
            let mut item = row.key.clone();
            let set = row.attributes.clone().into_iter().filter_map(|(name, value)| Some((name, value?)));
            item.extend(set.chain(row.once.clone()).map(|(name, value)| (name.to_owned(), value)));
            item.insert("at".to_owned(), n(record.at));
            items.push((self.table_of(&row).to_owned(), item));
            if let Change::Upsert(Entity::Token(token)) = &record.change {
                let signpost = signpost(&TokenRow::from(token.clone()));
                items.extend(signpost.map(|signpost| (self.tables.tokens.clone(), signpost)));
            }
            // One batch must not write an item twice.
            if let Some(name) = says_name(&record.change).filter(|name| names.insert(name.clone())) {
                items.push((self.tables.directory.clone(), name_item(&name)));
            }
            if let Some((user, true)) = says_admin(&record.change) {
                items.push((self.tables.directory.clone(), key(ADMINS, user.as_str())));
            }
        }
        Ok(items)
    }

    /// Writes upserts without looking at what is stored: the first load of an empty stack, about eight times as
    /// fast as [`RecordStore::apply`]. On a table in use it would undo newer changes.
    pub async fn load(&self, records: &[Record]) -> PortResult<()> {
        let write = |(table, item)| Ok((table, put_request(item)?));
        let rows: Vec<_> = self.items_of(records)?.into_iter().map(write).collect::<PortResult<_>>()?;
        stream::iter(rows.chunks(BATCH).map(<[_]>::to_vec))
            .map(|batch| self.write_batch(batch))
            .buffer_unordered(BATCHES_AT_ONCE)
            .try_for_each(|()| async { Ok(()) })
            .await
    }

    async fn write_batch(&self, batch: Vec<(String, WriteRequest)>) -> PortResult<()> {
        let mut left = HashMap::<String, Vec<WriteRequest>>::new();
        for (table, write) in batch {
            left.entry(table).or_default().push(write);
        }
        for _ in 0..BATCH_TRIES {
            let answer = self.client.batch_write_item().set_request_items(Some(left)).send().await.map_err(failed)?;
            left = answer.unprocessed_items.unwrap_or_default();
            if left.is_empty() {
                return Ok(());
            }
        }
        Err(domain::error::PortError::Unavailable {
            service: "DynamoDB",
            cause: "batch write kept being throttled".to_owned(),
        })
    }
}

/// An update that applies a row's attributes, if they are newer than what is stored.
struct Expression {
    update: String,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Expression {
    fn of(row: &Row, at: i64) -> Self {
        let mut set = vec!["#at = :at".to_owned()];
        let mut remove = Vec::new();
        let mut names = HashMap::from([("#at".to_owned(), "at".to_owned())]);
        let mut values = HashMap::from([(":at".to_owned(), n(at))]);
        for (index, (name, value)) in row.attributes.iter().enumerate() {
            names.insert(format!("#a{index}"), (*name).to_owned());
            match value {
                Some(value) => {
                    set.push(format!("#a{index} = :a{index}"));
                    values.insert(format!(":a{index}"), value.clone());
                }
                None => remove.push(format!("#a{index}")),
            }
        }
        for (index, (name, value)) in row.once.iter().enumerate() {
            set.push(format!("#o{index} = if_not_exists(#o{index}, :o{index})"));
            names.insert(format!("#o{index}"), (*name).to_owned());
            values.insert(format!(":o{index}"), value.clone());
        }
        let mut update = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            update = format!("{update} REMOVE {}", remove.join(", "));
        }
        Self { update, names, values }
    }
}

/// What a record says of a user's being an admin; none if it is not about a user.
fn says_admin(change: &Change) -> Option<(&UserId, bool)> {
    match change {
        Change::Upsert(Entity::User(user)) => Some((&user.id, User::from(user.clone()).is_admin())),
        Change::Delete(Key::User(gone)) => Some((&gone.id, false)),
        _ => None,
    }
}

/// The name that a record gives a user.
fn says_name(change: &Change) -> Option<String> {
    match change {
        Change::Upsert(Entity::User(user)) => user.name.as_deref().and_then(name_key),
        _ => None,
    }
}

impl Dynamo {
    /// Changes a user's row and the list of admins together: a job that spares admins must not see one without the
    /// other.
    async fn apply_user(&self, row: Row, change: Expression, user: &UserId, is_admin: bool) -> PortResult<Applied> {
        let table = &self.tables.directory;
        let update = Update::builder()
            .table_name(table)
            .set_key(Some(row.key))
            .condition_expression(NEWER)
            .update_expression(change.update)
            .set_expression_attribute_names(Some(change.names))
            .set_expression_attribute_values(Some(change.values));
        let listed = key(ADMINS, user.as_str());
        let admin = TransactWriteItem::builder();
        let admin = if is_admin {
            let put = Put::builder().table_name(table).set_item(Some(listed)).build();
            admin.put(put.map_err(|cause| corrupt(cause.to_string()))?)
        } else {
            let delete = Delete::builder().table_name(table).set_key(Some(listed)).build();
            admin.delete(delete.map_err(|cause| corrupt(cause.to_string()))?)
        };
        let sent = self.client.transact_write_items().transact_items(transact_update(update)?);
        Ok(match sent.transact_items(admin.build()).send().await.map_or_else(cancelled_step, |_| Ok(Step::Taken))? {
            Step::Taken => Applied::Written,
            Step::Lost => Applied::Stale,
        })
    }
}

#[async_trait]
impl RecordStore for Dynamo {
    async fn apply(&self, record: &Record) -> PortResult<Applied> {
        let row = row(record)?;
        let change = Expression::of(&row, record.at);
        if let Some(name) = says_name(&record.change) {
            // Before the row: a reason must not name somebody whose name is not known to be one yet.
            let put = self.client.put_item().table_name(&self.tables.directory);
            put.set_item(Some(name_item(&name))).send().await.map_err(failed)?;
        }
        if let Some((user, is_admin)) = says_admin(&record.change) {
            return self.apply_user(row, change, user, is_admin).await;
        }
        if let Change::Upsert(Entity::Token(token)) = &record.change {
            // Before the row, so that no row is without one.
            self.put_signpost(&TokenRow::from(token.clone())).await?;
        }
        let sent = self
            .client
            .update_item()
            .table_name(self.table_of(&row))
            .set_key(Some(row.key))
            .condition_expression(NEWER)
            .update_expression(change.update)
            .set_expression_attribute_names(Some(change.names))
            .set_expression_attribute_values(Some(change.values))
            .send()
            .await;
        match sent {
            Ok(_) => Ok(Applied::Written),
            Err(error) if item::condition_failed(&error) => Ok(Applied::Stale),
            Err(error) => Err(failed(error)),
        }
    }
}
