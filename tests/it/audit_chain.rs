//! The audit trail shows tampering (`[AUDIT-2]`): whatever is done to one entry of 10,000, it is found and its place is
//! named.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use domain::audit::alarm::Alarm;
use domain::audit::chain::{Hash, Sealed, Tip};
use domain::audit::check::{AuditReader as _, DailyCheck, Examiner, Stage};
use domain::audit::head::{Head, HeadStore, Kept, LATENESS, Publication, Published, Publisher};
use domain::audit::verify::{Defect, Fault, Found, Place, verify};
use domain::audit::{Action, Auditor, Entry, Level, Origin};
use domain::directory::Actor;
use domain::ids::{ChainId, UserId};
use domain::ports::{Page, PortResult, Step};
use domain::testing::{Memory, MemoryHeads, SeededIds, TestClock};
use domain::time::{Clock as _, from_millis};
use proptest::prelude::*;
use tests::rail::Dice;

const CHAINS: usize = 25;
const LENGTH: usize = 400;

fn begin() -> DateTime<Utc> {
    from_millis(1_800_000_000_000)
}

fn entry(chain: usize, seq: usize) -> Entry {
    Entry {
        id: format!("{chain}-{seq}"),
        at: begin() + TimeDelta::seconds(i64::try_from(seq).unwrap()),
        action: Action::UserLogout,
        level: Level::Info,
        actor: Actor { id: UserId::parse("김").unwrap(), email: None, name: None },
        job_id: None,
        success: true,
        metadata: serde_json::json!({ "n": seq }),
        origin: Origin::default(),
    }
}

fn id(chain: usize) -> ChainId {
    ChainId::parse(format!("chain-{chain:02}")).unwrap()
}

/// Chains of so many entries.
fn trail(chains: usize, length: usize) -> Vec<Vec<Sealed>> {
    let chain = |chain: usize| {
        let mut tip = Tip::start(id(chain));
        let sealed = |seq| {
            let sealed = tip.seal(&entry(chain, seq)).unwrap();
            tip = Tip::after(&sealed);
            sealed
        };
        (0..length).map(sealed).collect()
    };
    (0..chains).map(chain).collect()
}

/// What would have been published of chains at these places, one publication for each.
fn published(trail: &[Vec<Sealed>], places: &[usize]) -> Vec<Kept> {
    let (mut kept, mut prev) = (Vec::new(), Hash::NOTHING);
    for (seq, number) in places.iter().zip(1..) {
        let heads = trail.iter().map(|chain| Head::from(&chain[*seq])).collect();
        let at = begin() + TimeDelta::seconds(i64::try_from(*seq).unwrap());
        let text = serde_json::to_string(&Publication { v: 1, number, at, prev, heads }).unwrap();
        prev = Hash::of(&text);
        kept.insert(0, Kept { number, text: Some(text), overwritten: false });
    }
    kept
}

fn defects(trail: &[Vec<Sealed>], published: &Published) -> Vec<Defect> {
    verify(trail.iter().flatten().cloned().map(Found::Entry), published).defects
}

/// Writes a chain anew from a place on, as somebody would who knows how hashes are made.
fn write_anew(chain: &mut [Sealed], from: usize) {
    for place in from..chain.len() {
        let prev = if place == 0 { Hash::NOTHING } else { chain[place - 1].hash };
        let sealed = &chain[place];
        chain[place] = Sealed::new(sealed.chain.clone(), place as u64, prev, sealed.text.clone());
    }
}

fn at(chain: usize, seq: usize) -> Place {
    Place::Entry(id(chain), seq as u64)
}

fn defect(place: Place, fault: Fault) -> Defect {
    Defect { place, fault }
}

/// Something done to a trail: to which chain, at which place.
type Tamper = fn(&mut Vec<Vec<Sealed>>, usize, usize);
/// What must be found, and nothing else.
type Expected = fn(usize, usize) -> Vec<Defect>;

