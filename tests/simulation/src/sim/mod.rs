//! A deterministic simulation of a batch logout from the request to the last mail, over the memory ports.
//!
//! Every call to a port is a step; a seeded scheduler takes the steps of all processes in any order. Queues deliver
//! twice, late and in any order, and give back what was not finished; processes die at any call; calls fail before or
//! after they did what they should; Redis is lost, emptied, or comes back as it was a while ago; clocks run and step
//! back; admins cancel, users refresh. All the while ([`World::judge`]) and at the end ([`World::judge_the_end`]) the
//! contract's promises are held against it. The same seed takes the same steps.

mod judge;
mod process;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use chrono::{DateTime, TimeDelta, Utc};
use domain::accept::Request;
use domain::decision::TokenFacts;
use domain::directory::User;
use domain::emergency::{KEY_TRIES, PresentedKey};
use domain::ids::UserId;
use domain::job::{Job, Priority};
use domain::ports::{JobStore as _, RecordStore as _};
use domain::records::{Entity, Record, TokenRecord};
use domain::settle::Try;
use domain::testing::{Memory, MemoryPost, ServerState};
use domain::time::{Clock as _, Epoch};
use domain::token::TokenKind;

use crate::estate::{Estate, INTO_THE_SECOND, Loss, Wish, oracle};
use crate::fleet::Fleet;
use crate::rail::{Dice, Weather};

pub use process::Work;
use process::{Ended, Process};

/// The second in which the job is asked for.
pub const NOW: i64 = 1_900_000_000;
/// Deliveries before a message is a dead letter, as in the template.
const MAX_RECEIVES: u32 = 5;
/// Processes at the same time.
const AT_ONCE: usize = 4;

/// A message in a queue.
#[derive(Debug, Clone)]
struct Letter {
    work: Work,
    receives: u32,
    not_before: DateTime<Utc>,
}

/// How rough it gets.
#[allow(clippy::struct_excessive_bools, reason = "each trouble comes with or without the others")]
#[derive(Debug, Clone, Copy)]
pub struct Climate {
    /// One call in so many fails, before or after it is done; 0 for none.
    pub one_in: u64,
    /// Whether processes die.
    pub deadly: bool,
    /// Whether Redis is lost, emptied and set back.
    pub cache_trouble: bool,
    /// Whether the clock steps back now and then.
    pub clock_trouble: bool,
    /// Whether an admin cancels the job on the way.
    pub cancels: bool,
    /// Whether users refresh on the way.
    pub refreshes: bool,
}

impl Climate {
    /// Nothing happens that should not.
    pub const CALM: Self =
        Self { one_in: 0, deadly: false, cache_trouble: false, clock_trouble: false, cancels: false, refreshes: false };

    /// Any.
    pub fn any(dice: &Dice) -> Self {
        let flag = || dice.roll(2) == 0;
        Self {
            one_in: [0, 60, 25, 12][usize::try_from(dice.roll(4)).unwrap()],
            deadly: flag(),
            cache_trouble: flag(),
            clock_trouble: flag(),
            cancels: dice.roll(4) == 0,
            refreshes: flag(),
        }
    }
}

/// A company, a job, and everything that happens to them.
pub struct World {
    dice: Arc<Dice>,
    climate: Climate,
    fleet: Fleet<Memory, Memory>,
    post: Arc<MemoryPost>,
    estate: Estate,
    wish: Wish,
    /// Who must lose what.
    loss: Loss,
    request: Request,
    letters: Vec<Letter>,
    dead_letters: Vec<Letter>,
    processes: Vec<Process>,
    /// The job, once its request was answered with it.
    accepted: Option<Job>,
    /// How often the request was sent.
    asked: u32,
    cancelled: bool,
    /// Tokens issued on the way: whether they must be refused, or must not, where that is certain.
    refreshed: Vec<(TokenFacts, Option<bool>)>,
    backup: Option<ServerState>,
    /// Hash of everything that happened.
    trace: DefaultHasher,
    steps: u64,
}

fn admin() -> User {
    let id = UserId::parse("the-admin").unwrap();
    User { email: Some("admin@example.com".to_owned()), roles: vec!["security_admin".to_owned()], ..User::unknown(id) }
}

