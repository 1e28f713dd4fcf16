//! Jobs, their chunks' results, tallies and affected users.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update};
use chrono::{DateTime, Utc};
use domain::error::PortError;
use domain::ids::{JobId, UserId};
use domain::job::{Chunk, ChunkOutcome, ChunkResult, Facts, Job, PlanCursor, Priority, Statistics, Status, Tally};
use domain::ports::{JobStore, PortResult, Step};
use domain::time::{Epoch, from_millis};

use super::Dynamo;
use super::item::{self, Item, Reader, corrupt, failed, key, n, s};

/// The index of open jobs: `open` is taken away when a job ends, so that it holds nothing else.
const OPEN_JOBS: &str = "open-jobs";
const OPEN: &str = "1";
const OPEN_JOBS_AT_ONCE: i32 = 100;
/// Shards of a job's tally.
const TALLY_SHARDS: u32 = 16;
/// How long a job, its results and its affected users are kept, in seconds.
const JOB_RETENTION_SECONDS: i64 = 400 * 24 * 3_600;
/// How often an affected user's numbers are merged with another worker's.
const MERGE_TRIES: usize = 5;

fn job_key(id: &JobId) -> Item {
    key(format!("J#{id}"), "-")
}

fn result_key(id: &JobId, chunk: u32) -> Item {
    key(format!("J#{id}"), format!("C#{chunk:08}"))
}

fn affected_pk(id: &JobId, chunk: u32) -> String {
    format!("A#{id}#{chunk}")
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
    set("dry_run", aws_sdk_dynamodb::types::AttributeValue::Bool(job.dry_run));
    set("reason", s(&job.reason));
    set("notify_users", aws_sdk_dynamodb::types::AttributeValue::Bool(job.notify_users));
    set("initiated_by", item::json(&job.initiated_by)?);
    set("created_at", n(job.created_at.timestamp_millis()));
    set("plan", item::json(&job.plan)?);
    set("emitted", aws_sdk_dynamodb::types::AttributeValue::Bool(job.emitted));
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
        plan: item.json("plan")?,
        emitted: item.flag("emitted"),
        redriven_at: time_opt(item, "redriven_at")?,
    })
}

/// Reads one number of a result.
type Count = fn(&ChunkResult) -> u64;

/// The tally's attributes, and how to reach each in a result.
const TALLY: [(&str, Count); 8] = [
    ("done", |result| u64::from(result.outcome == ChunkOutcome::Done)),
    ("failed", |result| u64::from(result.outcome == ChunkOutcome::Failed)),
    ("users", |result| result.statistics.total_users_affected),
    ("access_tokens", |result| result.statistics.access_tokens_revoked),
    ("refresh_tokens", |result| result.statistics.refresh_tokens_revoked),
    ("sessions", |result| result.statistics.sessions_terminated),
    ("notifications", |result| result.statistics.notifications_sent),
    ("errors", |result| result.statistics.errors),
];

fn write_result(result: ChunkResult) -> PortResult<aws_sdk_dynamodb::types::AttributeValue> {
    item::json(&(result.outcome, result.statistics))
}

/// What a transaction's cancellation means: lost if a condition failed, an error to retry otherwise.
fn cancelled(error: aws_sdk_dynamodb::error::SdkError<TransactWriteItemsError>) -> PortResult<Step> {
    if let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error() {
        let mut codes = cancelled.cancellation_reasons().iter().filter_map(|reason| reason.code());
        if codes.any(|code| code == "ConditionalCheckFailed") {
            return Ok(Step::Lost);
        }
    }
    Err(failed(error))
}

