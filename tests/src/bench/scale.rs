//! Settling 10^6 tokens against 10^4, per token. What varies is the number of users; each holds four tokens.
//!
//! In DynamoDB on `SQLite` every hundredth chunk of the large job is settled in each round, out of a table with all of its
//! rows, and the bare client updates as many other rows of the same table: what the store itself loses by its size is
//! to be seen apart. In memory all of it is settled.

use std::time::Instant;

use domain::ids::TokenId;
use domain::job::ChunkRef;
use domain::ports::{RecordStore as _, SignInStore as _, TokenStore as _};
use domain::records::{Change, Entity};
use domain::testing::Memory;
use domain::time::{Clock as _, SystemClock};
use domain::token::{Owner, Revoked, RevokedBy, TokenRow};
use futures::stream::{self, StreamExt as _};

use super::figure::Figure;
use super::job::{CHUNKS_AT_ONCE, Company, Site, plan, settle, settler};
use crate::environment::unique;
use crate::fleet::Fleet;

const TOKENS_PER_USER: u32 = 4;
const FEW: u32 = 2_500;
const MANY: u32 = 250_000;
const ROUNDS: usize = 3;
const AT_ONCE: usize = CHUNKS_AT_ONCE * 32;

/// Microseconds for each token of these chunks, settled.
async fn settled(site: &Site, chunks: &[ChunkRef]) -> f64 {
    let settler = settler(&site.fleet);
    let begun = Instant::now();
    settle(&settler, chunks).await;
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(FEW * TOKENS_PER_USER)
}

/// Microseconds for each token of these users, updated by a client that does nothing else.
async fn bare(site: &Site, company: Company, users: impl Iterator<Item = u32>) -> f64 {
    let revoked = Revoked { at: SystemClock.now().into(), by: RevokedBy::parse("bare").unwrap() };
    let tokens = users.flat_map(|user| (0..TOKENS_PER_USER).map(move |number| (user, number)));
    let begun = Instant::now();
    stream::iter(tokens)
        .for_each_concurrent(AT_ONCE, |(user, number)| {
            let (dynamo, revoked) = (site.fleet.store.clone(), revoked.clone());
            let id = TokenId::parse(company.token(user, number)).unwrap();
            async move {
                let by = dynamo.revoke(&Owner::User(company.user(user)), &id, &revoked).await.unwrap();
                assert_eq!(by, Some(revoked.by));
            }
        })
        .await;
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(FEW * TOKENS_PER_USER)
}

/// In DynamoDB on `SQLite`.
async fn in_a_store() -> Vec<Figure> {
    let company = |users| Company::of("sc", users, TOKENS_PER_USER);
    let large = Site::with(company(MANY)).await;
    let job = company(MANY).job(&unique("job"), SystemClock.now());
    let all = plan(&large.fleet, &job).await;
    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Chunks that no other round has; their order is that of the users.
        let every = usize::try_from(MANY / FEW).unwrap();
        let few: Vec<ChunkRef> = all.iter().skip(round).step_by(every).cloned().collect();
        let others = u32::try_from(every - 1 - round).unwrap();
        let others = (0..MANY).filter(|user| user / 100 % (MANY / FEW) == others);
        let small = Site::with(company(FEW)).await;
        let small_job = company(FEW).job(&unique("job"), SystemClock.now());
        let chunks = plan(&small.fleet, &small_job).await;
        let small_bare = Site::with(company(FEW)).await;
        let small_floor = bare(&small_bare, company(FEW), 0..FEW).await;
        floors.push((bare(&large, company(MANY), others).await, small_floor));
        let small_ours = settled(&small, &chunks).await;
        ours.push((settled(&large, &few).await, small_ours));
    }
    let both = |name: &str, rounds| {
        let name = format!("{name}, of {} tokens in the store", MANY * TOKENS_PER_USER);
        Figure::measured(name, "µs", format!("{} tokens", FEW * TOKENS_PER_USER), rounds)
    };
    vec![both("time to settle a token", ours), both("the same by a bare client's updates", floors)]
}

/// Microseconds to settle a token of such a company in memory, all of them.
async fn in_memory(users: u32) -> f64 {
    let company = Company::of("me", users, TOKENS_PER_USER);
    let now = SystemClock.now();
    let fleet: Fleet<Memory, Memory> = Fleet::in_memory(now);
    let mut rows: Vec<TokenRow> = Vec::new();
    for record in company.records(now.timestamp()) {
        match record.change {
            Change::Upsert(Entity::Token(token)) => rows.push(token.into()),
            _ => drop(fleet.store.apply(&record).await.unwrap()),
        }
    }
    fleet.store.add_tokens(&rows).await.unwrap();
    drop(rows);
    let chunks = plan(&fleet, &company.job("job", now)).await;
    let settler = settler(&fleet);
    let begun = Instant::now();
    settle(&settler, &chunks).await;
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(company.all())
}

/// Measures.
pub async fn run() -> Vec<Figure> {
    let mut figures = in_a_store().await;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let few = in_memory(FEW).await;
        rounds.push((in_memory(MANY).await, few));
    }
    let name = format!("time to settle a token, all of {} tokens, ports in memory", MANY * TOKENS_PER_USER);
    figures.push(Figure::measured(name, "µs", format!("{} tokens", FEW * TOKENS_PER_USER), rounds));
    figures
}
