#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use chrono::{TimeZone as _, Utc};

use super::*;
use crate::audit::Origin;
use crate::audit::chain::Tip;
use crate::ids::{JobId, UserId};
use crate::testing::ocsf::problems;

const LEVELS: [Level; 3] = [Level::Info, Level::Warning, Level::Critical];

fn place(entry: &Entry) -> At {
    let chain = ChainId::parse("00000000-0000-4000-8000-00000000000a").unwrap();
    At::from(&Tip::start(chain).seal(entry).unwrap())
}

fn entry(action: Action, level: Level, success: bool, known: bool) -> Entry {
    let text = |text: &str| known.then(|| text.to_owned());
    let id = UserId::parse(if known { "u-1" } else { SCHEDULE }).unwrap();
    Entry {
        id: "e-1".to_owned(),
        at: Utc.with_ymd_and_hms(2026, 11, 21, 9, 5, 7).unwrap(),
        action,
        level,
        actor: Actor { id, email: text("kim@example.com"), name: text("김하나 🔑") },
        job_id: known.then(|| JobId::parse("j-1").unwrap()),
        success,
        metadata: if known { json!({ "asked_for": "cancel", "gone": null }) } else { Value::Null },
        origin: Origin { source_ip: text("192.0.2.7"), user_agent: text("curl\u{7f}"), request_id: text("r-1") },
    }
}

/// Every event that there can be: all actions, levels and outcomes, with all that can be known and with nothing.
fn all() -> Vec<(Entry, Value)> {
    let mut all = Vec::new();
    for action in Action::ALL {
        for level in LEVELS {
            for (success, known) in [(true, true), (true, false), (false, true), (false, false)] {
                let entry = entry(action, level, success, known);
                let event = event(&entry, &place(&entry));
                all.push((entry, event));
            }
        }
    }
    all
}

#[test]
fn audit_3_every_event_has_what_the_published_schema_requires() {
    let events = all();
    assert_eq!(events.len(), Action::ALL.len() * LEVELS.len() * 4);
    for (entry, event) in events {
        assert_eq!(problems(&event), [""; 0], "{entry:?}: {event:#}");
    }
}

/// Every path to an attribute of an event, but for what is our own.
fn paths(value: &Value, at: &str, into: &mut Vec<String>) {
    for (name, value) in value.as_object().into_iter().flatten().filter(|(name, _)| *name != "unmapped") {
        let path = format!("{at}/{name}");
        paths(value, &path, into);
        into.push(path);
    }
}

#[test]
fn audit_3_the_test_of_the_schema_can_fail() {
    let required = ["/class_uid", "/time", "/metadata", "/metadata/product", "/metadata/version", "/severity_id"];
    let of_class = ["/user", "/entity", "/actor", "/api", "/api/operation", "/finding_info", "/finding_info/uid"];
    for (entry, event) in all() {
        let mut found = Vec::new();
        paths(&event, "", &mut found);
        for path in found {
            let (parent, name) = path.rsplit_once('/').unwrap();
            let mut broken = event.clone();
            broken.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
            let actor_is_optional = path == "/actor" && event["class_uid"] == 3004;
            if (required.contains(&path.as_str()) || of_class.contains(&path.as_str())) && !actor_is_optional {
                assert_ne!(problems(&broken), [""; 0], "{:?} without {path}", entry.action);
            }
            let mut broken = event.clone();
            *broken.pointer_mut(&path).unwrap() = json!([[]]);
            assert_ne!(problems(&broken), [""; 0], "{:?} with another {path}", entry.action);
        }
        let mut broken = event.clone();
        broken["made_up"] = json!(1);
        assert_ne!(problems(&broken), [""; 0]);
        broken = event;
        broken["type_uid"] = json!(300_499);
        assert_ne!(problems(&broken), [""; 0]);
    }
}

#[test]
fn audit_3_an_event_says_which_entry_it_is_and_where_that_stands() {
    let entry = entry(Action::PermissionDenied, Level::Warning, false, true);
    let at = place(&entry);
    let event = event(&entry, &at);
    assert_eq!(event["metadata"]["uid"], "e-1");
    assert_eq!(event["metadata"]["correlation_uid"], "j-1");
    assert_eq!(event["unmapped"]["details"], json!({ "asked_for": "cancel", "gone": null }), "as it was written");
    let place = (&event["unmapped"]["chain"], &event["unmapped"]["seq"], &event["unmapped"]["hash"]);
    assert_eq!(place, (&json!(at.chain), &json!(0), &json!(at.hash)));
    assert_eq!((&event["src_endpoint"]["ip"], &event["api"]["operation"]), (&json!("192.0.2.7"), &json!("cancel")));
    assert_eq!(event["actor"]["user"]["name"], "김하나 🔑");
    assert_eq!((&event["severity"], &event["status"]), (&json!("Medium"), &json!("Failure")));
}

#[test]
fn audit_3_no_two_actions_look_alike_to_a_siem() {
    let codes: std::collections::BTreeSet<&str> = Action::ALL.into_iter().map(Action::as_str).collect();
    assert_eq!(codes.len(), Action::ALL.len());
    for action in Action::ALL {
        let entry = entry(action, Level::Warning, true, true);
        let event = event(&entry, &place(&entry));
        assert_eq!(event["metadata"]["event_code"], serde_json::to_value(action).unwrap(), "as the trail spells it");
    }
}
