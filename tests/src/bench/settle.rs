//! Settling against a bare client that does the same writes and nothing else, and what settling takes per token against
//! the least it could.

use std::time::Instant;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::ids::{JobId, SessionId, TokenId, UserId};
use domain::job::{CHUNK_USERS, Facts, Fate, Job, Status};
use domain::ports::{JobStore as _, TokenStore as _};
use domain::time::{Clock as _, SystemClock};
use domain::token::{Owner, Revoked, RevokedBy};
use futures::stream::{self, StreamExt as _};

use super::figure::{Figure, number};
use super::job::{CHUNKS_AT_ONCE, Company, Site, plan, settle, settler};
use super::meter::{Count, Meter};
use crate::company::{self, Member, Shape, SignIn, group_name, user_name};
use crate::store::Store;

const USERS: usize = 1_000;
const SIGN_INS: usize = 2;
const TOKENS_PER_SIGN_IN: usize = 2;
const ROUNDS: usize = 5;
/// Writes of the bare client on their way at the same time: as many as the worker's.
const AT_ONCE: usize = CHUNKS_AT_ONCE * 32;

/// Tokens of a job.
pub const TOKENS: usize = USERS * SIGN_INS * TOKENS_PER_SIGN_IN;
const SESSIONS: usize = USERS * SIGN_INS;

fn shape() -> Shape {
    let sign_in = |number: i64| SignIn {
        at: -10 - number,
        in_token: true,
        tokens: vec![(true, 1, 50_000, false), (false, 0, 50_000, false)],
    };
    let sign_ins: Vec<SignIn> = (0..SIGN_INS).map(|number| sign_in(i64::try_from(number).unwrap())).collect();
    let member = |_| Member { groups: [0].into(), role: None, is_admin: false, sign_ins: sign_ins.clone() };
    Shape { parents: vec![None], members: (0..USERS).map(member).collect() }
}

/// What one job took.
pub struct Run {
    /// Seconds of settling.
    pub seconds: f64,
    /// What the planner asked of the store.
    pub planned: Count,
    /// What the workers asked of the store.
    pub settled: Count,
    /// The job's chunks.
    pub chunks: usize,
}

/// Settles one job of people with sessions.
pub async fn one(store: &Store, run: &str) -> Run {
    let meter = Meter::default();
    let site = Site::over(store.behind(store.endpoint.clone()), meter.dynamo(store).await).await;
    let now = SystemClock.now();
    store.import(company::records(run, &shape(), now.timestamp())).await;
    let company = Company::of("settle", 0, 0);
    let group_id = group_name(run, 0).try_into().unwrap();
    let conditions =
        domain::conditions::Conditions::GroupBased { group_id, include_subgroups: false, exclude_admin_users: true };
    let job = Job { conditions, ..company.job(run, now) };
    meter.take();
    let chunks = plan(&site.fleet, &job).await;
    let planned = meter.take();
    let settler = settler(&site.fleet);
    let begun = Instant::now();
    assert_eq!(settle(&settler, &chunks).await, 0, "nothing fails here");
    let seconds = begun.elapsed().as_secs_f64();
    let done = site.fleet.job(&job.id).await;
    assert_eq!(done.status, Status::Completed);
    let ended = site.fleet.store.tally(&job.id).await.unwrap().statistics;
    assert_eq!((ended.tokens(), ended.sessions_terminated), (TOKENS as u64, SESSIONS as u64));
    Run { seconds, planned, settled: meter.take(), chunks: chunks.len() }
}

enum Write {
    Token(UserId, TokenId),
    Session(UserId, SessionId),
    Affected(u32, Vec<(Owner, Facts)>),
}

/// What the bare client writes for each user: the user's rows, and after each chunk's last user whom the chunk affected.
fn writes_of(run: &str, user: usize) -> Vec<Write> {
    let id = user_name(run, user);
    let mut writes = Vec::new();
    for sign_in in 0..SIGN_INS {
        let token = |token| TokenId::parse(format!("{run}-t{user}-{sign_in}-{token}")).unwrap();
        writes.extend((0..TOKENS_PER_SIGN_IN).map(|number| Write::Token(id.clone(), token(number))));
        let session = SessionId::parse(format!("{run}-s{user}-{sign_in}")).unwrap();
        writes.push(Write::Session(id.clone(), session));
    }
    if (user + 1).is_multiple_of(CHUNK_USERS) {
        let facts = Facts { access_tokens: 2, refresh_tokens: 2, sessions: 2 };
        let owners = (user + 1 - CHUNK_USERS..=user).map(|user| (Owner::User(user_name(run, user)), facts));
        writes.push(Write::Affected(u32::try_from(user / CHUNK_USERS).unwrap(), owners.collect()));
    }
    writes
}

