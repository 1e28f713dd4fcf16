//! The durable denylist: appended, never replaced, and read consistently.

use std::collections::BTreeSet;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::cutoff::{Basis, Cutoff, CutoffSet, Kinds, Scope, Spares};
use domain::decision::{Answer, TokenFacts};
use domain::ids::{JobId, TokenId, UserId};
use domain::job::{Chunk, ChunkRef};
use domain::ports::{DenylistStore, Entry, FrozenJob, Page, PortResult};
use domain::time::Epoch;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::Dynamo;
use super::item::{self, Item, Reader, corrupt, failed, key, n, parse_id, s};

const WRITES_AT_ONCE: usize = 16;
const READS_AT_ONCE: usize = 16;
const ALL: &str = "ALL";

fn rule(basis: Basis, kinds: Kinds, spares: Spares) -> PortResult<AttributeValue> {
    item::json(&(basis, kinds, spares))
}

pub(super) fn write_cutoff(cutoff: &Cutoff) -> PortResult<Item> {
    let rule = rule(cutoff.basis, cutoff.kinds, cutoff.spares)?;
    // The job and the rule make the key: writing it again changes nothing, another job's stands beside it.
    let sk = format!("CUT#{}#{}#{}", cutoff.job, cutoff.at.0, rule.as_s().map_or("", String::as_str));
    let mut item = key(cutoff.scope.key(), sk);
    item.insert("scope".to_owned(), item::json(&cutoff.scope)?);
    item.insert("rule".to_owned(), rule);
    item.insert("at".to_owned(), n(cutoff.at.0));
    item.insert("job".to_owned(), s(cutoff.job.as_str()));
    item.insert("ttl".to_owned(), n(cutoff.retires_at.0));
    Ok(item)
}

fn read_cutoff(item: &Reader) -> PortResult<Cutoff> {
    let (basis, kinds, spares) = item.json("rule")?;
    Ok(Cutoff {
        scope: item.json("scope")?,
        basis,
        kinds,
        spares,
        at: item.epoch("at")?,
        job: item.id("job")?,
        retires_at: item.epoch("ttl")?,
    })
}

fn read_frozen_job(item: &Reader) -> PortResult<FrozenJob> {
    let (basis, kinds, clients) = item.json("rule")?;
    Ok(FrozenJob { job: item.id("job")?, clients, basis, kinds, at: item.epoch("at")?, retires_at: item.epoch("ttl")? })
}

pub(super) fn write_chunk(job: &JobId, chunk: &Chunk, retires_at: Epoch) -> PortResult<Item> {
    let first = chunk.first_user().ok_or_else(|| corrupt("a chunk without users"))?;
    let mut item = key(format!("F#{job}"), first.as_str());
    item.insert("number".to_owned(), n(chunk.number));
    item.insert("users".to_owned(), AttributeValue::L(chunk.users.iter().map(|user| s(user.as_str())).collect()));
    item.insert("ttl".to_owned(), n(retires_at.0));
    Ok(item)
}

fn read_chunk(item: &Reader) -> PortResult<Chunk> {
    let users =
        item.0.get("users").and_then(|users| users.as_l().ok()).ok_or_else(|| corrupt("chunk without users"))?;
    let user = |value: &AttributeValue| {
        value.as_s().map_err(|_| corrupt("a user that is no text")).and_then(|id| parse_id(id))
    };
    Ok(Chunk { number: item.number("number")?, users: users.iter().map(user).collect::<PortResult<_>>()? })
}

impl Dynamo {
    async fn denylist_query(&self, pk: String) -> PortResult<Vec<Reader>> {
        let query = self.client.query().table_name(&self.tables.denylist).consistent_read(true);
        let query = query.key_condition_expression("pk = :pk").expression_attribute_values(":pk", s(pk));
        let mut found = query.into_paginator().items().send();
        let mut items = Vec::new();
        while let Some(item) = found.next().await {
            items.push(Reader(item.map_err(failed)?));
        }
        Ok(items)
    }

    async fn denylist_put(&self, item: Item) -> PortResult<()> {
        self.client.put_item().table_name(&self.tables.denylist).set_item(Some(item)).send().await.map_err(failed)?;
        Ok(())
    }

    async fn denylist_put_all(&self, items: Vec<Item>) -> PortResult<()> {
        stream::iter(items)
            .map(|item| self.denylist_put(item))
            .buffer_unordered(WRITES_AT_ONCE)
            .try_for_each(|()| async { Ok(()) })
            .await
    }

