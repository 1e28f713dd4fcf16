//! A deterministic simulation of a batch logout from the request to the last mail, over the memory ports.
//!
//! Every call to a port is a step; a seeded scheduler takes the steps of all processes in any order. Queues deliver
//! twice, late and in any order, and give back what was not finished; processes die at any call; calls fail before or
//! after they did what they should, or half-way. Redis ([`cluster`]) is lost, emptied, starts anew, fails over to a
//! replica that is behind, and goes on answering where it should not. Clocks run, step back and differ from machine to
//! machine; admins cancel, users refresh and sign out everywhere. After every step ([`World::judge`]) and at the end
//! ([`World::judge_the_end`]) the contract's promises are held against it. The same seed takes the same steps.

mod cluster;
mod judge;
mod process;
mod scene;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use chrono::{DateTime, TimeDelta, Utc};
use domain::accept::Request;
use domain::audit::chain::Pen;
use domain::check::Checker;
use domain::decision::TokenFacts;
use domain::directory::User;
use domain::emergency::{KEY_TRIES, PresentedKey};
use domain::ids::{TokenId, UserId};
use domain::job::{Job, Priority, Statistics};
use domain::ports::{JobStore as _, RecordStore as _, TokenStore as _};
use domain::records::{Entity, Key, Record, TokenKey, TokenRecord};
use domain::settle::Try;
use domain::testing::{Memory, MemoryPost, TestClock};
use domain::time::{Clock as _, Epoch};
use domain::token::{Owner, RevokedBy, TokenKind};

use crate::estate::{Effective, INTO_THE_SECOND, Wish};
use crate::fleet::{Fleet, LIMITS};
use crate::rail::{Dice, Weather};

use cluster::{Cluster, Fate, Seat};
use judge::{Progress, Verifier};
use process::{Ended, Process};

pub use process::Work;
pub use scene::Scene;

/// The second in which the job is asked for.
pub const NOW: i64 = 1_900_000_000;
/// Deliveries before a message is a dead letter, as in the template.
const MAX_RECEIVES: u32 = 5;
/// Processes at the same time.
const AT_ONCE: usize = 4;
/// Verifiers, each connected to a server of its own choice.
const VERIFIERS: usize = 3;
/// By how many milliseconds a machine's clock may differ from the one that took the request.
const SKEW_MILLIS: u64 = 5_000;

/// A message in a queue.
#[derive(Debug, Clone)]
struct Letter {
    work: Work,
    receives: u32,
    not_before: DateTime<Utc>,
}

/// Where processes run one after the other: a clock, an audit chain and a connection to Redis that outlive them.
struct Machine {
    clock: Arc<TestClock>,
    pen: Pen,
    seat: Arc<Seat>,
}

/// How rough it gets.
#[allow(clippy::struct_excessive_bools, reason = "each trouble comes with or without the others")]
#[derive(Debug, Clone, Copy)]
pub struct Climate {
    /// One call in so many fails, before or after it is done, or half-way; 0 for none.
    pub one_in: u64,
    /// Whether processes die.
    pub deadly: bool,
    /// Whether Redis is lost, emptied, starts anew and fails over.
    pub cache_trouble: bool,
    /// Whether servers that were replaced go on answering those who are connected to them.
    pub apart: bool,
    /// Redis's replicas.
    pub replicas: usize,
    /// Whether the clock steps back now and then.
    pub clock_trouble: bool,
    /// Whether every machine has a clock of its own.
    pub skewed: bool,
    /// Whether an admin cancels the job on the way.
    pub cancels: bool,
    /// Whether users refresh on the way.
    pub refreshes: bool,
    /// Whether users sign out everywhere on the way.
    pub signs_out: bool,
    /// Whether the issuer ends tokens on the way.
    pub issuer_ends: bool,
}

impl Climate {
    /// Nothing happens that should not.
    pub const CALM: Self = Self {
        one_in: 0,
        deadly: false,
        cache_trouble: false,
        apart: false,
        replicas: 1,
        clock_trouble: false,
        skewed: false,
        cancels: false,
        refreshes: false,
        signs_out: false,
        issuer_ends: false,
    };

