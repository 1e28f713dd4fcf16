//! All kinds of job through the real API, queues and functions, against the oracle; an emergency with its mailed key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use domain::cutoff::Scope;
use domain::ids::UserId;
use domain::ports::{DenylistCache as _, DenylistStore as _, RecordStore as _, TokenStore as _};
use domain::records::{Change, Entity, Record, TokenRecord, UserRecord};
use domain::source::{IdSource as _, SystemIds};
use domain::testing::contract;
use domain::time::{Clock as _, Epoch, SystemClock};
use domain::token::{Owner, RevokedBy, TokenKind};
use futures::stream::{self, StreamExt as _};
use http::Request;
use ops::issuer::Mint;
use ops::web::{Answer, Web};
use proptest::strategy::{Just, Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tests::environment::{root, stack, unique};
use tests::estate::{Estate, Loss, Token, Wish, drafts, estates, oracle};

use super::{BASE, Caller, siem};

/// Seconds of the stack for each second of an estate: what is "one second later" there is an hour here, so that it
/// does not matter in which second the API accepts the job.
const SCALE: i64 = 3_600;
/// Jobs whose rows are found by people or client; the others read the whole table.
const NARROW: usize = 18;
const AT_ONCE: usize = 3;

/// An admin of the test's own, so that no other test's rate limit is in the way.
pub async fn admin(name: &str, mint: &Mint) -> Caller {
    let (stack, web) = (stack(), Web::default());
    let id = UserId::parse(unique(name)).unwrap();
    let user = UserRecord {
        email: Some(format!("{id}@example.com")),
        name: Some("김 보안".to_owned()),
        roles: vec!["security_admin".to_owned()],
        ..UserRecord::new(id.clone())
    };
    stack.store().await.apply(&Record::upsert(1, Entity::User(user))).await.unwrap();
    let token = sign_in(mint, &id, SystemClock.now().timestamp());
    Caller { stack, web, token }
}

/// A token of a sign-in at a moment.
fn sign_in(mint: &Mint, id: &UserId, at: i64) -> String {
    let token = contract::token(&unique("admin-token"), id, at, at + 3_600);
    mint.sign(&TokenRecord { auth_time: Some(Epoch(at)), ..token }).unwrap()
}

impl Caller {
    /// Whose token it is.
    pub fn id(&self) -> UserId {
        let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(&self.token).unwrap().claims;
        UserId::parse(claims["sub"].as_str().unwrap()).unwrap()
    }

    /// The address in the directory, which is made of the id.
    fn email(&self) -> String {
        format!("{}@example.com", self.id())
    }

    /// A call below the API's root.
    pub async fn send(&self, method: &str, path: &str, key: Option<&str>, body: &Value) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{BASE}{path}", self.stack.api_url))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("x-emergency-key", key);
        }
        self.web.send(request.body(body.to_string().into()).unwrap()).await.unwrap()
    }
}

fn scaled_token(token: &mut Token) {
    token.issued *= SCALE;
    token.expires *= SCALE;
    token.auth_time = token.auth_time.map(|time| time * SCALE);
    token.last_used = token.last_used.map(|time| time * SCALE);
}

fn scaled(mut estate: Estate) -> Estate {
    for person in &mut estate.people {
        for sign_in in &mut person.sign_ins {
            sign_in.started *= SCALE;
            sign_in.expires *= SCALE;
            sign_in.tokens.iter_mut().for_each(scaled_token);
        }
        person.loose.iter_mut().for_each(|(_, token)| scaled_token(token));
    }
    estate.service.iter_mut().for_each(scaled_token);
    estate
}

/// The wish in the stack's time; none if it names a moment that would lie in the future.
fn scaled_wish(mut wish: Wish) -> Option<Wish> {
    let moments: Vec<&mut Option<i64>> = match &mut wish {
        Wish::Client { before, .. } => vec![before],
        Wish::Time { before, unused_since, .. } => vec![before, unused_since],
        Wish::Conditional(picks) => vec![&mut picks.after, &mut picks.before, &mut picks.unused_since],
        Wish::Group { .. } | Wish::Emergency { .. } => vec![],
    };
    for moment in moments.into_iter().flatten() {
        *moment *= SCALE;
        if *moment > 0 {
            return None;
        }
    }
    Some(wish)
}

