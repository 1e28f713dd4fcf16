//! Every kind of job over companies of any shape, from the request to the last row, against an oracle that is written
//! from the contract and shares no code with what it judges.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use domain::accept::{Accepted, Acceptor, By, Refused, Request};
use domain::audit::Origin;
use domain::check::Checker;
use domain::conditions::JobType;
use domain::directory::{Actor, User};
use domain::emergency::PresentedKey;
use domain::error::WorkError;
use domain::estimate::Estimator;
use domain::ids::UserId;
use domain::job::{ChunkRef, Facts, Fate, Job, Priority, Statistics, Status};
use domain::ports::{DenylistCache, Frozen, JobStore as _, NewJob, TokenStore};
use domain::settle::{Settled, Settler, Try};
use domain::source::IdSource as _;
use domain::testing::{Memory, TestClock};
use domain::time::{Clock, Epoch};
use domain::token::{Owner, RevokedBy, TokenKind};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use tests::estate::{
    Draft, Effective, Estate, Held, INTO_THE_SECOND, KINDS, Loss, Picks, Shelves, Wish, drafts, estates, oracle,
    user_name,
};
use tests::fleet::{AllPorts, Fleet, LIMITS};
use tests::redis_server::RedisServer;
use tests::store::Store;

const NOW: i64 = 1_900_000_000;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).unwrap() + TimeDelta::milliseconds(INTO_THE_SECOND)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { failure_persistence: None, max_shrink_iters: 2_000, ..Config::with_cases(cases) })
}

/// Small companies, and any job over each.
fn pairs() -> impl Strategy<Value = (Estate, Wish)> {
    (estates(1..10, 3), drafts(0..KINDS, 4)).prop_map(|(estate, draft)| {
        let wish = draft.fit(&estate);
        (estate, wish)
    })
}

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    /// As a queue delivers: in any order, some twice or three times.
    fn deliver(&mut self, chunks: Vec<ChunkRef>) -> Vec<ChunkRef> {
        let mut delivered = Vec::new();
        for chunk in chunks {
            for _ in 0..=self.below(4) % 3 {
                delivered.insert(self.below(delivered.len() + 1), chunk.clone());
            }
        }
        delivered
    }
}

fn admin(id: UserId) -> User {
    User { email: Some("admin@example.com".to_owned()), roles: vec!["security_admin".to_owned()], ..User::unknown(id) }
}

fn somebody_else() -> User {
    admin(UserId::parse("the-admin").unwrap())
}

/// The workers, and where they find token rows.
struct Crew<S, C> {
    fleet: Fleet<S, C>,
    tokens: Arc<dyn TokenStore>,
}

impl<S, C> std::ops::Deref for Crew<S, C> {
    type Target = Fleet<S, C>;
    fn deref(&self) -> &Fleet<S, C> {
        &self.fleet
    }
}

impl<S: AllPorts, C: DenylistCache + 'static> Crew<S, C> {
    fn of(fleet: Fleet<S, C>) -> Self {
        let tokens = fleet.store.clone();
        Self { fleet, tokens }
    }

    fn acceptor(&self) -> Acceptor {
        let estimator = Estimator { directory: self.store.clone(), tokens: self.tokens.clone() };
        Acceptor { estimator, ..self.fleet.acceptor() }
    }

    fn settler(&self) -> Settler {
        Settler { tokens: self.tokens.clone(), ..self.fleet.settler() }
    }

    async fn settle(&self, chunk: &ChunkRef) -> Result<Settled, WorkError> {
        self.settler().settle(chunk, Try::First, now() + TimeDelta::hours(1)).await
    }
}

impl Crew<Memory, Memory> {
    /// Everything in memory, with a company in it and a complete cache.
    async fn at(estate: &Estate) -> Self {
        let crew = Self::of(Fleet::in_memory(now()));
        crew.guard().await.unwrap();
        estate.write(crew.store.as_ref(), NOW).await;
        crew
    }
}

