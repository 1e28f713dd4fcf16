//! What is counted, and what is not counted twice.

use super::*;
use crate::audit::chain::Hash;
use crate::audit::head::HeadStore as _;
use crate::job::ChunkResult;
use crate::ports::JobStore;

#[tokio::test]
async fn audit_4_a_month_says_what_was_made_what_came_of_it_and_what_was_refused() {
    let mut world = World::at("2026-12-01T06:00:00");
    let day = |n: i64| time("2026-11-01T10:00:00") + TimeDelta::days(n);
    let (kim, lee) = (actor("kim"), actor("lee"));
    let done = world.make(&kim, day(1), group(), "the  contract\nhas ended", false).await;
    world.end(&done, Status::Completed, lost(10), day(2)).await;
    let again = world.make(&lee, day(3), conditional(), "the contract has ended", false).await;
    let alarm = world.make(&lee, day(4), emergency("CISO"), "keys were leaked to the public", false).await;
    world.end(&alarm, Status::Completed, lost(100), day(4)).await;
    let drill = world.make(&lee, day(5), emergency("CISO"), "a drill of the emergency", true).await;
    world.end(&drill, Status::Completed, lost(1_000), day(5)).await;
    let broken = world.make(&kim, day(6), client(), "the client was leaked", false).await;
    world.end(&broken, Status::Failed, lost(5), day(6)).await;
    let mended = world.make(&kim, day(7), old(), "old tokens must go now", false).await;
    world.end(&mended, Status::Failed, lost(2), day(7)).await;
    world.end(&mended, Status::Completed, lost(7), day(8)).await;
    for (action, by) in [
        (Action::PermissionDenied, "mallory"),
        (Action::PermissionDenied, "mallory"),
        (Action::RateLimited, "kim"),
        (Action::EmergencyKeyVerificationFailed, "mallory"),
        (Action::EmergencyKeyGenerated, "lee"),
        (Action::UserLogout, "somebody"),
        (Action::TokenRevoked, "somebody"),
        (Action::UserLogout, "somebody"),
    ] {
        world.act(action, by, day(9)).await;
    }
    let report = world.report("2026-11").await;
    let totals = &report.totals;
    assert_eq!((totals.jobs, totals.dry_runs, totals.users, totals.open), (5, 1, 2, 1));
    assert_eq!((totals.completed, totals.failed, totals.cancelled, totals.emergencies), (3, 1, 0, 1));
    assert_eq!(totals.affected_users, 10 + 100 + 5 + 7, "what was redriven counts once, and a drill not at all");
    assert_eq!((totals.access_tokens, totals.refresh_tokens, totals.sessions), (366, 122, 244));
    let of_type: Vec<_> = report.by_type.iter().map(|of| (of.job_type.as_str(), of.jobs, of.affected_users)).collect();
    assert_eq!(
        of_type,
        [
            ("group_based", 1, 10),
            ("client_based", 1, 5),
            ("time_based", 1, 7),
            ("conditional", 1, 0),
            ("emergency", 1, 100)
        ]
    );
    let of_user: Vec<_> = report
        .by_user
        .items
        .iter()
        .map(|of| (&*of.user.id, of.jobs, of.dry_runs, of.failed, of.affected_users))
        .collect();
    assert_eq!(of_user, [("kim", 3, 0, 1, 22), ("lee", 2, 1, 0, 100)]);
    let reasons: Vec<_> = report.top_reasons.items.iter().map(|of| (&*of.reason, of.jobs)).collect();
    assert_eq!(reasons[0], ("the contract has ended", 2), "spaces make no other reason");
    assert_eq!(reasons.len(), 4, "and those of dry runs are not among them");
    let emergencies: Vec<_> = report
        .emergencies
        .items
        .iter()
        .map(|of| (&*of.job_id, of.drill, of.ended.as_deref(), of.affected_users))
        .collect();
    assert_eq!(emergencies, [(alarm.id.as_str(), false, Some("completed"), 100), (drill.id.as_str(), true, None, 0)]);
    let failed: Vec<_> = report.failed_operations.items.iter().map(|of| (&*of.job_id, of.chunks_failed)).collect();
    assert_eq!(failed, [(broken.id.as_str(), 2)]);
    let refusals = &report.refusals;
    assert_eq!((refusals.permission_denied, refusals.rate_limited, refusals.wrong_keys, refusals.others), (2, 1, 1, 0));
    assert_eq!(refusals.items[0].user.id, "mallory");
    let audit = &report.audit;
    assert_eq!((audit.emergency_keys, audit.sign_outs, audit.tokens_revoked), (1, 2, 1));
    assert_eq!(audit.entries, 8 + 6 + 6, "eight others, six jobs made, and six ends");
    assert!(again.id.as_str() != done.id.as_str() && audit.published.is_none());
}

#[tokio::test]
async fn audit_4_an_entry_that_was_written_twice_counts_once() {
    let mut world = World::at("2026-12-01T06:00:00");
    let job = world.job("kim", time("2026-11-05T10:00:00")).await;
    for _ in 0..2 {
        world.end(&job, Status::Completed, lost(10), time("2026-11-05T10:01:00")).await;
    }
    let refusal = world.act(Action::PermissionDenied, "kim", time("2026-11-30T23:59:59")).await;
    world.store.append(&refusal).await.unwrap();
    let report = world.report("2026-11").await;
    assert_eq!((report.totals.completed, report.totals.affected_users, report.audit.entries), (1, 10, 3));
    assert_eq!(report.refusals.permission_denied, 1);
}

