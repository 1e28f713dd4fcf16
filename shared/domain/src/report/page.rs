//! The report as one page of HTML: no scripts, nothing from outside, in the reader's language.
//!
//! Names and reasons are others' words: the template escapes them, `<bdi>` keeps their direction to themselves, and
//! control characters are taken out. Only charts and the style sheet, which are all ours, go in as they are.

mod chart;
mod say;
mod words;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{Datelike as _, NaiveDate};
use sha2::{Digest as _, Sha256};

use self::chart::{Bar, Said};
pub(crate) use self::say::number;
use self::words::{ENGLISH, KOREAN, Words};
use super::month::{Month, Zone};
use super::view::{self, Report};
use crate::directory::SCHEDULE;
use crate::mail::one_line;
pub use crate::notice::Language;

const CSS: &str = include_str!("../../templates/report/page.css");

/// What a browser may do with the page: show it, with this style sheet.
pub fn policy() -> String {
    let hash = STANDARD.encode(Sha256::digest(CSS.as_bytes()));
    format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'")
}

/// Somebody, in two lines at most.
struct Person {
    main: String,
    more: Option<String>,
}

struct Figure {
    name: &'static str,
    number: String,
    more: Option<String>,
    alarm: bool,
}

struct Cell {
    label: String,
    jobs: String,
    is_none: bool,
}

struct Many {
    user: Person,
    jobs: String,
}

struct Succession {
    user: Person,
    first: String,
    last: String,
    jobs: String,
}

struct Example {
    at: String,
    job: String,
}

struct Unusual {
    user: Person,
    jobs: String,
    hours: String,
    history: String,
    examples: Vec<Example>,
}

struct Emergency {
    at: String,
    job: String,
    user: Person,
    authorized_by: String,
    reason: String,
    outcome: &'static str,
    affected_users: String,
}

struct OfType {
    kind: &'static str,
    jobs: String,
    completed: String,
    failed: String,
    cancelled: String,
    affected_users: String,
    tokens: String,
}

struct OfUser {
    user: Person,
    jobs: String,
    dry_runs: String,
    failed: String,
    cancelled: String,
    affected_users: String,
    tokens: String,
}

struct Reason {
    reason: String,
    jobs: String,
}

struct Failure {
    at: String,
    job: String,
    kind: &'static str,
    user: Person,
    chunks_failed: String,
}

struct Refused {
    user: Person,
    permission_denied: String,
    rate_limited: String,
    wrong_keys: String,
}

struct Head {
    chain: String,
    place: String,
    hash: String,
}

struct Published {
    what: String,
    hash: Option<String>,
    heads: Vec<Head>,
    more: Option<String>,
}

#[derive(Template)]
#[template(path = "report/page.html")]
struct Page<'a> {
    r: &'a Report,
    w: &'static Words,
    lang: &'static str,
    policy: String,
    css: &'static str,
    month: String,
    period: String,
    made: String,
    unreadable: String,
    overwritten: bool,
    figures: Vec<Figure>,
    findings: u64,
    excessive: Vec<Many>,
    excessive_more: Option<String>,
    rapid: Vec<Succession>,
    rapid_more: Option<String>,
    unusual: Vec<Unusual>,
    unusual_more: Option<String>,
    not_judged: Option<String>,
    emergencies: Vec<Emergency>,
    emergencies_more: Option<String>,
    day_charts: String,
    weeks: Vec<Vec<Option<Cell>>>,
    type_charts: String,
    by_type: Vec<OfType>,
    hour_charts: String,
    by_hour_table: String,
    hours: Vec<Vec<Cell>>,
    by_user: Vec<OfUser>,
    by_user_more: Option<String>,
    reasons: Vec<Reason>,
    reasons_more: Option<String>,
    failures: Vec<Failure>,
    failures_more: Option<String>,
    refusals: Vec<Refused>,
    refusals_more: Option<String>,
    trail: String,
    published: Option<Published>,
}

/// What writes a page.
struct Writer<'a> {
    report: &'a Report,
    language: Language,
    words: &'static Words,
    zone: Zone,
}

