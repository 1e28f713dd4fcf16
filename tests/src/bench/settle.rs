//! Rows settled per second against a bare loop of the same conditional updates, and the write units they take.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Instant;

use adapters::dynamodb::Dynamo;
use aws_sdk_dynamodb::config::interceptors::{
    BeforeSerializationInterceptorContextMut, FinalizerInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::transact_write_items::{TransactWriteItemsInput, TransactWriteItemsOutput};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemInput, UpdateItemOutput};
use aws_sdk_dynamodb::types::{ConsumedCapacity, ReturnConsumedCapacity};
use aws_sdk_dynamodb::{Client, config};
use chrono::TimeDelta;
use domain::conditions::Conditions;
use domain::ids::{GroupId, TokenId};
use domain::job::{Job, Status};
use domain::ports::{JobStore as _, NewJob, TokenStore as _};
use domain::settle::{Settler, Try};
use domain::testing::contract;
use domain::time::{Clock as _, SystemClock};
use domain::token::{Owner, Revoked, RevokedBy};
use futures::stream::{self, StreamExt as _};

use super::Figure;
use crate::company::{self, Member, Shape, SignIn, group_name, user_name};
use crate::fleet::Fleet;
use crate::redis_server::RedisServer;
use crate::store::{Store, tables};

const USERS: usize = 1_000;
const TOKENS_PER_USER: usize = 4;
const ROUNDS: usize = 3;
const AT_ONCE: usize = 16;

/// Adds up the write units that DynamoDB says each call took.
#[derive(Debug, Default, Clone)]
struct WriteUnits(Arc<Mutex<f64>>);

impl Intercept for WriteUnits {
    fn name(&self) -> &'static str {
        "WriteUnits"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let input = context.input_mut();
        if let Some(update) = input.downcast_mut::<UpdateItemInput>() {
            update.return_consumed_capacity = Some(ReturnConsumedCapacity::Total);
        } else if let Some(transaction) = input.downcast_mut::<TransactWriteItemsInput>() {
            transaction.return_consumed_capacity = Some(ReturnConsumedCapacity::Total);
        }
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(Ok(output)) = context.output_or_error() else { return Ok(()) };
        let mut units = 0.0;
        if let Some(update) = output.downcast_ref::<UpdateItemOutput>() {
            units = update.consumed_capacity().and_then(ConsumedCapacity::capacity_units).unwrap_or_default();
        } else if let Some(transaction) = output.downcast_ref::<TransactWriteItemsOutput>() {
            units = transaction.consumed_capacity().iter().filter_map(ConsumedCapacity::capacity_units).sum();
        }
        *self.0.lock().unwrap() += units;
        Ok(())
    }
}

fn shape() -> Shape {
    let sign_in = |number: i64| SignIn {
        at: -10 - number,
        in_token: true,
        tokens: vec![(true, 1, 50_000, false), (false, 0, 50_000, false)],
    };
    let member =
        |_| Member { groups: [0].into(), role: None, is_admin: false, sign_ins: (0..2).map(sign_in).collect() };
    Shape { parents: vec![None], members: (0..USERS).map(member).collect() }
}

/// Settles one job; says how long that took, and the write units.
async fn settle(store: &Store, run: &str) -> (f64, f64) {
    let units = WriteUnits::default();
    let config = config::Builder::from(&store.aws().await).interceptor(units.clone()).build();
    let dynamo = Arc::new(Dynamo::with_client(Client::from_conf(config), tables()));
    let (redis, clock) = (RedisServer::start(), Arc::new(SystemClock));
    let now = clock.now();
    let fleet = Fleet::over(dynamo.clone(), redis.denylist(clock.clone()).await, now);
    fleet.guard().await.unwrap();
    dynamo.load(&company::records(run, &shape(), now.timestamp())).await.unwrap();
    let group_id = GroupId::parse(group_name(run, 0)).unwrap();
    let conditions =
        Conditions::GroupBased { group_id: group_id.clone(), include_subgroups: false, exclude_admin_users: true };
    let job = Job { conditions, ..contract::job(run, &group_id, now) };
    dynamo.create(NewJob::plain(&job)).await.unwrap();
    let chunks = fleet.plan(&job.id).await;
    *units.0.lock().unwrap() = 0.0;
    let settler = Settler { clock: clock.clone(), ..fleet.settler() };
    let begun = Instant::now();
    for chunk in &chunks {
        settler.settle(chunk, Try::First, clock.now() + TimeDelta::minutes(10)).await.unwrap();
    }
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(dynamo.get(&job.id).await.unwrap().unwrap().status, Status::Completed);
    let total = *units.0.lock().unwrap();
    (seconds, total)
}