/// The same text of this run alone.
fn own<T: TryFrom<String> + ToString>(run: &str, id: &T) -> T
where
    T::Error: std::fmt::Debug,
{
    T::try_from(format!("{run}{}", id.to_string())).unwrap()
}

/// A company's records with ids of this run alone, so that many companies share the stack.
fn renamed(run: &str, record: Record) -> Record {
    let Change::Upsert(mut entity) = record.change else { unreachable!("a company is made of upserts") };
    match &mut entity {
        Entity::User(user) => user.id = own(run, &user.id),
        Entity::Group(group) => {
            group.id = own(run, &group.id);
            group.parent_id = group.parent_id.as_ref().map(|parent| own(run, parent));
        }
        Entity::Client(client) => client.id = own(run, &client.id),
        Entity::Membership(key) => {
            (key.group_id, key.user_id) = (own(run, &key.group_id), own(run, &key.user_id));
        }
        Entity::Token(token) => {
            token.id = own(run, &token.id);
            token.user_id = token.user_id.as_ref().map(|user| own(run, user));
            token.client_id = own(run, &token.client_id);
            token.session_id = token.session_id.as_ref().map(|session| own(run, session));
        }
        Entity::Session(session) => {
            session.id = own(run, &session.id);
            session.user_id = own(run, &session.user_id);
            session.client_id = session.client_id.as_ref().map(|client| own(run, client));
        }
    }
    Record::upsert(record.at, entity)
}

/// The request's path and body.
fn request(run: &str, wish: &Wish, now: i64) -> (&'static str, Value) {
    let mut conditions = serde_json::to_value(wish.conditions(now)).unwrap();
    let members = conditions.as_object_mut().unwrap();
    members.remove("job_type");
    for (name, value) in members.iter_mut() {
        match name.as_str() {
            "group_id" | "client_id" => *value = format!("{run}{}", value.as_str().unwrap()).into(),
            "groups" | "clients" | "users" | "exclude_users" => {
                value
                    .as_array_mut()
                    .unwrap()
                    .iter_mut()
                    .for_each(|id| *id = format!("{run}{}", id.as_str().unwrap()).into());
            }
            "token_types" => {
                let Wish::Time { access, refresh, .. } = wish else { unreachable!("only these name kinds") };
                let kinds = [("access_token", *access), ("refresh_token", *refresh)];
                *value = kinds.iter().filter(|(_, wanted)| *wanted).map(|(kind, _)| *kind).collect();
            }
            _ => {}
        }
    }
    let (path, mut body) = match wish {
        Wish::Group { .. } => ("/group", conditions),
        Wish::Client { .. } => ("/client", conditions),
        Wish::Time { .. } => ("/time-based", conditions),
        Wish::Conditional(_) => ("/conditional", json!({ "conditions": conditions })),
        Wish::Emergency { .. } => ("/emergency", conditions),
    };
    body["reason"] = "퇴사한 계약자의 모든 로그인을 종료합니다".into();
    body["notify_users"] = false.into();
    body["dry_run"] = false.into();
    if path == "/emergency" {
        body["confirm"] = "LOGOUT_ALL_USERS".into();
    }
    (path, body)
}

/// What the rows of a company say that a job took, by the company's own names.
async fn scan(caller: &Caller, run: &str, estate: &Estate, job: &str) -> Loss {
    let (store, ours) = (caller.stack.store().await, RevokedBy::parse(job).unwrap());
    let mut loss = Loss::default();
    let plain = |id: &str| id.strip_prefix(run).unwrap().to_owned();
    for owner in estate.owners() {
        let stored = match &owner {
            Owner::User(user) => Owner::User(own(run, user)),
            Owner::Service(client) => Owner::Service(own(run, client)),
        };
        let holdings = store.holdings(&stored).await.unwrap();
        for token in holdings.tokens.iter().filter(|token| token.revoked.as_ref().is_some_and(|by| by.by == ours)) {
            loss.lose_token(&owner, &plain(token.id.as_str()), token.kind == TokenKind::Refresh);
        }
        for session in holdings.sessions.iter().filter(|session| session.ended_by.as_ref() == Some(&ours)) {
            loss.lose_session(&owner, &plain(session.id.as_str()));
        }
    }
    loss
}