    /// Any.
    pub fn any(dice: &Dice) -> Self {
        let flag = || dice.roll(2) == 0;
        let any_of = |sides: u64| usize::try_from(dice.roll(sides)).unwrap();
        Self {
            one_in: [0, 60, 25, 12][any_of(4)],
            deadly: flag(),
            cache_trouble: flag(),
            apart: flag(),
            replicas: any_of(3),
            clock_trouble: flag(),
            skewed: flag(),
            cancels: dice.roll(4) == 0,
            refreshes: flag(),
            signs_out: dice.roll(3) == 0,
            issuer_ends: dice.roll(3) == 0,
        }
    }
}

/// A user's wish to be signed out everywhere.
struct SignOut {
    user: UserId,
    at: Epoch,
    /// Whether the user was told that it is done.
    told: bool,
}

/// A company, a job, and everything that happens to them.
pub struct World {
    dice: Arc<Dice>,
    climate: Climate,
    scene: Arc<Scene>,
    fleet: Fleet<Memory, Seat>,
    cluster: Arc<Cluster>,
    post: Arc<MemoryPost>,
    request: Request,
    verifiers: Vec<Verifier>,
    letters: Vec<Letter>,
    dead_letters: Vec<Letter>,
    processes: Vec<Process>,
    /// Machines on which nothing runs at the moment.
    idle: Vec<Machine>,
    /// The job, once its request was answered with it.
    accepted: Option<Job>,
    /// How often the request was sent.
    asked: u32,
    /// The step at which the request was answered though Redis had not taken the job's cutoffs.
    distrusted: Option<u64>,
    /// Until when a cache may be believed at most that did not take them.
    distrusted_until: Option<Epoch>,
    /// The step at which the cancel was answered.
    cancelled: Option<u64>,
    /// What the job had taken once the cancel was answered and every worker was gone that was under way by then.
    taken_at_cancel: Option<Statistics>,
    /// Tokens issued on the way: whether they must be refused, or must not, where that is certain.
    refreshed: Vec<(TokenFacts, Option<bool>)>,
    sign_outs: Vec<SignOut>,
    /// Tokens that their issuer ended, and by whom their rows said they were ended from then on.
    ended: BTreeMap<TokenId, (Owner, RevokedBy)>,
    progress: Progress,
    /// Hash of everything that happened.
    trace: DefaultHasher,
    steps: u64,
    /// Whether what happens is printed.
    aloud: bool,
}

fn admin() -> User {
    let id = UserId::parse("the-admin").unwrap();
    User { email: Some("admin@example.com".to_owned()), roles: vec!["security_admin".to_owned()], ..User::unknown(id) }
}

impl World {
    /// A company with a complete cache and a job that is about to be asked for.
    pub async fn new(dice: Arc<Dice>, climate: Climate, scene: Arc<Scene>) -> Self {
        let now = DateTime::from_timestamp(NOW, 0).unwrap() + TimeDelta::milliseconds(INTO_THE_SECOND);
        let clock = Arc::new(TestClock::at(now));
        let cluster = Arc::new(Cluster::new(clock.clone(), climate.replicas));
        let seat = Arc::new(Seat::new(cluster.clone()));
        let fleet = Fleet { clock, ..Fleet::over(Arc::new(scene.store.copy()), seat, now) };
        fleet.guard().await.unwrap();
        let mut request = Request {
            reason: "the contractors have left".to_owned(),
            notify_users: dice.roll(2) == 0,
            idempotency_key: Some("once".to_owned()),
            ..Request::of(scene.wish.conditions(NOW), Priority::Normal)
        };
        if matches!(scene.wish, Wish::Emergency { .. }) {
            fleet.desk().request(&admin(), &request.origin).await.unwrap();
            let mail = fleet.mailer.sent().pop().unwrap();
            let mut words = mail.text.split(|c: char| !c.is_ascii_digit()).filter(|digits| digits.len() == 6);
            request.emergency_key = Some(PresentedKey::new(words.next().unwrap()));
        }
        let post = Arc::new(MemoryPost::new(fleet.clock.clone(), TimeDelta::zero()));
        let mut world = Self {
            dice,
            climate,
            scene,
            fleet,
            cluster,
            post,
            request,
            verifiers: Vec::new(),
            letters: Vec::new(),
            dead_letters: Vec::new(),
            processes: Vec::new(),
            idle: Vec::new(),
            accepted: None,
            asked: 0,
            distrusted: None,
            distrusted_until: None,
            cancelled: None,
            taken_at_cancel: None,
            refreshed: Vec::new(),
            sign_outs: Vec::new(),
            ended: BTreeMap::new(),
            progress: Progress::default(),
            trace: DefaultHasher::new(),
            steps: 0,
            aloud: false,
        };
        for _ in 0..VERIFIERS {
            let (clock, seat) = (world.some_clock(), Arc::new(Seat::new(world.cluster.clone())));
            let checker = Checker::new(seat.clone(), world.fleet.store.clone(), clock.clone(), LIMITS);
            world.verifiers.push(Verifier { checker, seat, clock, seen: None });
        }
        world
    }

