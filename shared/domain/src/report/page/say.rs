//! Numbers, times and sentences in each language.

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};

use super::Language;
use crate::report::month::Zone;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A whole number, in groups of three digits; both languages write it so.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Hours of the day as spans: from the first hour of each to the end of its last. One that goes over midnight is one.
pub(super) fn hours(hours: &[u8]) -> String {
    let has = |hour: u8| hours.contains(&(hour % 24));
    if (0..24).all(has) {
        return "00–24".to_owned();
    }
    let starts = (0..24_u8).filter(|hour| has(*hour) && !has(hour + 23));
    let spans = starts.map(|start| {
        let end = (start + 1..start + 24).find(|hour| !has(*hour)).unwrap_or(start + 24);
        let end = if end > 24 { end - 24 } else { end };
        format!("{start:02}–{end:02}")
    });
    spans.collect::<Vec<_>>().join(", ")
}

impl Language {
    pub(super) fn month(self, first: NaiveDate) -> String {
        match self {
            Self::English => format!("{} {}", MONTHS[first.month0() as usize], first.year()),
            Self::Korean => format!("{}년 {}월", first.year(), first.month()),
        }
    }

    pub(super) fn date(self, date: NaiveDate) -> String {
        match self {
            Self::English => format!("{} {} {}", date.day(), MONTHS[date.month0() as usize], date.year()),
            Self::Korean => format!("{}년 {}월 {}일", date.year(), date.month(), date.day()),
        }
    }

    /// A moment to the minute, by the clocks of the zone.
    pub(super) fn minute(self, at: DateTime<Utc>, zone: Zone) -> String {
        let local = zone.local(at);
        format!("{} {}", self.date(local.date_naive()), local.format("%H:%M"))
    }

    pub(super) fn period(self, from: DateTime<Utc>, until: DateTime<Utc>, zone: Zone) -> String {
        let (from, until, name) = (self.minute(from, zone), self.minute(until, zone), zone.name());
        match self {
            Self::English => format!("From {from} to {until}, time zone {name}"),
            Self::Korean => format!("{from}부터 {until}까지, 시간대 {name}"),
        }
    }

    pub(super) fn made(self, at: DateTime<Utc>, zone: Zone) -> String {
        let at = self.minute(at, zone);
        match self {
            Self::English => format!("Made on {at}"),
            Self::Korean => format!("{at} 작성"),
        }
    }

    pub(super) fn unreadable(self, entries: u64) -> String {
        let count = number(entries);
        match self {
            Self::English if entries == 1 => "One audit entry of this month is not what was written.".to_owned(),
            Self::English => format!("{count} audit entries of this month are not what was written."),
            Self::Korean => format!("이 달의 감사 기록 {count}건이 기록된 내용과 다릅니다."),
        }
    }

    /// What a chart shows, for those who do not see it.
    pub(super) fn described(self, what: &str, sum: u64, most: Option<(String, u64)>) -> String {
        let (sum, most) = (number(sum), most.map(|(where_to, most)| (where_to, number(most))));
        match (self, most) {
            (Self::English, Some((place, most))) => format!("{what}: {sum} in all; the most, {most}: {place}."),
            (Self::English, None) => format!("{what}: none."),
            (Self::Korean, Some((place, most))) => {
                format!("{what}: 모두 {sum}건, 가장 많은 것은 {place} {most}건입니다.")
            }
            (Self::Korean, None) => format!("{what}: 없음."),
        }
    }

    pub(super) fn by_hour_table(self, zone: Zone) -> String {
        match self {
            Self::English => format!("Jobs of each hour of the day, without dry runs, time zone {}", zone.name()),
            Self::Korean => format!("시간대별 작업 수(모의 실행 제외), 시간대 {}", zone.name()),
        }
    }

    pub(super) fn hour(self, hour: usize) -> String {
        match self {
            Self::English => format!("{hour:02}:00"),
            Self::Korean => format!("{hour}시"),
        }
    }

    pub(super) fn tokens(self, access: u64, refresh: u64) -> String {
        let (access, refresh) = (number(access), number(refresh));
        match self {
            Self::English => format!("{access} access, {refresh} refresh"),
            Self::Korean => format!("액세스 {access}, 리프레시 {refresh}"),
        }
    }

    pub(super) fn jobs_made(self, users: u64, dry_runs: u64) -> String {
        let (count, dry) = (number(users), number(dry_runs));
        match self {
            Self::English => {
                let by = if users == 1 { "user" } else { "users" };
                let dry_word = if dry_runs == 1 { "dry run" } else { "dry runs" };
                format!("by {count} {by}; {dry} {dry_word}")
            }
            Self::Korean => format!("사용자 {count}명, 모의 실행 {dry}건"),
        }
    }