/// The sum over all pages of a job's affected users.
async fn affected(caller: &Caller, job: &str) -> BTreeMap<&'static str, u64> {
    let mut sum = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/jobs/{job}/affected-users?limit=7{cursor}");
        let page = caller.send("GET", &path, None, &Value::Null).await;
        assert_eq!(page.status, 200, "{}", page.json);
        for line in page.json["items"].as_array().unwrap() {
            *sum.entry("total_users_affected").or_default() += u64::from(!line["user_id"].is_null());
            for name in ["access_tokens_revoked", "refresh_tokens_revoked", "sessions_terminated"] {
                *sum.entry(name).or_default() += line[name].as_u64().unwrap();
            }
        }
        match page.json["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return sum,
        }
    }
}

/// Makes the job as an admin does, with the plan and code it is asked for.
///
/// A job of old tokens ends the caller's, too, so that the caller signs in anew.
async fn run_job(caller: &mut Caller, mint: &Mint, path: &str, mut body: Value, key: Option<&str>) -> Value {
    for _ in 0..3 {
        let answer = caller.send("POST", path, key, &body).await;
        if answer.status == 202 {
            let id = answer.json["job_id"].as_str().unwrap().to_owned();
            caller.token = sign_in(mint, &caller.id(), SystemClock.now().timestamp() + 2);
            return caller.wait_for(&id, |job| job["status"] != "pending" && job["status"] != "processing").await;
        }
        assert_eq!(answer.status, 400, "{path} {body}: {}", answer.json);
        let mut drill = body.clone();
        drill["dry_run"] = true.into();
        let counted = caller.send("POST", path, None, &drill).await;
        assert!(counted.status == 200 || counted.status == 202, "{}", counted.json);
        let id = counted.json["job_id"].as_str().unwrap().to_owned();
        let plan = caller.wait_for(&id, |job| job["status"] == "completed").await;
        body["plan_id"] = plan["plan_id"].clone();
        if let Some(code) = plan["confirmation_code"].as_str() {
            body["confirmation_code"] = code.into();
        }
    }
    panic!("API-4: plan and code are not enough for {path} {body}");
}

/// One company, one job, every number of it. Answers the job.
async fn check(mint: &Mint, estate: Estate, wish: Wish, key: impl AsyncFn(&Caller) -> Option<String>) -> Value {
    let mut caller = admin("kinds", mint).await;
    let run = unique("k");
    let estate = scaled(estate);
    let now = SystemClock.now().timestamp();
    let records: Vec<Record> = estate.records(now).into_iter().map(|record| renamed(&run, record)).collect();
    caller.stack.store().await.load(&records).await.unwrap();
    let (path, body) = request(&run, &wish, now);
    let key = key(&caller).await;
    let job = run_job(&mut caller, mint, path, body, key.as_deref()).await;
    let id = job["job_id"].as_str().unwrap();
    assert_eq!(job["status"], "completed", "{wish:?}: {job}");
    assert!(job["effective_at"].is_string(), "{wish:?}: {job}");
    let expected = oracle(&estate, &wish);
    assert_eq!(scan(&caller, &run, &estate, id).await, expected, "0 missed, 0 too many: {wish:?}");
    let listed = affected(&caller, id).await;
    for (name, sum) in &listed {
        assert_eq!(job["statistics"][name].as_u64(), Some(*sum), "SCOPE-7: {wish:?}: {job}");
    }
    if is_narrow(&wish) {
        let statistics = expected.statistics();
        assert_eq!(job["statistics"]["access_tokens_revoked"].as_u64(), Some(statistics.access_tokens_revoked));
        assert_eq!(job["statistics"]["total_users_affected"].as_u64(), Some(statistics.total_users_affected));
    }
    job
}

fn is_narrow(wish: &Wish) -> bool {
    match wish {
        Wish::Group { .. } | Wish::Client { .. } => true,
        Wish::Conditional(picks) => wish.names_people() || !picks.clients.is_empty(),
        Wish::Time { .. } | Wish::Emergency { .. } => false,
    }
}

