//! The soak: jobs and checks at a steady load on the running stack, for as long as wanted, while `cargo xtask soak`
//! kills Redis and workers; then the audit of every token there is.
//!
//! What is checked on the way: a token is refused from the moment its job says `effective_at` (*cannot tell* is a
//! refusal), a refreshed one, too; whoever no job covers, or who signed in after it, is let in or told *cannot tell*.

mod audit;
mod block;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use domain::ids::{RawToken, UserId};
use domain::inspect::Inspector;
use domain::ports::RecordStore as _;
use domain::records::{ClientRecord, Entity, Record, TokenRecord, UserRecord};
use domain::time::{Clock as _, Epoch, SystemClock};
use domain::token::TokenKind;
use futures::future::join_all;
use http::Request;
use ops::company::INTROSPECTOR;
use ops::issuer::Mint;
use ops::stack::Stack;
use ops::web::{Answer, Web};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::environment::unique;
use crate::rail::Dice;
use crate::verifier::verifier;
use block::{Block, Held};

const BASE: &str = "/api/admin/oauth/batch-logout";
/// A block is begun this often.
const EVERY: Duration = Duration::from_secs(7);
/// Blocks whose jobs are under way at the same time.
const AT_ONCE: usize = 8;
/// Pauses between the checks in this process, and between those over HTTP.
const PAUSES: (Duration, Duration) = (Duration::from_millis(40), Duration::from_millis(500));
/// Jobs each admin makes: below the strictest of the hourly limits.
const JOBS_OF_AN_ADMIN: u64 = 5;
/// A job that has not ended by then never will.
const PATIENCE: Duration = Duration::from_mins(10);

/// What happened.
#[derive(Debug, Default)]
struct Tally {
    refused: AtomicU64,
    accepted: AtomicU64,
    cannot_tell: AtomicU64,
    jobs: AtomicU64,
    asked_again: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

impl Tally {
    fn wrong(&self, what: String) {
        eprintln!("WRONG: {what}");
        self.wrong.lock().unwrap().push(what);
    }
}

fn count(number: &AtomicU64) {
    number.fetch_add(1, Ordering::Relaxed);
}

/// Tokens whose fate is certain, for good.
#[derive(Default)]
struct Pools {
    refused: Mutex<Vec<String>>,
    good: Mutex<Vec<String>>,
}

impl Pools {
    fn add(&self, refused: bool, tokens: impl IntoIterator<Item = String>) {
        let pool = if refused { &self.refused } else { &self.good };
        pool.lock().unwrap().extend(tokens);
    }

    fn pick(&self, dice: &Dice) -> Option<(String, bool)> {
        let refused = dice.roll(2) == 0;
        let pool = if refused { &self.refused } else { &self.good };
        let pool = pool.lock().unwrap();
        let number = usize::try_from(dice.roll(pool.len().max(1) as u64)).unwrap();
        pool.get(number).map(|token| (token.clone(), refused))
    }
}

/// A block whose jobs are known.
struct Done {
    block: Block,
    /// The ids of its jobs, in the order of its wishes.
    jobs: Vec<String>,
}

struct Soak {
    stack: Stack,
    web: Web,
    mint: Mint,
    dice: Dice,
    inspector: Inspector,
    pools: Pools,
    tally: Tally,
    admins: AtomicU64,
    run: String,
    done: Mutex<Vec<Done>>,
    over: AtomicBool,
}

/// Runs a soak of so many minutes. Answers whether everything was as promised.
pub async fn run(stack: Stack, minutes: f64, seed: u64) -> bool {
    let web = Web::default();
    let mint = Mint::open(&stack, &web).await.unwrap();
    let inspector = verifier(&stack).await;
    let soak = Arc::new(Soak {
        dice: Dice::new(seed),
        inspector,
        pools: Pools::default(),
        tally: Tally::default(),
        admins: AtomicU64::new(0),
        run: unique("soak"),
        done: Mutex::default(),
        over: AtomicBool::new(false),
        stack,
        web,
        mint,
    });
    soak.introspector().await;
    println!("load begins: {minutes} minutes, seed {seed}");
    let load = soak.load(Instant::now() + Duration::from_secs_f64(minutes * 60.0));
    let (checks, http_checks) = (soak.checks(), soak.http_checks());
    futures::join!(load, checks, http_checks);
    soak.settle().await;
    soak.audit().await;
    soak.summary()
}

impl Soak {
    /// The client that asks about tokens over HTTP.
    async fn introspector(&self) {
        let client = ClientRecord {
            id: INTROSPECTOR.0.to_owned().try_into().unwrap(),
            name: None,
            secret_sha256: Some(domain::directory::secret_hash(INTROSPECTOR.1)),
            may_introspect: true,
        };
        self.stack.store().await.apply(&Record::upsert(1, Entity::Client(client))).await.unwrap();
    }