impl World {
    /// A company with a complete cache and a job that is about to be asked for.
    pub async fn new(dice: Arc<Dice>, climate: Climate, estate: Estate, wish: Wish) -> Self {
        let now = DateTime::from_timestamp(NOW, 0).unwrap() + TimeDelta::milliseconds(INTO_THE_SECOND);
        let fleet = Fleet::in_memory(now);
        fleet.guard().await.unwrap();
        estate.write(fleet.store.as_ref(), NOW).await;
        let mut request = Request {
            reason: "the contractors have left".to_owned(),
            notify_users: dice.roll(2) == 0,
            idempotency_key: Some("once".to_owned()),
            ..Request::of(wish.conditions(NOW), Priority::Normal)
        };
        if matches!(wish, Wish::Emergency { .. }) {
            fleet.desk().request(&admin(), &request.origin).await.unwrap();
            let mail = fleet.mailer.sent().pop().unwrap();
            let mut words = mail.text.split(|c: char| !c.is_ascii_digit()).filter(|digits| digits.len() == 6);
            request.emergency_key = Some(PresentedKey::new(words.next().unwrap()));
        }
        let post = Arc::new(MemoryPost::new(fleet.clock.clone(), TimeDelta::zero()));
        let loss = oracle(&estate, &wish);
        Self {
            dice,
            climate,
            fleet,
            post,
            estate,
            wish,
            loss,
            request,
            letters: Vec::new(),
            dead_letters: Vec::new(),
            processes: Vec::new(),
            accepted: None,
            asked: 0,
            cancelled: false,
            refreshed: Vec::new(),
            backup: None,
            trace: DefaultHasher::new(),
            steps: 0,
        }
    }

    /// Steps taken, and a hash of all that happened in them.
    pub fn trace(&self) -> (u64, u64) {
        (self.steps, self.trace.finish())
    }

    fn note(&mut self, what: &str) {
        what.hash(&mut self.trace);
    }

    fn now(&self) -> DateTime<Utc> {
        self.fleet.clock.now()
    }

    /// The job, once it is written.
    async fn job(&self) -> Option<Job> {
        let found = self.fleet.store.jobs_by_time(None, None, 2).await.unwrap();
        assert!(found.len() <= 1, "API-5: one request made two jobs");
        found.into_iter().next()
    }

