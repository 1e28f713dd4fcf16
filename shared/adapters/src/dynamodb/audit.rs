//! The audit trail. Entries are put where nothing is yet; the functions' roles allow no more than that.
//!
//! An item is one place of a chain. The indexes by time and by job repeat when it was, so that nobody need look at
//! everything.

use async_trait::async_trait;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use chrono::{DateTime, Days, NaiveDate, Utc};
use domain::audit::chain::{Hash, Sealed};
use domain::audit::check::AuditReader;
use domain::audit::verify::{Found, Place};
use domain::audit::{AuditLog, Entry, JobTrail};
use domain::ids::{ChainId, JobId};
use domain::ports::{Page, PortResult};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Dynamo;
use super::item::{Item, Reader, corrupt, failed, key, s};
use super::jobs::{cancellation_codes, transact_put};

const NEW: &str = "attribute_not_exists(pk)";
const BY_TIME: &str = "audit-by-time";
const BY_JOB: &str = "audit-by-job";
/// A day's entries are spread over so many partitions of the index, by their chains: no day is a hot key.
const SHARDS: u8 = 8;
/// Written beside the entry later than the rest: entries of before do without.
const LEVEL: &str = "level";
/// Entries read at a time.
const PAGE: i32 = 500;

fn pk(chain: &ChainId) -> String {
    format!("C#{chain}")
}

/// Twelve digits, so that the order of texts is that of numbers.
fn sk(seq: u64) -> String {
    format!("{seq:012}")
}

/// The partition of the index that a chain's entries of a day are in.
fn day_of(day: NaiveDate, shard: u8) -> String {
    format!("{}#{shard}", day.format("%Y-%m-%d"))
}

fn shard_of(chain: &ChainId) -> u8 {
    chain.as_str().bytes().fold(0, u8::wrapping_add) % SHARDS
}

/// Milliseconds of this age have thirteen digits, so that the order of texts is that of times.
fn time_of(at: DateTime<Utc>) -> String {
    format!("{:013}", at.timestamp_millis())
}

/// An item. What a later version writes beside the entry, it must not miss in the items of before (see [`read`]).
fn write(sealed: &Sealed, entry: &Entry) -> Item {
    let mut item = key(pk(&sealed.chain), sk(sealed.seq));
    let mut set = |name: &str, value: AttributeValue| item.insert(name.to_owned(), value);
    set("prev", s(sealed.prev));
    set("hash", s(sealed.hash));
    set("entry", s(&sealed.text));
    set("day", s(day_of(entry.at.date_naive(), shard_of(&sealed.chain))));
    set("time", s(time_of(entry.at)));
    // By this the table's stream knows what the SIEM is told (`FilterCriteria` in `template.yaml`).
    set(LEVEL, s(entry.level.as_str()));
    if let Some(job) = &entry.job_id {
        set("job_id", s(job.as_str()));
    }
    item
}

/// What stands at a place. The copies beside an entry must be those that would be written with it.
fn read(item: Item) -> Found {
    let reader = Reader(item);
    let text = |name: &str| reader.text_opt(name).unwrap_or_default().to_owned();
    let (partition, sort) = (text("pk"), text("sk"));
    let chain = partition.strip_prefix("C#").and_then(|id| ChainId::parse(id).ok());
    let seq = sort.parse::<u64>().ok().filter(|seq| sk(*seq) == sort);
    let Some((chain, seq)) = chain.zip(seq) else {
        return Found::Unreadable(Place::Elsewhere(format!("{partition} {sort}")), "its key names no place".to_owned());
    };
    let unreadable = |problem: String| Found::Unreadable(Place::Entry(chain.clone(), seq), problem);
    let hash = |name: &str| Hash::try_from(text(name)).map_err(|cause| format!("attribute {name} {cause}"));
    let (prev, hash) = match (hash("prev"), hash("hash")) {
        (Ok(prev), Ok(hash)) => (prev, hash),
        (Err(problem), _) | (_, Err(problem)) => return unreadable(problem),
    };
    let sealed = Sealed { chain: chain.clone(), seq, prev, hash, text: text("entry") };
    // An entry that was altered says so by its hash; its copies matter only while it is whole.
    if sealed.is_whole() {
        let entry = match sealed.entry() {
            Ok(entry) => entry,
            Err(cause) => return unreadable(cause.to_string()),
        };
        let expected = write(&sealed, &entry);
        let mut names: Vec<&String> = expected.keys().chain(reader.0.keys()).collect();
        names.sort();
        let of_before = |name: &str| name == LEVEL && !reader.0.contains_key(LEVEL);
        let differs = |name: &&String| expected.get(*name) != reader.0.get(*name) && !of_before(name);
        if let Some(name) = names.into_iter().find(differs) {
            return unreadable(format!("attribute {name} is not what was written with the entry"));
        }
    }
    Found::Entry(sealed)
}