/// Everything that can be done to one entry. The last heads are at place 350, those before at 100, 200 and 300.
const TAMPERINGS: [(&str, Tamper, Expected); 9] = [
    (
        "edit",
        |trail, chain, seq| trail[chain][seq].text = trail[chain][seq].text.replace("user_logout", "token_revoked"),
        |chain, seq| vec![defect(at(chain, seq), Fault::Altered)],
    ),
    (
        "edit and hash again",
        |trail, chain, seq| {
            let sealed = trail[chain][seq].clone();
            let text = sealed.text.replace("user_logout", "token_revoked");
            trail[chain][seq] = Sealed::new(sealed.chain, sealed.seq, sealed.prev, text);
        },
        |chain, seq| {
            let mut expected = of_heads(chain, seq, seq);
            // Of the very last one nothing can be said: nothing follows it, and it is not published yet.
            if seq + 1 < LENGTH {
                expected.push(defect(at(chain, seq + 1), Fault::Unlinked));
            }
            expected
        },
    ),
    (
        "edit and hash all that follows again",
        |trail, chain, seq| {
            trail[chain][seq].text = trail[chain][seq].text.replace("user_logout", "token_revoked");
            write_anew(&mut trail[chain], seq);
        },
        |chain, seq| of_heads(chain, seq, LENGTH),
    ),
    (
        "delete",
        |trail, chain, seq| drop(trail[chain].remove(seq)),
        |chain, seq| {
            let is_known = seq + 1 < LENGTH;
            let missing = defect(at(chain, seq), Fault::Missing { until: seq as u64 });
            if is_known { vec![missing] } else { Vec::new() }
        },
    ),
    (
        "delete and close up",
        |trail, chain, seq| {
            trail[chain].remove(seq);
            write_anew(&mut trail[chain], seq);
        },
        |chain, seq| of_heads(chain, seq, LENGTH - 1),
    ),
    (
        "truncate",
        |trail, chain, seq| trail[chain].truncate(seq),
        |chain, seq| if seq <= 350 { vec![defect(at(chain, seq), Fault::Missing { until: 350 })] } else { Vec::new() },
    ),
    (
        "insert",
        |trail, chain, seq| {
            let forged = Sealed { text: trail[chain][seq].text.replace("김", "이"), ..trail[chain][seq].clone() };
            trail[chain].insert(seq, forged);
            write_anew(&mut trail[chain], seq);
        },
        |chain, seq| of_heads(chain, seq, LENGTH + 1),
    ),
    (
        "swap two entries' contents",
        |trail, chain, seq| {
            let other = (seq + 7) % LENGTH;
            let text = trail[chain][seq].text.clone();
            trail[chain][seq].text = std::mem::replace(&mut trail[chain][other].text, text);
        },
        |chain, seq| {
            let other = (seq + 7) % LENGTH;
            vec![defect(at(chain, seq), Fault::Altered), defect(at(chain, other), Fault::Altered)]
        },
    ),
    (
        "delete the whole chain",
        |trail, chain, _| trail[chain].clear(),
        |chain, _| vec![defect(at(chain, 0), Fault::Missing { until: 350 })],
    ),
];

const HEADS: [usize; 4] = [100, 200, 300, 350];

/// The heads within a part of a chain that was written anew.
fn of_heads(chain: usize, from: usize, length: usize) -> Vec<Defect> {
    let of = |(number, head): (u64, usize)| {
        let since = HEADS.into_iter().filter(|head| *head < from).max().map(|head| head as u64);
        let hit = (from..=length).contains(&head);
        hit.then(|| defect(at(chain, head), Fault::NotAsPublished { number, since }))
    };
    (1..).zip(HEADS).filter_map(of).collect()
}

fn sorted(mut defects: Vec<Defect>) -> Vec<Defect> {
    defects.sort_by_key(|defect| (defect.place.clone(), defect.fault.to_string()));
    defects
}

#[test]
fn audit_2_whatever_is_done_to_one_of_10_000_entries_is_found_and_its_place_is_named() {
    let trail = trail(CHAINS, LENGTH);
    let published = Published::of(published(&trail, &HEADS));
    assert_eq!(defects(&trail, &published), [], "untouched");
    let dice = Dice::new(5);
    let roll = |sides: usize| usize::try_from(dice.roll(sides as u64)).unwrap();
    for (name, tamper, expected) in TAMPERINGS {
        // Alone, and in every chain at once: at each end, around the heads, and anywhere.
        let alone = vec![(roll(CHAINS), roll(350))];
        let edges = [0, 1, 100, 101, 350, 351, 399].into_iter().chain(std::iter::repeat_with(|| roll(LENGTH)));
        for places in [alone, (0..trail.len()).zip(edges).collect()] {
            let mut tampered = trail.clone();
            let mut wanted = Vec::new();
            for (chain, seq) in &places {
                tamper(&mut tampered, *chain, *seq);
                let defects = expected(*chain, *seq);
                // Only what is in reach of the last minutes' publication may go unnoticed.
                assert!(!defects.is_empty() || *seq > 350, "{name} at {chain}, {seq}");
                wanted.extend(defects);
            }
            assert_eq!(sorted(defects(&tampered, &published)), sorted(wanted), "{name} at {places:?}");
        }
    }
}

