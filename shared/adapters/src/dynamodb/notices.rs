//! Where notices stand: an item of its own for each user who is told, beside the chunk's affected owners, and sums beside
//! the chunks' results.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{Put, Update};
use chrono::{DateTime, Utc};
use domain::ids::{JobId, UserId};
use domain::job::Fate;
use domain::notify::{Mark, NoticeCounts, NoticeStore, Outcome, Recipient, Told, Trouble};
use domain::ports::{PortResult, Step};
use domain::time::from_millis;
use domain::token::Owner;

use super::Dynamo;
use super::item::{self, Item, Reader, corrupt, failed, key, n, s};
use super::jobs::{affected_pk, cancelled_step, kept_until, tally_key, transact_put, transact_update};
use super::tokens::owner_key;

/// The tally's attributes, and how to reach each in a chunk's sums.
type Count = fn(&NoticeCounts) -> u64;
const TALLY: [(&str, Count); 4] = [
    ("notices_sent", |counts| counts.sent),
    ("notices_rejected", |counts| counts.rejected),
    ("notices_unknown", |counts| counts.unknown),
    ("notices_unaddressed", |counts| counts.unaddressed),
];

fn row_key(of: Recipient<'_>) -> Item {
    affected_key(of.job, of.chunk, of.user)
}

fn affected_key(job: &JobId, chunk: u32, user: &UserId) -> Item {
    key(affected_pk(job, chunk, Fate::Lost), owner_key(&Owner::User(user.clone())))
}

fn counts_key(job: &JobId, chunk: u32) -> Item {
    key(format!("J#{job}"), format!("M#{chunk:08}"))
}

fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Sent => "sent",
        Outcome::Unknown => "unknown",
        Outcome::Rejected(_) => "rejected",
        Outcome::NoAddress => "no_address",
    }
}

fn read_outcome(item: &Reader) -> PortResult<Option<Outcome>> {
    let outcome = match item.text_opt("notice") {
        None => return Ok(None),
        Some("sent") => Outcome::Sent,
        Some("unknown") => Outcome::Unknown,
        Some("rejected") => Outcome::Rejected(item.text_opt("notice_code").unwrap_or_default().to_owned()),
        Some("no_address") => Outcome::NoAddress,
        Some(other) => return Err(corrupt(format!("{other:?} is no outcome"))),
    };
    Ok(Some(outcome))
}

/// What a user's item says of the notice.
pub(super) fn read_told(item: &Reader) -> PortResult<Option<Told>> {
    if item.text_opt("notice_claim").is_none() {
        return Ok(None);
    }
    Ok(Some(Told {
        at: from_millis(item.number("notice_at")?),
        outcome: read_outcome(item)?,
        trouble: item.text_opt("notice_trouble").map(|_| item.json("notice_trouble")).transpose()?,
    }))
}

/// The notices' part of a tally's shard.
pub(super) fn read_counts(shard: &Reader) -> PortResult<NoticeCounts> {
    let number = |name| shard.number_opt(name).map(Option::unwrap_or_default);
    Ok(NoticeCounts {
        sent: number(TALLY[0].0)?,
        rejected: number(TALLY[1].0)?,
        unknown: number(TALLY[2].0)?,
        unaddressed: number(TALLY[3].0)?,
    })
}

#[async_trait]
impl NoticeStore for Dynamo {
    async fn claim(&self, of: Recipient<'_>, claim: &str, at: DateTime<Utc>) -> PortResult<Step> {
        // The write is tried again when its answer is lost: one's own claim is no other's.
        let free = "attribute_not_exists(notice) \
                    AND (attribute_not_exists(notice_claim) OR notice_claim = :claim)";
        let values = [(":claim", s(claim)), (":at", n(at.timestamp_millis())), (":ttl", kept_until())];
        let claimed = "SET notice_claim = :claim, notice_at = :at, #ttl = :ttl";
        self.update_jobs_item(row_key(of), claimed, free, values).await
    }

