//! Telling affected users (`[MAIL-3]`): exactly once each where nothing goes wrong, never twice whatever does, and
//! never so that a token waits for it.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use chrono::{DateTime, TimeDelta, Utc};
use domain::conditions::Conditions;
use domain::error::WorkError;
use domain::ids::{GroupId, JobId, TokenId, UserId};
use domain::job::{ChunkRef, Facts, Fate, Job, NoticeRef, PlanCursor, Status};
use domain::mail::{Mail, NotSent, Post};
use domain::messages::NoticeMessage;
use domain::notify::{
    CLAIM_PATIENCE, Delivery, Mark, NoticeCounts, NoticeStore, Notifier, Outcome, Recipient, Round, Told, Trouble,
};
use domain::ports::{DenylistCache, JobStore as _, NewJob, PortResult, RecordStore, Step, TokenStore as _};
use domain::records::{Entity, MembershipKey, Record, UserRecord};
use domain::settle::{Settled, Try};
use domain::testing::{Memory, MemoryPost, Reply, contract};
use domain::time::Clock as _;
use domain::token::Owner;
use futures::future::pending;
use lambda_runtime::LambdaEvent;
use tests::environment::{root, unique};
use tests::fleet::{AllPorts, Fleet};
use tests::redis_server::RedisServer;
use tests::store::Store;

const REASON: &str = "분실 신고: 김분실 <kim@example.com>, 10.0.0.1, <b>see https://evil.example</b>";

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_900_000_000, 0).unwrap()
}

fn user(run: &str, number: usize) -> UserId {
    UserId::parse(format!("{run}-{number:04}")).unwrap()
}

fn address(number: usize) -> String {
    format!("user{number}@example.com")
}

fn post<S, C>(fleet: &Fleet<S, C>) -> Arc<MemoryPost> {
    Arc::new(MemoryPost::new(fleet.clock.clone(), TimeDelta::milliseconds(10)))
}

/// Users with addresses, names and languages, in a group of the run's name, with a token each.
async fn write_company<S: RecordStore>(store: &S, run: &str, users: usize) {
    for number in 0..users {
        let id = user(run, number);
        let record = UserRecord {
            email: Some(address(number)),
            name: Some(if number == 0 { "김분실".to_owned() } else { format!("사람 {number}") }),
            locale: Some(if number.is_multiple_of(2) { "ko-KR" } else { "en-GB" }.to_owned()),
            ..UserRecord::new(id.clone())
        };
        let membership = MembershipKey { group_id: GroupId::parse(run).unwrap(), user_id: id.clone() };
        let token = contract::token(&format!("{run}-t{number}"), &id, now().timestamp() - 9, now().timestamp() + 9_000);
        for entity in [Entity::User(record), Entity::Membership(membership), Entity::Token(token)] {
            store.apply(&Record::upsert(1, entity)).await.unwrap();
        }
    }
}

fn group_job(run: &str) -> Job {
    let group_id = GroupId::parse(run).unwrap();
    let conditions =
        Conditions::GroupBased { group_id: group_id.clone(), include_subgroups: false, exclude_admin_users: true };
    Job { conditions, reason: REASON.to_owned(), ..contract::job(&format!("{run}-j"), &group_id, now()) }
}

/// A company, and a job of it that is planned.
async fn planned<S: AllPorts, C: DenylistCache + 'static>(
    fleet: &Fleet<S, C>,
    users: usize,
    change: impl FnOnce(Job) -> Job,
) -> (String, JobId, Vec<ChunkRef>) {
    let run = unique("n");
    write_company(fleet.store.as_ref(), &run, users).await;
    let job = change(group_job(&run));
    fleet.store.create(NewJob::plain(&job)).await.unwrap();
    let chunks = fleet.plan(&job.id).await;
    (run, job.id, chunks)
}

