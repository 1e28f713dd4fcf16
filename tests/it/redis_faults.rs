//! Redis slow, dead, cut off, full, holding rubbish, or failed over with the last second lost: no revoked token is ever
//! accepted, every decision comes in time, and the cache is believed again without a restart (`[CHECK-3]`, `[CUT-5]`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use domain::check::Degraded;
use domain::conditions::Conditions;
use domain::cutoff::{Basis, Cutoff, Kinds, Scope, Spares};
use domain::decision::TokenFacts;
use domain::error::WorkError;
use domain::guard::Guarded;
use domain::ids::{GroupId, JobId};
use domain::ingest::Ingest;
use domain::job::Job;
use domain::ports::{DenylistCache as _, DenylistStore as _, JobStore as _, NewJob};
use domain::testing::contract;
use domain::time::{Clock as _, Epoch, SystemClock};
use tests::company::{self, Member, Shape, SignIn, group_name, user_name};
use tests::fleet::{Fleet, RealFleet};
use tests::redis_server::{RedisServer, denylist_at};
use tests::slow_link::{Mode, SlowLink};
use tests::store::Store;

/// What a function waits for Redis by default.
const BUDGET: Duration = Duration::from_millis(250);
/// No decision takes longer, however slow this machine is today; without the budget some would never come.
const BOUND: Duration = Duration::from_secs(3);

/// Tokens and whether they are revoked: each has a user, a client and a session of its own.
const TOKENS: [(&str, bool); 6] = [
    ("by-token", true),
    ("by-user", true),
    ("by-client", true),
    ("by-everything", true),
    ("spared", false),
    ("untouched", false),
];

struct Scene {
    redis: RedisServer,
    link: SlowLink,
    fleet: RealFleet,
    now: DateTime<Utc>,
}

fn job(name: &str) -> JobId {
    JobId::parse(name).unwrap()
}

impl Scene {
    /// A Redis behind a link, complete, with everything in it that revokes some of the tokens.
    async fn new() -> Self {
        Self::with_replicas(RedisServer::start(), 0).await
    }

    async fn with_replicas(redis: RedisServer, replicas: u32) -> Self {
        let (store, now) = (Store::start().await, SystemClock.now());
        let link = SlowLink::start(redis.port()).await;
        let cache = denylist_at(link.url(), Arc::new(SystemClock), replicas, BUDGET).await;
        let fleet = Fleet::over(store.dynamo().await, cache, now);
        let scene = Self { redis, link, fleet, now };
        let [by_token, by_user, by_client, _, spared, _] = TOKENS.map(|(name, _)| scene.token(name));
        let sparing = Spares { listed_users: true, ..Spares::default() };
        let cutoffs = [
            scene.cutoff(Scope::User(by_user.user.unwrap()), 0),
            scene.cutoff(Scope::Client(by_client.client.unwrap()), 0),
            scene.cutoff(Scope::Everything, -4_000),
            Cutoff { spares: sparing, job: job("sparing"), ..scene.cutoff(Scope::Everything, -3_000) },
        ];
        let until = Epoch::from(now).plus(10_000);
        let store = scene.fleet.store.as_ref();
        store.put_spared(&job("sparing"), &BTreeSet::from([spared.user.unwrap()]), until).await.unwrap();
        store.put_cutoffs(&cutoffs).await.unwrap();
        store.put_tokens(&[(by_token.id, until)]).await.unwrap();
        assert_eq!(scene.fleet.guard().await.unwrap(), Guarded::Rebuilt { entries: 6 });
        assert_eq!(scene.decides_rightly().await, 0, "Redis answers everything");
        scene
    }

    fn cutoff(&self, scope: Scope, seconds: i64) -> Cutoff {
        Cutoff {
            scope,
            basis: Basis::SignIn,
            kinds: Kinds::Both,
            spares: Spares::default(),
            at: Epoch::from(self.now).plus(seconds),
            job: job("cutoff"),
            retires_at: Epoch::from(self.now).plus(10_000),
        }
    }