    /// The clock of some machine.
    fn some_clock(&self) -> Arc<TestClock> {
        let off = if self.climate.skewed { self.dice.roll(2 * SKEW_MILLIS + 1) } else { SKEW_MILLIS };
        let off = i64::try_from(off).unwrap() - i64::try_from(SKEW_MILLIS).unwrap();
        Arc::new(self.fleet.clock.ahead_by(TimeDelta::milliseconds(off)))
    }

    /// A machine for some work: one that is idle, or another.
    fn machine_for(&mut self, work: &Work) -> Machine {
        let which = usize::try_from(self.dice.roll(AT_ONCE as u64)).unwrap();
        // Who takes the request says what time it is.
        if work == &Work::Accept || which >= self.idle.len() {
            let clock = if work == &Work::Accept { self.fleet.clock.clone() } else { self.some_clock() };
            let seat = Arc::new(Seat::new(self.cluster.clone()));
            return Machine { clock, pen: Pen::new(self.fleet.ids.clone()), seat };
        }
        self.idle.swap_remove(which)
    }

    /// Steps taken, and a hash of all that happened in them.
    pub fn trace(&self) -> (u64, u64) {
        (self.steps, self.trace.finish())
    }

    /// Prints everything that happens, from now on.
    pub fn think_aloud(&mut self) {
        eprintln!("{:?}\n{:?}", self.scene.wish, self.climate);
        self.aloud = true;
    }

    fn note(&mut self, what: &str) {
        what.hash(&mut self.trace);
        if self.aloud {
            eprintln!("{:>5} {} {what}", self.steps, self.now().format("%T"));
        }
    }

    fn now(&self) -> DateTime<Utc> {
        self.fleet.clock.now()
    }

    /// The job, once it is written.
    fn job(&self) -> Option<Job> {
        self.fleet.store.jobs(|jobs| jobs.values().next().cloned())
    }

    /// Puts what was sent into the queues.
    fn collect(&mut self) {
        let (queue, now) = (self.fleet.queue.clone(), self.now());
        let mut works: Vec<(Work, DateTime<Utc>)> = Vec::new();
        works.extend(queue.take_plans().into_iter().map(|job| (Work::Plan(job), now)));
        works.extend(queue.take_chunks().into_iter().map(|chunk| (Work::Chunk(chunk), now)));
        works.extend(queue.take_notices().into_iter().map(|(notice, delay)| (Work::Notice(notice), now + delay)));
        for (work, mut not_before) in works {
            if self.dice.roll(8) == 0 {
                not_before += TimeDelta::seconds(i64::try_from(self.dice.roll(90)).unwrap());
            }
            self.letters.push(Letter { work, receives: 0, not_before });
        }
    }

    /// Starts a process, which dies at one of its steps if one is given.
    fn start(&mut self, work: Work, letter: Option<Letter>, last_step: u64) {
        let (mut one_in, mut last_step) = (self.climate.one_in, last_step);
        if work == Work::Accept {
            self.asked += 1;
            if self.asked >= KEY_TRIES {
                (one_in, last_step) = (0, 0);
            }
        }
        let weather = Arc::new(Weather::deadly(self.dice.clone(), one_in, last_step));
        let at = Try::of(letter.as_ref().map_or(1, |letter| letter.receives), MAX_RECEIVES);
        let machine = self.machine_for(&work);
        let task = process::task(self, &work, at, &weather, &machine);
        self.note(&format!("start {work:?}"));
        self.processes.push(Process { task, weather, work, letter, machine, began: self.steps });
    }

    /// Delivers one of the letters that are due, if there is one. Some of them stay where they are, to come again.
    fn deliver(&mut self, last_step: u64) -> bool {
        let now = self.now();
        let due: Vec<usize> = (0..self.letters.len()).filter(|at| self.letters[*at].not_before <= now).collect();
        if due.is_empty() {
            return false;
        }
        let at = due[usize::try_from(self.dice.roll(due.len() as u64)).unwrap()];
        let mut letter = self.letters.swap_remove(at);
        letter.receives += 1;
        if self.dice.roll(6) == 0 {
            self.letters.push(letter.clone());
        }
        self.start(letter.work.clone(), Some(letter), last_step);
        true
    }