/// What the table's stream says was written: attributes in DynamoDB's JSON.
pub fn of_stream(image: &Value) -> Found {
    let attributes = image.as_object().into_iter().flatten();
    // An entry's attributes are texts; one that is none is missed, or is too much, and either is told.
    let text = |value: &Value| value["S"].as_str().map_or(AttributeValue::Null(true), s);
    read(attributes.map(|(name, value)| (name.clone(), text(value))).collect())
}

impl Dynamo {
    /// Writes a transaction that an entry belongs to. Refused, with a code for each of the other parts, if one of them
    /// is refused; then nothing is written.
    pub(super) async fn transact_audited(
        &self,
        mut parts: Vec<TransactWriteItem>,
        entry: &Entry,
    ) -> PortResult<Result<(), Vec<String>>> {
        let (sealed, turn) = self.pen.seal(entry).await?;
        let put = Put::builder().table_name(&self.tables.audit).set_item(Some(write(&sealed, entry)));
        parts.push(transact_put(put.condition_expression(NEW))?);
        // The SDK names the transaction, so that repeating it after a lost answer writes nothing twice.
        let sent = self.client.transact_write_items().set_transact_items(Some(parts)).send().await;
        let Err(error) = sent else {
            turn.written();
            return Ok(Ok(()));
        };
        let Some(mut codes) = error.as_service_error().and_then(cancellation_codes) else {
            turn.unknown();
            return Err(failed(error));
        };
        // The entry's own part came last. Only if it was not at fault its place is as free as before.
        if codes.pop().is_some_and(|code| code == "ConditionalCheckFailed") {
            turn.unknown();
            return Err(failed(error));
        }
        turn.unwritten();
        Ok(Err(codes.into_iter().map(str::to_owned).collect()))
    }

    /// Puts an entry at the next place. After an error nobody can tell whether it is written.
    async fn append_once(&self, entry: &Entry) -> PortResult<()> {
        let (sealed, turn) = self.pen.seal(entry).await?;
        let item = write(&sealed, entry);
        let put = self.client.put_item().table_name(&self.tables.audit).set_item(Some(item.clone()));
        let put = put
            .condition_expression(NEW)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = put.send().await else {
            turn.written();
            return Ok(());
        };
        // The SDK repeats what went unanswered: then it is our own entry that stands there.
        if standing(&error).is_some_and(|standing| *standing == item) {
            turn.written();
            return Ok(());
        }
        turn.unknown();
        Err(failed(error))
    }
}

/// What stands at the place where something was to be put.
fn standing<R>(error: &SdkError<PutItemError, R>) -> Option<&Item> {
    match error.as_service_error() {
        Some(PutItemError::ConditionalCheckFailedException(failed)) => failed.item(),
        _ => None,
    }
}

#[async_trait]
impl AuditLog for Dynamo {
    async fn append(&self, entry: &Entry) -> PortResult<()> {
        let Err(error) = self.append_once(entry).await else { return Ok(()) };
        // At the start of a new chain, so that an entry whose fate is not known comes twice rather than not at all.
        tracing::warn!(%error, entry = entry.id, "an audit entry may not be written; it goes to a new chain");
        self.append_once(entry).await
    }
}

/// Where the pages of a time go on.
#[derive(Serialize, Deserialize)]
struct Cursor {
    day: NaiveDate,
    shard: u8,
    after: Option<[String; 3]>,
}

fn cursor<T: Serialize>(place: &T) -> PortResult<String> {
    serde_json::to_string(place).map_err(|cause| corrupt(cause.to_string()))
}

fn of_cursor<T: serde::de::DeserializeOwned>(text: &str) -> PortResult<T> {
    serde_json::from_str(text).map_err(|cause| corrupt(format!("a cursor: {cause}")))
}

fn after(last: Option<Item>, names: &[&str]) -> Option<Vec<String>> {
    let last = Reader(last?);
    names.iter().map(|name| last.text_opt(name).map(str::to_owned)).collect()
}

