//! Calendar months, and the time zone in which they begin and end.

use std::fmt;

use chrono::{DateTime, Datelike as _, Months, NaiveDate, NaiveTime, TimeDelta, TimeZone as _, Timelike as _, Utc};
use chrono_tz::Tz;

/// No entry is older than this year.
const FIRST_YEAR: i32 = 2000;

/// Where months begin and end, and what an hour of the day is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone(Tz);

/// A name that is no time zone's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no time zone, such as UTC or Asia/Seoul")]
pub struct NoZone;

impl Zone {
    /// UTC.
    pub const UTC: Self = Self(Tz::UTC);

    /// By its name in the IANA database.
    pub fn parse(name: &str) -> Result<Self, NoZone> {
        name.parse().map(Self).map_err(|_| NoZone)
    }

    /// Its name in the IANA database.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// The date of a moment.
    pub fn date(self, at: DateTime<Utc>) -> NaiveDate {
        at.with_timezone(&self.0).date_naive()
    }

    /// The hour of the day of a moment, from 0 to 23.
    pub fn hour(self, at: DateTime<Utc>) -> u8 {
        u8::try_from(at.with_timezone(&self.0).hour()).unwrap_or_default()
    }

    /// A moment as the clocks there show it.
    pub(super) fn local(self, at: DateTime<Utc>) -> DateTime<Tz> {
        at.with_timezone(&self.0)
    }

    /// When a day begins. Where clocks are put forward at midnight, it begins later.
    fn start_of(self, day: NaiveDate) -> DateTime<Utc> {
        let midnight = day.and_time(NaiveTime::MIN);
        let quarters = (0..=12).map(|quarters| midnight + TimeDelta::minutes(15 * quarters));
        let starts = quarters.filter_map(|start| self.0.from_local_datetime(&start).earliest());
        starts.map(|start| start.with_timezone(&Utc)).next().unwrap_or(midnight.and_utc())
    }
}

/// A month, written `2026-11`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month(NaiveDate);

/// A text that is no month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a month from 2000-01 on, written YYYY-MM")]
pub struct NoMonth;

impl Month {
    /// Reads `YYYY-MM`.
    pub fn parse(text: &str) -> Result<Self, NoMonth> {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let (year, month) = text.split_once('-').ok_or(NoMonth)?;
        if (year.len(), month.len()) != (4, 2) || !digits(year) || !digits(month) {
            return Err(NoMonth);
        }
        let (year, month) = (year.parse().map_err(|_| NoMonth)?, month.parse().map_err(|_| NoMonth)?);
        NaiveDate::from_ymd_opt(year, month, 1).filter(|_| year >= FIRST_YEAR).map(Self).ok_or(NoMonth)
    }

    /// The month of a moment.
    pub fn of(at: DateTime<Utc>, zone: Zone) -> Self {
        let date = zone.date(at);
        Self(date.with_day(1).unwrap_or(date))
    }

    /// The month before.
    #[must_use]
    pub fn before(self) -> Self {
        Self(self.0.checked_sub_months(Months::new(1)).unwrap_or(self.0))
    }

    /// The month after.
    #[must_use]
    pub fn after(self) -> Self {
        Self(self.0.checked_add_months(Months::new(1)).unwrap_or(self.0))
    }

    /// When it begins and, with the beginning of the next, ends.
    pub fn span(self, zone: Zone) -> (DateTime<Utc>, DateTime<Utc>) {
        (zone.start_of(self.0), zone.start_of(self.after().0))
    }

    /// Its days.
    pub fn days(self) -> impl Iterator<Item = NaiveDate> {
        self.0.iter_days().take_while(move |day| day.month() == self.0.month())
    }

    /// Its first day.
    pub fn first_day(self) -> NaiveDate {
        self.0
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn a_month_is_four_digits_a_dash_and_two() {
        for good in ["2026-11", "2000-01", "9998-12"] {
            assert_eq!(Month::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "2026",
            "2026-13",
            "2026-00",
            "2026-1",
            "26-11",
            "2026-011",
            "+026-11",
            "1999-12",
            "2026-11-01",
            "２０２６-11",
            "2026−11",
            "2026-11 ",
        ] {
            assert_eq!(Month::parse(bad), Err(NoMonth), "{bad}");
        }
    }

    #[test]
    fn a_month_begins_and_ends_where_its_people_are() {
        let seoul = Zone::parse("Asia/Seoul").unwrap();
        let month = Month::parse("2026-12").unwrap();
        let (from, until) = month.span(seoul);
        assert_eq!(
            (from.to_rfc3339(), until.to_rfc3339()),
            ("2026-11-30T15:00:00+00:00".to_owned(), "2026-12-31T15:00:00+00:00".to_owned())
        );
        assert_eq!((Month::of(from, seoul), Month::of(until, seoul)), (month, month.after()));
        assert_eq!(Month::of(from, Zone::UTC), month.before());
        assert_eq!(month.days().count(), 31);
        assert_eq!(Month::parse("2028-02").unwrap().days().count(), 29);
    }

    #[test]
    fn a_month_whose_midnight_is_left_out_begins_an_hour_later() {
        // Paraguay put its clocks forward at midnight of 1 October 2017.
        let zone = Zone::parse("America/Asuncion").unwrap();
        let (from, _) = Month::parse("2017-10").unwrap().span(zone);
        assert_eq!(from.to_rfc3339(), "2017-10-01T04:00:00+00:00");
        assert_eq!(zone.hour(from), 1);
        assert_eq!(Zone::parse("Mars/Olympus"), Err(NoZone));
    }
}