/// Asks for an emergency key, and reads it in the mail.
async fn mailed_key<S: AllPorts, C: DenylistCache + 'static>(fleet: &Fleet<S, C>, admin: &User) -> PresentedKey {
    fleet.desk().request(admin, &Origin::default()).await.unwrap();
    let mail = fleet.mailer.sent().pop().unwrap();
    let mut words = mail.text.split(|c: char| !c.is_ascii_digit()).filter(|digits| digits.len() == 6);
    PresentedKey::new(words.next().unwrap())
}

fn request(wish: &Wish) -> Request {
    let reason = "퇴사한 계약자의 모든 로그인을 종료합니다".to_owned();
    Request { reason, ..Request::of(wish.conditions(NOW), Priority::Normal) }
}

/// Makes a real job the way an admin does: with the key, the plan and the code that are asked for.
async fn accept<S: AllPorts, C: DenylistCache + 'static>(
    fleet: &Crew<S, C>,
    admin: &User,
    mut request: Request,
    expected: &Loss,
) -> Job {
    let desk = fleet.desk();
    if request.conditions.job_type() == JobType::Emergency {
        request.emergency_key = Some(mailed_key(fleet, admin).await);
    }
    for _ in 0..3 {
        match fleet.acceptor().accept(By::User { user: admin, desk: &desk }, request.clone()).await {
            Ok(answer) => match answer.accepted {
                Accepted::Started { job, .. } => {
                    let free = expected.users() <= 1_000 || job.conditions.job_type() == JobType::Emergency;
                    assert!(free || request.confirmation_code.is_some(), "API-4: a large job without a code");
                    return job;
                }
                Accepted::Counted { .. } => panic!("a real run was only counted"),
            },
            Err(Refused::NeedsPlan) => {
                let (plan, statistics) = dry_run(fleet, admin, &request).await;
                assert_eq!(facts_alone(statistics), expected.statistics(), "API-3: would_affect");
                request.plan_id = Some(plan.id);
            }
            Err(Refused::Unconfirmed { users, code }) => {
                let name = request.conditions.job_type().as_str().to_uppercase();
                assert_eq!((users, code.as_str()), (expected.users(), format!("CONFIRM_{name}_{users}").as_str()));
                assert!(users > 1_000, "API-4");
                request.confirmation_code = Some(code);
            }
            Err(refused) => panic!("{:?}: {refused:?}", request.conditions),
        }
    }
    panic!("API-4: plan and code are not enough for {:?}", request.conditions)
}

/// Makes a dry run, and counts it by the workers if it is too large to be counted at once.
async fn dry_run<S: AllPorts, C: DenylistCache + 'static>(
    fleet: &Crew<S, C>,
    admin: &User,
    request: &Request,
) -> (Job, Statistics) {
    let desk = fleet.desk();
    let request = Request { dry_run: true, emergency_key: None, plan_id: None, ..request.clone() };
    match fleet.acceptor().accept(By::User { user: admin, desk: &desk }, request).await.unwrap().accepted {
        Accepted::Counted { job, statistics } => (job, statistics),
        Accepted::Started { job, .. } => {
            let chunks = fleet.plan(&job.id).await;
            settle(fleet, chunks, &mut Dice(1)).await;
            let statistics = fleet.store.tally(&job.id).await.unwrap().statistics;
            (fleet.job(&job.id).await, statistics)
        }
    }
}

/// What a dry run counted, without who is among it.
fn facts_alone(statistics: Statistics) -> Statistics {
    Statistics { admins: 0, you: 0, ..statistics }
}

/// Settles until no message is left.
async fn settle<S: AllPorts, C: DenylistCache + 'static>(
    fleet: &Crew<S, C>,
    mut chunks: Vec<ChunkRef>,
    dice: &mut Dice,
) {
    while !chunks.is_empty() {
        for chunk in dice.deliver(chunks) {
            assert!(matches!(fleet.settle(&chunk).await.unwrap(), Settled::Through(_)));
        }
        chunks = fleet.queue.take_chunks();
    }
}