#[test]
fn audit_2_an_entry_that_was_added_to_the_past_is_found() {
    let trail = trail(3, 3_000);
    let published = Published::of(published(&trail, &[2_999]));
    let mut forged = Tip::start(ChainId::parse("forged").unwrap());
    let mut added = Vec::new();
    for seq in [10, 20, 2_990] {
        let sealed = forged.seal(&entry(9, seq)).unwrap();
        forged = Tip::after(&sealed);
        added.push(sealed);
    }
    let mut tampered = trail.clone();
    tampered.push(added);
    let never = |seq| defect(Place::Entry(ChainId::parse("forged").unwrap(), seq), Fault::NeverPublished);
    // Of the third it is not certain yet: it may have been written too late for the publication.
    assert!(entry(9, 2_990).at > begin() + TimeDelta::seconds(2_999) - LATENESS);
    assert_eq!(defects(&tampered, &published), [never(0), never(1)]);

    let mut longer = trail;
    let last = longer[1].last().unwrap().clone();
    longer[1].push(Tip::after(&last).seal(&entry(1, 30)).unwrap());
    assert_eq!(defects(&longer, &published), [defect(at(1, 3_000), Fault::NeverPublished)]);
}

#[test]
fn audit_2_publications_are_a_chain_too() {
    let trail = trail(2, 400);
    let whole = published(&trail, &HEADS);
    let found = |kept: Vec<Kept>| Published::of(kept).defects().to_vec();
    assert_eq!(found(whole.clone()), []);
    let publication = |number, fault| vec![defect(Place::Publication(number), fault)];

    let mut without = whole.clone();
    without.remove(1);
    assert_eq!(found(without), publication(3, Fault::Missing { until: 3 }));
    let mut beheaded = whole.clone();
    beheaded.truncate(2);
    assert_eq!(found(beheaded), publication(1, Fault::Missing { until: 2 }));
    let mut altered = whole.clone();
    altered[2].text = altered[2].text.as_ref().map(|text| text.replace("chain-00", "chain-01"));
    assert_eq!(found(altered), publication(2, Fault::Altered));
    let mut hidden = whole.clone();
    hidden[0].overwritten = true;
    assert_eq!(found(hidden), publication(4, Fault::Overwritten));
    let mut gone = whole.clone();
    gone[0].text = None;
    assert_eq!(found(gone), publication(4, Fault::Unreadable("its first version is gone".to_owned())));
    let mut later = whole;
    later[0].text = later[0].text.as_ref().map(|text| text.replace("\"v\":1", "\"v\":2"));
    assert_eq!(found(later), publication(4, Fault::Unreadable("version 2 is not known".to_owned())));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn audit_2_no_change_of_any_stored_field_goes_unnoticed(
        seq in 0..30usize, field in 0..5usize, bit in 0..7u32, salt in any::<usize>(),
    ) {
        let whole = trail(2, 40);
        let published = Published::of(published(&whole, &[35]));
        let mut tampered = whole.clone();
        let sealed = &mut tampered[1][seq];
        let flipped = |hash: Hash| {
            let text = hash.to_string();
            let place = salt % text.len();
            let digit = u8::from_str_radix(&text[place..=place], 16).unwrap() ^ (1 << (bit % 4));
            Hash::try_from(format!("{}{digit:x}{}", &text[..place], &text[place + 1..])).unwrap()
        };
        match field {
            0 => {
                let mut bytes = sealed.text.clone().into_bytes();
                let place = salt % bytes.len();
                bytes[place] ^= 1 << bit;
                sealed.text = String::from_utf8_lossy(&bytes).into_owned();
            }
            1 => sealed.prev = flipped(sealed.prev),
            2 => sealed.hash = flipped(sealed.hash),
            3 => sealed.chain = id(0),
            _ => sealed.seq = (sealed.seq + 1 + salt as u64 % 60) % 61,
        }
        let moved = sealed.clone();
        prop_assume!(moved != whole[1][seq]);
        let found = defects(&tampered, &published);
        let places: BTreeSet<Place> = found.into_iter().map(|defect| defect.place).collect();
        let named = [at(1, seq), at(1, seq + 1), Place::Entry(moved.chain, moved.seq)];
        prop_assert!(named.iter().any(|place| places.contains(place)), "{named:?} not in {places:?}");
    }
}