    /// Whether a user is frozen in a job: chunks are keyed by their first user in byte order, so that the only
    /// chunk that can hold the user is found by one read.
    async fn is_frozen(&self, job: &JobId, user: &UserId) -> PortResult<bool> {
        let found = self
            .client
            .query()
            .table_name(&self.tables.denylist)
            .consistent_read(true)
            .key_condition_expression("pk = :pk AND sk <= :user")
            .expression_attribute_values(":pk", s(format!("F#{job}")))
            .expression_attribute_values(":user", s(user.as_str()))
            .scan_index_forward(false)
            .limit(1)
            .send()
            .await
            .map_err(failed)?;
        match found.items.into_iter().flatten().next() {
            Some(item) => Ok(read_chunk(&Reader(item))?.users.contains(user)),
            None => Ok(false),
        }
    }

    async fn global(&self) -> PortResult<(Vec<Cutoff>, Vec<FrozenJob>)> {
        let mut cutoffs = Vec::new();
        let mut jobs = Vec::new();
        for item in self.denylist_query(ALL.to_owned()).await? {
            if item.text("sk")?.starts_with("F#") {
                jobs.push(read_frozen_job(&item)?);
            } else {
                cutoffs.push(read_cutoff(&item)?);
            }
        }
        Ok((cutoffs, jobs))
    }
}

#[async_trait]
impl DenylistStore for Dynamo {
    async fn ask(&self, token: &TokenFacts) -> PortResult<Answer> {
        let scoped = async {
            let scopes = token.scopes().into_iter().filter(|scope| *scope != Scope::Everything);
            let found: Vec<Vec<Reader>> = stream::iter(scopes.map(|scope| self.denylist_query(scope.key())))
                .buffer_unordered(READS_AT_ONCE)
                .try_collect()
                .await?;
            found.iter().flatten().map(read_cutoff).collect::<PortResult<Vec<_>>>()
        };
        let global = async {
            let (mut cutoffs, jobs) = self.global().await?;
            if let Some(user) = &token.user {
                let frozen: Vec<Vec<Cutoff>> = stream::iter(jobs)
                    .map(|job| async move {
                        let is_frozen = self.is_frozen(&job.job, user).await?;
                        Ok::<_, domain::error::PortError>(if is_frozen { job.cutoffs(user) } else { Vec::new() })
                    })
                    .buffer_unordered(READS_AT_ONCE)
                    .try_collect()
                    .await?;
                cutoffs.extend(frozen.into_iter().flatten());
            }
            Ok(cutoffs)
        };
        let by_itself = async {
            let got = self.client.get_item().table_name(&self.tables.denylist).consistent_read(true);
            let got = got.set_key(Some(key(format!("T#{}", token.id), "-"))).send().await.map_err(failed)?;
            Ok(got.item.is_some())
        };
        let spared = async {
            let Some(user) = &token.user else { return Ok(Vec::new()) };
            let found = self.denylist_query(format!("X#{user}")).await?;
            found.iter().map(|item| item.id("sk")).collect::<PortResult<Vec<JobId>>>()
        };
        let (scoped, global, token_revoked, spared_by) = futures::try_join!(scoped, global, by_itself, spared)?;
        let cutoffs: CutoffSet = scoped.into_iter().chain(global).collect();
        Ok(Answer { cutoffs, token_revoked, spared_by })
    }

    async fn put_cutoffs(&self, cutoffs: &[Cutoff]) -> PortResult<()> {
        self.denylist_put_all(cutoffs.iter().map(write_cutoff).collect::<PortResult<_>>()?).await
    }

    async fn put_tokens(&self, tokens: &[(TokenId, Epoch)]) -> PortResult<()> {
        let item = |(token, retires_at): &(TokenId, Epoch)| {
            let mut item = key(format!("T#{token}"), "-");
            item.insert("ttl".to_owned(), n(retires_at.0));
            item
        };
        self.denylist_put_all(tokens.iter().map(item).collect()).await
    }

    async fn put_spared(&self, job: &JobId, users: &BTreeSet<UserId>, retires_at: Epoch) -> PortResult<()> {
        let item = |user: &UserId| {
            let mut item = key(format!("X#{user}"), job.as_str());
            item.insert("ttl".to_owned(), n(retires_at.0));
            item
        };
        self.denylist_put_all(users.iter().map(item).collect()).await
    }