    /// Takes one step of one process.
    async fn step(&mut self) {
        let at = usize::try_from(self.dice.roll(self.processes.len() as u64)).unwrap();
        self.steps += 1;
        let mut context = Context::from_waker(Waker::noop());
        let polled = self.processes[at].task.as_mut().poll(&mut context);
        let dead = self.processes[at].weather.has_killed();
        self.collect();
        match polled {
            Poll::Pending if !dead => {}
            Poll::Pending => {
                let process = self.processes.swap_remove(at);
                self.note(&format!("{:?} dies", process.work));
                self.put_back(process.letter);
            }
            Poll::Ready(ended) => {
                let process = self.processes.swap_remove(at);
                self.note(&format!("{:?}: {ended:?}", process.work));
                self.ended(process, ended);
            }
        }
        self.judge_progress().await;
        self.judge().await;
    }

    fn ended(&mut self, process: Process, ended: Ended) {
        if let Work::Notice(_) = process.work {
            self.judge_the_mail();
        }
        if process.work != Work::Accept {
            self.idle.push(process.machine);
        }
        match ended {
            Ended::Done | Ended::Nothing => {}
            Ended::Again => self.put_back(process.letter),
            Ended::Accepted(job, made) => {
                let written = self.job().expect("API-2: what was accepted is written");
                assert_eq!(written.id, job.id, "API-5: a repeated request is answered with the first job");
                // Where nothing but Redis has failed, it is voided, or its lease runs out.
                let at_once = self.scene.wish.effective() == Effective::Accepted;
                if made && at_once && job.effective_at.is_none() && self.climate.one_in == 0 {
                    self.distrusted = Some(self.steps);
                }
                self.accepted = Some(*job);
            }
            Ended::Cancelled => self.cancelled = Some(self.steps),
            Ended::SignedOut(which) => self.sign_outs[which].told = true,
        }
    }

    /// What was not finished becomes visible again, or is a dead letter.
    fn put_back(&mut self, letter: Option<Letter>) {
        let Some(letter) = letter else { return };
        if letter.receives >= MAX_RECEIVES {
            self.dead_letters.push(letter);
        } else {
            let not_before = self.now() + TimeDelta::seconds(i64::try_from(self.dice.roll(40)).unwrap());
            self.letters.push(Letter { not_before, ..letter });
        }
    }

    fn last_step(&self) -> u64 {
        if self.climate.deadly && self.dice.roll(3) == 0 { 1 + self.dice.roll(40) } else { 0 }
    }

    /// Something that happens to everybody.
    async fn happen(&mut self) {
        if self.climate.cache_trouble && self.dice.roll(2) == 0 {
            self.happen_to_redis();
            self.judge().await;
            return;
        }
        match self.dice.roll(16) {
            0 if self.climate.clock_trouble => self.tick(-3),
            1 | 2 => self.tick(65),
            3 => self.tick(430),
            4..=6 => self.start_unless_there(Work::Guard),
            7..=9 => self.start_unless_there(Work::Redrive),
            10 if self.climate.cancels && self.cancelled.is_none() => {
                if let Some(job) = self.job() {
                    self.start_unless_there(Work::Cancel(job.id));
                }
            }
            11 if self.climate.refreshes => self.refresh().await,
            12 if self.accepted.is_none() => self.start_unless_there(Work::Accept),
            13 if self.climate.signs_out => self.sign_out(),
            14 if self.climate.issuer_ends => self.end_by_issuer().await,
            _ => self.tick(1),
        }
        self.judge().await;
    }

    fn happen_to_redis(&mut self) {
        let dice = self.dice.clone();
        let any = |sides| usize::try_from(dice.roll(sides)).unwrap();
        let fates = if self.climate.apart { 4 } else { 2 };
        let fate = |number| [Fate::Follows, Fate::Gone, Fate::Apart, Fate::Apart][number];
        let what = any(20);
        self.note(&format!("Redis {what}"));
        match what {
            0 => self.cluster.set_down(true),
            1..=3 => self.cluster.set_down(false),
            4 => self.cluster.flush(),
            5 => self.cluster.restart(),
            6 | 7 => self.cluster.cut(any(2)),
            8 | 9 => self.cluster.mend(),
            10..=13 => self.cluster.copy(),
            14 | 15 => self.cluster.fail_over(any(2), fate(any(2))),
            16 => self.cluster.replace(any(2), fate(any(fates))),
            17 => self.cluster.bury(),
            _ => self.verifiers[any(VERIFIERS as u64)].seat.leave(),
        }
    }

