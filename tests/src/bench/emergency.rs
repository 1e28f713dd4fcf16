//! Time from the request to "every verifier refuses" of an emergency, by number of tokens, and its answer's time
//! against the smallest job there is.

use std::sync::Arc;
use std::time::Instant;

use domain::accept::{Accepted, By, Request};
use domain::audit::Origin;
use domain::conditions::Conditions;
use domain::directory::User;
use domain::emergency::PresentedKey;
use domain::ids::{GroupId, UserId};
use domain::job::Priority;
use domain::ports::RecordStore as _;
use domain::records::{Entity, GroupRecord, Record, TokenRecord};
use domain::testing::contract;
use domain::time::{Clock as _, SystemClock};

use super::{Figure, percentile};
use crate::fleet::{Fleet, RealFleet};
use crate::redis_server::RedisServer;
use crate::store::Store;

const TOKENS: [u32; 2] = [1_000, 300_000];
const TOKENS_PER_USER: u32 = 4;
const ROUNDS: u32 = 21;
const GROUP: &str = "nobody";

/// A company of so many tokens, with what it runs on.
struct Company {
    fleet: RealFleet,
    _store: Store,
    _redis: RedisServer,
}

async fn company(tokens: u32) -> Company {
    let (store, redis, clock) = (Store::start().await, RedisServer::start(), Arc::new(SystemClock));
    let dynamo = store.dynamo().await;
    let now = clock.now();
    let token = |number: u32| {
        let user = UserId::parse(format!("00000000-0000-4000-8000-{:012}", number / TOKENS_PER_USER)).unwrap();
        let token = contract::token(&format!("t{number}"), &user, now.timestamp() - 60, now.timestamp() + 3_600);
        Record::upsert(1, Entity::Token(TokenRecord { auth_time: Some(token.issued_at), ..token }))
    };
    let numbers: Vec<u32> = (0..tokens).collect();
    for batch in numbers.chunks(5_000) {
        dynamo.load(&batch.iter().map(|number| token(*number)).collect::<Vec<_>>()).await.unwrap();
    }
    let group = GroupRecord { id: GroupId::parse(GROUP).unwrap(), name: None, parent_id: None };
    dynamo.apply(&Record::upsert(1, Entity::Group(group))).await.unwrap();
    let cache = redis.denylist(clock).await;
    cache.warm_up().await;
    let fleet = Fleet::over(dynamo, cache, now);
    fleet.guard().await.unwrap();
    Company { fleet, _store: store, _redis: redis }
}

fn request(conditions: Conditions, key: Option<PresentedKey>) -> Request {
    let reason = "a reason that is long enough".to_owned();
    Request { reason, emergency_key: key, ..Request::of(conditions, Priority::Normal) }
}

impl Company {
    /// Milliseconds from the request to the answer, which says that the job is effective if it is to be at once.
    async fn answer(&self, user: &User, conditions: Conditions, key: Option<PresentedKey>) -> f64 {
        let (desk, acceptor) = (self.fleet.desk(), self.fleet.acceptor());
        let at_once = key.is_some();
        let begun = Instant::now();
        let answer = acceptor.accept(By::User { user, desk: &desk }, request(conditions, key)).await.unwrap();
        let millis = begun.elapsed().as_secs_f64() * 1e3;
        let Accepted::Started { job, .. } = answer.accepted else { panic!("a real run") };
        assert_eq!(job.effective_at.is_some(), at_once);
        millis
    }

    /// One emergency and one job of nobody, by an admin of their own.
    async fn round(&self, round: u32) -> (f64, f64) {
        let admin = User {
            roles: vec!["security_admin".to_owned()],
            email: Some("admin@example.com".to_owned()),
            ..User::unknown(UserId::parse(format!("admin-{round}")).unwrap())
        };
        self.fleet.desk().request(&admin, &Origin::default()).await.unwrap();
        let text = self.fleet.mailer.sent().pop().unwrap().text;
        let digits = text.split(|c: char| !c.is_ascii_digit()).find(|run| run.len() == 6).unwrap().to_owned();
        let emergency = Conditions::Emergency {
            exclude_admin_sessions: true,
            preserve_service_tokens: true,
            authorized_by: "benchmark".to_owned(),
        };
        let nobody = Conditions::GroupBased {
            group_id: GroupId::parse(GROUP).unwrap(),
            include_subgroups: false,
            exclude_admin_users: true,
        };
        let floor = self.answer(&admin, nobody, None).await;
        (self.answer(&admin, emergency, Some(PresentedKey::new(digits))).await, floor)
    }
}

/// Measures, both companies in turn.
pub async fn run() -> Vec<Figure> {
    let companies = [company(TOKENS[0]).await, company(TOKENS[1]).await];
    let mut samples = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
    for round in 0..ROUNDS {
        for (company, (taken, floors)) in companies.iter().zip(&mut samples) {
            let (millis, floor) = company.round(round).await;
            taken.push(millis);
            floors.push(floor);
        }
    }
    let medians = samples.map(|(mut taken, mut floors)| (percentile(&mut taken, 0.5), percentile(&mut floors, 0.5)));
    let mut figures = vec![Figure {
        name: format!("emergency: request to \"every verifier refuses\", {} tokens", TOKENS[1]),
        value: format!("{:.1} ms", medians[1].0),
        floor: format!("{} tokens: {:.1} ms", TOKENS[0], medians[0].0),
        ratio: format!("{:.2}", medians[1].0 / medians[0].0),
    }];
    for (tokens, (taken, floor)) in TOKENS.iter().zip(medians) {
        figures.push(Figure {
            name: format!("emergency: its answer, {tokens} tokens"),
            value: format!("{taken:.1} ms"),
            floor: format!("a job of an empty group: {floor:.1} ms"),
            ratio: format!("{:.2}", taken / floor),
        });
    }
    figures
}