/// What the rows say a job took. Nothing else may have changed.
async fn scan<S: AllPorts>(store: &S, estate: &Estate, job: &Job) -> Loss {
    let ours = RevokedBy::Job(job.id.clone());
    let revoked_before: BTreeSet<String> =
        estate.held().into_iter().filter(|held| held.token.revoked).map(|held| held.id).collect();
    let (mut loss, mut rows) = (Loss::default(), 0);
    for owner in estate.owners() {
        let holdings = store.holdings(&owner).await.unwrap();
        rows += holdings.tokens.len();
        for token in &holdings.tokens {
            match &token.revoked {
                Some(revoked) if revoked.by == ours => {
                    assert!(revoked.at >= Epoch(NOW), "CUT-6: revoked_at");
                    loss.lose_token(&owner, token.id.as_str(), token.kind == TokenKind::Refresh);
                }
                revoked => assert_eq!(revoked.is_some(), revoked_before.contains(token.id.as_str()), "{token:?}"),
            }
        }
        for session in &holdings.sessions {
            if let Some(by) = &session.ended_by {
                assert_eq!(by, &ours, "{session:?}");
                loss.lose_session(&owner, session.id.as_str());
            }
        }
    }
    assert_eq!(rows, estate.held().len(), "no row is gone");
    loss
}

/// What is recorded of a job's owners.
async fn recorded<S: AllPorts>(store: &S, job: &Job) -> BTreeMap<Owner, Facts> {
    let mut recorded = BTreeMap::new();
    for chunk in 0..job.plan.chunks {
        for (owner, facts) in store.affected(&job.id, chunk, Fate::Lost).await.unwrap() {
            assert!(recorded.insert(owner.clone(), facts).is_none(), "SCOPE-1: {owner:?} is in two chunks");
        }
    }
    recorded
}

/// Every so many-th of the live tokens, and which of them a verifier refuses.
async fn refused(checker: &Checker, estate: &Estate, every: usize) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut asked, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for held in estate.held().into_iter().filter(Held::is_live).step_by(every) {
        if checker.check(&held.facts(NOW)).await.unwrap().refusal.is_some() {
            refused.insert(held.id.clone());
        }
        asked.insert(held.id);
    }
    (asked, refused)
}

/// A verifier whose cache knows nothing, so that it goes to the durable denylist.
fn without_cache<S: AllPorts, C: DenylistCache + 'static>(fleet: &Fleet<S, C>) -> Checker {
    Checker::new(Arc::new(Memory::default()), fleet.store.clone(), fleet.clock.clone(), LIMITS)
}

/// Every verifier refuses exactly what is expected of the live tokens, with and without the cache.
async fn check_verifiers<S: AllPorts, C: DenylistCache + 'static>(
    fleet: &Fleet<S, C>,
    estate: &Estate,
    expected: &Loss,
    every: usize,
) {
    for (checker, how) in [(fleet.checker(), "with the cache"), (without_cache(fleet), "without the cache")] {
        let (asked, refused) = refused(&checker, estate, every).await;
        let expected: BTreeSet<String> = expected.tokens.intersection(&asked).cloned().collect();
        assert_eq!(refused, expected, "SCOPE-6, {how}");
    }
}

/// Runs a job from the request to its end, and checks everything that can be seen of it against the oracle.
async fn check<S: AllPorts, C: DenylistCache + 'static>(
    fleet: &Crew<S, C>,
    estate: &Estate,
    wish: &Wish,
    mut dice: Dice,
    every: usize,
) -> Job {
    let expected = oracle(estate, wish);
    let job = accept(fleet, &somebody_else(), request(wish), &expected).await;
    let at = wish.effective();
    assert_eq!(job.effective_at.is_some(), at == Effective::Accepted, "CUT-1: effective with the answer");
    if at == Effective::Accepted {
        check_verifiers(fleet, estate, &expected, every).await;
    }
    let chunks = fleet.plan(&job.id).await;
    if at == Effective::Planned {
        assert!(fleet.job(&job.id).await.effective_at.is_some(), "CUT-1: effective when planned");
        check_verifiers(fleet, estate, &expected, every).await;
    }
    settle(fleet, chunks, &mut dice).await;
    check_end(fleet, estate, &job, &expected).await;
    check_verifiers(fleet, estate, &expected, every).await;
    fleet.job(&job.id).await
}