    /// Begins blocks until the time is over, then waits for those under way.
    async fn load(self: &Arc<Self>, until: Instant) {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut blocks = Vec::new();
        let mut number = 0;
        while Instant::now() < until {
            let begun = Instant::now();
            let slot = slots.clone().acquire_owned().await.unwrap();
            let soak = self.clone();
            blocks.push(tokio::spawn(async move {
                soak.block(number).await;
                drop(slot);
            }));
            number += 1;
            if number % 10 == 0 {
                self.progress();
            }
            sleep(EVERY.saturating_sub(begun.elapsed())).await;
        }
        println!("load ends");
        for block in join_all(blocks).await {
            if let Err(cause) = block {
                self.tally.wrong(format!("a block was not finished: {cause}"));
            }
        }
        self.over.store(true, Ordering::Relaxed);
    }

    fn progress(&self) {
        let tally = &self.tally;
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        println!(
            "jobs {}, checks {} refused, {} accepted, {} cannot tell; requests asked again {}; wrong {}",
            of(&tally.jobs),
            of(&tally.refused),
            of(&tally.accepted),
            of(&tally.cannot_tell),
            of(&tally.asked_again),
            tally.wrong.lock().unwrap().len(),
        );
    }

    /// One block from its loading to the end of its jobs.
    async fn block(&self, number: u64) {
        let now = SystemClock.now().timestamp();
        let mut block = Block::new(format!("{}-{number}", self.run), &self.dice, &self.mint, now);
        self.load_records(&block.records).await;
        let raws = |tokens: &[Held], wanted: &dyn Fn(&Held) -> bool| -> Vec<String> {
            tokens.iter().filter(|held| held.is_access() && wanted(held)).map(|held| held.raw.clone()).collect()
        };
        self.pools.add(false, raws(&block.tokens, &|held| held.covered_by.is_empty()));

        let admin = self.admin().await;
        let jobs = join_all((0..block.wishes.len()).map(|wish| self.job(&block, wish, &admin))).await;
        let at = SystemClock.now().timestamp() + 2;
        let again = block.sign_in_again(at, &self.mint);
        sleep(Duration::from_millis(2_500)).await;
        self.load_records(&block.records).await;
        self.pools.add(false, raws(&again, &|_| true));
        for (token, refused) in block.refreshed(SystemClock.now().timestamp(), &self.mint) {
            self.pools.add(refused, [token]);
        }
        for job in &jobs {
            self.wait_for(job, &admin, |job| job["completed_at"].is_string()).await;
        }
        self.done.lock().unwrap().push(Done { block, jobs });
    }

    async fn load_records(&self, records: &[Record]) {
        self.stack.store().await.load(records).await.expect("the local tables take records");
    }

    /// Somebody who may make jobs, and whose limits are not used up.
    async fn admin(&self) -> String {
        let made = self.admins.fetch_add(1, Ordering::Relaxed);
        let user = UserId::parse(format!("{}-admin-{}", self.run, made / (JOBS_OF_AN_ADMIN / 2))).unwrap();
        let roles = vec!["security_admin".to_owned()];
        let record = Entity::User(UserRecord { roles, ..UserRecord::new(user.clone()) });
        self.load_records(&[Record::upsert(1, record)]).await;
        let now = Epoch(SystemClock.now().timestamp());
        let token = TokenRecord {
            id: unique("soak-admin").try_into().unwrap(),
            user_id: Some(user),
            client_id: "soak-desk".to_owned().try_into().unwrap(),
            token_type: TokenKind::Access,
            opaque: false,
            session_id: None,
            issued_at: now,
            auth_time: Some(now),
            expires_at: now.plus(3_600),
            last_used_at: None,
            scope: None,
            revoked_at: None,
        };
        self.mint.sign(&token).unwrap()
    }