    fn token(&self, name: &str) -> TokenFacts {
        let signed_in = match name {
            "by-everything" => -5_000,
            "spared" => -3_500,
            _ => -10,
        };
        let now = self.now.timestamp();
        let signed_in_at = Epoch(now + signed_in);
        TokenFacts { signed_in_at, expires_at: Epoch(now + 1_000), ..contract::facts(name, "t", now - 5) }
    }

    /// Decides about one token: rightly and in time. Says why Redis was not enough, if it was not.
    async fn decide(&self, name: &str, revoked: bool) -> Option<Degraded> {
        let begun = Instant::now();
        let checked = self.fleet.checker().check(&self.token(name)).await.unwrap();
        assert!(begun.elapsed() < BOUND, "{name}: {checked:?} after {:?}", begun.elapsed());
        assert_eq!(checked.refusal.is_some(), revoked, "{name}: {checked:?}");
        checked.degraded
    }

    /// Decides about all tokens. Says how many decisions took the slow way.
    async fn decides_rightly(&self) -> usize {
        let mut degraded = 0;
        for (name, revoked) in TOKENS {
            degraded += usize::from(self.decide(name, revoked).await.is_some());
        }
        degraded
    }

    async fn decides_rightly_without_redis(&self) {
        assert_eq!(self.decides_rightly().await, TOKENS.len(), "DynamoDB answers everything");
    }

    /// The issuer says that it ended a token.
    async fn end_token(&self, name: &str) -> Result<(), WorkError> {
        let (token, at) = (self.token(name), self.now.timestamp_millis());
        let key = serde_json::json!({
            "id": token.id, "user_id": token.user, "client_id": token.client, "expires_at": token.expires_at,
        });
        let record = serde_json::json!({ "v": 1, "at": at, "delete": { "token": key } });
        let ingest = Ingest { records: self.fleet.store.clone(), sign_outs: self.fleet.sign_outs() };
        ingest.take(&record.to_string()).await.map(|_| ())
    }

    /// The guard runs every minute: within a few of its runs Redis answers again, and refuses what was ended meanwhile.
    async fn recovers(&self, ended_meanwhile: &[&str]) {
        let mut runs = 0;
        while !self.fleet.guard().await.is_ok_and(|guarded| guarded != Guarded::Interrupted) {
            runs += 1;
            assert!(runs < 3, "the guard does not get through");
        }
        assert_eq!(self.decides_rightly().await, 0, "Redis answers everything");
        for name in ended_meanwhile {
            assert_eq!(self.decide(name, true).await, None, "{name}");
        }
    }

    /// Puts something of another type in the place of a key.
    async fn spoil(&self, key: &str) {
        self.redis.say::<()>(&["DEL", key]).await;
        self.redis.say::<()>(&["RPUSH", key, "not", "ours"]).await;
    }
}

#[tokio::test]
async fn check_3_a_slow_redis_is_not_waited_for() {
    let scene = Scene::new().await;
    scene.link.set(Mode::Slow(3 * BUDGET));
    scene.decides_rightly_without_redis().await;
    // A write has more time, and either comes through or is known not to have.
    let _ = scene.end_token("late").await;
    scene.decide("late", true).await;
    scene.link.set(Mode::Whole);
    scene.recovers(&["late"]).await;
}

#[tokio::test]
async fn check_3_a_redis_that_is_gone_without_a_word_is_left_for_one_that_answers() {
    let scene = Scene::new().await;
    for mode in [Mode::Silent, Mode::Truncated] {
        scene.link.set(mode);
        scene.decides_rightly_without_redis().await;
        let name = format!("{mode:?}");
        assert!(scene.end_token(&name).await.is_err(), "to be retried");
        assert!(scene.decide(&name, true).await.is_some());
        // Connections of before stay dead.
        scene.link.set(Mode::Whole);
        scene.recovers(&[&name]).await;
    }
}