/// Rows, sessions, affected users and statistics at the end of a job.
async fn check_end<S: AllPorts, C: DenylistCache + 'static>(
    fleet: &Fleet<S, C>,
    estate: &Estate,
    job: &Job,
    expected: &Loss,
) {
    let job = fleet.job(&job.id).await;
    assert_eq!(job.status, Status::Completed);
    assert!(job.effective_at.is_some(), "CUT-1");
    assert_eq!(&scan(fleet.store.as_ref(), estate, &job).await, expected, "the rows");
    assert_eq!(recorded(fleet.store.as_ref(), &job).await, expected.owners, "the affected users");
    let tally = fleet.store.tally(&job.id).await.unwrap();
    assert_eq!(tally.statistics, expected.statistics(), "SCOPE-7: the statistics");
}

#[test]
fn scope_1_to_5_every_kind_of_job_takes_exactly_what_the_oracle_says_over_a_thousand_companies() {
    runner(1_200)
        .run(&(pairs(), any::<u64>()), |((estate, wish), seed)| {
            runtime().block_on(async {
                let fleet = Crew::at(&estate).await;
                check(&fleet, &estate, &wish, Dice(seed), 1).await;
                if seed % 4 == 0 {
                    // Redis has lost everything, and is rebuilt.
                    let expected = oracle(&estate, &wish);
                    fleet.cache.forget();
                    check_verifiers(&fleet, &estate, &expected, 1).await;
                    fleet.guard().await.unwrap();
                    check_verifiers(&fleet, &estate, &expected, 1).await;
                }
            });
            Ok(())
        })
        .unwrap();
}

#[test]
fn api_3_a_dry_run_says_exactly_what_the_real_run_then_does_whether_counted_at_once_or_by_the_workers() {
    runner(600)
        .run(&(pairs(), any::<u64>()), |((estate, wish), seed)| {
            runtime().block_on(check_dry_runs(&estate, &wish, Dice(seed)));
            Ok(())
        })
        .unwrap();
}

async fn check_dry_runs(estate: &Estate, wish: &Wish, mut dice: Dice) {
    let fleet = Crew::at(estate).await;
    let expected = oracle(estate, wish);
    // Whoever asks may be one of those who are logged out.
    let who = user_name(dice.below(estate.people.len()));
    let you = admin(who.clone());
    let admins = estate.admins();
    let request = request(wish);

    let (at_once, statistics) = dry_run(&fleet, &you, &request).await;
    assert_eq!(facts_alone(statistics), expected.statistics(), "API-3: at once");

    let actor = Actor::from(&you);
    let counted = Job::new(fleet.ids.job_id(), request.conditions.clone(), actor, request.reason.clone(), now());
    let counted = Job { dry_run: true, ..counted };
    if !wish.names_people() {
        fleet.store.freeze_people(&counted.id, Frozen::Spared, &wish.spared(estate)).await.unwrap();
    }
    fleet.store.freeze_people(&counted.id, Frozen::Admins, &admins).await.unwrap();
    fleet.store.create(NewJob::plain(&counted)).await.unwrap();
    let chunks = fleet.plan(&counted.id).await;
    settle(&fleet, chunks, &mut dice).await;
    let by_workers = fleet.store.tally(&counted.id).await.unwrap().statistics;
    assert_eq!(facts_alone(by_workers), expected.statistics(), "API-3: by the workers");
    let counted = fleet.job(&counted.id).await;
    assert_eq!((counted.status, counted.effective_at), (Status::Completed, None));
    assert_eq!(recorded(fleet.store.as_ref(), &counted).await, expected.owners);

    // Who is among those who lose something, the same whoever counts.
    let hits_admins = admins.iter().any(|admin| expected.hits(admin));
    for counted in [fleet.store.tally(&at_once.id).await.unwrap().statistics, by_workers] {
        assert_eq!((counted.you > 0, counted.admins > 0), (expected.hits(&who), hits_admins), "API-3: includes");
    }

    for dry in [&at_once, &counted] {
        assert_eq!(scan(fleet.store.as_ref(), estate, dry).await, Loss::default(), "a dry run ends nothing");
    }
    check_verifiers(&fleet, estate, &Loss::default(), 1).await;

    let request = Request { plan_id: Some(at_once.id.clone()), ..request };
    let real = accept(&fleet, &you, request, &expected).await;
    let chunks = fleet.plan(&real.id).await;
    settle(&fleet, chunks, &mut dice).await;
    check_end(&fleet, estate, &real, &expected).await;
}