    async fn release(&self, of: Recipient<'_>, claim: &str) -> PortResult<()> {
        let condition = "notice_claim = :claim AND attribute_not_exists(notice)";
        let values = [(":claim", s(claim))];
        self.update_jobs_item(row_key(of), "REMOVE notice_claim, notice_at", condition, values).await?;
        Ok(())
    }

    async fn conclude(&self, of: Recipient<'_>, claim: &str, outcome: &Outcome, at: DateTime<Utc>) -> PortResult<()> {
        let mut update = "SET notice = :outcome, notice_at = :at".to_owned();
        let mut values =
            vec![(":claim", s(claim)), (":outcome", s(outcome_name(outcome))), (":at", n(at.timestamp_millis()))];
        if let Outcome::Rejected(code) = outcome {
            update.push_str(", notice_code = :code");
            values.push((":code", s(code)));
        }
        self.update_jobs_item(row_key(of), &update, "notice_claim = :claim", values).await?;
        Ok(())
    }

    async fn note_trouble(&self, mark: &Mark, trouble: Trouble, at: DateTime<Utc>) -> PortResult<bool> {
        // Bounces are rare: they are not worth an index that every notice would pay for.
        let query = self
            .client
            .query()
            .table_name(&self.tables.jobs)
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .filter_expression("notice_claim = :claim")
            .expression_attribute_values(":pk", s(affected_pk(&mark.job, mark.chunk, Fate::Lost)))
            .expression_attribute_values(":claim", s(&mark.claim));
        let mut items = query.into_paginator().items().send();
        let Some(found) = items.next().await else { return Ok(false) };
        let found = Reader(found.map_err(failed)?);
        let values =
            [(":claim", s(&mark.claim)), (":trouble", item::json(&trouble)?), (":at", n(at.timestamp_millis()))];
        let of = key(found.text("pk")?, found.text("sk")?);
        let update = "SET notice_trouble = :trouble, notice_trouble_at = :at";
        Ok(self.update_jobs_item(of, update, "notice_claim = :claim", values).await? == Step::Taken)
    }

    async fn notice_counts(&self, job: &JobId, chunk: u32) -> PortResult<NoticeCounts> {
        let got = self.client.get_item().table_name(&self.tables.jobs).set_key(Some(counts_key(job, chunk)));
        let item = got.consistent_read(true).send().await.map_err(failed)?.item;
        item.map_or_else(|| Ok(NoticeCounts::default()), |item| Reader(item).json("counts"))
    }

    async fn commit_notices(
        &self,
        job: &JobId,
        chunk: u32,
        before: NoticeCounts,
        after: NoticeCounts,
    ) -> PortResult<Step> {
        let mut item = counts_key(job, chunk);
        item.insert("counts".to_owned(), item::json(&after)?);
        item.insert("ttl".to_owned(), kept_until());
        let fresh = if before == NoticeCounts::default() { "attribute_not_exists(pk) OR " } else { "" };
        let put = Put::builder()
            .table_name(&self.tables.jobs)
            .set_item(Some(item))
            .condition_expression(format!("{fresh}counts = :before"))
            .expression_attribute_values(":before", item::json(&before)?);
        let mut add = Update::builder().table_name(&self.tables.jobs).set_key(Some(tally_key(job, chunk)));
        let mut terms = Vec::new();
        for (index, (name, of)) in TALLY.iter().enumerate() {
            terms.push(format!("{name} :t{index}"));
            add = add.expression_attribute_values(
                format!(":t{index}"),
                n(of(&after).cast_signed() - of(&before).cast_signed()),
            );
        }
        let add = add
            .update_expression(format!("SET #ttl = :ttl ADD {}", terms.join(", ")))
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":ttl", kept_until());
        let sent = self
            .client
            .transact_write_items()
            .transact_items(transact_put(put)?)
            .transact_items(transact_update(add)?)
            .send()
            .await;
        sent.map_or_else(cancelled_step, |_| Ok(Step::Taken))
    }
}