#[tokio::test]
async fn check_3_connections_reset_in_the_middle_of_an_answer_or_refused_are_no_answer() {
    let mut scene = Scene::new().await;
    scene.link.set(Mode::Reset);
    scene.decides_rightly_without_redis().await;
    assert!(scene.end_token("reset").await.is_err(), "to be retried");
    assert!(scene.decide("reset", true).await.is_some());
    scene.link.set(Mode::Whole);
    scene.recovers(&["reset"]).await;

    scene.link.refuse();
    scene.decides_rightly_without_redis().await;
    assert!(scene.end_token("refused").await.is_err(), "to be retried");
    assert!(scene.decide("refused", true).await.is_some());
    scene.link.take_again().await;
    scene.recovers(&["reset", "refused"]).await;
}

#[tokio::test]
async fn cut_5_a_full_redis_refuses_writes_and_is_not_believed_after_the_first_it_refused() {
    let scene = Scene::new().await;
    scene.redis.say::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(scene.decides_rightly().await, 0, "what it has it has");
    assert!(scene.end_token("late").await.is_err(), "to be retried");
    assert!(matches!(scene.decide("late", true).await, Some(Degraded::Incomplete)));
    let (user, until) = (scene.token("by-user").user.unwrap(), Epoch::from(scene.now).plus(10_000));
    let cache = scene.fleet.cache.as_ref();
    assert!(cache.put_cutoffs(&[scene.cutoff(Scope::User(user.clone()), 1)]).await.is_err(), "over a full memory");
    assert!(cache.put_spared(&[(job("another"), user, until)]).await.is_err(), "over a full memory");
    scene.decides_rightly_without_redis().await;
    assert!(scene.fleet.guard().await.is_err(), "still full");
    scene.decides_rightly_without_redis().await;
    scene.redis.say::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    scene.recovers(&["late"]).await;
}

/// The keys that decide about a token, by the token's name.
const KEYS: [(&str, &str); 6] = [
    ("bl:t:by-token-t", "by-token"),
    ("bl:c:U#by-user-u", "by-user"),
    ("bl:c:C#by-client-c", "by-client"),
    ("bl:c:ALL", "by-everything"),
    ("bl:x:spared-u", "spared"),
    // Nobody ever writes this one, so that a rebuild alone would not mend it.
    ("bl:c:S#untouched-s", "untouched"),
];

#[tokio::test]
async fn check_3_a_key_of_another_type_does_not_read_as_nothing_there_and_is_mended() {
    let scene = Scene::new().await;
    for (key, name) in KEYS {
        scene.spoil(key).await;
        let revoked = TOKENS.contains(&(name, true));
        let degraded = scene.decide(name, revoked).await;
        let Some(Degraded::Unavailable(cause)) = degraded else { panic!("{key}: {degraded:?}") };
        assert!(cause.contains("unreadable"), "{cause}");
        // Whoever found it has seen to it that the next run of the guard rebuilds.
        scene.decides_rightly_without_redis().await;
        assert!(matches!(scene.fleet.guard().await.unwrap(), Guarded::Rebuilt { .. }));
        assert_eq!(scene.decides_rightly().await, 0, "{key} is mended");
        assert_eq!(scene.fleet.guard().await.unwrap(), Guarded::Complete);
    }
}

#[tokio::test]
async fn check_3_a_value_that_makes_no_sense_does_not_read_as_nothing_there_and_is_mended() {
    let scene = Scene::new().await;
    for (key, name) in KEYS {
        let member: Vec<String> = scene.redis.say(&["SMEMBERS", key]).await;
        let cut_off = member.first().map_or("U", |member| &member[..member.len() - 1]).to_owned() + " ";
        for rubbish in ["", "\n", "no cutoff", "\u{0}", "Usb-- 5 j", "Uzz-- 5 j 9", "Zsb-- 5 j 9", &cut_off] {
            for beside in [true, false] {
                if !beside {
                    scene.redis.say::<()>(&["DEL", key]).await;
                }
                scene.redis.say::<()>(&["SADD", key, rubbish]).await;
                let degraded = scene.decide(name, TOKENS.contains(&(name, true))).await;
                assert!(matches!(degraded, Some(Degraded::Unavailable(_))), "{key}: {rubbish:?}: {degraded:?}");
                scene.decides_rightly_without_redis().await;
                scene.recovers(&[]).await;
            }
        }
    }
}

