//! Months that take more than one run, and those that are not over.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use super::*;
use crate::audit::check::AuditReader;
use crate::audit::verify::Found;
use crate::ids::ChainId;
use crate::ports::{Page, PortResult};
use crate::report::{NoReport, ReportStore as _};
use crate::time::Clock as _;

/// A trail that takes its time: so much for a page. It counts them.
struct Slow {
    trail: Arc<Memory>,
    clock: Arc<TestClock>,
    pages: AtomicU64,
    takes: TimeDelta,
    /// From this page on it never answers.
    stops_at: u64,
}

impl Slow {
    fn of(world: &World, seconds: i64, stops_at: u64) -> Arc<Self> {
        let (trail, clock) = (world.store.clone(), world.clock.clone());
        Arc::new(Self { trail, clock, pages: AtomicU64::new(0), takes: TimeDelta::seconds(seconds), stops_at })
    }
}

#[async_trait]
impl AuditReader for Slow {
    async fn chains(&self, from: Option<&str>) -> PortResult<Page<Result<ChainId, String>>> {
        self.trail.chains(from).await
    }
    async fn chain(&self, chain: &ChainId, from: Option<&str>) -> PortResult<Page<Found>> {
        self.trail.chain(chain, from).await
    }
    async fn last(&self, chain: &ChainId) -> PortResult<Option<Found>> {
        self.trail.last(chain).await
    }
    async fn between(&self, since: DateTime<Utc>, until: DateTime<Utc>, from: Option<&str>) -> PortResult<Page<Found>> {
        self.clock.advance(self.takes);
        if self.pages.fetch_add(1, Ordering::SeqCst) >= self.stops_at {
            std::future::pending::<()>().await;
        }
        self.trail.between(since, until, from).await
    }
}

/// A month with something in it: jobs all over it, a burst over its beginning, and a day that is full.
async fn busy() -> World {
    let mut world = World::at("2026-12-01T06:00:00");
    for at in ["2026-10-31T23:50:00", "2026-10-31T23:55:00", "2026-11-01T00:10:00", "2026-11-01T00:20:00"] {
        world.job("park", time(at)).await;
    }
    for day in 1..29 {
        let at = time("2026-11-01T10:00:00") + TimeDelta::days(day);
        let job = world.job("kim", at).await;
        world.end(&job, Status::Completed, lost(3), at + TimeDelta::hours(20)).await;
    }
    for minute in 0..40 {
        world.act(Action::PermissionDenied, "mallory", time("2026-11-15T08:00:00") + TimeDelta::minutes(minute)).await;
    }
    world
}

#[tokio::test]
async fn audit_4_a_report_that_takes_several_runs_is_the_one_that_takes_one() {
    let (world, whole) = (busy().await, busy().await.report("2026-11").await);
    let slow = Slow::of(&world, 1, u64::MAX);
    let reporter = Reporter { trail: slow.clone(), ..world.reporter() };
    let (mut runs, mut far) = (0, whole.from - TimeDelta::hours(1));
    let report = loop {
        runs += 1;
        let deadline = world.clock.now() + TimeDelta::seconds(5);
        match reporter.report(month("2026-11"), deadline).await.unwrap() {
            Made::Report(report) => break report,
            Made::UnderWay { read_until, until } => {
                assert!(read_until >= far && until == whole.until && runs < 60, "{read_until}");
                far = read_until;
                assert_eq!(world.reports.kept().keys().collect::<Vec<_>>(), ["drafts/2026-11.json"]);
            }
        }
    };
    assert!(runs > 5, "{runs}");
    let same_time = Report { made_at: whole.made_at, ..*report };
    assert_eq!(same_time, whole);
    assert_eq!(findings(&whole), ["kim made 28", "park made 4 from 10-31 23:50 to 11-01 00:20"]);
    let pages = slow.pages.load(Ordering::SeqCst);
    assert!(pages < 120, "nothing is read again and again: {pages} pages");
}

/// The day of 40 entries has 14 pages; a run has time for five.
#[tokio::test]
async fn audit_4_a_day_that_no_run_has_time_for_is_read_in_parts() {
    let mut world = World::at("2026-12-01T06:00:00");
    for minute in 0..400 {
        world.act(Action::UserLogout, "kim", time("2026-11-15T08:00:00") + TimeDelta::minutes(minute)).await;
    }
    let reporter = Reporter { trail: Slow::of(&world, 1, u64::MAX), ..world.reporter() };
    for runs in 0.. {
        let deadline = world.clock.now() + TimeDelta::seconds(20);
        if let Made::Report(report) = reporter.report(month("2026-11"), deadline).await.unwrap() {
            assert_eq!(report.audit.sign_outs, 400);
            break;
        }
        assert!(runs < 200, "it goes on");
    }
}

/// How large the last draft is of a month with so many sign-outs and refusals.
async fn draft_of(entries: i64) -> usize {
    let mut world = World::at("2026-12-01T06:00:00");
    for n in 0..entries {
        let at = time("2026-11-03T00:00:00") + TimeDelta::seconds(n * 60);
        world.act(Action::UserLogout, "kim", at).await;
        world.act(Action::PermissionDenied, "mallory", at).await;
    }
    // Slow enough for a draft after every slice.
    let reporter = Reporter { trail: Slow::of(&world, 30, u64::MAX), ..world.reporter() };
    reporter.report(month("2026-11"), DateTime::<Utc>::MAX_UTC).await.unwrap();
    world.reports.kept()["drafts/2026-11.json"].len()
}