    async fn call(&self, method: &str, path: &str, token: &str, key: Option<&str>, body: &Value) -> Option<Answer> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{BASE}{path}", self.stack.api_url))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.web.send(request.body(body.into()).unwrap()).await.ok()
    }

    /// Makes a job, however often it takes, and puts its tokens among the refused as soon as it is effective.
    async fn job(&self, block: &Block, wish: usize, admin: &str) -> String {
        let (path, body) = block.request(wish);
        let (key, begun) = (unique("once"), Instant::now());
        let id = loop {
            let answer = self.call("POST", path, admin, Some(&key), &body).await;
            match answer {
                Some(answer) if answer.status == 202 => break answer.json["job_id"].as_str().unwrap().to_owned(),
                Some(answer) if answer.status.is_client_error() => {
                    panic!("{path} {body} is refused: {} {}", answer.status, answer.text);
                }
                _ => assert!(begun.elapsed() < PATIENCE, "{path} is not accepted"),
            }
            count(&self.tally.asked_again);
            sleep(Duration::from_millis(500)).await;
        };
        self.wait_for(&id, admin, |job| job["effective_at"].is_string()).await;
        let covered = block.tokens.iter().filter(|held| held.is_access() && held.covered_by.contains(&wish));
        self.pools.add(true, covered.map(|held| held.raw.clone()));
        count(&self.tally.jobs);
        id
    }

    async fn wait_for(&self, id: &str, admin: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let answer = self.call("GET", &format!("/jobs/{id}"), admin, None, &Value::Null).await;
            match answer {
                Some(answer) if answer.status == 200 && wanted(&answer.json) => return answer.json,
                other => {
                    let text = other.map(|answer| answer.text);
                    assert!(begun.elapsed() < PATIENCE, "job {id} does not get there: {text:?}");
                }
            }
            sleep(Duration::from_millis(300)).await;
        }
    }

    /// Checks in this process, at a steady pace.
    async fn checks(self: &Arc<Self>) {
        while !self.over.load(Ordering::Relaxed) {
            sleep(PAUSES.0).await;
            let Some((token, refused)) = self.pools.pick(&self.dice) else { continue };
            let soak = self.clone();
            // On its own, so that one that waits for a lost Redis does not slow the others down.
            tokio::spawn(async move { soak.check(&token, refused).await });
        }
    }

    async fn check(&self, token: &str, refused: bool) {
        let outcome = self.inspector.inspect(&RawToken::new(token)).await.map(|inspected| inspected.verdict.is_ok());
        self.judge(token, refused, outcome.ok(), "in process");
    }

    /// Checks through the API, as other services ask.
    async fn http_checks(&self) {
        while !self.over.load(Ordering::Relaxed) {
            sleep(PAUSES.1).await;
            let Some((token, refused)) = self.pools.pick(&self.dice) else { continue };
            let answer = self.web.introspect(&self.stack.api_url, INTROSPECTOR, &token).await;
            let active = answer.ok().filter(|answer| answer.status == 200).map(|answer| answer.json["active"] == true);
            self.judge(&token, refused, active, "over HTTP");
        }
    }

    /// Holds an answer, if there was one, against what it must be.
    fn judge(&self, token: &str, refused: bool, accepted: Option<bool>, how: &str) {
        match accepted {
            None => count(&self.tally.cannot_tell),
            Some(true) => count(&self.tally.accepted),
            Some(false) => count(&self.tally.refused),
        }
        if accepted == Some(refused) {
            let promised = if refused { "refused" } else { "accepted" };
            self.tally.wrong(format!("{how}: {token} must be {promised}"));
        }
    }

    fn summary(&self) -> bool {
        self.progress();
        let done = self.done.lock().unwrap();
        let tokens: usize = done.iter().map(|done| done.block.tokens.len()).sum();
        let covered = done.iter().flat_map(|done| &done.block.tokens).filter(|held| !held.covered_by.is_empty());
        let kinds: BTreeSet<String> =
            done.iter().flat_map(|done| &done.block.wishes).map(|wish| format!("{wish:?}")).collect();
        let wrong = self.tally.wrong.lock().unwrap();
        println!(
            "audit: {tokens} tokens of {} blocks, {} of them covered by jobs ({}): {} wrong",
            done.len(),
            covered.count(),
            kinds.into_iter().collect::<Vec<_>>().join(", "),
            wrong.len()
        );
        wrong.is_empty()
    }
}