/// A company and a wish of a kind that the stack's time can express.
fn pair(runner: &mut TestRunner, kind: usize, narrow: bool) -> (Estate, Wish) {
    loop {
        let pair = (estates(6..14, 3), drafts(Just(kind), 5)).new_tree(runner).unwrap().current();
        if let Some(wish) = scaled_wish(pair.1.fit(&pair.0)).filter(|wish| is_narrow(wish) == narrow) {
            return (pair.0, wish);
        }
    }
}

#[tokio::test]
async fn scope_1_2_4_group_client_and_conditional_jobs_take_exactly_what_the_oracle_says_on_the_stack() {
    let stack = stack();
    let mint = &Mint::open(&stack, &Web::default()).await.unwrap();
    let mut runner = TestRunner::deterministic();
    let pairs: Vec<(Estate, Wish)> = (0..NARROW).map(|number| pair(&mut runner, [0, 1, 3][number % 3], true)).collect();
    stream::iter(pairs)
        .map(|(estate, wish)| async move { check(mint, estate, wish, async |_: &Caller| None).await })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<Value>>()
        .await;
}

/// The newest mail to an address: its subject and text.
async fn mail_to(caller: &Caller, address: &str) -> Option<(String, String)> {
    mails_to(caller, address).await.pop()
}

/// The mails to an address, the newest last: their subjects and texts.
pub async fn mails_to(caller: &Caller, address: &str) -> Vec<(String, String)> {
    let url = format!("{}/_ministack/ses/messages", caller.stack.endpoint_url);
    let all = caller.web.send(Request::get(url).body(http_body_util::Full::default()).unwrap()).await.unwrap().json;
    let accounts = all["messages"].as_object().into_iter().flat_map(|accounts| accounts.values());
    let mails = accounts.flat_map(|mails| mails.as_array().into_iter().flatten());
    let text = |mail: &Value, name: &str| mail[name].as_str().unwrap_or_default().to_owned();
    let ours = mails.filter(|mail| mail["To"].as_array().is_some_and(|to| to.iter().any(|to| to == address)));
    let mut ours: Vec<&Value> = ours.collect();
    ours.sort_by_key(|mail| mail["Timestamp"].to_string());
    ours.into_iter().map(|mail| (text(mail, "Subject"), text(mail, "BodyText"))).collect()
}

/// Asks for a key and reads it in the mail.
async fn mailed_key(caller: &Caller) -> String {
    let sent = caller.send("POST", "/request-emergency-key", None, &Value::Null).await;
    assert_eq!(sent.status, 200, "{}", sent.json);
    assert_eq!(sent.json["message"], "Emergency key sent to registered contact");
    let (_, text) = mail_to(caller, &caller.email()).await.expect("the mail is there");
    text.split(|c: char| !c.is_ascii_digit()).find(|run| run.len() == 6).expect("six digits").to_owned()
}

/// Everything that is kept or logged: audit, jobs, queues and the functions' logs.
async fn everything_kept(caller: &Caller) -> String {
    let client = aws_sdk_dynamodb::Client::new(&caller.stack.aws().await);
    let mut kept = String::new();
    for table in [&caller.stack.tables.audit, &caller.stack.tables.jobs] {
        let mut items = client.scan().table_name(table).into_paginator().items().send();
        while let Some(item) = items.next().await {
            writeln!(kept, "{:?}", item.unwrap()).unwrap();
        }
    }
    let url = format!("{}/_ministack/sqs/messages", caller.stack.endpoint_url);
    let queues = caller.web.send(Request::get(url).body(http_body_util::Full::default()).unwrap()).await.unwrap();
    kept.push_str(&queues.json.to_string());
    kept.push_str(&std::fs::read_to_string(root().join(".local/log/aws.log")).unwrap_or_default());
    kept
}

