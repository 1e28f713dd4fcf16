//! Jobs, their chunks' results, tallies and affected users.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use chrono::{DateTime, Utc};
use domain::audit::Entry as AuditEntry;
use domain::error::PortError;
use domain::ids::{JobId, UserId};
use domain::job::{
    Cancelled, Chunk, ChunkOutcome, ChunkResult, Facts, Fate, Job, PlanCursor, Priority, Statistics, Status, Tally,
};
use domain::ports::{Affected, Created, Frozen, JobStore, NewJob, PortResult, Step};
use domain::rate::{SlotChange, Slots};
use domain::time::{Clock as _, Epoch, SystemClock, from_millis};
use domain::token::Owner;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::item::{self, Item, Reader, corrupt, failed, key, n, s};
use super::{Dynamo, affected, notices, tokens};

/// The index of open jobs: `open` is taken away when a job ends, so that it holds nothing else.
const OPEN_JOBS: &str = "open-jobs";
const OPEN: &str = "1";
const OPEN_JOBS_AT_ONCE: i32 = 100;
/// The indexes that list jobs, newest first: all of them, and each actor's.
const BY_TIME: &str = "jobs-by-time";
const BY_ACTOR: &str = "jobs-by-actor";
const LISTED: &str = "1";
/// Users of a frozen list in one item.
const PEOPLE_PER_ITEM: usize = 500;
/// Shards of a job's tally.
const TALLY_SHARDS: u32 = 16;
/// How long a job, its results and its affected users are kept, in seconds.
const JOB_RETENTION_SECONDS: i64 = 400 * 24 * 3_600;
/// Jobs of a list read at the same time.
const READS_AT_ONCE: usize = 16;
/// Parts of a page's affected owners written at the same time.
const WRITES_AT_ONCE: usize = 8;

fn job_key(id: &JobId) -> Item {
    key(format!("J#{id}"), "-")
}

fn checkpoint_key(id: &JobId, chunk: u32) -> Item {
    key(format!("J#{id}"), format!("K#{chunk:08}"))
}

fn result_key(id: &JobId, chunk: u32) -> Item {
    key(format!("J#{id}"), format!("C#{chunk:08}"))
}

/// The shard of the tally that a chunk counts in.
pub(super) fn tally_key(id: &JobId, chunk: u32) -> Item {
    key(format!("J#{id}"), format!("N#{}", chunk % TALLY_SHARDS))
}

/// Where a chunk's owners are noted: users and clients with service tokens, as the tokens table names them.
pub(super) fn affected_pk(id: &JobId, chunk: u32, fate: Fate) -> String {
    match fate {
        Fate::Lost => format!("A#{id}#{chunk}"),
        Fate::Left => format!("L#{id}#{chunk}"),
    }
}

fn people_pk(id: &JobId, list: Frozen) -> String {
    match list {
        Frozen::Spared => format!("P#{id}#spared"),
        Frozen::Admins => format!("P#{id}#admins"),
    }
}

/// When what is written now for a job may go. Housekeeping, so that the store's own clock will do.
pub(super) fn kept_until() -> AttributeValue {
    n(Epoch::from(SystemClock.now()).plus(JOB_RETENTION_SECONDS).0)
}

fn status(text: &str) -> PortResult<Status> {
    serde_json::from_value(text.into()).map_err(|_| corrupt(format!("{text:?} is no status")))
}

fn priority(text: &str) -> PortResult<Priority> {
    serde_json::from_value(text.into()).map_err(|_| corrupt(format!("{text:?} is no priority")))
}

fn time_opt(item: &Reader, name: &str) -> PortResult<Option<DateTime<Utc>>> {
    Ok(item.number_opt(name)?.map(from_millis))
}