#[tokio::test]
async fn cut_5_a_marker_of_another_type_or_server_is_none_and_a_rebuild_replaces_it() {
    let scene = Scene::new().await;
    scene.spoil("bl:marker").await;
    scene.spoil("bl:rebuild").await;
    scene.decides_rightly_without_redis().await;
    assert!(!scene.fleet.cache.finish_rebuild("b", "g").await.unwrap(), "no rebuild began");
    assert!(matches!(scene.fleet.guard().await.unwrap(), Guarded::Rebuilt { .. }), "at the first run");
    assert_eq!(scene.decides_rightly().await, 0);

    for marker in ["", "g", "M", "M g", "M g@another", "M @"] {
        scene.redis.say::<()>(&["DEL", "bl:marker"]).await;
        scene.redis.say::<()>(&["SADD", "bl:marker", marker]).await;
        scene.decides_rightly_without_redis().await;
        scene.recovers(&[]).await;
        // Beside the right one, whose lease nobody renews any more.
        scene.redis.say::<()>(&["SADD", "bl:marker", marker]).await;
        scene.decides_rightly_without_redis().await;
        assert!(matches!(scene.fleet.guard().await.unwrap(), Guarded::Rebuilt { .. }), "{marker:?}");
        assert_eq!(scene.decides_rightly().await, 0, "{marker:?}");
    }
}

#[tokio::test]
async fn cut_5_a_write_over_something_unreadable_does_not_pass_for_all_there_was() {
    let scene = Scene::new().await;
    let user = scene.token("by-user").user.unwrap();
    let harmless = [scene.cutoff(Scope::User(user.clone()), -9_000)];
    let spared_too = [(job("another"), scene.token("spared").user.unwrap(), Epoch::from(scene.now).plus(10_000))];
    for rubbish in [None, Some("rubbish"), Some("Zsb-- 5 j 99999999999"), Some("X j")] {
        for key in ["bl:c:U#by-user-u", "bl:x:spared-u"] {
            match rubbish {
                None => scene.spoil(key).await,
                Some(rubbish) => scene.redis.say::<()>(&["SADD", key, rubbish]).await,
            }
            scene.fleet.cache.put_cutoffs(&harmless).await.unwrap();
            scene.fleet.cache.put_spared(&spared_too).await.unwrap();
            // What was there before is gone, and nobody takes what is there now for everything.
            scene.decides_rightly_without_redis().await;
            scene.recovers(&[]).await;
        }
    }
}

#[tokio::test]
async fn cut_5_a_rebuild_that_met_something_unreadable_begins_again() {
    let scene = Scene::new().await;
    let cache = scene.fleet.cache.as_ref();
    cache.begin_rebuild("b").await.unwrap();
    scene.decides_rightly_without_redis().await;
    scene.spoil("bl:c:U#by-user-u").await;
    // Another writer mends the key, but cannot know what the rebuild had put there.
    cache.put_cutoffs(&[scene.cutoff(Scope::User(scene.token("by-user").user.unwrap()), -9_000)]).await.unwrap();
    assert!(!cache.finish_rebuild("b", "g").await.unwrap());
    scene.decides_rightly_without_redis().await;
    scene.recovers(&[]).await;
}

#[tokio::test]
async fn check_3_a_replica_without_its_primary_says_nothing_or_what_it_has_and_takes_no_writes() {
    let scene = Scene::new().await;
    for (stale, name) in [("no", "says nothing"), ("yes", "says what it has")] {
        scene.redis.say::<()>(&["CONFIG", "SET", "replica-serve-stale-data", stale]).await;
        scene.redis.say::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await;
        if stale == "no" {
            scene.decides_rightly_without_redis().await;
        } else {
            scene.decides_rightly().await;
        }
        let name = name.replace(' ', "-");
        assert!(scene.end_token(&name).await.is_err(), "to be retried");
        scene.redis.say::<()>(&["REPLICAOF", "NO", "ONE"]).await;
        assert!(scene.decide(&name, true).await.is_some(), "it is another server now");
        scene.decides_rightly_without_redis().await;
        scene.recovers(&[&name]).await;
    }
}