/// A trail in memory, with all that publishes and checks it.
struct Office {
    store: Arc<Memory>,
    heads: Arc<MemoryHeads>,
    clock: Arc<TestClock>,
    ids: Arc<SeededIds>,
}

impl Office {
    fn open() -> Self {
        let clock = Arc::new(TestClock::at(begin()));
        Self { store: Arc::default(), heads: Arc::default(), clock, ids: Arc::new(SeededIds::new(1)) }
    }

    async fn happen(&self, times: usize) {
        let auditor = Auditor { log: self.store.clone(), clock: self.clock.clone(), ids: self.ids.clone() };
        let actor = || Actor { id: UserId::parse("u").unwrap(), email: None, name: None };
        for _ in 0..times {
            auditor.done(Action::UserLogout, actor(), &Origin::default(), serde_json::Value::Null).await;
        }
    }

    async fn publish(&self) -> Option<(u64, usize)> {
        let (trail, heads, clock) = (self.store.clone(), self.heads.clone(), self.clock.clone());
        Publisher { trail, heads, clock }.publish().await.unwrap()
    }

    fn examiner(&self) -> Examiner {
        Examiner { trail: self.store.clone(), heads: self.heads.clone() }
    }

    fn alarm(&self) -> Alarm {
        let auditor = Auditor { log: self.store.clone(), clock: self.clock.clone(), ids: self.ids.clone() };
        Alarm { auditor, jobs: self.store.clone() }
    }

    fn daily_check(&self) -> DailyCheck {
        let (jobs, alarm, clock) = (self.store.clone(), self.alarm(), self.clock.clone());
        DailyCheck { examiner: self.examiner(), jobs, alarm, clock }
    }

    /// The alarms that were raised.
    fn alarms(&self) -> Vec<Entry> {
        self.store.audit().into_iter().filter(|entry| entry.level == Level::Critical).collect()
    }
}

#[tokio::test]
async fn audit_2_heads_are_published_while_there_are_new_entries_and_only_then() {
    let office = Office::open();
    assert_eq!(office.publish().await, None, "nothing has happened yet");
    for number in 1..=12 {
        office.happen(2).await;
        assert_eq!(office.publish().await, Some((number, 1)));
        assert_eq!(office.publish().await, None, "nothing has happened since");
        office.clock.advance(TimeDelta::minutes(5));
    }
    office.clock.advance(TimeDelta::days(40));
    assert_eq!(office.publish().await, None);
    office.happen(1).await;
    assert_eq!(office.publish().await, Some((13, 1)), "after a long silence, too");
    let examiner = office.examiner();
    let examination = examiner.examine().await.unwrap();
    assert_eq!((examination.verdict.entries, examination.verdict.chains), (25, 1));
    assert_eq!(examination.verdict.defects, []);
    assert_eq!((examination.published.count(), examination.published.newest()), (13, Some(office.clock.now())));
}

/// Somebody publishes between the look at what there is and the publication.
struct Quicker(Arc<MemoryHeads>);

#[async_trait]
impl HeadStore for Quicker {
    async fn publish(&self, number: u64, text: &str) -> PortResult<Step> {
        self.0.publish(number, text).await?;
        self.0.publish(number, text).await
    }
    async fn newest_first(&self, from: Option<&str>) -> PortResult<Page<Kept>> {
        self.0.newest_first(from).await
    }
}

#[tokio::test]
async fn audit_2_a_publication_that_another_was_quicker_with_is_left_to_it() {
    let office = Office::open();
    office.happen(1).await;
    let heads = Arc::new(Quicker(office.heads.clone()));
    let (trail, clock) = (office.store.clone(), office.clock.clone());
    assert_eq!(Publisher { trail, heads, clock }.publish().await.unwrap(), None);
    assert_eq!(office.heads.published().len(), 1);
    assert_eq!(office.publish().await, None);
    office.happen(1).await;
    assert_eq!(office.publish().await, Some((2, 1)));
    assert_eq!(office.examiner().examine().await.unwrap().verdict.defects, []);
}