fn write_job(job: &Job) -> PortResult<Item> {
    let mut item = job_key(&job.id);
    let mut set = |name: &str, value| item.insert(name.to_owned(), value);
    set("job_id", s(job.id.as_str()));
    set("conditions", item::json(&job.conditions)?);
    set("status", s(job.status.as_str()));
    set("priority", s(job.priority.as_str()));
    set("dry_run", AttributeValue::Bool(job.dry_run));
    set("reason", s(&job.reason));
    set("notify_users", AttributeValue::Bool(job.notify_users));
    set("initiated_by", item::json(&job.initiated_by)?);
    set("created_at", n(job.created_at.timestamp_millis()));
    set("plan", item::json(&job.plan)?);
    set("emitted", AttributeValue::Bool(job.emitted));
    set("ttl", n(Epoch::from(job.created_at).plus(JOB_RETENTION_SECONDS).0));
    for (name, time) in [
        ("started_at", job.started_at),
        ("effective_at", job.effective_at),
        ("completed_at", job.completed_at),
        ("redriven_at", job.redriven_at),
    ] {
        if let Some(time) = time {
            set(name, n(time.timestamp_millis()));
        }
    }
    if let Some(cancelled) = &job.cancelled {
        set("cancelled", item::json(cancelled)?);
    }
    set("listed", s(LISTED));
    set("actor", s(job.initiated_by.id.as_str()));
    if job.status.is_open() {
        set("open", s(OPEN));
    }
    Ok(item)
}

fn read_job(item: &Reader) -> PortResult<Job> {
    Ok(Job {
        id: item.id("job_id")?,
        conditions: item.json("conditions")?,
        status: status(item.text("status")?)?,
        priority: priority(item.text("priority")?)?,
        dry_run: item.flag("dry_run"),
        reason: item.text("reason")?.to_owned(),
        notify_users: item.flag("notify_users"),
        initiated_by: item.json("initiated_by")?,
        created_at: from_millis(item.number("created_at")?),
        started_at: time_opt(item, "started_at")?,
        effective_at: time_opt(item, "effective_at")?,
        completed_at: time_opt(item, "completed_at")?,
        cancelled: item.text_opt("cancelled").map(|_| item.json("cancelled")).transpose()?,
        plan: item.json("plan")?,
        emitted: item.flag("emitted"),
        redriven_at: time_opt(item, "redriven_at")?,
    })
}

/// Reads one number of a result.
type Count = fn(&ChunkResult) -> u64;

/// The tally's attributes, and how to reach each in a result.
const TALLY: [(&str, Count); 18] = [
    ("done", |result| u64::from(result.outcome == ChunkOutcome::Done)),
    ("failed", |result| u64::from(result.outcome == ChunkOutcome::Failed)),
    ("cancelled", |result| u64::from(result.outcome == ChunkOutcome::Cancelled)),
    ("users", |result| result.statistics.total_users_affected),
    ("access_tokens", |result| result.statistics.access_tokens_revoked),
    ("refresh_tokens", |result| result.statistics.refresh_tokens_revoked),
    ("sessions", |result| result.statistics.sessions_terminated),
    ("errors", |result| result.statistics.errors),
    ("service_access_tokens", |result| result.statistics.service.access_tokens),
    ("service_refresh_tokens", |result| result.statistics.service.refresh_tokens),
    ("admins", |result| result.statistics.admins),
    ("you", |result| result.statistics.you),
    ("left_users", |result| result.left.total_users_affected),
    ("left_access_tokens", |result| result.left.access_tokens_revoked),
    ("left_refresh_tokens", |result| result.left.refresh_tokens_revoked),
    ("left_sessions", |result| result.left.sessions_terminated),
    ("left_service_access_tokens", |result| result.left.service.access_tokens),
    ("left_service_refresh_tokens", |result| result.left.service.refresh_tokens),
];

fn write_result(result: ChunkResult) -> PortResult<AttributeValue> {
    item::json(&result)
}

/// What a transaction's cancellation means: lost if a condition failed, an error to retry otherwise.
pub(super) fn cancelled_step(error: aws_sdk_dynamodb::error::SdkError<TransactWriteItemsError>) -> PortResult<Step> {
    if let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error() {
        let mut codes = cancelled.cancellation_reasons().iter().filter_map(|reason| reason.code());
        if codes.any(|code| code == "ConditionalCheckFailed") {
            return Ok(Step::Lost);
        }
    }
    Err(failed(error))
}