/// So many different jobs of a kind over one company.
fn wishes(kind: usize, count: usize, estate: &Estate, most: usize) -> Vec<Wish> {
    let mut runner = runner(1);
    let mut next = || drafts(Just(kind), most).new_tree(&mut runner).unwrap().current();
    (0..count).map(|_| Draft::fit(&next(), estate)).collect()
}

/// Real stores: only they have indexes, pages and conditions of their own.
async fn real(store: &Store, redis: &RedisServer) -> tests::fleet::RealFleet {
    let clock = Arc::new(TestClock::at(now()));
    Fleet::over(store.dynamo().await, redis.denylist(clock).await, now())
}

#[tokio::test]
async fn scope_1_to_5_every_kind_of_job_takes_exactly_what_the_oracle_says_on_real_stores() {
    let mut runner = runner(1);
    for case in 0..5 * KINDS {
        // A store of its own each: what one job cuts off, another's verifiers must not see.
        let (store, redis) = (Store::start().await, RedisServer::start());
        let fleet = Crew::of(real(&store, &redis).await);
        fleet.guard().await.unwrap();
        let estate = estates(2..8, 3).new_tree(&mut runner).unwrap().current();
        estate.write(fleet.store.as_ref(), NOW).await;
        let wish = wishes(case % KINDS, 1, &estate, 4).remove(0);
        eprintln!("{wish:?} over {estate:?}");
        check(&fleet, &estate, &wish, Dice(case as u64), 1).await;
    }
}