#[tokio::test]
async fn audit_4_a_cancelled_job_counts_what_it_had_done_when_all_was_counted() {
    let mut world = World::at("2026-12-01T06:00:00");
    let job = world.job("kim", time("2026-11-05T10:00:00")).await;
    let store: &dyn JobStore = world.store.as_ref();
    store.commit_chunk(&job.id, 0, None, ChunkResult::done(lost(4))).await.unwrap();
    let entry = Entry {
        job_id: Some(job.id.clone()),
        metadata: json!({ "reason": "a mistake" }),
        ..world.act(Action::BatchLogoutCancelled, "lee", time("2026-11-05T10:05:00")).await
    };
    world.store.append(&Entry { id: "cancel".to_owned(), ..entry }).await.unwrap();
    let report = world.report("2026-11").await;
    assert_eq!((report.totals.cancelled, report.totals.open, report.totals.affected_users), (1, 0, 4));
    assert_eq!(report.by_user.items[0].cancelled, 1, "with whoever made it");
    assert_eq!(report.audit.unreadable, 1, "a cancel of no job says nothing");
}

#[tokio::test]
async fn audit_4_a_job_counts_where_it_was_made_and_what_it_did_where_it_ended() {
    let mut world = World::at("2027-01-01T06:00:00");
    let job = world.make(&actor("kim"), time("2026-11-30T23:59:59"), client(), "the client was leaked", false).await;
    world.end(&job, Status::Completed, lost(3), time("2026-12-01T00:00:00")).await;
    let (november, december) = (world.report("2026-11").await, world.report("2026-12").await);
    assert_eq!((november.totals.jobs, november.totals.open, november.totals.affected_users), (1, 1, 0));
    assert_eq!((december.totals.jobs, december.totals.open, december.totals.affected_users), (0, 0, 3));
    assert_eq!(december.by_type[1].affected_users, 3, "its kind is known by the job");
}

#[tokio::test]
async fn audit_4_what_is_not_what_was_written_is_told_and_not_counted() {
    let mut world = World::at("2026-12-01T06:00:00");
    let mut entry = world.act(Action::UserLogout, "kim", time("2026-11-05T10:00:00")).await;
    (entry.id, entry.action, entry.job_id) =
        ("x".to_owned(), Action::BatchLogoutInitiated, Some(JobId::parse("x").unwrap()));
    entry.metadata = json!({ "reason": 7 });
    world.store.append(&entry).await.unwrap();
    let report = world.report("2026-11").await;
    assert_eq!((report.totals.jobs, report.audit.unreadable, report.audit.sign_outs), (0, 1, 1));
}

#[tokio::test]
async fn audit_2_the_newest_published_head_is_in_every_report() {
    let world = World::at("2026-12-01T06:00:00");
    let heads: Vec<_> = (0..25).map(|n| json!({ "chain": format!("c{n}"), "seq": n, "hash": Hash::of("x") })).collect();
    let text = |number: u64| {
        let prev = Hash::NOTHING;
        json!({ "v": 1, "number": number, "at": "2026-12-01T05:55:00Z", "prev": prev, "heads": heads }).to_string()
    };
    for number in [1, 2] {
        world.heads.publish(number, &text(number)).await.unwrap();
    }
    let report = world.report("2026-11").await;
    let published = report.audit.published.unwrap();
    assert_eq!((published.number, published.sha256, published.overwritten), (2, Some(Hash::of(&text(2))), false));
    assert_eq!((published.heads.len(), published.other_heads, published.heads[3].seq), (20, 5, 3));
    assert_eq!(published.at, Some(time("2026-12-01T05:55:00")));
}

#[tokio::test]
async fn audit_4_long_lists_end_and_what_they_leave_out_is_counted() {
    let mut world = World::at("2026-12-01T06:00:00");
    for n in 0..60 {
        let by = actor(&format!("admin-{n:02}"));
        for job in 0..=n % 2 {
            let at = time("2026-11-03T09:00:00") + TimeDelta::hours(5 * job + n);
            world.make(&by, at, group(), &format!("reason number {n}"), false).await;
        }
        world.act(Action::RateLimited, &format!("admin-{n:02}"), time("2026-11-04T09:00:00")).await;
        world.make(&by, time("2026-11-05T09:00:00"), emergency("CISO"), "an emergency, and a long reason", true).await;
    }
    let report = world.report("2026-11").await;
    let of_user = &report.by_user;
    assert_eq!((of_user.items.len(), of_user.other_users, of_user.other_jobs), (50, 10, 10));
    assert_eq!(of_user.items[0].jobs, 2, "those with the most first");
    assert_eq!((report.top_reasons.items.len(), report.top_reasons.other_jobs), (20, 90 - 40));
    assert_eq!((report.refusals.items.len(), report.refusals.others, report.refusals.rate_limited), (20, 40, 60));
    assert_eq!((report.emergencies.items.len(), report.emergencies.others), (50, 10));
    assert_eq!((report.totals.users, report.totals.emergencies, report.totals.dry_runs), (60, 0, 60));
    assert_eq!(
        (report.suspicious.unusual_hours.without_history, report.suspicious.unusual_hours.not_judged.len()),
        (60, 20)
    );
}