#[async_trait]
impl AuditReader for Dynamo {
    async fn chains(&self, from: Option<&str>) -> PortResult<Page<Result<ChainId, String>>> {
        let start = from.map(of_cursor::<[String; 2]>).transpose()?.map(|[pk, sk]| key(pk, sk));
        let page = self
            .client
            .scan()
            .table_name(&self.tables.audit)
            .consistent_read(true)
            .projection_expression("pk, sk")
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(failed)?;
        let mut items = Vec::new();
        for item in page.items.into_iter().flatten().map(Reader) {
            let (pk, sk) = (item.text("pk")?, item.text("sk")?);
            let chain = pk.strip_prefix("C#").and_then(|id| ChainId::parse(id).ok());
            let listed = chain.ok_or_else(|| format!("{pk} {sk}"));
            // Entries of a chain come one after the other.
            if items.last() != Some(&listed) {
                items.push(listed);
            }
        }
        let next = after(page.last_evaluated_key, &["pk", "sk"]).map(|key| cursor(&key)).transpose()?;
        Ok(Page { items, next })
    }

    async fn chain(&self, chain: &ChainId, from: Option<&str>) -> PortResult<Page<Found>> {
        let page = self
            .client
            .query()
            .table_name(&self.tables.audit)
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(pk(chain)))
            .limit(PAGE)
            .set_exclusive_start_key(from.map(|sk| key(pk(chain), sk)))
            .send()
            .await
            .map_err(failed)?;
        let next = after(page.last_evaluated_key, &["sk"]).and_then(|mut key| key.pop());
        Ok(Page { items: page.items.into_iter().flatten().map(read).collect(), next })
    }

    async fn last(&self, chain: &ChainId) -> PortResult<Option<Found>> {
        let query = self.client.query().table_name(&self.tables.audit).consistent_read(true);
        let query = query.key_condition_expression("pk = :pk").expression_attribute_values(":pk", s(pk(chain)));
        let found = query.scan_index_forward(false).limit(1).send().await.map_err(failed)?;
        Ok(found.items.into_iter().flatten().next().map(read))
    }

    async fn between(&self, since: DateTime<Utc>, until: DateTime<Utc>, from: Option<&str>) -> PortResult<Page<Found>> {
        let first = Cursor { day: since.date_naive(), shard: 0, after: None };
        let at: Cursor = from.map(of_cursor).transpose()?.unwrap_or(first);
        let partition = day_of(at.day, at.shard);
        let start = at.after.map(|[time, pk, sk]| {
            let mut start = key(pk, sk);
            start.extend([("day".to_owned(), s(&partition)), ("time".to_owned(), s(time))]);
            start
        });
        let page = self
            .client
            .query()
            .table_name(&self.tables.audit)
            .index_name(BY_TIME)
            .key_condition_expression("#day = :day AND #time BETWEEN :since AND :until")
            .expression_attribute_names("#day", "day")
            .expression_attribute_names("#time", "time")
            .expression_attribute_values(":day", s(&partition))
            .expression_attribute_values(":since", s(time_of(since)))
            .expression_attribute_values(":until", s(time_of(until)))
            .limit(PAGE)
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(failed)?;
        let after = after(page.last_evaluated_key, &["time", "pk", "sk"]).and_then(|key| key.try_into().ok());
        let next = match after {
            Some(after) => Some(Cursor { day: at.day, shard: at.shard, after: Some(after) }),
            None if at.shard + 1 < SHARDS => Some(at_start(at.day, at.shard + 1)),
            None => {
                let tomorrow = at.day.checked_add_days(Days::new(1));
                tomorrow.filter(|day| *day <= until.date_naive()).map(|day| at_start(day, 0))
            }
        };
        let next = next.map(|next| cursor(&next)).transpose()?;
        Ok(Page { items: page.items.into_iter().flatten().map(read).collect(), next })
    }
}

fn at_start(day: NaiveDate, shard: u8) -> Cursor {
    Cursor { day, shard, after: None }
}

#[async_trait]
impl JobTrail for Dynamo {
    async fn of_job(&self, job: &JobId, from: Option<&str>, limit: usize) -> PortResult<Page<Found>> {
        let start = from.map(of_cursor::<[String; 3]>).transpose()?.map(|[time, pk, sk]| {
            let mut start = key(pk, sk);
            start.extend([("job_id".to_owned(), s(job.as_str())), ("time".to_owned(), s(time))]);
            start
        });
        let page = self
            .client
            .query()
            .table_name(&self.tables.audit)
            .index_name(BY_JOB)
            .key_condition_expression("job_id = :job")
            .expression_attribute_values(":job", s(job.as_str()))
            .scan_index_forward(false)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(failed)?;
        let next = after(page.last_evaluated_key, &["time", "pk", "sk"]).map(|key| cursor(&key)).transpose()?;
        Ok(Page { items: page.items.into_iter().flatten().map(read).collect(), next })
    }
}