/// The floor: the same conditional updates of token rows and nothing else.
async fn bare(store: &Store, run: &str) -> f64 {
    let dynamo = store.dynamo().await;
    let now = SystemClock.now();
    dynamo.load(&company::records(run, &shape(), now.timestamp())).await.unwrap();
    let revoked = Revoked { at: now.into(), by: RevokedBy::parse("bare").unwrap() };
    let rows = (0..USERS).flat_map(|user| (0..TOKENS_PER_USER).map(move |token| (user, token)));
    let begun = Instant::now();
    stream::iter(rows)
        .for_each_concurrent(AT_ONCE, |(user, token)| {
            let (dynamo, revoked) = (dynamo.clone(), revoked.clone());
            let id = TokenId::parse(format!("{run}-t{user}-{}-{}", token / 2, token % 2)).unwrap();
            async move {
                let owner = Owner::User(user_name(run, user));
                assert_eq!(dynamo.revoke(&owner, &id, &revoked).await.unwrap(), Some(revoked.by.clone()));
            }
        })
        .await;
    begun.elapsed().as_secs_f64()
}

/// Measures.
pub async fn run() -> Vec<Figure> {
    let store = Store::start().await;
    let (mut settled, mut floor, mut units) = (Vec::new(), Vec::new(), 0.0);
    for round in 0..ROUNDS {
        floor.push(bare(&store, &format!("bare{round}")).await);
        let (seconds, total) = settle(&store, &format!("settle{round}")).await;
        settled.push(seconds);
        units = total;
    }
    let (settled, floor) = (super::percentile(&mut settled, 0.5), super::percentile(&mut floor, 0.5));
    #[allow(clippy::cast_precision_loss, reason = "a few thousand rows")]
    let tokens = (USERS * TOKENS_PER_USER) as f64;
    #[allow(clippy::cast_precision_loss, reason = "a few thousand rows")]
    let sessions = (USERS * 2) as f64;
    vec![
        Figure {
            name: "token rows settled per second (with their sessions, affected users and counts)".to_owned(),
            value: format!("{:.0}", tokens / settled),
            floor: format!("bare conditional updates of the token rows: {:.0}", tokens / floor),
            ratio: format!("{:.2}", floor / settled),
        },
        Figure {
            name: "the same, all rows counted: tokens, sessions, affected users".to_owned(),
            #[allow(clippy::cast_precision_loss, reason = "a few thousand rows")]
            value: format!("{:.0}", (tokens + sessions + USERS as f64) / settled),
            floor: format!("{:.0}", tokens / floor),
            #[allow(clippy::cast_precision_loss, reason = "a few thousand rows")]
            ratio: format!("{:.2}", (tokens + sessions + USERS as f64) / tokens * floor / settled),
        },
        Figure {
            name: "write units per token, all of settling".to_owned(),
            value: format!("{:.2}", units / tokens),
            #[allow(clippy::cast_precision_loss, reason = "a few thousand rows")]
            floor: format!(
                "1 per token, session and affected user: {:.2}",
                (tokens + sessions + USERS as f64) / tokens
            ),
            #[allow(clippy::cast_precision_loss, reason = "a few thousand rows")]
            ratio: format!("{:.2}", units / (tokens + sessions + USERS as f64)),
        },
    ]
}