/// A company, and a job of it that is settled: its messages about users to be told.
async fn settled<S: AllPorts, C: DenylistCache + 'static>(
    fleet: &Fleet<S, C>,
    users: usize,
) -> (String, JobId, Vec<NoticeRef>) {
    let (run, job, chunks) = planned(fleet, users, |job| job).await;
    for chunk in chunks {
        fleet.settle(&chunk, Try::First).await.unwrap();
    }
    assert_eq!(fleet.job(&job).await.status, Status::Completed, "MAIL-3: nothing waits for mail");
    let messages = fleet.queue.take_notices();
    assert!(messages.iter().all(|(_, delay)| delay.is_zero()));
    (run, job, messages.into_iter().map(|(message, _)| message).collect())
}

/// Works on messages, and on those that go on with them when their time has come, until none is left.
async fn deliver<S: AllPorts, C: DenylistCache + 'static>(
    fleet: &Fleet<S, C>,
    notifier: &Notifier,
    messages: Vec<NoticeRef>,
) -> NoticeCounts {
    let mut counted = NoticeCounts::default();
    let mut left = messages;
    for _ in 0..1_000 {
        let Some(message) = left.pop() else { return counted };
        counted += notify(fleet, notifier, &message).await.unwrap().counted;
        for (message, delay) in fleet.queue.take_notices() {
            fleet.clock.advance(delay);
            left.push(message);
        }
    }
    panic!("there is always another message");
}

async fn notify<S, C>(fleet: &Fleet<S, C>, notifier: &Notifier, message: &NoticeRef) -> Result<Round, WorkError> {
    notifier.notify(message, fleet.clock.now() + TimeDelta::seconds(30)).await
}

async fn told<S: AllPorts>(store: &S, job: &JobId, chunk: u32) -> BTreeMap<UserId, Option<Told>> {
    let page = store.affected_users(job, chunk, None, 1_000).await.unwrap();
    page.into_iter().map(|line| (line.user, line.notice)).collect()
}

/// Nobody got two, and the numbers are what the mail service, too, would say.
async fn check<S: AllPorts>(store: &S, post: &MemoryPost, job: &JobId, users: usize) -> NoticeCounts {
    let sent = post.sent();
    let mut addresses: Vec<&str> = sent.iter().map(|(mail, _)| mail.to.as_str()).collect();
    addresses.sort_unstable();
    let all = addresses.len();
    addresses.dedup();
    assert_eq!(addresses.len(), all, "MAIL-3: nobody is told twice");
    let counts = store.tally(job).await.unwrap().notices;
    let NoticeCounts { sent, rejected, unknown, unaddressed } = counts;
    assert_eq!(sent + rejected + unknown + unaddressed, users as u64, "everybody is counted: {counts:?}");
    assert!((sent..=sent + unknown).contains(&(all as u64)), "{all} mails, {counts:?}");
    counts
}

async fn a_thousand_users_get_a_thousand_mails<S: AllPorts, C: DenylistCache + 'static>(
    fleet: &Fleet<S, C>,
    users: usize,
) {
    let (run, job, messages) = settled(fleet, users).await;
    assert_eq!(messages.len(), users.div_ceil(100), "one message for each chunk, not for each user");
    let post = post(fleet);
    let twice: Vec<NoticeRef> = messages.iter().chain(&messages).cloned().collect();
    let counted = deliver(fleet, &fleet.notifier(post.clone()), twice).await;
    let wanted = NoticeCounts { sent: users as u64, ..NoticeCounts::default() };
    assert_eq!((counted, check(fleet.store.as_ref(), &post, &job, users).await), (wanted, wanted));
    assert_eq!(post.sent().len(), users);
    for (mail, mark) in post.sent() {
        let number: usize = mail.to.strip_prefix("user").unwrap().split('@').next().unwrap().parse().unwrap();
        let korean = number.is_multiple_of(2);
        assert_eq!(mail.subject == "로그아웃 안내", korean, "{}", mail.subject);
        for part in [&mail.subject, &mail.text, &mail.html] {
            for secret in ["김분실 ", "kim@", "10.0.0.1", "evil.example", "<b>", "&lt;b"] {
                let own_name = number == 0 && secret.starts_with("김분실");
                assert!(own_name || !part.contains(secret), "MAIL-2: {secret} in {part}");
            }
        }
        assert!(
            mail.text.contains("분실 신고: [NAME_REMOVED] ‹[EMAIL_REMOVED]›, [IP_REMOVED], ‹b›see"),
            "{}",
            mail.text
        );
        let tags = format!("{mark:?}");
        assert!(!tags.contains('@') && !tags.contains(user(&run, number).as_str()), "nobody is named: {tags}");
    }
    for chunk in 0..u32::try_from(messages.len()).unwrap() {
        for (user, told) in told(fleet.store.as_ref(), &job, chunk).await {
            assert!(told.is_some_and(|told| told.sent_at().is_some()), "{user}");
        }
    }
}

