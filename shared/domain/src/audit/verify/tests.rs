//! The verifier against one that knows no more than the layout in words (`[AUDIT-2]`): whatever is done to a trail, the
//! two agree on whether it is whole.

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::audit::chain::Tip;
use crate::audit::head::{Head, Kept, LATENESS, Publication};
use crate::audit::{Action, Entry, Level, Origin};
use crate::directory::Actor;
use crate::ids::UserId;
use crate::time::from_millis;
use chrono::TimeDelta;

fn begin() -> DateTime<Utc> {
    from_millis(1_800_000_000_000)
}

fn chain_id(chain: usize) -> ChainId {
    ChainId::try_from(format!("체인-{chain}")).unwrap_or_else(|_| unreachable!("a valid id"))
}

fn entry(chain: usize, seq: usize) -> Entry {
    Entry {
        id: format!("{chain}-{seq}"),
        at: begin() + TimeDelta::seconds(i64::try_from(seq).unwrap_or_default()),
        action: Action::UserLogout,
        level: Level::Info,
        actor: Actor {
            id: UserId::try_from("김".to_owned()).unwrap_or_else(|_| unreachable!("a valid id")),
            email: None,
            name: None,
        },
        job_id: None,
        success: true,
        metadata: serde_json::Value::Null,
        origin: Origin::default(),
    }
}

/// Chains of these lengths.
fn trail(lengths: &[usize]) -> Vec<Sealed> {
    let mut trail = Vec::new();
    for (chain, length) in lengths.iter().enumerate() {
        let mut tip = Tip::start(chain_id(chain));
        for seq in 0..*length {
            let sealed = tip.seal(&entry(chain, seq)).unwrap_or_else(|_| unreachable!("it is JSON"));
            tip = Tip::after(&sealed);
            trail.push(sealed);
        }
    }
    trail
}

/// The hash of an entry as the chain's description has it, computed from its parts.
fn rehash(entry: &Sealed, prev: [u8; 32]) -> [u8; 32] {
    let mut bytes = b"batch-logout audit entry, layout 1\n".to_vec();
    bytes.extend((entry.chain.as_str().len() as u64).to_be_bytes());
    bytes.extend(entry.chain.as_str().as_bytes());
    bytes.extend(entry.seq.to_be_bytes());
    bytes.extend(prev);
    bytes.extend((entry.text.len() as u64).to_be_bytes());
    bytes.extend(entry.text.as_bytes());
    Sha256::digest(bytes).into()
}

fn bytes(hash: Hash) -> [u8; 32] {
    let mut bytes = [0; 32];
    hex::decode_to_slice(hash.to_string(), &mut bytes).unwrap_or_else(|_| unreachable!("it is hex"));
    bytes
}

/// A publication of the chains' ends as they are now.
fn publish(trail: &[Sealed], at: DateTime<Utc>) -> Kept {
    let mut ends: BTreeMap<ChainId, Head> = BTreeMap::new();
    for entry in trail {
        ends.insert(entry.chain.clone(), Head::from(entry));
    }
    let publication = Publication { v: 1, number: 1, at, prev: Hash::NOTHING, heads: ends.into_values().collect() };
    let text = serde_json::to_string(&publication).unwrap_or_else(|_| unreachable!("it is JSON"));
    Kept { number: 1, text: Some(text), overwritten: false }
}