/// What it means that parts of a transaction with an entry were refused.
fn step_of(written: Result<(), Vec<String>>) -> PortResult<Step> {
    match written {
        Ok(()) => Ok(Step::Taken),
        Err(codes) if codes.iter().any(|code| code == "ConditionalCheckFailed") => Ok(Step::Lost),
        Err(codes) => Err(cancelled(&codes)),
    }
}

/// A transaction that was cancelled for these reasons, none of which means anything to the rules.
fn cancelled(codes: &[String]) -> PortError {
    PortError::Unavailable { service: "DynamoDB", cause: format!("transaction cancelled: {}", codes.join(", ")) }
}

/// The codes of a cancelled transaction, one for each of its items.
pub(super) fn cancellation_codes(error: &TransactWriteItemsError) -> Option<Vec<&str>> {
    let TransactWriteItemsError::TransactionCanceledException(cancelled) = error else { return None };
    Some(cancelled.cancellation_reasons().iter().map(|reason| reason.code().unwrap_or_default()).collect())
}

fn slot_key(actor: &UserId, name: &str) -> Item {
    key(format!("R#{actor}"), name)
}

fn idempotency_key(actor: &UserId, key_hash: &str) -> Item {
    key(format!("I#{actor}"), key_hash)
}

/// A put as a part of a transaction.
pub(super) fn transact_put(put: aws_sdk_dynamodb::types::builders::PutBuilder) -> PortResult<TransactWriteItem> {
    let put = put.build().map_err(|cause| corrupt(cause.to_string()))?;
    Ok(TransactWriteItem::builder().put(put).build())
}

/// An update as a part of a transaction.
pub(super) fn transact_update(
    update: aws_sdk_dynamodb::types::builders::UpdateBuilder,
) -> PortResult<TransactWriteItem> {
    let update = update.build().map_err(|cause| corrupt(cause.to_string()))?;
    Ok(TransactWriteItem::builder().update(update).build())
}

impl Dynamo {
    /// Writes something that belongs to a job and is kept as long.
    async fn put_job_item(&self, mut item: Item) -> PortResult<()> {
        item.insert("ttl".to_owned(), kept_until());
        self.client.put_item().table_name(&self.tables.jobs).set_item(Some(item)).send().await.map_err(failed)?;
        Ok(())
    }