#[tokio::test]
async fn cut_5_a_replica_is_not_believed_though_its_marker_is_right() {
    let (primary, replica) = (RedisServer::start(), RedisServer::start());
    replica.follow(&primary).await;
    let mut scene = Scene::with_replicas(primary, 1).await;
    scene.end_token("before").await.expect("the replica has it");
    assert_eq!(replica.say::<u64>(&["EXISTS", "bl:marker"]).await, 1, "the replica has all that its primary has");
    // Whoever has become connected to it, as after a failover, would not hear of it if the replica were replaced.
    scene.fleet.cache = denylist_at(replica.url(), Arc::new(SystemClock), 1, BUDGET).await;
    assert!(scene.decide("before", true).await.is_some(), "DynamoDB is asked");
    scene.decides_rightly_without_redis().await;
}

/// One user in the group, one not.
async fn company(scene: &Scene) -> Job {
    let member = |number: usize| Member {
        groups: [number].into(),
        role: Some(""),
        is_admin: false,
        sign_ins: vec![SignIn { at: -10, in_token: true, tokens: vec![(true, 1, 5_000, false)] }],
    };
    let shape = Shape { parents: vec![None, None], members: (0..2).map(member).collect() };
    company::write(scene.fleet.store.as_ref(), "r", &shape, scene.now.timestamp()).await;
    let group_id = GroupId::parse(group_name("r", 0)).unwrap();
    let conditions =
        Conditions::GroupBased { group_id: group_id.clone(), include_subgroups: false, exclude_admin_users: true };
    let job = Job { conditions, ..contract::job("job", &group_id, scene.now) };
    scene.fleet.store.create(NewJob::plain(&job)).await.unwrap();
    job
}

#[tokio::test]
async fn cut_5_a_failover_that_loses_the_last_second_loses_nothing_that_was_called_effective() {
    let (primary, replica) = (RedisServer::start(), RedisServer::start());
    replica.follow(&primary).await;
    let mut scene = Scene::with_replicas(primary, 1).await;
    scene.end_token("before").await.expect("the replica has it");

    // From here on the replica hears of nothing.
    replica.say::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    let job = company(&scene).await;
    let deadline = scene.now + TimeDelta::minutes(5);
    assert!(scene.end_token("lost").await.is_err(), "to be retried");
    assert!(scene.fleet.planner().plan(&job.id, deadline).await.is_err(), "to be retried");
    assert_eq!(scene.fleet.job(&job.id).await.effective_at, None, "the replica has not heard of it");

    scene.link.lead_to(replica.port());
    scene.redis.stop();
    assert_eq!(replica.say::<u64>(&["EXISTS", "bl:marker"]).await, 1, "the replica has been complete once");
    // It does not believe that it still is, before any guard has run: its marker names the server that failed.
    assert!(scene.decide("lost", true).await.is_some());
    scene.decides_rightly_without_redis().await;
    let member = || TokenFacts {
        user: Some(user_name("r", 0)),
        client: None,
        session: None,
        ..contract::facts("r", "t", scene.now.timestamp() - 10)
    };
    let checked = scene.fleet.checker().check(&member()).await.unwrap();
    assert!(checked.refusal.is_some() && checked.degraded.is_some(), "{checked:?}");

    // It has a replica of its own again, and everything that was lost is told again.
    let another = RedisServer::start();
    another.follow(&replica).await;
    scene.recovers(&["before", "lost"]).await;
    scene.end_token("lost").await.unwrap();
    scene.fleet.planner().plan(&job.id, deadline).await.unwrap();
    assert!(scene.fleet.job(&job.id).await.effective_at.is_some());
    assert!(matches!(scene.fleet.guard().await.unwrap(), Guarded::Complete | Guarded::Rebuilt { .. }));
    let checked = scene.fleet.checker().check(&member()).await.unwrap();
    assert!(checked.refusal.is_some() && checked.degraded.is_none(), "{checked:?}");
    assert_eq!(another.say::<u64>(&["EXISTS", "bl:t:lost-t"]).await, 1, "the new replica has it");
}