/// Whether the trail is what was written, told the naive way: every chain from its first entry to its last, all hashes
/// computed anew, and every published end where it was.
fn is_whole(trail: &[Sealed], published: Option<&Publication>) -> bool {
    let mut chains: BTreeMap<&str, Vec<&Sealed>> = BTreeMap::new();
    for entry in trail {
        chains.entry(entry.chain.as_str()).or_default().push(entry);
    }
    for entries in chains.values_mut() {
        entries.sort_by_key(|entry| entry.seq);
        let mut prev = [0; 32];
        for (place, entry) in entries.iter().enumerate() {
            let hash = rehash(entry, prev);
            let readable = serde_json::from_str::<Entry>(&entry.text).is_ok();
            if entry.seq != place as u64 || bytes(entry.prev) != prev || bytes(entry.hash) != hash || !readable {
                return false;
            }
            prev = hash;
        }
    }
    let Some(published) = published else { return true };
    for head in &published.heads {
        let found = chains.get(head.chain.as_str()).and_then(|entries| entries.get(usize::try_from(head.seq).ok()?));
        if found.is_none_or(|entry| entry.hash != head.hash) {
            return false;
        }
    }
    // What is older than the publication, by as much as an entry may be late, must have been in it.
    trail.iter().all(|entry| {
        let head = published.heads.iter().find(|head| head.chain == entry.chain);
        let at = serde_json::from_str::<Entry>(&entry.text).map_or(begin(), |entry| entry.at);
        head.is_some_and(|head| entry.seq <= head.seq) || at >= published.at - LATENESS
    })
}

/// Something that somebody does to a stored trail.
#[derive(Debug, Clone)]
enum Deed {
    Edit(usize),
    EditAndHash(usize),
    EditAndHashAllAfter(usize),
    Drop(usize),
    DropLast,
    Swap(usize, usize),
    SwapTexts(usize, usize),
    Copy(usize),
    Move(usize),
    OtherHash(usize),
    AddToThePast,
    AddLater,
}

fn deeds() -> impl Strategy<Value = Deed> {
    let place = || 0..100_usize;
    prop_oneof![
        place().prop_map(Deed::Edit),
        place().prop_map(Deed::EditAndHash),
        place().prop_map(Deed::EditAndHashAllAfter),
        place().prop_map(Deed::Drop),
        Just(Deed::DropLast),
        (place(), place()).prop_map(|(one, other)| Deed::Swap(one, other)),
        (place(), place()).prop_map(|(one, other)| Deed::SwapTexts(one, other)),
        place().prop_map(Deed::Copy),
        place().prop_map(Deed::Move),
        place().prop_map(Deed::OtherHash),
        Just(Deed::AddToThePast),
        Just(Deed::AddLater),
    ]
}

fn edited(text: &str) -> String {
    text.replace("\"success\":true", "\"success\":false")
}

fn add(trail: &mut Vec<Sealed>, seq: usize) {
    let Some(last) = trail.last().cloned() else { return };
    let sealed = Tip::after(&last).seal(&entry(0, seq)).unwrap_or_else(|_| unreachable!("it is JSON"));
    trail.push(sealed);
}