    /// A user asks to be signed out everywhere.
    fn sign_out(&mut self) {
        let users: Vec<UserId> = self.scene.live.iter().filter_map(|live| live.facts.user.clone()).collect();
        if users.is_empty() || self.job().is_none() {
            return;
        }
        let user = users[usize::try_from(self.dice.roll(users.len() as u64)).unwrap()].clone();
        self.sign_outs.push(SignOut { user, at: Epoch::from(self.now()), told: false });
        self.start_unless_there(Work::SignOut(self.sign_outs.len() - 1));
    }

    /// The issuer says that it has ended a token, of which only the row is told here.
    async fn end_by_issuer(&mut self) {
        let live = &self.scene.live;
        if live.is_empty() || self.job().is_none() {
            return;
        }
        let facts = &live[usize::try_from(self.dice.roll(live.len() as u64)).unwrap()].facts;
        let (id, owner) = (facts.id.clone(), facts.owner().unwrap());
        let key = TokenKey {
            id: id.clone(),
            user_id: facts.user.clone(),
            client_id: facts.client.clone().unwrap(),
            expires_at: Some(facts.expires_at),
        };
        self.fleet.store.apply(&Record::delete(NOW * 1_000, Key::Token(key))).await.unwrap();
        let by = self.fleet.store.token(&owner, &id).await.unwrap().unwrap().revoked.unwrap().by;
        self.note(&format!("the issuer ends {id}"));
        self.ended.entry(id).or_insert((owner, by));
    }

    fn start_unless_there(&mut self, work: Work) {
        let there = self.processes.iter().filter(|process| process.work == work).count();
        // Two at once is the interesting number. But an emergency's key is dead after so many tries, whatever became of
        // them, and then its admin has to ask for another: the last try is one that nothing comes between.
        let most = if work == Work::Accept && self.asked + 1 >= KEY_TRIES { 1 } else { 2 };
        if there < most && self.processes.len() < AT_ONCE {
            let last_step = self.last_step();
            self.start(work, None, last_step);
        }
    }

    /// Time passes, once the job is written: until then it is the moment that the company's times are counted from.
    fn tick(&mut self, seconds: i64) {
        if self.job().is_some() {
            self.fleet.clock.advance(TimeDelta::seconds(seconds));
            self.note(&format!("tick {seconds}"));
        }
    }

    /// A user comes back with a refresh token of before, and gets a new access token of the old sign-in.
    async fn refresh(&mut self) {
        let now = self.now().timestamp();
        let of_a_sign_in: Vec<_> = self.scene.live.iter().filter(|live| live.of_a_sign_in).collect();
        if of_a_sign_in.is_empty() {
            return;
        }
        let live = of_a_sign_in[usize::try_from(self.dice.roll(of_a_sign_in.len() as u64)).unwrap()];
        let old = live.facts.clone();
        let id = TokenId::parse(format!("refreshed-{}", self.refreshed.len())).unwrap();
        let facts =
            TokenFacts { id, kind: TokenKind::Access, issued_at: Epoch(now), expires_at: Epoch(now + 3_600), ..old };
        let record = TokenRecord {
            id: facts.id.clone(),
            user_id: facts.user.clone(),
            client_id: facts.client.clone().unwrap(),
            token_type: facts.kind,
            opaque: false,
            session_id: facts.session.clone(),
            issued_at: facts.issued_at,
            auth_time: Some(facts.signed_in_at),
            expires_at: facts.expires_at,
            last_used_at: None,
            scope: None,
            revoked_at: None,
        };
        let means_now = matches!(self.scene.wish, Wish::Group { .. } | Wish::Emergency { .. });
        let covered = means_now && live.covered;
        let someone_elses = means_now && !live.is_meant;
        self.fleet.store.apply(&Record::upsert(NOW * 1_000, Entity::Token(record))).await.unwrap();
        let must = if covered { Some(true) } else { someone_elses.then_some(false) };
        self.refreshed.push((facts, must));
        self.note("refresh");
    }