impl Report {
    /// Its month, in words.
    pub fn month_in(&self, language: Language) -> String {
        Month::parse(&self.month).map_or_else(|_| self.month.clone(), |month| language.month(month.first_day()))
    }
}

/// A report as a page.
pub fn page(report: &Report, language: Language) -> String {
    let words = match language {
        Language::English => &ENGLISH,
        Language::Korean => &KOREAN,
    };
    // Times without their zone would mislead; one that this version does not know is shown in UTC, and says so.
    let zone = Zone::parse(&report.time_zone).unwrap_or(Zone::UTC);
    let page = Writer { report, language, words, zone }.page();
    page.render().unwrap_or_else(|cause| unreachable!("writing texts and numbers to memory failed: {cause}"))
}

fn cell(label: String, jobs: u64) -> Cell {
    Cell { label, jobs: number(jobs), is_none: jobs == 0 }
}

/// What is the most, if there is anything.
fn most<T>(of: impl Iterator<Item = (T, u64)>) -> Option<(T, u64)> {
    // Of several the first.
    of.filter(|(_, jobs)| *jobs > 0).reduce(|most, next| if next.1 > most.1 { next } else { most })
}

impl<'a> Writer<'a> {
    fn page(&self) -> Page<'a> {
        let (r, language) = (self.report, self.language);
        let (suspicious, audit) = (&r.suspicious, &r.audit);
        Page {
            r,
            w: self.words,
            lang: language.tag(),
            policy: policy(),
            css: CSS,
            month: r.month_in(language),
            period: language.period(r.from, r.until, self.zone),
            made: language.made(r.made_at, self.zone),
            unreadable: language.unreadable(audit.unreadable),
            overwritten: audit.published.as_ref().is_some_and(|published| published.overwritten),
            figures: self.figures(),
            findings: r.findings(),
            excessive: self.excessive(),
            excessive_more: language.more(suspicious.excessive.others),
            rapid: self.rapid(),
            rapid_more: language.more(suspicious.rapid_succession.others),
            unusual: self.unusual(),
            unusual_more: language.more(suspicious.unusual_hours.others),
            not_judged: self.not_judged(),
            emergencies: self.emergencies(),
            emergencies_more: language.more(r.emergencies.others),
            day_charts: self.day_charts(),
            weeks: self.weeks(),
            type_charts: self.type_charts(),
            by_type: self.by_type(),
            hour_charts: self.hour_charts(),
            by_hour_table: language.by_hour_table(self.zone),
            hours: self.hours(),
            by_user: self.by_user(),
            by_user_more: language.more_users(r.by_user.other_users, r.by_user.other_jobs),
            reasons: self.reasons(),
            reasons_more: language.more_reasons(r.top_reasons.other_jobs),
            failures: self.failures(),
            failures_more: language.more(r.failed_operations.others),
            refusals: self.refusals(),
            refusals_more: language.more_refusals(r.refusals.others),
            trail: language.trail(audit.entries, audit.emergency_keys, audit.sign_outs, audit.tokens_revoked),
            published: self.published(),
        }
    }

    fn person(&self, person: &view::Person) -> Person {
        if person.id == SCHEDULE {
            return Person { main: self.words.clean_up.to_owned(), more: Some(person.id.clone()) };
        }
        let told = [person.name.as_deref(), person.email.as_deref(), Some(person.id.as_str())];
        let mut told = told.into_iter().flatten().map(one_line).filter(|text| !text.is_empty());
        Person { main: told.next().unwrap_or_default(), more: told.next() }
    }

    fn figures(&self) -> Vec<Figure> {
        let (r, w, language) = (self.report, self.words, self.language);
        let totals = &r.totals;
        let figure = |name, count, more, alarm| Figure { name, number: number(count), more, alarm };
        let tokens = totals.access_tokens + totals.refresh_tokens;
        let drills = r.emergencies.items.len() as u64 + r.emergencies.others;
        let drills = drills.saturating_sub(totals.emergencies);
        vec![
            figure(w.jobs, totals.jobs, Some(language.jobs_made(totals.users, totals.dry_runs)), false),
            figure(w.affected_users, totals.affected_users, Some(w.once_for_each_job.to_owned()), false),
            figure(w.tokens, tokens, Some(language.tokens(totals.access_tokens, totals.refresh_tokens)), false),
            figure(w.sessions, totals.sessions, None, false),
            figure(w.findings, r.findings(), None, r.findings() > 0),
            figure(w.emergencies, totals.emergencies, language.drills(drills), totals.emergencies > 0),
            figure(
                w.failures,
                totals.failed,
                Some(language.ended(totals.completed, totals.cancelled, totals.open)),
                totals.failed > 0,
            ),
            figure(w.refusals, r.refused(), None, false),
        ]
    }

    fn excessive(&self) -> Vec<Many> {
        let items = self.report.suspicious.excessive.items.iter();
        items.map(|many| Many { user: self.person(&many.user), jobs: number(many.jobs) }).collect()
    }

    fn rapid(&self) -> Vec<Succession> {
        let items = self.report.suspicious.rapid_succession.items.iter();
        let line = |of: &view::Succession| Succession {
            user: self.person(&of.user),
            first: self.language.minute(of.first, self.zone),
            last: self.language.minute(of.last, self.zone),
            jobs: number(of.jobs),
        };
        items.map(line).collect()
    }

    fn unusual(&self) -> Vec<Unusual> {
        let example =
            |of: &view::Example| Example { at: self.language.minute(of.at, self.zone), job: one_line(&of.job_id) };
        let line = |of: &view::UnusualHours| Unusual {
            user: self.person(&of.user),
            jobs: number(of.jobs),
            hours: say::hours(&of.usual_hours),
            history: self.language.history(of.history),
            examples: of.examples.iter().map(example).collect(),
        };
        self.report.suspicious.unusual_hours.items.iter().map(line).collect()
    }

    fn not_judged(&self) -> Option<String> {
        let of = &self.report.suspicious.unusual_hours;
        let names: Vec<String> = of.not_judged.iter().map(|person| self.person(person).main).collect();
        (!names.is_empty()).then(|| self.language.more_names(&names, of.without_history))
    }

    fn emergencies(&self) -> Vec<Emergency> {
        let line = |of: &view::Emergency| Emergency {
            at: self.language.minute(of.at, self.zone),
            job: one_line(&of.job_id),
            user: self.person(&of.user),
            authorized_by: one_line(&of.authorized_by),
            reason: one_line(&of.reason),
            outcome: if of.drill { self.words.drill } else { self.words.ended(of.ended.as_deref()) },
            affected_users: number(of.affected_users),
        };
        self.report.emergencies.items.iter().map(line).collect()
    }

    fn day_charts(&self) -> String {
        let (days, language) = (&self.report.by_day, self.language);
        let bar = |day: &view::OfDay| Bar { label: day.date.day().to_string(), jobs: day.jobs, dry_runs: day.dry_runs };
        let bars: Vec<Bar> = days.iter().map(bar).collect();
        let most = most(days.iter().map(|day| (language.date(day.date), day.jobs)));
        let description = language.described(self.words.jobs, self.report.totals.jobs, most);
        let said = Said { id: "days", title: self.words.by_day, description: &description };
        // The 1st, and every fifth.
        chart::columns(&bars, &said, |index| index == 0 || (index + 1) % 5 == 0)
    }

    /// The days as a calendar has them: weeks that begin on Monday.
    fn weeks(&self) -> Vec<Vec<Option<Cell>>> {
        let mut weeks: Vec<Vec<Option<Cell>>> = Vec::new();
        let weekday = |date: NaiveDate| date.weekday().num_days_from_monday() as usize;
        for day in &self.report.by_day {
            if weekday(day.date) == 0 || weeks.is_empty() {
                weeks.push((0..7).map(|_| None).collect());
            }
            if let Some(place) = weeks.last_mut().and_then(|week| week.get_mut(weekday(day.date))) {
                *place = Some(cell(day.date.day().to_string(), day.jobs));
            }
        }
        weeks
    }

    fn type_charts(&self) -> String {
        let bar =
            |of: &view::OfType| Bar { label: self.words.kind_of(of.job_type).to_owned(), jobs: of.jobs, dry_runs: 0 };
        let bars: Vec<Bar> = self.report.by_type.iter().map(bar).collect();
        let most = most(bars.iter().map(|bar| (bar.label.clone(), bar.jobs)));
        let description = self.language.described(self.words.jobs, self.report.totals.jobs, most);
        chart::rows(&bars, &Said { id: "types", title: self.words.by_type, description: &description })
    }

    fn by_type(&self) -> Vec<OfType> {
        let line = |of: &view::OfType| OfType {
            kind: self.words.kind_of(of.job_type),
            jobs: number(of.jobs),
            completed: number(of.completed),
            failed: number(of.failed),
            cancelled: number(of.cancelled),
            affected_users: number(of.affected_users),
            tokens: number(of.tokens),
        };
        self.report.by_type.iter().map(line).collect()
    }

    fn hour_charts(&self) -> String {
        let hours = self.report.by_hour.iter().enumerate();
        let bar = |(hour, jobs): (usize, &u64)| Bar { label: hour.to_string(), jobs: *jobs, dry_runs: 0 };
        let bars: Vec<Bar> = hours.clone().map(bar).collect();
        let most = most(hours.map(|(hour, jobs)| (self.language.hour(hour), *jobs)));
        let description = self.language.described(self.words.jobs, self.report.totals.jobs, most);
        let said = Said { id: "hours", title: self.words.by_hour, description: &description };
        chart::columns(&bars, &said, |hour| hour % 6 == 0)
    }

    fn hours(&self) -> Vec<Vec<Cell>> {
        let cells = |hours: &[u64], first: usize| -> Vec<Cell> {
            let of = hours.iter().enumerate();
            of.map(|(hour, jobs)| cell(self.language.hour(first + hour), *jobs)).collect()
        };
        self.report.by_hour.chunks(6).enumerate().map(|(row, hours)| cells(hours, row * 6)).collect()
    }

    fn by_user(&self) -> Vec<OfUser> {
        let line = |of: &view::OfUser| OfUser {
            user: self.person(&of.user),
            jobs: number(of.jobs),
            dry_runs: number(of.dry_runs),
            failed: number(of.failed),
            cancelled: number(of.cancelled),
            affected_users: number(of.affected_users),
            tokens: number(of.tokens),
        };
        self.report.by_user.items.iter().map(line).collect()
    }

    fn reasons(&self) -> Vec<Reason> {
        let items = self.report.top_reasons.items.iter();
        items.map(|of| Reason { reason: one_line(&of.reason), jobs: number(of.jobs) }).collect()
    }

    fn failures(&self) -> Vec<Failure> {
        let line = |of: &view::Failure| Failure {
            at: self.language.minute(of.at, self.zone),
            job: one_line(&of.job_id),
            kind: self.words.kind_of(of.job_type),
            user: self.person(&of.user),
            chunks_failed: number(of.chunks_failed),
        };
        self.report.failed_operations.items.iter().map(line).collect()
    }

    fn refusals(&self) -> Vec<Refused> {
        let line = |of: &view::Refused| Refused {
            user: self.person(&of.user),
            permission_denied: number(of.permission_denied),
            rate_limited: number(of.rate_limited),
            wrong_keys: number(of.wrong_keys),
        };
        self.report.refusals.items.iter().map(line).collect()
    }

    fn published(&self) -> Option<Published> {
        let of = self.report.audit.published.as_ref()?;
        let head = |head: &view::PublishedHead| Head {
            chain: one_line(&head.chain),
            place: number(head.seq),
            hash: head.sha256.to_string(),
        };
        Some(Published {
            what: self.language.published(of.number, of.at, self.zone),
            hash: of.sha256.map(|hash| hash.to_string()),
            heads: of.heads.iter().map(head).collect(),
            more: self.language.more(of.other_heads),
        })
    }
}