fn commit(deed: &Deed, trail: &mut Vec<Sealed>) {
    if trail.is_empty() {
        return;
    }
    let length = trail.len();
    match deed {
        Deed::Edit(at) => {
            let entry = &mut trail[at % length];
            entry.text = edited(&entry.text);
        }
        Deed::EditAndHash(at) => {
            let entry = &mut trail[at % length];
            *entry = Sealed::new(entry.chain.clone(), entry.seq, entry.prev, edited(&entry.text));
        }
        Deed::EditAndHashAllAfter(at) => {
            let at = at % length;
            let entry = &trail[at];
            let (chain, mut prev) = (entry.chain.clone(), entry.prev);
            trail[at].text = edited(&trail[at].text);
            for entry in trail[at..].iter_mut().filter(|entry| entry.chain == chain) {
                *entry = Sealed::new(chain.clone(), entry.seq, prev, entry.text.clone());
                prev = entry.hash;
            }
        }
        Deed::Drop(at) => drop(trail.remove(at % length)),
        Deed::DropLast => drop(trail.pop()),
        Deed::Swap(one, other) => {
            let (one, other) = (one % length, other % length);
            let (first, second) =
                ((trail[one].chain.clone(), trail[one].seq), (trail[other].chain.clone(), trail[other].seq));
            (trail[one].chain, trail[one].seq) = second;
            (trail[other].chain, trail[other].seq) = first;
        }
        Deed::SwapTexts(one, other) => {
            let text = trail[one % length].text.clone();
            trail[one % length].text = std::mem::replace(&mut trail[other % length].text, text);
        }
        Deed::Copy(at) => trail.push(trail[at % length].clone()),
        Deed::Move(at) => trail[at % length].seq += 1,
        Deed::OtherHash(at) => trail[at % length].hash = Hash::of("another"),
        Deed::AddToThePast => add(trail, 0),
        Deed::AddLater => add(trail, 1_000_000),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn audit_2_the_verifier_and_a_naive_one_agree_whatever_is_done_to_a_trail(
        lengths in prop::collection::vec(1..6_usize, 1..3), deeds in prop::collection::vec(deeds(), 0..3),
        is_published: bool, is_backwards: bool,
    ) {
        let mut trail = trail(&lengths);
        let at = begin() + TimeDelta::hours(1);
        let kept = is_published.then(|| publish(&trail, at));
        let publication: Option<Publication> =
            kept.as_ref().and_then(|kept| serde_json::from_str(kept.text.as_deref()?).ok());
        for deed in &deeds {
            commit(deed, &mut trail);
        }
        let whole = is_whole(&trail, publication.as_ref());
        let published = Published::of(kept);
        let found: Vec<Found> = trail.into_iter().map(Found::Entry).collect();
        let verdict = if is_backwards {
            verify(found.into_iter().rev(), &published)
        } else {
            verify(found, &published)
        };
        prop_assert_eq!(verdict.defects.is_empty(), whole, "{:?}", verdict.defects);
    }
}

fn faults(trail: &[Sealed], published: &Published) -> Vec<(u64, Fault)> {
    let verdict = verify(trail.iter().cloned().map(Found::Entry), published);
    let place = |defect: Defect| match defect.place {
        Place::Entry(_, seq) => (seq, defect.fault),
        other => panic!("{other}"),
    };
    verdict.defects.into_iter().map(place).collect()
}

#[test]
fn audit_2_what_was_done_and_where_is_named() {
    let none = Published::default();
    let written = trail(&[5]);
    assert_eq!(faults(&written, &none), []);
    let done = |deed: Deed| {
        let mut trail = written.clone();
        commit(&deed, &mut trail);
        trail
    };
    assert_eq!(faults(&done(Deed::Edit(2)), &none), [(2, Fault::Altered)]);
    assert_eq!(faults(&done(Deed::EditAndHash(2)), &none), [(3, Fault::Unlinked)]);
    assert_eq!(faults(&done(Deed::Drop(2)), &none), [(2, Fault::Missing { until: 2 })]);
    assert_eq!(faults(&done(Deed::Copy(2)), &none), [(2, Fault::Twice)]);
    let published = Published::of([publish(&written, begin() + TimeDelta::hours(1))]);
    assert_eq!(faults(&written, &published), []);
    assert_eq!(faults(&done(Deed::DropLast), &published), [(4, Fault::Missing { until: 4 })]);
    let anew = faults(&done(Deed::EditAndHashAllAfter(1)), &published);
    assert_eq!(anew, [(4, Fault::NotAsPublished { number: 1, since: None })]);
    assert_eq!(faults(&done(Deed::AddToThePast), &published), [(5, Fault::NeverPublished)]);
    assert_eq!(faults(&done(Deed::AddLater), &published), []);
    assert_eq!(faults(&[], &published), [(0, Fault::Missing { until: 4 })], "all of it is gone");
}

#[test]
fn audit_2_an_entry_is_late_up_to_the_second_and_no_longer() {
    let mut written = trail(&[1]);
    let published = Published::of([publish(&written, begin() + LATENESS + TimeDelta::seconds(100))]);
    for (seq, is_found) in [(99, true), (100, false), (101, false)] {
        add(&mut written, seq);
        assert_eq!(!faults(&written, &published).is_empty(), is_found, "{seq}");
        written.pop();
    }
}

/// A number at the end of all numbers is found like any other, and ends nothing but itself.
#[test]
fn audit_2_an_entry_at_the_last_place_there_is_is_found() {
    let mut written = trail(&[2]);
    let last = Sealed::new(chain_id(0), u64::MAX, written[1].hash, written[1].text.clone());
    written.push(last);
    assert_eq!(faults(&written, &Published::default()), [(2, Fault::Missing { until: u64::MAX - 1 })]);
}

#[test]
fn audit_2_what_cannot_be_read_is_named_and_counted() {
    let written = trail(&[3]);
    let mut found: Vec<Found> = written.into_iter().map(Found::Entry).collect();
    found[1] = Found::Unreadable(Place::Entry(chain_id(0), 1), "no hash".to_owned());
    found.push(Found::Unreadable(Place::Elsewhere("x".to_owned()), "no place".to_owned()));
    let verdict = verify(found, &Published::default());
    assert_eq!((verdict.entries, verdict.chains), (4, 1));
    let told: Vec<String> = verdict.defects.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["item x: cannot be read: no place", "chain 체인-0, entry 1: cannot be read: no hash"]);
}