    async fn activate(&self, job: &FrozenJob) -> PortResult<()> {
        let mut item = key(ALL, format!("F#{}", job.job));
        item.insert("rule".to_owned(), item::json(&(job.basis, job.kinds, &job.clients))?);
        item.insert("at".to_owned(), n(job.at.0));
        item.insert("job".to_owned(), s(job.job.as_str()));
        item.insert("ttl".to_owned(), n(job.retires_at.0));
        self.denylist_put(item).await
    }

    async fn active(&self) -> PortResult<Vec<FrozenJob>> {
        Ok(self.global().await?.1)
    }

    async fn chunk(&self, chunk: &ChunkRef) -> PortResult<Option<Chunk>> {
        let Some(first_user) = &chunk.first_user else { return Ok(None) };
        let key = key(format!("F#{}", chunk.job_id), first_user.as_str());
        let got = self.client.get_item().table_name(&self.tables.denylist).set_key(Some(key)).consistent_read(true);
        got.send().await.map_err(failed)?.item.map(|item| read_chunk(&Reader(item))).transpose()
    }

    async fn chunks(&self, job: &JobId, after: Option<&UserId>, limit: usize) -> PortResult<Vec<Chunk>> {
        let pk = format!("F#{job}");
        let page = self
            .client
            .query()
            .table_name(&self.tables.denylist)
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(&pk))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .set_exclusive_start_key(after.map(|user| key(pk, user.as_str())))
            .send()
            .await
            .map_err(failed)?;
        page.items.into_iter().flatten().map(|item| read_chunk(&Reader(item))).collect()
    }

    async fn entries(&self, from: Option<&str>) -> PortResult<Page<Entry>> {
        let start = from.map(serde_json::from_str::<(String, String)>).transpose();
        let start = start.map_err(|cause| corrupt(format!("cursor: {cause}")))?;
        let page = self
            .client
            .scan()
            .table_name(&self.tables.denylist)
            .consistent_read(true)
            .set_exclusive_start_key(start.map(|(pk, sk)| key(pk, sk)))
            .send()
            .await
            .map_err(failed)?;
        let next = match page.last_evaluated_key.map(Reader) {
            Some(last) => Some(
                serde_json::to_string(&(last.text("pk")?, last.text("sk")?))
                    .map_err(|cause| corrupt(cause.to_string()))?,
            ),
            None => None,
        };
        let mut items = Vec::new();
        for item in page.items.into_iter().flatten().map(Reader) {
            items.extend(read_entry(&item)?);
        }
        Ok(Page { items, next })
    }

    async fn generation(&self) -> PortResult<String> {
        let got = self.client.get_item().table_name(&self.tables.denylist).consistent_read(true);
        let item = got.set_key(Some(key("GENERATION", "-"))).send().await.map_err(failed)?.item;
        Ok(item.map(Reader).and_then(|item| item.text_opt("generation").map(str::to_owned)).unwrap_or_default())
    }

    async fn renew_generation(&self, generation: &str) -> PortResult<()> {
        let mut item = key("GENERATION", "-");
        item.insert("generation".to_owned(), s(generation));
        self.denylist_put(item).await
    }

    async fn forget_retired(&self, until: Epoch) -> PortResult<u64> {
        let mut retired = 0;
        for item in self.denylist_query(ALL.to_owned()).await? {
            if item.epoch("ttl")? > until {
                continue;
            }
            let delete = self.client.delete_item().table_name(&self.tables.denylist);
            delete.set_key(Some(key(ALL, item.text("sk")?))).send().await.map_err(failed)?;
            retired += 1;
        }
        Ok(retired)
    }
}

fn read_entry(item: &Reader) -> PortResult<Option<Entry>> {
    let (pk, sk) = (item.text("pk")?, item.text("sk")?);
    if sk.starts_with("CUT#") && item.0.contains_key("scope") {
        return read_cutoff(item).map(|cutoff| Some(Entry::Cutoff(cutoff)));
    }
    Ok(match pk.split_once('#') {
        Some(("T", token)) => Some(Entry::Token(parse_id(token)?, item.epoch("ttl")?)),
        Some(("X", user)) => Some(Entry::Spared(parse_id(sk)?, parse_id(user)?, item.epoch("ttl")?)),
        Some(("F", job)) => Some(Entry::Chunk(parse_id(job)?, read_chunk(item)?)),
        // The list of frozen jobs and the generation are read on their own.
        _ => None,
    })
}
