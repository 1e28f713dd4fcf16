//! The auditors' mails.

use super::*;
use crate::mail::NotSent;
use crate::report::{Mailed, Mailing};
use crate::settings::Auditor;
use crate::testing::{MemoryPost, Reply};

const FOREVER: DateTime<Utc> = DateTime::<Utc>::MAX_UTC;

fn mailing(world: &World) -> (Mailing, Arc<MemoryPost>) {
    let post = Arc::new(MemoryPost::new(world.clock.clone(), TimeDelta::zero()));
    let auditor = |address: &str, locale: Option<&str>| Auditor {
        address: address.to_owned(),
        locale: locale.map(str::to_owned),
    };
    let auditors = vec![auditor("ann@example.com", None), auditor("bo@example.com", Some("ko"))];
    (Mailing { store: world.reports.clone(), mailer: post.clone(), auditors, clock: world.clock.clone() }, post)
}

#[tokio::test]
async fn audit_4_every_auditor_is_told_once_in_their_language() {
    let mut world = World::at("2026-12-01T06:00:00");
    world.make(&actor("kim"), time("2026-11-05T10:00:00"), group(), "a secret reason", false).await;
    let report = world.report("2026-11").await;
    let (mailing, post) = mailing(&world);
    let first = mailing.tell(&report, FOREVER).await.unwrap();
    assert_eq!(first, Mailed { sent: 2, ..Mailed::default() });
    for _ in 0..3 {
        assert_eq!(mailing.tell(&report, FOREVER).await.unwrap(), Mailed { before: 2, ..Mailed::default() });
    }
    let sent = post.sent_once();
    let subjects: Vec<&str> = sent.iter().map(|mail| mail.subject.as_str()).collect();
    assert_eq!(subjects, ["Batch logout report of November 2026", "2026년 11월 일괄 로그아웃 보고서"]);
    for mail in &sent {
        for body in [&mail.text, &mail.html] {
            assert!(body.contains("GET /api/admin/oauth/batch-logout/reports/2026-11"), "{body}");
            for personal in ["kim", "secret", "ann@", "bo@", "http"] {
                assert!(!body.contains(personal), "{personal}: {body}");
            }
        }
    }
    assert!(world.reports.kept().keys().all(|name| !name.contains('@')), "no address in a name");
}

#[tokio::test]
async fn audit_4_what_was_certainly_not_sent_is_sent_later_and_nothing_else_is_sent_again() {
    let world = World::at("2026-12-01T06:00:00");
    let report = world.report("2026-11").await;
    let cases = [
        (Reply::Not(NotSent::Later("Throttling".to_owned())), Mailed { later: 2, ..Mailed::default() }, 2),
        (Reply::Not(NotSent::Rejected("MessageRejected".to_owned())), Mailed { rejected: 2, ..Mailed::default() }, 2),
        (Reply::Not(NotSent::Unknown("500".to_owned())), Mailed { unknown: 2, ..Mailed::default() }, 0),
        (Reply::TakenUnsaid, Mailed { unknown: 2, ..Mailed::default() }, 0),
    ];
    for (reply, expected, then_sent) in cases {
        let fresh = World { reports: Arc::default(), ..World::at("2026-12-01T06:00:00") };
        let (mailing, post) = mailing(&fresh);
        let says = reply.clone();
        post.set(move |_| says.clone());
        assert_eq!(mailing.tell(&report, FOREVER).await.unwrap(), expected, "{reply:?}");
        post.set(|_| Reply::Taken);
        let again = mailing.tell(&report, FOREVER).await.unwrap();
        assert_eq!(again, Mailed { sent: then_sent, before: 2 - then_sent, ..Mailed::default() }, "{reply:?}");
    }
}

#[tokio::test]
async fn audit_4_when_the_time_is_up_the_next_run_tells_the_rest() {
    let world = World::at("2026-12-01T06:00:00");
    let report = world.report("2026-11").await;
    let (mailing, post) = mailing(&world);
    let clock = world.clock.clone();
    post.set(move |_| {
        clock.advance(TimeDelta::seconds(10));
        Reply::Taken
    });
    let deadline = time("2026-12-01T06:00:05");
    assert_eq!(mailing.tell(&report, deadline).await.unwrap(), Mailed { sent: 1, later: 1, ..Mailed::default() });
    assert_eq!(mailing.tell(&report, FOREVER).await.unwrap(), Mailed { sent: 1, before: 1, ..Mailed::default() });
}