impl Dynamo {
    /// A conditional update of a job. `Lost` if the condition does not hold.
    async fn update_job(
        &self,
        id: &JobId,
        update: &str,
        condition: &str,
        values: impl IntoIterator<Item = (&str, aws_sdk_dynamodb::types::AttributeValue)>,
    ) -> PortResult<Step> {
        let mut request = self
            .client
            .update_item()
            .table_name(&self.tables.jobs)
            .set_key(Some(job_key(id)))
            .update_expression(update)
            .condition_expression(condition);
        if update.contains("#status") || condition.contains("#status") {
            request = request.expression_attribute_names("#status", "status");
        }
        if update.contains("#open") {
            request = request.expression_attribute_names("#open", "open");
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
    async fn create(&self, job: &Job) -> PortResult<()> {
        let put = self.client.put_item().table_name(&self.tables.jobs).set_item(Some(write_job(job)?));
        put.condition_expression("attribute_not_exists(pk)").send().await.map_err(failed)?;
        Ok(())
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
        transaction.send().await.map_or_else(cancelled, |_| Ok(Step::Taken))
    }

    async fn mark_effective(&self, id: &JobId, at: DateTime<Utc>) -> PortResult<()> {
        let values = [(":at", n(at.timestamp_millis()))];
        self.update_job(id, "SET effective_at = if_not_exists(effective_at, :at)", "attribute_exists(pk)", values)
            .await?;
        Ok(())
    }

    async fn mark_emitted(&self, id: &JobId) -> PortResult<()> {
        let values = [(":yes", aws_sdk_dynamodb::types::AttributeValue::Bool(true))];
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
        user: &UserId,
        facts: Facts,
        at: DateTime<Utc>,
    ) -> PortResult<()> {
        let mut facts = facts;
        for _ in 0..MERGE_TRIES {
            let sent = self
                .client
                .update_item()
                .table_name(&self.tables.jobs)
                .set_key(Some(key(affected_pk(id, chunk), user.as_str())))
                .update_expression(
                    "SET access_tokens = :a, refresh_tokens = :r, sessions = :s, processed_at = :at, #ttl = :ttl",
                )
                .condition_expression(
                    "attribute_not_exists(pk) OR (access_tokens <= :a AND refresh_tokens <= :r AND sessions <= :s)",
                )
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":a", n(facts.access_tokens))
                .expression_attribute_values(":r", n(facts.refresh_tokens))
                .expression_attribute_values(":s", n(facts.sessions))
                .expression_attribute_values(":at", n(at.timestamp_millis()))
                .expression_attribute_values(":ttl", n(Epoch::from(at).plus(JOB_RETENTION_SECONDS).0))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .send()
                .await;
            let Err(error) = sent else { return Ok(()) };
            let stored = error.as_service_error().and_then(|error| match error {
                aws_sdk_dynamodb::operation::update_item::UpdateItemError::ConditionalCheckFailedException(failed) => {
                    failed.item.clone()
                }
                _ => None,
            });
            let Some(stored) = stored else { return Err(failed(error)) };
            let stored = read_facts(&Reader(stored))?;
            if stored.max(facts) == stored {
                return Ok(());
            }
            facts = stored.max(facts);
        }
        Err(PortError::Unavailable { service: "DynamoDB", cause: "an affected user is contended".to_owned() })
    }

    async fn affected(&self, id: &JobId, chunk: u32) -> PortResult<HashMap<UserId, Facts>> {
        let query = self.client.query().table_name(&self.tables.jobs).consistent_read(true);
        let query =
            query.key_condition_expression("pk = :pk").expression_attribute_values(":pk", s(affected_pk(id, chunk)));
        let mut items = query.into_paginator().items().send();
        let mut affected = HashMap::new();
        while let Some(item) = items.next().await {
            let item = Reader(item.map_err(failed)?);
            affected.insert(item.id("sk")?, read_facts(&item)?);
        }
        Ok(affected)
    }

    async fn chunk_result(&self, id: &JobId, chunk: u32) -> PortResult<Option<ChunkResult>> {
        let got = self.client.get_item().table_name(&self.tables.jobs).set_key(Some(result_key(id, chunk)));
        let item = got.consistent_read(true).send().await.map_err(failed)?.item;
        let read = |item| {
            let (outcome, statistics) = Reader(item).json("result")?;
            Ok(ChunkResult { outcome, statistics })
        };
        item.map(read).transpose()
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
        let mut put = Put::builder().table_name(&self.tables.jobs).set_item(Some(item));
        put = match before {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(before) => put
                .condition_expression("#result = :before")
                .expression_attribute_names("#result", "result")
                .expression_attribute_values(":before", write_result(before)?),
        };
        let mut add = Update::builder()
            .table_name(&self.tables.jobs)
            .set_key(Some(key(format!("J#{id}"), format!("N#{}", chunk % TALLY_SHARDS))));
        let mut terms = Vec::new();
        for (index, (name, of)) in TALLY.iter().enumerate() {
            let had = before.as_ref().map_or(0, of).cast_signed();
            terms.push(format!("#t{index} :t{index}"));
            add = add
                .expression_attribute_names(format!("#t{index}"), *name)
                .expression_attribute_values(format!(":t{index}"), n(of(&after).cast_signed() - had));
        }
        let add = add.update_expression(format!("ADD {}", terms.join(", ")));
        let put = put.build().map_err(|cause| corrupt(cause.to_string()))?;
        let add = add.build().map_err(|cause| corrupt(cause.to_string()))?;
        let sent = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().put(put).build())
            .transact_items(TransactWriteItem::builder().update(add).build())
            .send()
            .await;
        sent.map_or_else(cancelled, |_| Ok(Step::Taken))
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
            tally.done += shard.number::<u64>("done")?;
            tally.failed += shard.number::<u64>("failed")?;
            tally.statistics += Statistics {
                total_users_affected: shard.number("users")?,
                access_tokens_revoked: shard.number("access_tokens")?,
                refresh_tokens_revoked: shard.number("refresh_tokens")?,
                sessions_terminated: shard.number("sessions")?,
                notifications_sent: shard.number("notifications")?,
                errors: shard.number("errors")?,
            };
        }
        Ok(tally)
    }

    async fn finish(&self, id: &JobId, from: Status, to: Status, at: DateTime<Utc>) -> PortResult<Step> {
        let values = [(":to", s(to.as_str())), (":from", s(from.as_str())), (":at", n(at.timestamp_millis()))];
        self.update_job(id, "SET #status = :to, completed_at = :at REMOVE #open", "#status = :from", values).await
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
        let id_of = |item| {
            let item = Reader(item);
            let pk = item.text("pk")?;
            item::parse_id(pk.strip_prefix("J#").ok_or_else(|| corrupt(format!("{pk:?} is no job")))?)
        };
        open.items.into_iter().flatten().map(id_of).collect()
    }
}

fn read_facts(item: &Reader) -> PortResult<Facts> {
    Ok(Facts {
        access_tokens: item.number("access_tokens")?,
        refresh_tokens: item.number("refresh_tokens")?,
        sessions: item.number("sessions")?,
    })
}