#[tokio::test]
async fn spec_12_the_daily_check_goes_on_where_it_stopped_and_is_done_once_a_day() {
    let office = Office::open();
    office.happen(10).await;
    office.publish().await.unwrap();
    let check = office.daily_check();
    let (soon, past) = (office.clock.now() + TimeDelta::hours(1), office.clock.now());
    let (stage, verdict) = check.run(past).await.unwrap();
    assert_eq!((stage, verdict.entries), (Stage::START, 0), "there was no time for it");
    let (stage, verdict) = check.run(soon).await.unwrap();
    assert_eq!((stage, verdict.entries, verdict.chains, verdict.defects), (Stage::Through, 10, 1, vec![]));
    let (stage, verdict) = check.run(soon).await.unwrap();
    assert_eq!((stage, verdict.entries), (Stage::Through, 0), "once a day");

    office.clock.advance(TimeDelta::days(1));
    // A publication of something that is not there any more.
    let last = office.store.between(begin(), office.clock.now(), None).await.unwrap().items;
    let Some(Found::Entry(sealed)) = last.into_iter().next() else { panic!("an entry") };
    let gone = Head { chain: id(7), ..Head::from(&sealed) };
    let prev = Hash::of(&office.heads.published()[&1]);
    let forged = Publication { v: 1, number: 2, at: begin(), prev, heads: vec![gone] };
    office.heads.publish(2, &serde_json::to_string(&forged).unwrap()).await.unwrap();
    let soon = office.clock.now() + TimeDelta::hours(1);
    // The run before was killed after its last look at what is stored.
    let mut examination = check.examiner.begin(Stage::START).await.unwrap();
    while matches!(examination.stage, Stage::Stored { .. }) {
        examination.step().await.unwrap();
    }
    let day = domain::ids::JobId::parse(office.clock.now().format("audit-check-%Y-%m-%d").to_string()).unwrap();
    let stage = serde_json::to_string(&examination.stage).unwrap();
    domain::ports::JobStore::save_checkpoint(office.store.as_ref(), &day, 0, &stage).await.unwrap();
    let (stage, verdict) = check.run(soon).await.unwrap();
    assert_eq!((stage, verdict.entries), (Stage::Through, 0), "what was looked at is not looked at again");
    assert_eq!(verdict.defects, [defect(at(7, 0), Fault::Missing { until: 0 })]);
    let alarms = office.alarms();
    assert_eq!(alarms.len(), 1, "AUDIT-3: the security team is told");
    assert_eq!((alarms[0].action, alarms[0].success), (Action::AuditChainBroken, false));
    assert_eq!((&alarms[0].metadata["count"], &alarms[0].actor.id), (&serde_json::json!(1), &Actor::schedule().id));
    assert!(alarms[0].metadata["found"][0].as_str().unwrap().contains("is missing"), "{:?}", alarms[0].metadata);
}

#[tokio::test]
async fn audit_3_a_broken_trail_is_told_once_a_day_for_the_same_defects_and_again_for_others() {
    let office = Office::open();
    let alarm = office.alarm();
    let one = [defect(at(7, 0), Fault::Altered)];
    let two = [one[0].clone(), defect(at(7, 1), Fault::Altered)];
    assert!(!alarm.tampered(&[]).await.unwrap(), "nothing is wrong");
    assert!(alarm.tampered(&one).await.unwrap());
    assert!(!alarm.tampered(&one).await.unwrap(), "it was told");
    assert!(alarm.tampered(&two).await.unwrap(), "there is more of it");
    assert!(!alarm.tampered(&[two[1].clone(), two[0].clone()]).await.unwrap(), "in whatever order");
    office.clock.advance(TimeDelta::days(1));
    assert!(alarm.tampered(&two).await.unwrap(), "another day");
    let concerns = ["its engine is memcached".to_owned()];
    assert!(alarm.cache_not_safe(&concerns).await.unwrap() && !alarm.cache_not_safe(&concerns).await.unwrap());
    assert!(!alarm.cache_not_safe(&[]).await.unwrap());
    let ids: BTreeSet<String> = office.alarms().into_iter().map(|entry| entry.id).collect();
    assert_eq!((ids.len(), office.alarms().len()), (4, 4));
}

#[test]
fn audit_2_what_was_written_today_keeps_its_hash_whatever_comes_later() {
    let sealed = Sealed::new(id(1), 3, Hash::of("before"), "{\"of\":\"another version\"}".to_owned());
    let hash = "43651e3ef24ff4bedf144591c5a64e24ed207010c9302ba7128e651d2223a1d1";
    assert_eq!(sealed.hash.to_string(), hash, "layout 1 is for ever");
    assert_eq!(Hash::try_from(hash.to_owned()), Ok(sealed.hash));
    for other in [hash.to_uppercase(), hash[1..].to_owned(), String::new()] {
        assert!(Hash::try_from(other.clone()).is_err(), "of the ways to spell it one is ours: {other}");
    }
}