#[test]
fn audit_2_every_publication_is_held_against_the_trail_and_the_last_good_place_is_named() {
    let mut written = trail(&[3]);
    let first = publish(&written, begin() + TimeDelta::hours(1));
    add(&mut written, 3);
    add(&mut written, 4);
    let prev = first.text.as_deref().map_or(Hash::NOTHING, Hash::of);
    let heads = written.last().map(Head::from).into_iter().collect();
    let second = Publication { v: 1, number: 2, at: begin() + TimeDelta::hours(2), prev, heads };
    let text = serde_json::to_string(&second).unwrap_or_else(|_| unreachable!("it is JSON"));
    let published = Published::of([Kept { number: 2, text: Some(text), overwritten: false }, first]);
    assert_eq!(faults(&written, &published), []);
    let anew = |from| {
        let mut trail = written.clone();
        commit(&Deed::EditAndHashAllAfter(from), &mut trail);
        faults(&trail, &published)
    };
    let after_2 = Fault::NotAsPublished { number: 2, since: Some(2) };
    assert!(after_2.to_string().contains("publication 2") && after_2.to_string().contains("after entry 2"));
    assert_eq!(anew(3), [(4, after_2)]);
    let all = |number| Fault::NotAsPublished { number, since: None };
    assert_eq!(anew(1), [(2, all(1)), (4, all(2))]);
}

#[test]
fn audit_2_what_is_wrong_elsewhere_is_told_and_moves_nothing_in_a_chain() {
    let written = trail(&[1, 1]);
    let (chain, other) = (chain_id(0), Place::Entry(chain_id(1), 7));
    let none = Published::default();
    let mut check = ChainCheck::new(&chain, &none);
    check.see(Found::Unreadable(other.clone(), "no hash".to_owned()));
    check.see(Found::Entry(written[0].clone()));
    let verdict = check.finish();
    let elsewhere = Defect { place: other, fault: Fault::Unreadable("no hash".to_owned()) };
    assert_eq!((verdict.entries, verdict.defects), (2, vec![elsewhere]));

    let kept = Kept { overwritten: true, ..publish(&written[..1], begin()) };
    let verdict = verify([], &Published::of([kept]));
    assert_eq!((verdict.entries, verdict.chains), (0, 0), "what is gone was not looked at");
    let told: Vec<String> = verdict.defects.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "publication 1: was written over or deleted; its first version is still there",
            "chain 체인-0, entry 0: is missing, and all up to 0",
        ]
    );
}

#[test]
fn audit_2_an_entry_that_is_no_json_is_unreadable_though_its_hash_is_right() {
    let written = trail(&[1]);
    let broken = Sealed::new(chain_id(0), 1, written[0].hash, "{".to_owned());
    let found = faults(&[written[0].clone(), broken], &Published::default());
    assert!(matches!(&found[..], [(1, Fault::Unreadable(_))]), "{found:?}");
}
