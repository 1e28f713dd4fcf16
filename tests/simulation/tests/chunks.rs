//! Chunks by hand: those of a group that is frozen in several steps, and those that are settled and come again.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use domain::check::Checker;
use domain::conditions::Conditions;
use domain::cutoff::{KEPT_SECONDS, Kinds};
use domain::decision::{Refusal, TokenFacts};
use domain::ids::{ClientId, GroupId, TokenId, UserId};
use domain::job::{ChunkRef, Fate, Job, Statistics, Status};
use domain::ports::{JobStore as _, NewJob, RecordStore as _, TokenStore as _};
use domain::records::{Entity, MembershipKey, Record};
use domain::settle::{Settled, Settler, Try};
use domain::testing::{Memory, contract};
use domain::time::{Clock, Epoch};
use domain::token::{Owner, Revoked, RevokedBy, TokenRow};
use simulation::fleet::{Fleet, LIMITS};

const NOW: i64 = 1_900_000_000;
const CLIENT: &str = "web";

type Site = Fleet<Memory, Memory>;

/// A clock on which every look takes a second.
#[derive(Default)]
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> DateTime<Utc> {
        now() + TimeDelta::seconds(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).unwrap()
}

fn user(number: usize) -> UserId {
    UserId::parse(format!("u{number:05}")).unwrap()
}

fn group() -> GroupId {
    GroupId::parse("g").unwrap()
}

/// A group of so many users, each with one access token.
async fn site(users: usize) -> Site {
    let site = Fleet::in_memory(now());
    for number in 0..users {
        let membership = MembershipKey { group_id: group(), user_id: user(number) };
        site.store.apply(&Record::upsert(1, Entity::Membership(membership))).await.unwrap();
        bring(&site, number, "first").await;
    }
    site
}

/// Brings the row of an access token of an old sign-in.
async fn bring(site: &Site, number: usize, name: &str) -> TokenId {
    bring_until(site, number, name, NOW + 1_000).await
}

async fn bring_until(site: &Site, number: usize, name: &str, expires_at: i64) -> TokenId {
    let token = contract::token(&format!("{name}-{number}"), &user(number), NOW - 1_000, expires_at);
    let token = domain::records::TokenRecord { client_id: ClientId::parse(CLIENT).unwrap(), ..token };
    let id = token.id.clone();
    site.store.apply(&Record::upsert(1, Entity::Token(token))).await.unwrap();
    id
}

async fn row(site: &Site, number: usize, id: &TokenId) -> TokenRow {
    site.store.token(&Owner::User(user(number)), id).await.unwrap().unwrap()
}

fn of_group() -> Conditions {
    Conditions::GroupBased { group_id: group(), include_subgroups: false, exclude_admin_users: true }
}

fn of_client() -> Conditions {
    let client_id = ClientId::parse(CLIENT).unwrap();
    Conditions::ClientBased { client_id, revoke_refresh_tokens: true, created_before: None }
}

/// A job that is planned, and its messages.
async fn planned(site: &Site, conditions: Conditions) -> (Job, Vec<ChunkRef>) {
    site.guard().await.unwrap();
    let job = Job { conditions, notify_users: false, ..contract::job("job", &group(), now()) };
    site.store.create(NewJob::plain(&job)).await.unwrap();
    let chunks = site.plan(&job.id).await;
    (site.job(&job.id).await, chunks)
}

async fn settle_all(site: &Site, chunks: &[ChunkRef], at: Try) {
    for chunk in chunks {
        assert!(matches!(site.settle(chunk, at).await.unwrap(), Settled::Through(_)));
    }
}

/// What the job says, and what it recorded of its users: the same (`[SCOPE-7]`).
async fn counted(site: &Site, job: &Job) -> Statistics {
    let mut recorded = Statistics::default();
    for chunk in 0..job.plan.chunks {
        for (owner, facts) in site.store.affected(&job.id, chunk, Fate::Lost).await.unwrap() {
            recorded.add(&owner, facts);
        }
    }
    let statistics = site.store.tally(&job.id).await.unwrap().statistics;
    assert_eq!(statistics, recorded, "SCOPE-7: the sum over the users is the job's");
    statistics
}

/// 2,400 users are frozen by one step.
#[tokio::test]
async fn cut_6_a_group_frozen_in_several_steps_has_a_number_for_each_chunk_and_everybody_is_settled() {
    const USERS: usize = 5_050;
    let site = site(USERS).await;
    let (job, chunks) = planned(&site, of_group()).await;
    let numbers: Vec<u32> = chunks.iter().map(|chunk| chunk.number).collect();
    assert_eq!(numbers, (0..51).collect::<Vec<_>>());
    assert_eq!((job.plan.chunks, job.plan.users), (51, USERS as u64));
    let (last, others) = chunks.split_last().unwrap();
    settle_all(&site, others, Try::First).await;
    assert_eq!(site.job(&job.id).await.status, Status::Processing, "one chunk is left");
    settle_all(&site, std::slice::from_ref(last), Try::First).await;
    assert_eq!(site.job(&job.id).await.status, Status::Completed);
    let all = USERS as u64;
    let expected = Statistics { total_users_affected: all, access_tokens_revoked: all, ..Statistics::default() };
    assert_eq!(counted(&site, &job).await, expected);
}