    /// So many turns of whatever the dice say.
    pub async fn storm(&mut self, turns: u64) {
        for _ in 0..turns {
            let busy = !self.processes.is_empty();
            match self.dice.roll(10) {
                0 => self.happen().await,
                1 | 2 if self.processes.len() < AT_ONCE => {
                    if self.accepted.is_none() && self.dice.roll(4) > 0 {
                        self.start_unless_there(Work::Accept);
                    } else {
                        let last_step = self.last_step();
                        self.deliver(last_step);
                    }
                }
                _ if busy => self.step().await,
                _ => {}
            }
        }
    }

    /// Whatever was under way dies or ends; from now on nothing fails, and everything that should come, comes.
    pub async fn calm(&mut self) {
        self.climate = Climate { cancels: self.climate.cancels, ..Climate::CALM };
        self.cluster.set_down(false);
        self.cluster.bury();
        self.cluster.mend();
        self.cluster.copy();
        for process in std::mem::take(&mut self.processes) {
            // An emergency's key may have no further try.
            if self.dice.roll(2) == 0 && process.work != Work::Accept {
                self.put_back(process.letter);
            } else {
                process.weather.calm();
                self.processes.push(process);
            }
        }
        self.judge().await;
        self.run_dry().await;
        for _ in 0..40 {
            if self.accepted.is_none() {
                self.start(Work::Accept, None, 0);
                self.run_dry().await;
            }
            self.tick(430);
            // Somebody looks at the dead letters, and sends them back as what they are: delivered before.
            for letter in std::mem::take(&mut self.dead_letters) {
                self.letters.push(Letter { receives: 1, ..letter });
            }
            for work in [Work::Guard, Work::Redrive] {
                self.start(work, None, 0);
            }
            self.run_dry().await;
            while !self.letters.is_empty() {
                if !self.deliver(0) {
                    self.tick(300);
                }
                self.run_dry().await;
            }
            self.judge().await;
            if self.is_over().await {
                return;
            }
        }
        panic!("the job does not come to its end: {:?}", self.job());
    }

    async fn is_over(&self) -> bool {
        let Some(job) = self.job() else { return false };
        let retired = self.fleet.store.open_jobs().await.unwrap().is_empty();
        self.accepted.is_some() && !job.status.is_open() && retired && self.dead_letters.is_empty()
    }

    async fn run_dry(&mut self) {
        let mut steps = 0;
        while !self.processes.is_empty() {
            self.step().await;
            steps += 1;
            assert!(steps < 1_000_000, "the processes do not come to an end");
        }
    }

    /// A run without trouble but this: the first process of a kind dies at one of its steps. False if it had fewer. An
    /// admin cancels the job, or a user signs out everywhere, once so many messages are through.
    pub async fn with_one_death(&mut self, of: &str, last_step: u64, after: usize) -> bool {
        let (mut died, mut to_die) = (false, last_step);
        for turn in 0..200 {
            let mut last = |work: &str| if work == of { std::mem::take(&mut to_die) } else { 0 };
            if self.accepted.is_none() {
                let last = last("accept");
                self.start(Work::Accept, None, last);
            } else if turn == after + 1 && of == "cancel" {
                let last = last(of);
                self.start(Work::Cancel(self.job().unwrap().id), None, last);
            } else if turn == after + 1 && of == "sign out" {
                let last = last(of);
                self.sign_out();
                let Some(started) = self.processes.pop() else { break };
                self.start(started.work, None, last);
            } else if let Some(work) = self.letters.first().map(|letter| letter.work.clone()) {
                let last = last(work.name());
                if !self.deliver(last) {
                    self.tick(300);
                }
            } else {
                break;
            }
            died |= self.run_to_death().await;
        }
        for work in [Work::Redrive, Work::Guard] {
            if work == Work::Guard && of == "guard" {
                // There is something to be done.
                self.cluster.flush();
            }
            let last = if work.name() == of { std::mem::take(&mut to_die) } else { 0 };
            self.start(work, None, last);
            died |= self.run_to_death().await;
        }
        self.calm().await;
        died
    }

    /// Runs all processes to their end. Whether one died.
    async fn run_to_death(&mut self) -> bool {
        let mut died = false;
        while !self.processes.is_empty() {
            let weather = self.processes[0].weather.clone();
            self.step().await;
            died |= weather.has_killed();
        }
        died
    }
}
