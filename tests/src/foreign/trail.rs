//! The stored audit trail, as somebody may have changed it, and what was published of it.
//!
//! Each line is an entry (`E chain place text`, or with a `!` after the `E`, one whose hash is wrong) or a publication
//! (`P number text`). Entries follow the entry of the line before, unless that is of another chain.

use std::collections::BTreeMap;

use domain::audit::chain::{Hash, Sealed};
use domain::audit::head::{Kept, Published};
use domain::audit::verify::{Fault, Found, Place, verify};
use domain::ids::ChainId;

/// A trail.
pub fn trail(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let (mut found, mut kept) = (Vec::new(), BTreeMap::new());
    let mut ends: BTreeMap<ChainId, Hash> = BTreeMap::new();
    let mut forged = false;
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some(kind @ ("E" | "E!")), Some(chain), Some(seq)) => {
                let (Ok(chain), Ok(seq)) = (ChainId::parse(chain), seq.parse::<u64>()) else { continue };
                let prev = ends.get(&chain).copied().unwrap_or(Hash::NOTHING);
                let mut sealed = Sealed::new(chain.clone(), seq, prev, words.next().unwrap_or_default().to_owned());
                if kind == "E!" {
                    sealed.text.push(' ');
                    forged = true;
                }
                ends.insert(chain, sealed.hash);
                found.push(Found::Entry(sealed));
            }
            (Some("P"), Some(number), Some(_)) => {
                let Ok(number) = number.parse::<u64>() else { continue };
                let text = line.splitn(3, ' ').nth(2).map(str::to_owned);
                kept.insert(number, Kept { number, text, overwritten: false });
            }
            _ => {}
        }
    }
    let published = Published::of(kept.into_values().rev());
    let verdict = verify(found.clone(), &published);
    assert_eq!(verdict.entries, found.len() as u64, "each is looked at");
    assert!(!forged || !verdict.defects.is_empty(), "an altered entry is found");
    if verdict.defects.is_empty() {
        assert_whole(&found, &published);
    }
    let backwards = verify(found.into_iter().rev(), &published);
    let twice = verdict.defects.iter().any(|defect| defect.fault == Fault::Twice);
    assert!(twice || backwards == verdict, "the order in which it is read means nothing");
    let elsewhere = |place: &Place| matches!(place, Place::Elsewhere(_));
    assert!(!verdict.defects.iter().any(|defect| elsewhere(&defect.place)));
    verdict.entries > 0 && verdict.defects.is_empty()
}

/// What must be true of a trail in which nothing is wrong.
fn assert_whole(found: &[Found], published: &Published) {
    let mut chains: BTreeMap<&ChainId, Vec<&Sealed>> = BTreeMap::new();
    for found in found {
        let Found::Entry(sealed) = found else { panic!("it is unreadable") };
        chains.entry(&sealed.chain).or_default().push(sealed);
    }
    for (chain, entries) in &mut chains {
        entries.sort_by_key(|entry| entry.seq);
        let mut prev = Hash::NOTHING;
        for (place, entry) in (0..).zip(entries.iter()) {
            assert_eq!((entry.seq, entry.prev), (place, prev), "chain {chain}");
            assert_eq!(Sealed::new((*chain).clone(), place, prev, entry.text.clone()).hash, entry.hash);
            prev = entry.hash;
        }
    }
    for chain in published.chains() {
        for (place, hash, _) in published.of_chain(chain) {
            let entry = chains.get(chain).and_then(|entries| entries.get(usize::try_from(*place).unwrap()));
            assert_eq!(entry.map(|entry| entry.hash), Some(*hash), "it is as it was published");
        }
    }
}