    /// Takes a slot, if the stored ones are still what was read.
    pub(super) fn slot_update(&self, slot: &SlotChange) -> PortResult<TransactWriteItem> {
        let before = if slot.before == Slots::default() { "attribute_not_exists(slots) OR " } else { "" };
        transact_update(
            Update::builder()
                .table_name(&self.tables.jobs)
                .set_key(Some(slot_key(&slot.actor, slot.name)))
                .update_expression("SET slots = :after, #ttl = :ttl")
                .condition_expression(format!("{before}slots = :before"))
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":before", item::json(&slot.before)?)
                .expression_attribute_values(":after", item::json(&slot.after)?)
                .expression_attribute_values(":ttl", n(slot.expires_at)),
        )
    }

    /// The parts of a new job but for its audit entry, and what it means if one of them is refused.
    fn parts_of(&self, new: NewJob<'_>) -> PortResult<Vec<(TransactWriteItem, Option<Created>)>> {
        let jobs = &self.tables.jobs;
        let mut parts = Vec::new();
        let job = Put::builder().table_name(jobs).set_item(Some(write_job(new.job)?));
        parts.push((transact_put(job.condition_expression("attribute_not_exists(pk)"))?, None));
        for cutoff in new.cutoffs {
            let item = super::denylist::write_cutoff(cutoff)?;
            parts.push((transact_put(Put::builder().table_name(&self.tables.denylist).set_item(Some(item)))?, None));
        }
        if let Some(slot) = new.slot {
            parts.push((self.slot_update(slot)?, Some(Created::SlotsMoved)));
        }
        if let Some(asked) = new.idempotency {
            let mut item = idempotency_key(&asked.actor, &asked.key);
            item.insert("request".to_owned(), s(&asked.request));
            item.insert("job_id".to_owned(), s(new.job.id.as_str()));
            item.insert("ttl".to_owned(), n(asked.expires_at));
            let put = Put::builder()
                .table_name(jobs)
                .set_item(Some(item))
                .condition_expression("attribute_not_exists(pk) OR #ttl <= :now")
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":now", n(new.job.created_at.timestamp()));
            parts.push((transact_put(put)?, Some(Created::Repeated)));
        }
        if let Some(used) = new.key {
            let update = Update::builder()
                .table_name(jobs)
                .set_key(Some(super::keys::key_of(&used.actor)))
                .update_expression("SET used_by = :job")
                .condition_expression("id = :id AND attribute_not_exists(used_by)")
                .expression_attribute_values(":job", s(new.job.id.as_str()))
                .expression_attribute_values(":id", s(&used.id));
            parts.push((transact_update(update)?, Some(Created::KeyUsed)));
        }
        Ok(parts)
    }

    /// Writes a transaction. Refused, with a code for each part, if one of them is refused.
    pub(super) async fn transact(&self, parts: Vec<TransactWriteItem>) -> PortResult<Result<(), Vec<String>>> {
        let sent = self.client.transact_write_items().set_transact_items(Some(parts)).send().await;
        let Err(error) = sent else { return Ok(Ok(())) };
        let codes = error.as_service_error().and_then(cancellation_codes);
        let codes = codes.map(|codes| codes.into_iter().map(str::to_owned).collect());
        codes.map_or_else(|| Err(failed(error)), |codes| Ok(Err(codes)))
    }

    /// A conditional update of a job. `Lost` if the condition does not hold.
    async fn update_job(
        &self,
        id: &JobId,
        update: &str,
        condition: &str,
        values: impl IntoIterator<Item = (&str, AttributeValue)>,
    ) -> PortResult<Step> {
        self.update_jobs_item(job_key(id), update, condition, values).await
    }

    /// The same of anything else that is kept with jobs.
    pub(super) async fn update_jobs_item(
        &self,
        key: Item,
        update: &str,
        condition: &str,
        values: impl IntoIterator<Item = (&str, AttributeValue)>,
    ) -> PortResult<Step> {
        let mut request = self
            .client
            .update_item()
            .table_name(&self.tables.jobs)
            .set_key(Some(key))
            .update_expression(update)
            .condition_expression(condition);
        if update.contains("#status") || condition.contains("#status") {
            request = request.expression_attribute_names("#status", "status");
        }
        if update.contains("#open") {
            request = request.expression_attribute_names("#open", "open");
        }
        if update.contains("#ttl") {
            request = request.expression_attribute_names("#ttl", "ttl");
        }
        for (name, value) in values {
            request = request.expression_attribute_values(name, value);
        }
        match request.send().await {
            Ok(_) => Ok(Step::Taken),
            Err(error) if item::condition_failed(&error) => Ok(Step::Lost),
            Err(error) => Err(failed(error)),
        }
    }
}

#[async_trait]
impl JobStore for Dynamo {
    async fn create(&self, new: NewJob<'_>) -> PortResult<Created> {
        let (parts, meanings): (Vec<_>, Vec<_>) = self.parts_of(new)?.into_iter().unzip();
        let written = match new.audit {
            Some(entry) => self.transact_audited(parts, entry).await?,
            None => self.transact(parts).await?,
        };
        let Err(codes) = written else { return Ok(Created::Written) };
        let conflicts = |code: &String| matches!(code.as_str(), "ConditionalCheckFailed" | "TransactionConflict");
        // Of several the most final one counts.
        let refused = codes.iter().zip(meanings).filter(|(code, _)| conflicts(code));
        let refused = refused.filter_map(|(_, meaning)| meaning).max_by_key(|meaning| match meaning {
            Created::Written | Created::SlotsMoved => 0,
            Created::KeyUsed => 1,
            Created::Repeated => 2,
        });
        refused.ok_or_else(|| cancelled(&codes))
    }