/// A clock on which every look takes a second.
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> DateTime<Utc> {
        now() + TimeDelta::seconds(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

/// A clock at the so-manieth look on which the store goes away, as if the worker had died.
struct Fuse {
    looks: AtomicI64,
    store: Arc<Memory>,
}

impl Clock for Fuse {
    fn now(&self) -> DateTime<Utc> {
        if self.looks.fetch_sub(1, Ordering::SeqCst) == 0 {
            self.store.set_down(true);
        }
        now()
    }
}

/// Jobs whose chunks are parts of the whole table or of an index, effective by a cutoff and by single tokens.
fn wishes_over_tables() -> Vec<Wish> {
    let time = |before, unused_since| Wish::Time { before, unused_since, access: true, refresh: true };
    let all = Picks { unused_since: Some(0), after: Some(-30_000), ..Picks::default() };
    let clients = Picks { clients: [0, 1, 3].into(), unused_since: Some(0), ..Picks::default() };
    vec![
        Wish::Emergency { spare_admins: true, spare_service: false },
        time(Some(0), None),
        time(None, Some(0)),
        time(Some(0), Some(-10_000)),
        Wish::Client { client: 0, refresh_too: true, before: None },
        Wish::Conditional(all),
        Wish::Conditional(clients),
    ]
}

#[tokio::test]
async fn cut_6_a_worker_out_of_time_leaves_the_rest_to_the_next_and_every_number_is_the_same() {
    let mut runner = runner(1);
    for wish in wishes_over_tables() {
        let mut continued = 0;
        for seed in 0..5 {
            let estate = estates(90..110, 2).new_tree(&mut runner).unwrap().current();
            let fleet = Crew::at(&estate).await;
            let expected = oracle(&estate, &wish);
            let job = accept(&fleet, &somebody_else(), request(&wish), &expected).await;
            let chunks = fleet.plan(&job.id).await;
            // No time at all: each only hands its part on.
            for chunk in &chunks {
                let settled = fleet.settler().settle(chunk, Try::First, now()).await.unwrap();
                assert_eq!(settled, Settled::ToBeContinued);
                assert_eq!(fleet.queue.take_chunks(), std::slice::from_ref(chunk));
            }
            assert_eq!(scan(fleet.store.as_ref(), &estate, &job).await, Loss::default());
            let mut waiting = Dice(seed).deliver(chunks);
            while !waiting.is_empty() {
                for chunk in waiting {
                    let clock = Arc::new(Ticking(AtomicI64::new(0)));
                    let settler = Settler { clock, ..fleet.settler() };
                    let settled = settler.settle(&chunk, Try::First, now() + TimeDelta::seconds(2)).await.unwrap();
                    continued += usize::from(settled == Settled::ToBeContinued);
                }
                waiting = fleet.queue.take_chunks();
            }
            check_end(&fleet, &estate, &job, &expected).await;
            check_verifiers(&fleet, &estate, &expected, 1).await;
        }
        assert!(continued > 0, "{wish:?} was never handed on");
    }
}

#[test]
fn cut_6_workers_that_die_at_any_moment_leave_the_same_end_and_the_same_numbers() {
    runner(600)
        .run(&(pairs(), any::<u64>()), |((estate, wish), seed)| {
            runtime().block_on(check_dying_workers(&estate, &wish, Dice(seed)));
            Ok(())
        })
        .unwrap();
}

async fn check_dying_workers(estate: &Estate, wish: &Wish, mut dice: Dice) {
    let fleet = Crew::at(estate).await;
    let expected = oracle(estate, wish);
    let job = accept(&fleet, &somebody_else(), request(wish), &expected).await;
    let chunks = fleet.plan(&job.id).await;
    for chunk in dice.deliver(chunks.clone()) {
        let looks = AtomicI64::new(i64::try_from(dice.below(10)).unwrap());
        let settler = Settler { clock: Arc::new(Fuse { looks, store: fleet.store.clone() }), ..fleet.settler() };
        let _ = settler.settle(&chunk, Try::First, now() + TimeDelta::hours(1)).await;
        fleet.store.set_down(false);
    }
    settle(&fleet, chunks, &mut dice).await;
    check_end(&fleet, estate, &job, &expected).await;
    check_verifiers(&fleet, estate, &expected, 1).await;
}

/// Jobs over one company of more people than a request counts.
async fn check_large(wishes_over: impl Fn(&Estate) -> Vec<Wish>) {
    let estate = estates(2_500..2_600, 2).new_tree(&mut runner(1)).unwrap().current();
    let (mut planned, mut large) = (0, 0);
    for (seed, wish) in (0..).zip(wishes_over(&estate)) {
        let mut fleet = Crew::at(&estate).await;
        fleet.tokens = Arc::new(Shelves::of(&estate, fleet.store.clone()));
        check(&fleet, &estate, &wish, Dice(seed), 37).await;
        planned += fleet.store.jobs_by_time(None, None, 10).await.unwrap().len() - 1;
        large += usize::from(oracle(&estate, &wish).users() > 1_000);
    }
    assert!(planned > 0 || large > 0, "no job was large");
}

#[tokio::test]
async fn scope_1_group_jobs_over_a_large_company_take_exactly_what_the_oracle_says() {
    check_large(|estate| {
        let groups: BTreeSet<usize> = (0..estate.parents.len()).collect();
        let all = |spare_admins| Wish::Conditional(Picks { groups: groups.clone(), spare_admins, ..Picks::default() });
        [wishes(0, 10, estate, 1), vec![all(true), all(false)]].concat()
    })
    .await;
}

#[tokio::test]
async fn scope_2_client_jobs_over_a_large_company_take_exactly_what_the_oracle_says() {
    check_large(|estate| {
        let all = Picks { clients: (0..4).collect(), ..Picks::default() };
        [wishes(1, 10, estate, 1), vec![Wish::Conditional(all)]].concat()
    })
    .await;
}

#[tokio::test]
async fn scope_3_time_jobs_over_a_large_company_take_exactly_what_the_oracle_says() {
    check_large(|estate| wishes(2, 10, estate, 1)).await;
}

#[tokio::test]
async fn scope_4_conditional_jobs_over_a_large_company_take_exactly_what_the_oracle_says() {
    check_large(|estate| wishes(3, 12, estate, 900)).await;
}

#[tokio::test]
async fn scope_5_emergency_jobs_over_a_large_company_take_exactly_what_the_oracle_says() {
    let flags = [(true, true), (true, false), (false, true), (false, false)];
    let wish = |(spare_admins, spare_service)| Wish::Emergency { spare_admins, spare_service };
    check_large(|_| [flags, flags].concat().into_iter().map(wish).collect()).await;
}