/// The floor: the same conditional updates of tokens and sessions, and the same notes of whom they belonged to, by a
/// client that knows beforehand what there is to end. If it `reads`, it asks for each user's rows all the same, as
/// whoever does not know them must. Seconds.
async fn bare(store: &Store, run: &str, reads: bool) -> f64 {
    let dynamo = store.dynamo().await;
    let now = SystemClock.now();
    store.import(company::records(run, &shape(), now.timestamp())).await;
    let revoked = Revoked { at: now.into(), by: RevokedBy::parse("bare").unwrap() };
    let job = JobId::parse(run).unwrap();
    let begun = Instant::now();
    stream::iter(0..USERS)
        .map(|user| {
            let dynamo = &dynamo;
            async move {
                if reads {
                    let holdings = dynamo.holdings(&Owner::User(user_name(run, user))).await.unwrap();
                    let rows = holdings.tokens.len() + holdings.sessions.len();
                    assert_eq!(rows, SIGN_INS * (TOKENS_PER_SIGN_IN + 1));
                }
                stream::iter(writes_of(run, user))
            }
        })
        .buffer_unordered(CHUNKS_AT_ONCE * 16)
        .flatten()
        .for_each_concurrent(AT_ONCE, |write| {
            let (dynamo, revoked, job) = (dynamo.clone(), revoked.clone(), job.clone());
            async move {
                match write {
                    Write::Token(user, id) => {
                        let by = dynamo.revoke(&Owner::User(user), &id, &revoked).await.unwrap();
                        assert_eq!(by, Some(revoked.by.clone()));
                    }
                    Write::Session(user, id) => assert!(dynamo.end_session(&user, &id, &revoked).await.unwrap()),
                    Write::Affected(chunk, owners) => {
                        dynamo.record_affected(&job, chunk, Fate::Lost, &owners, now).await.unwrap();
                    }
                }
            }
        })
        .await;
    begun.elapsed().as_secs_f64()
}

/// The last floor: a bare loop over the token rows alone, by the SDK's own client. Seconds.
async fn tokens_alone(store: &Store, run: &str) -> f64 {
    let client = Client::new(&store.aws().await);
    let now = SystemClock.now();
    store.import(company::records(run, &shape(), now.timestamp())).await;
    let tokens: Vec<(String, String)> = (0..TOKENS)
        .map(|number| {
            let (user, token) = (number / (SIGN_INS * TOKENS_PER_SIGN_IN), number % (SIGN_INS * TOKENS_PER_SIGN_IN));
            let id = format!("T#{run}-t{user}-{}-{}", token / TOKENS_PER_SIGN_IN, token % TOKENS_PER_SIGN_IN);
            (format!("U#{}", user_name(run, user)), id)
        })
        .collect();
    let begun = Instant::now();
    stream::iter(tokens)
        .for_each_concurrent(AT_ONCE, |(owner, item)| {
            let update = client
                .update_item()
                .table_name("tokens")
                .key("owner", AttributeValue::S(owner))
                .key("item", AttributeValue::S(item))
                .update_expression("SET revoked_at = :at, revoked_by = :by")
                .condition_expression("attribute_exists(kind) AND attribute_not_exists(revoked_at)")
                .expression_attribute_values(":at", AttributeValue::N("1".to_owned()))
                .expression_attribute_values(":by", AttributeValue::S("bare".to_owned()));
            async move {
                update.send().await.unwrap();
            }
        })
        .await;
    begun.elapsed().as_secs_f64()
}

/// Measures.
pub async fn run() -> Vec<Figure> {
    let store = Store::start().await;
    let (mut rounds, mut reading, mut alone, mut last) = (Vec::new(), Vec::new(), Vec::new(), None);
    for round in 0..ROUNDS {
        let floor = bare(&store, &format!("bare{round}"), false).await;
        let run = one(&store, &format!("settle{round}")).await;
        let reader = bare(&store, &format!("reader{round}"), true).await;
        let tokens = tokens_alone(&store, &format!("alone{round}")).await;
        let rate = |seconds| number(TOKENS) / seconds;
        rounds.push((rate(run.seconds), rate(floor)));
        reading.push((rate(run.seconds), rate(reader)));
        alone.push((rate(run.seconds), rate(tokens)));
        last = Some(run);
    }
    let run = last.unwrap();
    let tokens = number(TOKENS);
    let rows = tokens + number(SESSIONS);
    vec![
        Figure::measured(
            "token rows settled per second, with their sessions, affected users and counts",
            "/s",
            "bare client, the same conditional updates of tokens and sessions, the same notes of affected users",
            rounds,
        ),
        Figure::measured(
            "the same",
            "/s",
            "bare client, the same updates and notes, and a query of each user, as who does not know the ids must make",
            reading,
        ),
        Figure::measured(
            "the same",
            "/s",
            "bare client, conditional updates of the token rows alone (4 of 6 rows)",
            alone,
        ),
        Figure::counted(
            "write units per revoked token or ended session, all of settling",
            "WU",
            run.settled.written / rows,
            "a row's own update",
            1.0,
        ),
        Figure::counted(
            "write units per revoked token, a session for every two tokens",
            "WU",
            run.settled.written / tokens,
            "a token's and half a session's update",
            rows / tokens,
        ),
        Figure::counted(
            "requests to DynamoDB per revoked token, all of settling",
            "",
            number(run.settled.sent()) / tokens,
            "an update of each row, a query of each user",
            (rows + number(USERS)) / tokens,
        ),
        Figure::counted(
            "read units per revoked token, all of settling",
            "RU",
            run.settled.read / tokens,
            "a query of each user",
            number(USERS) / tokens,
        ),
    ]
}