    pub(super) fn drills(self, drills: u64) -> Option<String> {
        let count = number(drills);
        match self {
            _ if drills == 0 => None,
            Self::English if drills == 1 => Some("and one drill".to_owned()),
            Self::English => Some(format!("and {count} drills")),
            Self::Korean => Some(format!("훈련 {count}건 별도")),
        }
    }

    pub(super) fn ended(self, completed: u64, cancelled: u64, open: u64) -> String {
        let (completed, cancelled, open) = (number(completed), number(cancelled), number(open));
        match self {
            Self::English => format!("{completed} completed, {cancelled} cancelled, {open} not ended"),
            Self::Korean => format!("완료 {completed}, 취소 {cancelled}, 진행 중 {open}"),
        }
    }

    pub(super) fn history(self, jobs: u64) -> String {
        let jobs = number(jobs);
        match self {
            Self::English => format!("by {jobs} jobs and dry runs"),
            Self::Korean => format!("작업과 모의 실행 {jobs}건 기준"),
        }
    }

    /// Lines that a list leaves out.
    pub(super) fn more(self, others: u64) -> Option<String> {
        let count = number(others);
        match self {
            _ if others == 0 => None,
            Self::English => Some(format!("And {count} more.")),
            Self::Korean => Some(format!("그 밖에 {count}건이 더 있습니다.")),
        }
    }

    pub(super) fn more_users(self, users: u64, jobs: u64) -> Option<String> {
        let (count, jobs) = (number(users), number(jobs));
        match self {
            _ if users == 0 => None,
            Self::English => Some(format!("And {count} more users with {jobs} jobs.")),
            Self::Korean => Some(format!("그 밖에 사용자 {count}명의 작업 {jobs}건이 더 있습니다.")),
        }
    }

    pub(super) fn more_reasons(self, jobs: u64) -> Option<String> {
        let count = number(jobs);
        match self {
            _ if jobs == 0 => None,
            Self::English => Some(format!("Jobs for other reasons: {count}.")),
            Self::Korean => Some(format!("다른 사유의 작업: {count}건.")),
        }
    }

    pub(super) fn more_refusals(self, refusals: u64) -> Option<String> {
        let count = number(refusals);
        match self {
            _ if refusals == 0 => None,
            Self::English => Some(format!("Refusals of others: {count}.")),
            Self::Korean => Some(format!("다른 사용자의 거부된 요청: {count}건.")),
        }
    }

    pub(super) fn more_names(self, names: &[String], all: u64) -> String {
        let others = all.saturating_sub(names.len() as u64);
        let (listed, count) = (names.join(", "), number(others));
        match self {
            _ if others == 0 => listed,
            Self::English => format!("{listed} and {count} more"),
            Self::Korean => format!("{listed} 외 {count}명"),
        }
    }

    pub(super) fn trail(self, entries: u64, keys: u64, sign_outs: u64, revoked: u64) -> String {
        let [entries, keys, sign_outs, revoked] = [entries, keys, sign_outs, revoked].map(number);
        match self {
            Self::English => format!(
                "Entries of the month: {entries}. Among them are {keys} emergency keys that were mailed, {sign_outs} sign-outs by \
                 users, and {revoked} tokens that clients revoked."
            ),
            Self::Korean => format!(
                "이 달의 감사 기록은 {entries}건입니다. 이 가운데 긴급 인증번호 발송 {keys}건, 사용자 로그아웃 {sign_outs}건, \
                 클라이언트의 토큰 폐기 {revoked}건이 있습니다."
            ),
        }
    }

    pub(super) fn published(self, publication: u64, at: Option<DateTime<Utc>>, zone: Zone) -> String {
        let (publication, at) = (number(publication), at.map(|at| self.minute(at, zone)));
        match (self, at) {
            (Self::English, Some(at)) => format!("Newest published audit head: number {publication}, {at}. SHA-256:"),
            (Self::English, None) => format!("Newest published audit head: number {publication}; it cannot be read."),
            (Self::Korean, Some(at)) => format!("가장 최근에 공개된 감사 헤드: {publication}번, {at}. SHA-256:"),
            (Self::Korean, None) => format!("가장 최근에 공개된 감사 헤드: {publication}번, 읽을 수 없습니다."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audit_4_numbers_are_written_in_groups() {
        for (plain, written) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(plain), written);
        }
        assert_eq!(number(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn audit_4_hours_are_written_as_spans_also_over_midnight() {
        assert_eq!(hours(&[8, 9, 10, 16, 17]), "08–11, 16–18");
        assert_eq!(hours(&[0, 1, 22, 23]), "22–02");
        assert_eq!(hours(&[22, 23]), "22–24");
        assert_eq!(hours(&[]), "");
        assert_eq!(hours(&(0..24).collect::<Vec<_>>()), "00–24");
    }
}