#[tokio::test]
async fn mail_3_a_thousand_users_get_a_thousand_mails_though_every_message_comes_twice() {
    a_thousand_users_get_a_thousand_mails(&Fleet::in_memory(now()), 1_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_3_the_same_over_real_stores() {
    let (store, redis) = (Store::start().await, RedisServer::start());
    let clock = Arc::new(domain::testing::TestClock::at(now()));
    let fleet = Fleet::over(store.dynamo().await, redis.denylist(clock).await, now());
    fleet.guard().await.unwrap();
    a_thousand_users_get_a_thousand_mails(&fleet, 130).await;
}

#[tokio::test]
async fn mail_3_two_workers_on_the_same_message_at_the_same_time_share_it() {
    let fleet = Fleet::in_memory(now());
    let (_, job, messages) = settled(&fleet, 100).await;
    let post = post(&fleet);
    let (one, two) = (fleet.notifier(post.clone()), fleet.notifier(post.clone()));
    let (first, second) = futures::join!(notify(&fleet, &one, &messages[0]), notify(&fleet, &two, &messages[0]));
    let counted = [first.unwrap().counted, second.unwrap().counted];
    assert_eq!(counted[0].sent + counted[1].sent, 100, "each is counted by one of them");
    assert_eq!(check(fleet.store.as_ref(), &post, &job, 100).await.sent, 100);
}

/// When a worker dies: at a call to the store or the mail service, before it does anything or after.
struct Death {
    calls: AtomicUsize,
    at: usize,
    after: bool,
    dead: AtomicBool,
}

impl Death {
    fn new(at: usize, after: bool) -> Arc<Self> {
        Arc::new(Self { calls: AtomicUsize::new(0), at, after, dead: AtomicBool::new(false) })
    }

    async fn call<T>(&self, call: impl Future<Output = T>) -> T {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if self.dead.load(Ordering::SeqCst) || (number == self.at && !self.after) {
            self.dead.store(true, Ordering::SeqCst);
            pending::<()>().await;
        }
        let answer = call.await;
        if number == self.at {
            self.dead.store(true, Ordering::SeqCst);
            pending::<()>().await;
        }
        answer
    }
}

/// The store and the mail service, as a worker sees them that will die.
struct Mortal {
    store: Arc<Memory>,
    post: Arc<MemoryPost>,
    death: Arc<Death>,
}

#[async_trait]
impl NoticeStore for Mortal {
    async fn claim(&self, of: Recipient<'_>, claim: &str, at: DateTime<Utc>) -> PortResult<Step> {
        self.death.call(self.store.claim(of, claim, at)).await
    }
    async fn release(&self, of: Recipient<'_>, claim: &str) -> PortResult<()> {
        self.death.call(self.store.release(of, claim)).await
    }
    async fn conclude(&self, of: Recipient<'_>, claim: &str, outcome: &Outcome, at: DateTime<Utc>) -> PortResult<()> {
        self.death.call(self.store.conclude(of, claim, outcome, at)).await
    }
    async fn note_trouble(&self, mark: &Mark, trouble: Trouble, at: DateTime<Utc>) -> PortResult<bool> {
        self.death.call(self.store.note_trouble(mark, trouble, at)).await
    }
    async fn notice_counts(&self, job: &JobId, chunk: u32) -> PortResult<NoticeCounts> {
        self.death.call(self.store.notice_counts(job, chunk)).await
    }
    async fn commit_notices(
        &self,
        job: &JobId,
        chunk: u32,
        before: NoticeCounts,
        after: NoticeCounts,
    ) -> PortResult<Step> {
        self.death.call(self.store.commit_notices(job, chunk, before, after)).await
    }
}

#[async_trait]
impl Post for Mortal {
    async fn turn(&self, deadline: DateTime<Utc>) -> bool {
        self.death.call(self.post.turn(deadline)).await
    }
    async fn post(&self, mail: &Mail, mark: &Mark) -> Result<(), NotSent> {
        self.death.call(self.post.post(mail, mark)).await
    }
}

/// Works on a message until the worker is through with it, or dies.
async fn work_until_death(
    fleet: &Fleet<Memory, Memory>,
    post: &Arc<MemoryPost>,
    message: &NoticeRef,
    death: &Arc<Death>,
) {
    let mortal = Arc::new(Mortal { store: fleet.store.clone(), post: post.clone(), death: death.clone() });
    let notifier = Notifier { notices: mortal.clone(), ..fleet.notifier(mortal) };
    let mut work = pin!(notify(fleet, &notifier, message));
    while futures::poll!(work.as_mut()).is_pending() {
        if death.dead.load(Ordering::SeqCst) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn mail_3_a_sender_killed_at_any_call_tells_nobody_twice_and_every_number_is_exact() {
    const USERS: usize = 40;
    let mut total = usize::MAX;
    let (mut at, mut seen_unknown) = (0, 0);
    while at <= total {
        for after in [false, true] {
            let fleet = Fleet::in_memory(now());
            let (_, job, messages) = settled(&fleet, USERS).await;
            let post = post(&fleet);
            let death = Death::new(at, after);
            work_until_death(&fleet, &post, &messages[0], &death).await;
            let calls = death.calls.load(Ordering::SeqCst);
            if at == 0 {
                total = calls;
                assert!(total > 3 * USERS, "a chunk takes {total} calls");
            }
            fleet.clock.advance(CLAIM_PATIENCE);
            // Delivered again, and twice, to workers that live.
            let counted = deliver(&fleet, &fleet.notifier(post.clone()), vec![messages[0].clone(); 2]).await;
            let counts = check(fleet.store.as_ref(), &post, &job, USERS).await;
            assert!(counts.unknown <= 16, "{at} {after}: {counts:?}");
            let dead_counted = death.dead.load(Ordering::SeqCst) && counted == NoticeCounts::default();
            assert!(counted == counts || dead_counted || at == 0, "{at} {after}: {counted:?} of {counts:?}");
            seen_unknown += usize::from(counts.unknown > 0);
        }
        at += 1;
    }
    assert!(seen_unknown > USERS, "killing leaves some unknown: {seen_unknown}");
}

#[tokio::test]
async fn mail_3_a_send_whose_answer_is_lost_is_unknown_and_never_repeated() {
    let fleet = Fleet::in_memory(now());
    let (run, job, messages) = settled(&fleet, 10).await;
    let post = post(&fleet);
    post.set(|mail| if mail.to == address(3) { Reply::TakenUnsaid } else { Reply::Taken });
    let notifier = fleet.notifier(post.clone());
    for _ in 0..3 {
        deliver(&fleet, &notifier, messages.clone()).await;
    }
    let counts = check(fleet.store.as_ref(), &post, &job, 10).await;
    assert_eq!(counts, NoticeCounts { sent: 9, unknown: 1, ..NoticeCounts::default() });
    let told = told(fleet.store.as_ref(), &job, 0).await;
    assert_eq!(told[&user(&run, 3)].as_ref().unwrap().outcome, Some(Outcome::Unknown));
}

#[tokio::test]
async fn mail_3_a_throttle_slows_mail_and_nothing_else() {
    let fleet = Fleet::in_memory(now());
    let (_, job, messages) = settled(&fleet, 50).await;
    let post = post(&fleet);
    let busy = || Reply::Not(NotSent::Later("TooManyRequestsException".to_owned()));
    post.set(move |_| busy());
    let notifier = fleet.notifier(post.clone());
    let round = notify(&fleet, &notifier, &messages[0]).await.unwrap();
    assert_eq!(round, Round { counted: NoticeCounts::default(), finished: false, stalled: true }, "somebody is told");
    assert!(told(fleet.store.as_ref(), &job, 0).await.values().all(Option::is_none), "no claim is left behind");
    let left = fleet.queue.take_notices();
    assert_eq!(left.len(), 1);
    assert!(left[0].1 >= TimeDelta::minutes(1) && left[0].1 <= TimeDelta::minutes(15), "{:?}", left[0].1);

    let mut number = 0;
    post.set(move |_| {
        number += 1;
        if number % 3 == 0 { Reply::Taken } else { busy() }
    });
    deliver(&fleet, &notifier, vec![left[0].0.clone()]).await;
    assert_eq!(check(fleet.store.as_ref(), &post, &job, 50).await.sent, 50);
}

#[tokio::test]
async fn mail_3_what_time_does_not_suffice_for_is_another_message() {
    let fleet = Fleet::in_memory(now());
    let (_, job, messages) = settled(&fleet, 100).await;
    let post = Arc::new(MemoryPost::new(fleet.clock.clone(), TimeDelta::seconds(1)));
    let notifier = fleet.notifier(post.clone());
    let round = notify(&fleet, &notifier, &messages[0]).await.unwrap();
    assert!(!round.finished && !round.stalled && round.counted.sent == 29, "{round:?}");
    let left = fleet.queue.take_notices();
    assert_eq!(left.iter().map(|(_, delay)| *delay).collect::<Vec<_>>(), [TimeDelta::zero()]);
    deliver(&fleet, &notifier, vec![left[0].0.clone()]).await;
    assert_eq!(check(fleet.store.as_ref(), &post, &job, 100).await.sent, 100);
}

#[tokio::test]
async fn mail_3_refusals_missing_addresses_and_bounces_stand_with_the_user() {
    let fleet = Fleet::in_memory(now());
    let run = unique("n");
    write_company(fleet.store.as_ref(), &run, 4).await;
    let homeless = UserRecord { email: Some(" ".to_owned()), ..UserRecord::new(user(&run, 2)) };
    fleet.store.apply(&Record::upsert(9, Entity::User(homeless))).await.unwrap();
    let job = group_job(&run);
    fleet.store.create(NewJob::plain(&job)).await.unwrap();
    for chunk in fleet.plan(&job.id).await {
        fleet.settle(&chunk, Try::First).await.unwrap();
    }
    let post = post(&fleet);
    let refused = || Reply::Not(NotSent::Rejected("MessageRejected".to_owned()));
    post.set(move |mail| if mail.to == address(1) { refused() } else { Reply::Taken });
    let notifier = fleet.notifier(post.clone());
    let messages = fleet.queue.take_notices().into_iter().map(|(message, _)| message).collect();
    deliver(&fleet, &notifier, messages).await;
    let counts = check(fleet.store.as_ref(), &post, &job.id, 4).await;
    assert_eq!(counts, NoticeCounts { sent: 2, rejected: 1, unaddressed: 1, unknown: 0 });

    let (_, mark) = post.sent().into_iter().find(|(mail, _)| mail.to == address(3)).unwrap();
    let bounce = Delivery { mark: mark.clone(), trouble: Trouble::Bounced };
    notifier.note(&bounce).await.unwrap();
    notifier.note(&bounce).await.unwrap();
    let unknown = Delivery { mark: Mark { claim: "invented".to_owned(), ..mark }, trouble: Trouble::Bounced };
    assert!(matches!(notifier.note(&unknown).await, Err(WorkError::Drop(_))));

    let told = told(fleet.store.as_ref(), &job.id, 0).await;
    let told = |number| told[&user(&run, number)].clone().unwrap();
    assert_eq!((told(0).outcome, told(0).trouble), (Some(Outcome::Sent), None));
    assert_eq!(told(1).outcome, Some(Outcome::Rejected("MessageRejected".to_owned())));
    assert_eq!(told(2).outcome, Some(Outcome::NoAddress));
    assert_eq!((told(3).outcome, told(3).trouble), (Some(Outcome::Sent), Some(Trouble::Bounced)));
    let after = fleet.store.tally(&job.id).await.unwrap().notices;
    assert_eq!(after, counts, "what was sent stays sent");
}

#[tokio::test]
async fn mail_3_nobody_is_told_unless_the_job_wants_it_and_nobody_who_lost_nothing() {
    let fleet = Fleet::in_memory(now());
    for change in [|job| Job { notify_users: false, ..job }, |job| Job { dry_run: true, ..job }] {
        let (_, job, chunks) = planned(&fleet, 3, change).await;
        for chunk in &chunks {
            fleet.settle(chunk, Try::First).await.unwrap();
        }
        assert_eq!(fleet.queue.take_notices(), []);
        // Not even by a message that nobody sent.
        let forged = NoticeRef { job_id: job, chunk: 0, after: None };
        let post = post(&fleet);
        let refused = notify(&fleet, &fleet.notifier(post.clone()), &forged).await;
        assert!(matches!(refused, Err(WorkError::Drop(_))), "EKEY-2: {refused:?}");
        assert_eq!(post.sent(), []);
    }
    let (_, job, messages) = settled(&fleet, 3).await;
    let again = Job { id: JobId::parse(format!("{job}-again")).unwrap(), ..fleet.job(&job).await };
    let again =
        Job { status: Status::Pending, effective_at: None, plan: PlanCursor::default(), emitted: false, ..again };
    fleet.store.create(NewJob::plain(&again)).await.unwrap();
    for chunk in fleet.plan(&again.id).await {
        fleet.settle(&chunk, Try::First).await.unwrap();
    }
    assert_eq!(fleet.queue.take_notices(), [], "the second job found nothing to end");
    assert_eq!(messages.len(), 1);
}

#[tokio::test]
async fn mail_3_a_queue_that_is_away_delays_mail_alone() {
    let fleet = Fleet::in_memory(now());
    let (run, job, chunks) = planned(&fleet, 3, |job| job).await;
    fleet.queue.set_notices_down(true);
    let Settled::Untold(Some(closed), _) = fleet.settle(&chunks[0], Try::First).await.unwrap() else {
        panic!("the message should come again, and the job is closed")
    };
    assert_eq!(closed.tokens_revoked, 3);
    assert_eq!(fleet.job(&job).await.status, Status::Completed);
    for number in 0..3 {
        let token = TokenId::parse(format!("{run}-t{number}")).unwrap();
        let row = fleet.store.token(&Owner::User(user(&run, number)), &token).await.unwrap().unwrap();
        assert!(row.revoked.is_some());
    }
    fleet.queue.set_notices_down(false);
    assert_eq!(fleet.settle(&chunks[0], Try::First).await.unwrap(), Settled::Through(None));
    assert_eq!(fleet.queue.take_notices().len(), 1);
}

#[tokio::test]
async fn mail_3_a_directory_that_is_away_leaves_no_claim() {
    let fleet = Fleet::in_memory(now());
    let (_, job, messages) = settled(&fleet, 3).await;
    let post = post(&fleet);
    let away = Arc::new(Memory::default());
    away.set_down(true);
    let notifier = Notifier { directory: away, ..fleet.notifier(post.clone()) };
    assert!(matches!(notify(&fleet, &notifier, &messages[0]).await, Err(WorkError::Retry(_))));
    assert!(told(fleet.store.as_ref(), &job, 0).await.values().all(Option::is_none));
    deliver(&fleet, &fleet.notifier(post.clone()), messages).await;
    assert_eq!(check(fleet.store.as_ref(), &post, &job, 3).await.sent, 3);
}

#[tokio::test]
async fn mail_3_a_part_of_a_table_is_told_page_by_page() {
    let fleet = Fleet::in_memory(now());
    let run = unique("n");
    write_company(fleet.store.as_ref(), &run, 250).await;
    let job = group_job(&run);
    fleet.store.create(NewJob::plain(&job)).await.unwrap();
    let facts = Facts { sessions: 1, ..Facts::default() };
    let owners: Vec<_> = (0..250).map(|number| (Owner::User(user(&run, number)), facts)).collect();
    fleet.store.record_affected(&job.id, 3, Fate::Lost, &owners, now()).await.unwrap();
    let post = post(&fleet);
    let message = NoticeRef { job_id: job.id.clone(), chunk: 3, after: None };
    deliver(&fleet, &fleet.notifier(post.clone()), vec![message]).await;
    assert_eq!(check(fleet.store.as_ref(), &post, &job.id, 250).await.sent, 250);
}

/// A sample event of the function's, with what a mail really carried in place of its tags.
fn mail_event(name: &str, mark: &Mark) -> SqsEvent {
    let path = root().join(format!("events/send-notices/{name}.json"));
    let mut event: SqsEvent = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for record in &mut event.records {
        let mut body: serde_json::Value = serde_json::from_str(record.body.as_deref().unwrap()).unwrap();
        for (name, value) in mark.tags() {
            assert!(body["mail"]["tags"][name].is_array(), "{name}");
            body["mail"]["tags"][name] = serde_json::json!([value]);
        }
        record.body = Some(body.to_string());
    }
    event
}

#[tokio::test]
async fn mail_3_the_function_tells_users_and_notes_what_comes_back() {
    let fleet = Fleet::in_memory(now());
    let (run, job, messages) = settled(&fleet, 3).await;
    let post = post(&fleet);
    let notifier = fleet.notifier(post.clone());
    let handle = async |event: SqsEvent| {
        let mut context = lambda_runtime::Context::default();
        context.deadline = u64::try_from((fleet.clock.now() + TimeDelta::minutes(5)).timestamp_millis()).unwrap();
        let answer = send_notices::handle(LambdaEvent::new(event, context), &notifier).await.unwrap();
        answer.batch_item_failures.len()
    };
    let message = |body: String| {
        let mut event = SqsEvent::default();
        event.records.push(SqsMessage::default());
        event.records[0].body = Some(body);
        event
    };
    let notice = serde_json::to_string(&NoticeMessage::new(messages[0].clone())).unwrap();
    assert_eq!(handle(message(notice)).await, 0);
    let sent = post.sent();
    assert_eq!(sent.len(), 3);
    assert_eq!(handle(message("{}".to_owned())).await, 1, "what cannot be read ends among the dead letters");
    let greeting = "Successfully validated SNS topic for Amazon SES event publishing.".to_owned();
    assert_eq!(handle(message(greeting)).await, 0);

    let events = ["bounce", "complaint", "reject"];
    for (event, (_, mark)) in events.into_iter().zip(&sent) {
        assert_eq!(handle(mail_event(event, mark)).await, 0);
    }
    let told = told(fleet.store.as_ref(), &job, 0).await;
    for ((mail, _), wanted) in sent.iter().zip([Trouble::Bounced, Trouble::Complained, Trouble::Refused]) {
        let number = (0..3).find(|number| mail.to == address(*number)).unwrap();
        assert_eq!(told[&user(&run, number)].as_ref().unwrap().trouble, Some(wanted));
    }
}
