//! A year as it may be, with what must be found planted in it.

use super::*;
use crate::directory::SCHEDULE;

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// An ordinary month: three admins by day and one by night, six jobs and two dry runs each at their hours, on days of
/// their own; the daily clean-up; dry runs by the dozen.
async fn ordinary(world: &mut World, first: DateTime<Utc>, dice: &mut Dice) {
    for (by, hour, span) in [("kim", 9, 8), ("lee", 9, 8), ("choi", 10, 6), ("park", 22, 5)] {
        for n in 0..8 {
            let day = first + TimeDelta::days(2 + 3 * n);
            let at = day + TimeDelta::hours(hour + dice.roll(span)) + TimeDelta::minutes(dice.roll(60));
            if n >= 6 {
                world.make(&actor(by), at, group(), "only counting", true).await;
                continue;
            }
            let job = world.job(by, at).await;
            let statistics = lost(u64::try_from(1 + dice.roll(40)).unwrap());
            world.end(&job, Status::Completed, statistics, at + TimeDelta::minutes(3)).await;
        }
    }
    let schedule = Actor { id: UserId::parse(SCHEDULE).unwrap(), email: None, name: None };
    for day in 0..28 {
        let at = first + TimeDelta::days(day) + TimeDelta::hours(3) + TimeDelta::minutes(17);
        for _ in 0..2 {
            let job = world.make(&schedule, at, old(), "Daily clean-up", false).await;
            world.end(&job, Status::Completed, lost(2), at + TimeDelta::minutes(1)).await;
        }
    }
    // Twelve dry runs within minutes, at night: they end nothing.
    for minute in 0..12 {
        let at = first + TimeDelta::days(20) + TimeDelta::hours(3) + TimeDelta::minutes(minute);
        world.make(&actor("lee"), at, group(), "only counting", true).await;
    }
}

#[tokio::test]
async fn audit_4_the_reports_of_a_year_find_what_is_planted_in_it_and_nothing_else() {
    let mut world = World::at("2027-01-01T06:00:00");
    let mut dice = Dice(20_261_121);
    // Three months of before give everybody a habit.
    let months = ["2025-10", "2025-11", "2025-12"].into_iter().map(month);
    let year: Vec<Month> =
        std::iter::successors(Some(month("2026-01")), |month| Some(month.after())).take(12).collect();
    for month in months.chain(year.iter().copied()) {
        ordinary(&mut world, month.span(Zone::UTC).0, &mut dice).await;
    }
    // March: kim makes five more, which are eleven, and lee four more, which are ten.
    for day in 1..6 {
        world.job("kim", time("2026-03-01T12:00:00") + TimeDelta::days(4 * day - 3)).await;
    }
    for day in [5, 9, 13, 17] {
        world.job("lee", time("2026-03-01T12:00:00") + TimeDelta::days(day)).await;
    }
    // May and June: park, who works at night, makes two and two around the month's edge; choi makes three within an hour,
    // and the fourth an hour after the first.
    for at in ["2026-05-31T23:20:00", "2026-05-31T23:40:00", "2026-06-01T00:05:00", "2026-06-01T00:19:59"] {
        world.job("park", time(at)).await;
    }
    for at in ["2026-05-06T11:00:00", "2026-05-06T11:30:00", "2026-05-06T11:50:00", "2026-05-06T12:00:00"] {
        world.job("choi", time(at) + TimeDelta::milliseconds(i64::from(at.contains("12:00")))).await;
    }
    // August: four within the hour before the edge belong to August alone, though September has one more an hour later.
    for at in [
        "2026-08-31T23:00:00",
        "2026-08-31T23:01:00",
        "2026-08-31T23:02:00",
        "2026-08-31T23:03:00",
        "2026-09-01T00:30:00",
    ] {
        world.job("park", time(at)).await;
    }
    // September: choi at half past three in the morning. An hour before the first usual one is nothing.
    world.job("choi", time("2026-09-15T03:30:00")).await;
    world.job("choi", time("2026-09-16T09:00:00")).await;
    // Somebody new, in the middle of the night: nobody knows what is usual.
    world.job("jung", time("2026-10-05T02:00:00")).await;

    for month in year {
        let expected: &[&str] = match month.to_string().as_str() {
            "2026-03" => &["kim made 11"],
            "2026-06" => &["park made 4 from 05-31 23:20 to 06-01 00:19"],
            "2026-08" => &["park made 4 from 08-31 23:00 to 08-31 23:03"],
            "2026-09" => &["choi made 1 at odd hours: 09-15 03:30"],
            _ => &[],
        };
        let report = world.report(&month.to_string()).await;
        assert_eq!(findings(&report), expected, "{month}");
        assert!(report.finished && report.audit.unreadable == 0);
        let of_days: u64 = report.by_day.iter().map(|day| day.jobs).sum();
        let of_users: u64 = report.by_user.items.iter().map(|of| of.jobs).sum();
        let sums = [of_days, of_users, report.by_hour.iter().sum(), report.by_type.iter().map(|of| of.jobs).sum()];
        assert_eq!(sums, [report.totals.jobs; 4], "{month}: every way to count comes to the same");
        assert_eq!((report.totals.scheduled_jobs, report.totals.dry_runs), (56, 20), "{month}");
        let reasons: u64 = report.top_reasons.items.iter().map(|of| of.jobs).sum();
        assert_eq!(reasons + report.top_reasons.other_jobs, report.totals.jobs - 56, "{month}: the clean-up has none");
        let strangers: Vec<&str> = report.suspicious.unusual_hours.not_judged.iter().map(|who| &*who.id).collect();
        assert_eq!(strangers, if month.to_string() == "2026-10" { vec!["jung"] } else { vec![] }, "{month}");
    }
}

/// The time zone decides what a night is, and in which month a job is.
#[tokio::test]
async fn audit_4_months_and_hours_are_those_of_the_time_zone() {
    let mut world = World::at("2026-12-10T00:00:00");
    world.zone = Zone::parse("Asia/Seoul").unwrap();
    // Ten in the morning in Seoul.
    world.history("kim", time("2026-10-30T00:00:00"), 1).await;
    world.job("kim", time("2026-10-31T15:00:00")).await;
    world.job("kim", time("2026-11-20T02:00:00")).await;
    world.job("kim", time("2026-11-30T15:00:00")).await;
    let report = world.report("2026-11").await;
    assert_eq!(report.totals.jobs, 2, "the first of November begins at three in the afternoon in Greenwich");
    assert_eq!(findings(&report), ["kim made 1 at odd hours: 10-31 15:00"]);
    assert_eq!((report.by_hour[0], report.by_hour[11]), (1, 1));
    assert_eq!(report.by_day[0].jobs, 1);
}

/// What is usual is what was so before: a new habit is not one while it is new, and what is long ago is none any more.
#[tokio::test]
async fn audit_4_a_habit_is_of_the_ninety_days_before_the_month() {
    let mut world = World::at("2027-01-01T06:00:00");
    world.history("lee", time("2026-11-01T00:00:00"), 10).await;
    // By night, longer ago than counts.
    for day in 0..29 {
        world.job("lee", time("2026-05-01T03:00:00") + TimeDelta::days(2 * day)).await;
    }
    for day in 1..=9 {
        world.job("lee", time("2026-11-01T02:30:00") + TimeDelta::days(2 * day)).await;
    }
    assert_eq!(findings(&world.report("2026-11").await).len(), 1);
    // By December nine of thirty were made so.
    world.job("lee", time("2026-12-05T02:00:00")).await;
    assert_eq!(findings(&world.report("2026-12").await), Vec::<String>::new());
}