#[tokio::test]
async fn audit_4_what_is_remembered_of_a_month_does_not_grow_with_its_entries() {
    let (few, many) = (draft_of(10).await, draft_of(1_500).await);
    assert!(many < few + 20, "{few} bytes for 20 entries, {many} for 3,000: digits, and nothing else");
}

#[tokio::test]
async fn audit_4_whoever_comes_after_a_crash_goes_on_from_the_last_draft() {
    let (world, whole) = (busy().await, busy().await.report("2026-11").await);
    let dying = Reporter { trail: Slow::of(&world, 7, 40), ..world.reporter() };
    let mut run = Box::pin(dying.report(month("2026-11"), DateTime::<Utc>::MAX_UTC));
    assert!(futures::poll!(&mut run).is_pending(), "it waits for the page that never comes");
    drop(run);
    assert_eq!(world.reports.kept().keys().collect::<Vec<_>>(), ["drafts/2026-11.json"]);
    let next = Slow::of(&world, 1, u64::MAX);
    let reporter = Reporter { trail: next.clone(), ..world.reporter() };
    let Made::Report(report) = reporter.report(month("2026-11"), DateTime::<Utc>::MAX_UTC).await.unwrap() else {
        panic!("there is all the time")
    };
    assert_eq!(Report { made_at: whole.made_at, ..*report }, whole);
    let pages = next.pages.load(Ordering::SeqCst);
    assert!(pages < 35, "it does not begin anew: {pages} pages");
}

#[tokio::test]
async fn audit_4_a_finished_month_is_made_once_and_kept_in_both_languages() {
    let mut world = busy().await;
    let report = world.report("2026-11").await;
    let kept = world.reports.kept();
    let names: Vec<&str> = kept.keys().map(String::as_str).collect();
    assert_eq!(names, ["reports/2026-11.en.html", "reports/2026-11.json", "reports/2026-11.ko.html"]);
    assert_eq!(serde_json::from_str::<Report>(&kept["reports/2026-11.json"]).unwrap(), report);
    // Whatever happens later, it is the one that was kept.
    world.job("kim", time("2026-11-20T10:00:00")).await;
    world.clock.advance(TimeDelta::days(40));
    assert_eq!(world.report("2026-11").await, report);
    assert_eq!(world.reports.kept(), kept);
}

#[tokio::test]
async fn audit_4_the_running_month_is_made_anew_and_not_kept() {
    let mut world = World::at("2026-11-20T12:00:00");
    world.job("kim", time("2026-11-20T10:00:00")).await;
    let report = world.report("2026-11").await;
    assert!(!report.finished && report.until == time("2026-11-20T12:00:00"));
    assert_eq!((report.totals.jobs, report.by_day.len()), (1, 30));
    world.clock.advance(TimeDelta::hours(1));
    world.job("kim", time("2026-11-20T12:30:00")).await;
    assert_eq!(world.report("2026-11").await.totals.jobs, 2);
    assert!(world.reports.kept().is_empty());
}

/// An entry may be written later than its own time says; only then is the month's report final.
#[tokio::test]
async fn audit_4_a_month_is_final_once_late_entries_must_be_there() {
    let world = World::at("2026-12-01T00:29:59");
    assert!(!world.report("2026-11").await.finished);
    assert_eq!(world.reporter().last_month(), month("2026-10"));
    world.clock.advance(TimeDelta::seconds(1));
    assert!(world.report("2026-11").await.finished);
    assert_eq!(world.reporter().last_month(), month("2026-11"));
}

#[tokio::test]
async fn audit_4_a_month_to_come_has_no_report() {
    let world = World::at("2026-11-20T12:00:00");
    let none = world.reporter().report(month("2026-12"), DateTime::<Utc>::MAX_UTC).await;
    assert!(matches!(none, Err(NoReport::Future)), "{none:?}");
}

#[tokio::test]
async fn audit_4_a_draft_of_another_time_or_version_is_not_gone_on_with() {
    let mut world = busy().await;
    world.clock.advance(TimeDelta::days(-10));
    let soon = world.clock.now();
    let none = world.reporter().report(month("2026-11"), soon).await.unwrap();
    assert!(matches!(none, Made::UnderWay { .. }));
    world.clock.advance(TimeDelta::minutes(20));
    world.job("kim", time("2026-11-21T06:10:00")).await;
    let report = world.report("2026-11").await;
    assert_eq!(report.until, time("2026-11-21T06:20:00"), "what happened since is in it");
    for broken in ["", "{}", "{\"version\":0}"] {
        world.reports.replace("drafts/2026-11.json", broken).await.unwrap();
        assert_eq!(world.report("2026-11").await.totals, report.totals, "{broken}");
    }
}

#[tokio::test]
async fn audit_4_while_a_store_is_away_there_is_no_report_and_nothing_is_kept() {
    let world = busy().await;
    world.store.set_down(true);
    let none = world.reporter().report(month("2026-11"), DateTime::<Utc>::MAX_UTC).await;
    assert!(matches!(none, Err(NoReport::Port(_))), "{none:?}");
    assert!(world.reports.kept().is_empty());
}