    /// Puts what was sent into the queues.
    fn collect(&mut self) {
        let (queue, now) = (self.fleet.queue.clone(), self.now());
        let mut works: Vec<(Work, DateTime<Utc>)> = Vec::new();
        works.extend(queue.take_plans().into_iter().map(|job| (Work::Plan(job), now)));
        works.extend(queue.take_chunks().into_iter().map(|chunk| (Work::Chunk(chunk), now)));
        works.extend(queue.take_notices().into_iter().map(|(notice, delay)| (Work::Notice(notice), now + delay)));
        for (work, not_before) in works {
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
        let task = process::task(self, &work, at, &weather);
        self.note(&format!("start {work:?}"));
        self.processes.push(Process { task, weather, work, letter });
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
                self.ended(process, ended).await;
            }
        }
    }

    async fn ended(&mut self, process: Process, ended: Ended) {
        match ended {
            Ended::Done | Ended::Nothing => {}
            Ended::Again => self.put_back(process.letter),
            Ended::Accepted(job) => {
                let written = self.job().await.expect("API-2: what was accepted is written");
                assert_eq!(written.id, job.id, "API-5: a repeated request is answered with the first job");
                self.accepted = Some(*job);
            }
            Ended::Cancelled => self.cancelled = true,
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
        let cache = self.fleet.cache.clone();
        match self.dice.roll(24) {
            0 if self.climate.cache_trouble => cache.set_down(true),
            1..=3 if self.climate.cache_trouble => cache.set_down(false),
            4 if self.climate.cache_trouble => cache.forget(),
            5 | 6 if self.climate.cache_trouble => self.backup = Some(cache.backup()),
            7 if self.climate.cache_trouble => {
                // Another server takes over, with what it has; the marker names the one that is gone.
                if let Some(backup) = self.backup.clone() {
                    cache.fail_over(backup);
                }
            }
            8 if self.climate.clock_trouble => self.tick(-3).await,
            9 | 10 => self.tick(65).await,
            11 => self.tick(430).await,
            12..=14 => self.start_unless_there(Work::Guard),
            15..=17 => self.start_unless_there(Work::Redrive),
            18 if self.climate.cancels && !self.cancelled => {
                if let Some(job) = self.job().await {
                    self.start_unless_there(Work::Cancel(job.id));
                }
            }
            19 | 20 if self.climate.refreshes => self.refresh().await,
            21 if self.accepted.is_none() => self.start_unless_there(Work::Accept),
            _ => self.tick(1).await,
        }
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
    async fn tick(&mut self, seconds: i64) {
        if self.job().await.is_some() {
            self.fleet.clock.advance(TimeDelta::seconds(seconds));
            self.note(&format!("tick {seconds}"));
        }
    }

    /// A user comes back with a refresh token of before, and gets a new access token of the old sign-in.
    async fn refresh(&mut self) {
        let now = self.now().timestamp();
        let held = self.estate.held();
        let of_a_sign_in: Vec<_> = held.iter().filter(|held| held.is_live() && held.sign_in.is_some()).collect();
        if of_a_sign_in.is_empty() {
            return;
        }
        let held = of_a_sign_in[usize::try_from(self.dice.roll(of_a_sign_in.len() as u64)).unwrap()];
        let old = held.facts(NOW);
        let id = domain::ids::TokenId::parse(format!("refreshed-{}", self.refreshed.len())).unwrap();
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
        let means_now = matches!(self.wish, Wish::Group { .. } | Wish::Emergency { .. });
        let covered = means_now && self.loss.tokens.contains(&held.id);
        let someone_elses = means_now && !held.user.is_some_and(|user| self.wish.means(&self.estate, user));
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
            if self.dice.roll(12) == 0 {
                self.judge().await;
            }
        }
    }

    /// Whatever was under way dies or ends; from now on nothing fails, and everything that should come, comes.
    pub async fn calm(&mut self) {
        self.climate = Climate { cancels: self.climate.cancels, ..Climate::CALM };
        self.fleet.cache.set_down(false);
        for process in std::mem::take(&mut self.processes) {
            if self.dice.roll(2) == 0 {
                self.put_back(process.letter);
            } else {
                process.weather.calm();
                self.processes.push(process);
            }
        }
        self.run_dry().await;
        for _ in 0..40 {
            if self.accepted.is_none() {
                self.start(Work::Accept, None, 0);
                self.run_dry().await;
            }
            self.tick(430).await;
            // Somebody looks at the dead letters.
            for letter in std::mem::take(&mut self.dead_letters) {
                self.letters.push(Letter { receives: 0, ..letter });
            }
            for work in [Work::Guard, Work::Redrive] {
                self.start(work, None, 0);
            }
            self.run_dry().await;
            while !self.letters.is_empty() {
                if !self.deliver(0) {
                    self.tick(300).await;
                }
                self.run_dry().await;
            }
            self.judge().await;
            if self.is_over().await {
                return;
            }
        }
        panic!("the job does not come to its end: {:?}", self.job().await);
    }

    async fn is_over(&self) -> bool {
        let Some(job) = self.job().await else { return false };
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

    /// A run without trouble but this: the first process of a kind dies at one of its steps. False if it had fewer.
    pub async fn with_one_death(&mut self, of: &str, last_step: u64) -> bool {
        let mut died = false;
        let mut to_die = last_step;
        for _ in 0..200 {
            if self.accepted.is_none() {
                let last = if of == "accept" { std::mem::take(&mut to_die) } else { 0 };
                self.start(Work::Accept, None, last);
            } else if let Some(work) = self.letters.first().map(|letter| letter.work.clone()) {
                let last = if work.name() == of { std::mem::take(&mut to_die) } else { 0 };
                if !self.deliver(last) {
                    self.tick(300).await;
                }
            } else {
                break;
            }
            while !self.processes.is_empty() {
                let weather = self.processes[0].weather.clone();
                self.step().await;
                died |= weather.has_killed();
            }
            self.judge().await;
        }
        for work in [Work::Redrive, Work::Guard] {
            let last = if work.name() == of { std::mem::take(&mut to_die) } else { 0 };
            self.start(work, None, last);
            while !self.processes.is_empty() {
                let weather = self.processes[0].weather.clone();
                self.step().await;
                died |= weather.has_killed();
            }
            self.judge().await;
        }
        self.calm().await;
        died
    }
}