/// Takes the jobs' cutoffs of everything back, which no admin can: the other tests' sign-ins are older than them.
async fn take_back(caller: &Caller, jobs: &[Value]) {
    let client = aws_sdk_dynamodb::Client::new(&caller.stack.aws().await);
    let ours: BTreeSet<&str> = jobs.iter().map(|job| job["job_id"].as_str().unwrap()).collect();
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    let query = client.query().table_name(&caller.stack.tables.denylist).key_condition_expression("pk = :all");
    let found = query.expression_attribute_values(":all", text(&Scope::Everything.key())).send().await.unwrap();
    for item in found.items() {
        if item.get("job").and_then(|job| job.as_s().ok()).is_some_and(|job| ours.contains(job.as_str())) {
            let key = ["pk", "sk"].map(|name| (name.to_owned(), item[name].clone()));
            let delete = client.delete_item().table_name(&caller.stack.tables.denylist);
            delete.set_key(Some(key.into())).send().await.unwrap();
        }
    }
    let redis = redis::Client::open(caller.stack.redis_url.clone()).unwrap();
    let mut connection = redis.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("DEL").arg("bl:c:ALL").query_async::<()>(&mut connection).await.unwrap();
    // What else was in it comes back with the rebuild.
    let (store, cache) = (caller.stack.store().await, caller.stack.cache().await.unwrap());
    store.renew_generation(&SystemIds.uuid()).await.unwrap();
    cache.void().await.unwrap();
    domain::guard::guard(store.as_ref(), cache.as_ref(), &SystemClock, &SystemIds).await.unwrap();
}

#[tokio::test]
async fn scope_3_5_ekey_1_time_jobs_and_an_emergency_with_its_key_take_exactly_what_the_oracle_says_on_the_stack() {
    let stack = stack();
    let mint = &Mint::open(&stack, &Web::default()).await.unwrap();
    let mut runner = TestRunner::deterministic();
    let mut jobs = Vec::new();
    for kind in [2, 2, 3] {
        let (estate, wish) = pair(&mut runner, kind, false);
        jobs.push(check(mint, estate, wish, async |_: &Caller| None).await);
    }

    let keys = std::sync::Mutex::new(Vec::new());
    let with_key = async |caller: &Caller| {
        // Of three keys the last one is good; the others have been guessed at.
        for _ in 0..2 {
            let key = mailed_key(caller).await;
            let wrong = format!("{:06}", (key.parse::<u32>().unwrap() + 1) % 1_000_000);
            let body = request("", &Wish::Emergency { spare_admins: true, spare_service: true }, 0).1;
            let refused = caller.send("POST", "/emergency", Some(&wrong), &body).await;
            assert_eq!(refused.status, 403, "{}", refused.json);
            let missing = caller.send("POST", "/emergency", None, &body).await;
            assert_eq!(missing.status, 403, "{}", missing.json);
            assert!(missing.json["detail"].as_str().unwrap().contains("X-Emergency-Key"), "{}", missing.json);
            keys.lock().unwrap().push((key, refused.json.to_string() + &missing.json.to_string()));
        }
        let key = mailed_key(caller).await;
        keys.lock().unwrap().push((key.clone(), String::new()));
        let fourth = caller.send("POST", "/request-emergency-key", None, &Value::Null).await;
        assert_eq!(fourth.status, 429, "EKEY-1: at most three in an hour");
        assert!(fourth.headers.contains_key("retry-after") && fourth.headers.contains_key("ratelimit-policy"));
        Some(key)
    };
    let (estate, wish) = pair(&mut runner, 4, false);
    let begun = SystemClock.now();
    let job = check(mint, estate, wish, with_key).await;
    assert_eq!((&job["priority"], &job["type"]), (&json!("immediate"), &json!("emergency")));
    let time = |name: &str| job[name].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert!(time("effective_at") <= time("started_at").max(begun), "CUT-1: effective before any row is touched");

    let caller = admin("leaks", mint).await;
    let (subject, text) = siem::alert(&caller, &[job["job_id"].as_str().unwrap(), "Authorised by"]).await;
    assert!(text.contains("Yes: every token"), "EKEY-2: {subject}: {text}");
    jobs.push(job);
    take_back(&caller, &jobs).await;

    // Six digits turn up anywhere by chance, but not those of all three keys.
    let kept = everything_kept(&caller).await;
    let keys = keys.into_inner().unwrap();
    assert_eq!(keys.len(), 3);
    assert!(!keys.iter().all(|(key, answers)| kept.contains(key) || answers.contains(key)), "EKEY-1: a key leaked");
    assert!(kept.contains("emergency_key_generated") && kept.contains("emergency_key_verification_failed"));
}