    async fn get(&self, id: &JobId) -> PortResult<Option<Job>> {
        let got = self.client.get_item().table_name(&self.tables.jobs).set_key(Some(job_key(id)));
        let item = got.consistent_read(true).send().await.map_err(failed)?.item;
        item.map(|item| read_job(&Reader(item))).transpose()
    }

    async fn start(&self, id: &JobId, at: DateTime<Utc>) -> PortResult<Step> {
        let values = [
            (":next", s(Status::Processing.as_str())),
            (":from", s(Status::Pending.as_str())),
            (":at", n(at.timestamp_millis())),
        ];
        self.update_job(id, "SET #status = :next, started_at = :at", "#status = :from", values).await
    }

    async fn freeze(
        &self,
        id: &JobId,
        from: &PlanCursor,
        to: &PlanCursor,
        chunks: &[Chunk],
        retires_at: Epoch,
    ) -> PortResult<Step> {
        let cursor = Update::builder()
            .table_name(&self.tables.jobs)
            .set_key(Some(job_key(id)))
            .update_expression("SET #plan = :to")
            .condition_expression("#plan = :from AND #status = :processing")
            .expression_attribute_names("#plan", "plan")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":from", item::json(from)?)
            .expression_attribute_values(":to", item::json(to)?)
            .expression_attribute_values(":processing", s(Status::Processing.as_str()))
            .build()
            .map_err(|cause| corrupt(cause.to_string()))?;
        let mut transaction =
            self.client.transact_write_items().transact_items(TransactWriteItem::builder().update(cursor).build());
        for chunk in chunks {
            let item = super::denylist::write_chunk(id, chunk, retires_at)?;
            let put = Put::builder().table_name(&self.tables.denylist).set_item(Some(item)).build();
            let put = put.map_err(|cause| corrupt(cause.to_string()))?;
            transaction = transaction.transact_items(TransactWriteItem::builder().put(put).build());
        }
        transaction.send().await.map_or_else(cancelled_step, |_| Ok(Step::Taken))
    }

    async fn mark_effective(&self, id: &JobId, at: DateTime<Utc>) -> PortResult<()> {
        let values = [(":at", n(at.timestamp_millis()))];
        self.update_job(id, "SET effective_at = if_not_exists(effective_at, :at)", "attribute_exists(pk)", values)
            .await?;
        Ok(())
    }

    async fn mark_emitted(&self, id: &JobId) -> PortResult<()> {
        let values = [(":yes", AttributeValue::Bool(true))];
        self.update_job(id, "SET emitted = :yes", "attribute_exists(pk)", values).await?;
        Ok(())
    }

    async fn mark_redriven(&self, id: &JobId, at: DateTime<Utc>) -> PortResult<()> {
        let values = [(":at", n(at.timestamp_millis()))];
        self.update_job(id, "SET redriven_at = :at", "attribute_exists(pk)", values).await?;
        Ok(())
    }

    async fn record_affected(
        &self,
        id: &JobId,
        chunk: u32,
        fate: Fate,
        owners: &[(Owner, Facts)],
        at: DateTime<Utc>,
    ) -> PortResult<()> {
        stream::iter(affected::parts(owners)?)
            .map(|part| {
                let mut item = part.item(affected_pk(id, chunk, fate), at);
                item.insert("ttl".to_owned(), n(Epoch::from(at).plus(JOB_RETENTION_SECONDS).0));
                let put = self.client.put_item().table_name(&self.tables.jobs).set_item(Some(item));
                async move { put.send().await.map_err(failed) }
            })
            .buffer_unordered(WRITES_AT_ONCE)
            .try_for_each(|_| async { Ok(()) })
            .await
    }

    async fn affected(&self, id: &JobId, chunk: u32, fate: Fate) -> PortResult<HashMap<Owner, Facts>> {
        let query = self.client.query().table_name(&self.tables.jobs).consistent_read(true);
        let query = query
            .key_condition_expression("pk = :pk AND begins_with(sk, :part)")
            .expression_attribute_values(":pk", s(affected_pk(id, chunk, fate)))
            .expression_attribute_values(":part", s(affected::PART));
        let mut pages = query.into_paginator().send();
        let mut known = affected::Known::default();
        while let Some(page) = pages.next().await {
            for item in page.map_err(failed)?.items.into_iter().flatten() {
                known.add(&Reader(item))?;
            }
        }
        Ok(known.0.into_iter().map(|(owner, (facts, _))| (owner, facts)).collect())
    }

    async fn affected_users(
        &self,
        id: &JobId,
        chunk: u32,
        after: Option<&UserId>,
        limit: usize,
    ) -> PortResult<Vec<Affected>> {
        let query = self.client.query().table_name(&self.tables.jobs).consistent_read(true);
        let query = query
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(affected_pk(id, chunk, Fate::Lost)));
        let mut pages = query.into_paginator().send();
        let (mut known, mut told) = (affected::Known::default(), HashMap::new());
        while let Some(page) = pages.next().await {
            for item in page.map_err(failed)?.items.into_iter().flatten().map(Reader) {
                if item.text("sk")?.starts_with(affected::PART) {
                    known.add(&item)?;
                } else {
                    told.insert(tokens::read_owner(item.text("sk")?)?, notices::read_told(&item)?);
                }
            }
        }
        let lines = known.0.into_iter().filter_map(|(owner, (facts, processed_at))| {
            let notice = told.remove(&owner).flatten();
            let user = owner.user()?.clone();
            Some(Affected { user, facts, processed_at, notice })
        });
        Ok(lines.filter(|line| after.is_none_or(|after| &line.user > after)).take(limit).collect())
    }

    async fn checkpoint(&self, id: &JobId, chunk: u32) -> PortResult<Option<String>> {
        let got = self.client.get_item().table_name(&self.tables.jobs).set_key(Some(checkpoint_key(id, chunk)));
        let item = got.consistent_read(true).send().await.map_err(failed)?.item;
        item.map(|item| Reader(item).text("at").map(str::to_owned)).transpose()
    }

    async fn save_checkpoint(&self, id: &JobId, chunk: u32, at: &str) -> PortResult<()> {
        let mut item = checkpoint_key(id, chunk);
        item.insert("at".to_owned(), s(at));
        self.put_job_item(item).await
    }

    async fn freeze_people(&self, id: &JobId, list: Frozen, users: &BTreeSet<UserId>) -> PortResult<()> {
        let users: Vec<&UserId> = users.iter().collect();
        for (number, part) in users.chunks(PEOPLE_PER_ITEM).enumerate() {
            let mut item = key(people_pk(id, list), format!("{number:04}"));
            item.insert("users".to_owned(), item::json(&part)?);
            self.put_job_item(item).await?;
        }
        Ok(())
    }

    async fn frozen_people(&self, id: &JobId, list: Frozen) -> PortResult<BTreeSet<UserId>> {
        let query = self.client.query().table_name(&self.tables.jobs).consistent_read(true);
        let query =
            query.key_condition_expression("pk = :pk").expression_attribute_values(":pk", s(people_pk(id, list)));
        let mut items = query.into_paginator().items().send();
        let mut users = BTreeSet::new();
        while let Some(item) = items.next().await {
            users.extend(Reader(item.map_err(failed)?).json::<Vec<UserId>>("users")?);
        }
        Ok(users)
    }

    async fn chunk_result(&self, id: &JobId, chunk: u32) -> PortResult<Option<ChunkResult>> {
        let got = self.client.get_item().table_name(&self.tables.jobs).set_key(Some(result_key(id, chunk)));
        let item = got.consistent_read(true).send().await.map_err(failed)?.item;
        item.map(|item| Reader(item).json("result")).transpose()
    }

    async fn commit_chunk(
        &self,
        id: &JobId,
        chunk: u32,
        before: Option<ChunkResult>,
        after: ChunkResult,
    ) -> PortResult<Step> {
        let mut item = result_key(id, chunk);
        item.insert("result".to_owned(), write_result(after)?);
        item.insert("ttl".to_owned(), kept_until());
        let mut put = Put::builder().table_name(&self.tables.jobs).set_item(Some(item));
        put = match before {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(before) => put
                .condition_expression("#result = :before")
                .expression_attribute_names("#result", "result")
                .expression_attribute_values(":before", write_result(before)?),
        };
        let mut add = Update::builder().table_name(&self.tables.jobs).set_key(Some(tally_key(id, chunk)));
        let mut terms = Vec::new();
        for (index, (name, of)) in TALLY.iter().enumerate() {
            let had = before.as_ref().map_or(0, of).cast_signed();
            terms.push(format!("#t{index} :t{index}"));
            add = add
                .expression_attribute_names(format!("#t{index}"), *name)
                .expression_attribute_values(format!(":t{index}"), n(of(&after).cast_signed() - had));
        }
        let add = add
            .update_expression(format!("SET #ttl = :ttl ADD {}", terms.join(", ")))
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":ttl", kept_until());
        let put = put.build().map_err(|cause| corrupt(cause.to_string()))?;
        let add = add.build().map_err(|cause| corrupt(cause.to_string()))?;
        let sent = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().put(put).build())
            .transact_items(TransactWriteItem::builder().update(add).build())
            .send()
            .await;
        sent.map_or_else(cancelled_step, |_| Ok(Step::Taken))
    }

    async fn tally(&self, id: &JobId) -> PortResult<Tally> {
        let shards = self
            .client
            .query()
            .table_name(&self.tables.jobs)
            .consistent_read(true)
            .key_condition_expression("pk = :pk AND begins_with(sk, :n)")
            .expression_attribute_values(":pk", s(format!("J#{id}")))
            .expression_attribute_values(":n", s("N#"))
            .send()
            .await
            .map_err(failed)?;
        let mut tally = Tally::default();
        for shard in shards.items.into_iter().flatten().map(Reader) {
            // A notice may be counted in a shard before any chunk is.
            let number = |name: &str| shard.number_opt::<u64>(name).map(Option::unwrap_or_default);
            tally.notices += notices::read_counts(&shard)?;
            tally.done += number("done")?;
            tally.failed += number("failed")?;
            tally.cancelled += number("cancelled")?;
            tally.statistics += Statistics {
                total_users_affected: number("users")?,
                access_tokens_revoked: number("access_tokens")?,
                refresh_tokens_revoked: number("refresh_tokens")?,
                sessions_terminated: number("sessions")?,
                errors: number("errors")?,
                service: Facts {
                    access_tokens: number("service_access_tokens")?,
                    refresh_tokens: number("service_refresh_tokens")?,
                    sessions: 0,
                },
                admins: number("admins")?,
                you: number("you")?,
            };
            tally.left += Statistics {
                total_users_affected: number("left_users")?,
                access_tokens_revoked: number("left_access_tokens")?,
                refresh_tokens_revoked: number("left_refresh_tokens")?,
                sessions_terminated: number("left_sessions")?,
                service: Facts {
                    access_tokens: number("left_service_access_tokens")?,
                    refresh_tokens: number("left_service_refresh_tokens")?,
                    sessions: 0,
                },
                ..Statistics::default()
            };
        }
        Ok(tally)
    }

    async fn finish(
        &self,
        id: &JobId,
        from: Status,
        to: Status,
        at: DateTime<Utc>,
        audit: &AuditEntry,
    ) -> PortResult<Step> {
        let update = Update::builder()
            .table_name(&self.tables.jobs)
            .set_key(Some(job_key(id)))
            .update_expression("SET #status = :to, completed_at = :at REMOVE #open")
            .condition_expression("#status = :from")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#open", "open")
            .expression_attribute_values(":to", s(to.as_str()))
            .expression_attribute_values(":from", s(from.as_str()))
            .expression_attribute_values(":at", n(at.timestamp_millis()));
        step_of(self.transact_audited(vec![transact_update(update)?], audit).await?)
    }

    async fn cancel(&self, id: &JobId, from: Status, cancelled: &Cancelled, audit: &AuditEntry) -> PortResult<Step> {
        let update = Update::builder()
            .table_name(&self.tables.jobs)
            .set_key(Some(job_key(id)))
            .update_expression("SET #status = :to, cancelled = :cancelled")
            .condition_expression("#status = :from")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":to", s(Status::Cancelled.as_str()))
            .expression_attribute_values(":from", s(from.as_str()))
            .expression_attribute_values(":cancelled", item::json(cancelled)?);
        step_of(self.transact_audited(vec![transact_update(update)?], audit).await?)
    }

    async fn retire(&self, id: &JobId) -> PortResult<()> {
        let values = [(":cancelled", s(Status::Cancelled.as_str()))];
        self.update_job(id, "REMOVE #open", "#status = :cancelled", values).await?;
        Ok(())
    }

    async fn jobs_by_time(
        &self,
        initiated_by: Option<&UserId>,
        after: Option<&(i64, JobId)>,
        limit: usize,
    ) -> PortResult<Vec<Job>> {
        let (index, attribute, value) = match initiated_by {
            Some(actor) => (BY_ACTOR, "actor", s(actor.as_str())),
            None => (BY_TIME, "listed", s(LISTED)),
        };
        let start = after.map(|(created_at, id)| {
            let mut start = job_key(id);
            start.insert(attribute.to_owned(), value.clone());
            start.insert("created_at".to_owned(), n(created_at));
            start
        });
        let page = self
            .client
            .query()
            .table_name(&self.tables.jobs)
            .index_name(index)
            .key_condition_expression("#of = :of")
            .expression_attribute_names("#of", attribute)
            .expression_attribute_values(":of", value)
            .scan_index_forward(false)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(failed)?;
        // The index knows the order; what a job says is read from the job itself.
        let ids =
            page.items.into_iter().flatten().map(|item| job_id_of(&Reader(item))).collect::<PortResult<Vec<_>>>()?;
        let found: Vec<Option<Job>> = stream::iter(ids)
            .map(|id| async move { self.get(&id).await })
            .buffered(READS_AT_ONCE)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn slots(&self, actor: &UserId, name: &str) -> PortResult<Slots> {
        let got = self.client.get_item().table_name(&self.tables.jobs).set_key(Some(slot_key(actor, name)));
        let item = got.consistent_read(true).send().await.map_err(failed)?.item;
        item.map_or_else(|| Ok(Slots::default()), |item| Reader(item).json("slots"))
    }

    async fn repeated(&self, actor: &UserId, key: &str, now: Epoch) -> PortResult<Option<(JobId, String)>> {
        let got = self.client.get_item().table_name(&self.tables.jobs).set_key(Some(idempotency_key(actor, key)));
        let Some(item) = got.consistent_read(true).send().await.map_err(failed)?.item.map(Reader) else {
            return Ok(None);
        };
        if item.epoch("ttl")? <= now {
            return Ok(None);
        }
        Ok(Some((item.id("job_id")?, item.text("request")?.to_owned())))
    }

    async fn open_jobs(&self) -> PortResult<Vec<JobId>> {
        let open = self
            .client
            .query()
            .table_name(&self.tables.jobs)
            .index_name(OPEN_JOBS)
            .key_condition_expression("#open = :open")
            .expression_attribute_names("#open", "open")
            .expression_attribute_values(":open", s(OPEN))
            .limit(OPEN_JOBS_AT_ONCE)
            .send()
            .await
            .map_err(failed)?;
        open.items.into_iter().flatten().map(|item| job_id_of(&Reader(item))).collect()
    }
}

fn job_id_of(item: &Reader) -> PortResult<JobId> {
    let pk = item.text("pk")?;
    item::parse_id(pk.strip_prefix("J#").ok_or_else(|| corrupt(format!("{pk:?} is no job")))?)
}