/// A worker of whom nobody has heard for long ends a row that has come in the meantime, and dies before it notes it.
async fn die_before_noting(site: &Site, job: &Job, number: usize, id: &TokenId) {
    let revoked = Revoked { at: Epoch(NOW), by: RevokedBy::Job(job.id.clone()) };
    site.store.revoke(&Owner::User(user(number)), id, &revoked).await.unwrap();
}

/// A dead letter that is sent back comes as if for the first time; so does a message that was sent once too often.
#[tokio::test]
async fn cut_6_a_chunk_that_is_settled_is_looked_at_again_even_if_its_message_says_it_comes_for_the_first_time() {
    for conditions in [of_client(), of_group()] {
        let site = site(7).await;
        let (job, chunks) = planned(&site, conditions).await;
        settle_all(&site, &chunks, Try::First).await;
        assert_eq!(counted(&site, &job).await.access_tokens_revoked, 7);
        // Not only the first time: each look begins at the beginning.
        for turn in 1..=3 {
            let late = bring(&site, 4, &format!("late-{turn}")).await;
            die_before_noting(&site, &job, 4, &late).await;
            settle_all(&site, &chunks, Try::First).await;
            let counted = counted(&site, &job).await;
            assert_eq!((counted.total_users_affected, counted.access_tokens_revoked), (7, 7 + turn));
        }
    }
}

/// Whoever looks again and runs out of time leaves the rest to the next, who does not begin at the beginning: nobody
/// would ever come to the end.
#[tokio::test]
async fn cut_6_another_look_that_runs_out_of_time_is_taken_up_where_it_stopped() {
    let site = site(200).await;
    let (job, chunks) = planned(&site, of_client()).await;
    settle_all(&site, &chunks, Try::First).await;
    for number in 0..200 {
        let late = bring(&site, number, "late").await;
        die_before_noting(&site, &job, number, &late).await;
    }
    let (mut waiting, mut handed_on) = (chunks, 0);
    while let Some(chunk) = waiting.pop() {
        let settler = Settler { clock: Arc::new(Ticking::default()), ..site.settler() };
        // Time for one page.
        match settler.settle(&chunk, Try::First, now() + TimeDelta::seconds(2)).await.unwrap() {
            Settled::Through(_) => {}
            left => {
                assert_eq!(left, Settled::ToBeContinued);
                handed_on += 1;
                assert!(handed_on < 200, "it begins again and again");
                waiting.extend(site.queue.take_chunks());
            }
        }
    }
    assert!(handed_on > 20, "{handed_on} were handed on");
    assert_eq!(counted(&site, &job).await.access_tokens_revoked, 400);
}

/// The numbers of a job that has ended are final: who comes later is refused, by the cutoff, and not counted.
#[tokio::test]
async fn cut_6_a_message_that_comes_once_its_chunk_is_settled_ends_nothing_more() {
    for conditions in [of_client(), of_group()] {
        let site = site(7).await;
        let (job, chunks) = planned(&site, conditions).await;
        settle_all(&site, &chunks, Try::First).await;
        let late = bring(&site, 4, "late").await;
        for at in [Try::First, Try::Again, Try::Last] {
            settle_all(&site, &chunks, at).await;
        }
        assert_eq!(row(&site, 4, &late).await.revoked, None);
        assert_eq!(counted(&site, &job).await.access_tokens_revoked, 7);
    }
}

/// A token that has expired is not covered. Where a clock is a minute behind it is good for up to two, and after the job
/// it must not be.
#[tokio::test]
async fn cut_1_a_job_of_single_tokens_denies_what_expired_just_before_it_and_does_not_count_it() {
    let site = site(3).await;
    let kinds = Kinds::Both;
    let unused = Conditions::TimeBased { created_before: None, last_used_before: Some(now()), token_types: kinds };
    let mut expired = Vec::new();
    for ago in [0, 59, 60, 61, 119, 120, 121] {
        expired.push((ago, bring_until(&site, 1, &format!("ago-{ago}"), NOW - ago).await));
    }
    let (job, chunks) = planned(&site, unused).await;
    settle_all(&site, &chunks, Try::First).await;
    let behind = Arc::new(site.clock.ahead_by(TimeDelta::seconds(-60)));
    let slow = Checker::new(site.cache.clone(), site.store.clone(), behind, LIMITS);
    for (ago, id) in expired {
        let row = row(&site, 1, &id).await;
        assert_eq!(row.revoked, None, "{ago} s before the job");
        let facts = TokenFacts {
            id,
            user: Some(user(1)),
            client: Some(row.client),
            session: None,
            issued_at: row.issued_at,
            signed_in_at: row.issued_at,
            expires_at: row.expires_at,
            kind: row.kind,
        };
        let refusal = if ago < KEPT_SECONDS { Refusal::TokenRevoked } else { Refusal::Expired };
        assert_eq!(slow.check(&facts).await.unwrap().refusal, Some(refusal), "{ago} s before the job");
    }
    let counted = counted(&site, &job).await;
    assert_eq!((counted.total_users_affected, counted.access_tokens_revoked), (3, 3));
}
