//! What we write to people, in their language.
//!
//! A notice has four templates in `templates/notice/`: text and HTML, English and Korean. Those whose name ends in
//! `.html` escape what is written into them; the text ones do not.
//!
//! How to add a notice: give [`Notice`] a variant and let the compiler lead you through the matches, write its four
//! templates, and add it to `mails` in the tests below.

mod event;
mod logout;
mod page;
mod reason;

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

use crate::audit::Action;
use crate::conditions::JobType;
use crate::directory::Actor;
use crate::ids::JobId;
use crate::mail::{Mail, one_line};
use crate::report::{Report, number};
use logout::{Form, Logout};
pub use page::Language;
use page::{EmergencyKey, MonthlyReport, Page, SecurityAlert, SecurityEvent};
pub use reason::{CleanReason, clean, name_key};

/// For how long an emergency key is valid.
pub const EMERGENCY_KEY_LIFETIME: TimeDelta = TimeDelta::minutes(5);

/// Characters of a detail that a mail shows.
const DETAIL_CHARS: usize = 1_000;

/// Something to tell somebody.
#[derive(Clone, Copy)]
pub enum Notice<'a> {
    /// To the admin who asked for an emergency logout: the key that confirms it.
    EmergencyKey {
        /// The admin's name.
        name: Option<&'a str>,
        /// The six digits.
        key: &'a str,
        /// [`EMERGENCY_KEY_LIFETIME`] after the admin asked.
        valid_until: DateTime<Utc>,
    },
    /// To the security team: an emergency logout was started.
    SecurityAlert {
        /// The job.
        job: &'a JobId,
        /// Who started it.
        actor: &'a Actor,
        /// Why, in the admin's words.
        reason: &'a str,
        /// Who authorised it, in the admin's words.
        authorized_by: &'a str,
        /// When it was started.
        at: DateTime<Utc>,
        /// Whether every verifier refuses what it covers.
        effective: bool,
    },
    /// To the security team: anything else that is critical.
    SecurityEvent {
        /// What happened.
        action: Action,
        /// The audit's entry about it.
        entry: &'a str,
        /// The job it is about.
        job: Option<&'a JobId>,
        /// Who did it.
        actor: &'a Actor,
        /// When.
        at: DateTime<Utc>,
        /// What else the entry says.
        details: &'a [(String, String)],
    },
    /// To a user whose sign-ins a job ended.
    Logout {
        /// The job's kind.
        kind: JobType,
        /// The job.
        job: &'a JobId,
        /// The user's name.
        name: Option<&'a str>,
        /// The name of the client whose tokens were ended, if the job names one.
        client: Option<&'a str>,
        /// Why, as everybody may read it.
        reason: &'a CleanReason,
        /// From when on the sign-ins were refused.
        at: DateTime<Utc>,
    },
    /// To an auditor: a month's report is there. Its main numbers, and nobody's name.
    MonthlyReport {
        /// The report.
        report: &'a Report,
    },
}

impl fmt::Debug for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the key nor what tells a person.
        match self {
            Self::EmergencyKey { valid_until, .. } => {
                f.debug_struct("EmergencyKey").field("valid_until", valid_until).finish_non_exhaustive()
            }
            Self::SecurityAlert { job, at, effective, .. } => {
                let mut shown = f.debug_struct("SecurityAlert");
                shown.field("job", job).field("at", at).field("effective", effective).finish_non_exhaustive()
            }
            Self::SecurityEvent { action, entry, at, .. } => {
                let mut shown = f.debug_struct("SecurityEvent");
                shown.field("action", action).field("entry", entry).field("at", at).finish_non_exhaustive()
            }
            Self::Logout { kind, job, at, .. } => {
                let mut shown = f.debug_struct("Logout");
                shown.field("kind", kind).field("job", job).field("at", at).finish_non_exhaustive()
            }
            Self::MonthlyReport { report } => {
                f.debug_struct("MonthlyReport").field("month", &report.month).finish_non_exhaustive()
            }
        }
    }
}

impl Notice<'_> {
    /// The notice as a mail to an address, in the language of a locale (a BCP 47 tag): Korean, or else English.
    pub fn mail(&self, to: &str, locale: Option<&str>) -> Mail {
        let language = Language::of(locale);
        let subject = &self.subject(language);
        let (text, html) = match *self {
            Self::EmergencyKey { name, key, valid_until } => {
                let it = &EmergencyKey {
                    lang: language.tag(),
                    subject,
                    name: known(name),
                    key: one_line(key),
                    valid_until: language.moment(valid_until),
                    minutes: EMERGENCY_KEY_LIFETIME.num_minutes(),
                };
                let (text, html) = match language {
                    Language::English => (Page::EmergencyKeyTextEn { it }, Page::EmergencyKeyHtmlEn { it }),
                    Language::Korean => (Page::EmergencyKeyTextKo { it }, Page::EmergencyKeyHtmlKo { it }),
                };
                (text.written(), html.written())
            }
            Self::SecurityAlert { job, actor, reason, authorized_by, at, effective } => {
                let it = &SecurityAlert {
                    lang: language.tag(),
                    subject,
                    job: one_line(job.as_str()),
                    at: language.moment(at),
                    effective,
                    actor_name: known(actor.name.as_deref()),
                    actor_email: known(actor.email.as_deref()),
                    actor_id: one_line(actor.id.as_str()),
                    authorized_by: one_line(authorized_by),
                    reason: one_line(reason),
                };
                let (text, html) = match language {
                    Language::English => (Page::SecurityAlertTextEn { it }, Page::SecurityAlertHtmlEn { it }),
                    Language::Korean => (Page::SecurityAlertTextKo { it }, Page::SecurityAlertHtmlKo { it }),
                };
                (text.written(), html.written())
            }
            Self::SecurityEvent { action, entry, job, actor, at, details } => {
                let it = &SecurityEvent {
                    lang: language.tag(),
                    subject,
                    what: event::what(action, language),
                    at: language.moment(at),
                    actor_name: known(actor.name.as_deref()),
                    actor_email: known(actor.email.as_deref()),
                    actor_id: one_line(actor.id.as_str()),
                    job: job.map(|job| one_line(job.as_str())),
                    entry: one_line(entry),
                    details: details.iter().map(|(name, value)| (one_line(name), shortened(value))).collect(),
                    advice: event::advice(action, language),
                };
                let (text, html) = match language {
                    Language::English => (Page::SecurityEventTextEn { it }, Page::SecurityEventHtmlEn { it }),
                    Language::Korean => (Page::SecurityEventTextKo { it }, Page::SecurityEventHtmlKo { it }),
                };
                (text.written(), html.written())
            }
            Self::Logout { kind, job, name, client, reason, at } => {
                let it = Logout {
                    lang: language.tag(),
                    subject,
                    job: one_line(job.as_str()),
                    name: known(name),
                    client: known(client),
                    reason: known(Some(reason.as_str())),
                    at: language.moment(at),
                };
                (it.written(kind, language, Form::Text), it.written(kind, language, Form::Html))
            }
            Self::MonthlyReport { report } => {
                let totals = &report.totals;
                let it = &MonthlyReport {
                    lang: language.tag(),
                    subject,
                    month: one_line(&report.month_in(language)),
                    jobs: number(totals.jobs),
                    dry_runs: number(totals.dry_runs),
                    affected_users: number(totals.affected_users),
                    tokens: number(totals.access_tokens + totals.refresh_tokens),
                    emergencies: number(totals.emergencies),
                    failed: number(totals.failed),
                    refused: number(report.refused()),
                    findings: number(report.findings()),
                    is_suspicious: report.findings() > 0,
                    name: one_line(&report.month),
                };
                let (text, html) = match language {
                    Language::English => (Page::MonthlyReportTextEn { it }, Page::MonthlyReportHtmlEn { it }),
                    Language::Korean => (Page::MonthlyReportTextKo { it }, Page::MonthlyReportHtmlKo { it }),
                };
                (text.written(), html.written())
            }
        };
        Mail::new(to, subject, text, html)
    }

    fn subject(&self, language: Language) -> String {
        match (self, language) {
            // Without the key: subjects are shown on locked screens.
            (Self::EmergencyKey { .. }, Language::English) => "The key for your emergency logout".to_owned(),
            (Self::EmergencyKey { .. }, Language::Korean) => "긴급 로그아웃 인증번호 안내".to_owned(),
            (Self::SecurityAlert { job, .. }, Language::English) => {
                format!("Security alert: an emergency logout was started ({job})")
            }
            (Self::SecurityAlert { job, .. }, Language::Korean) => {
                format!("[보안 알림] 긴급 로그아웃이 시작되었습니다 ({job})")
            }
            (Self::SecurityEvent { action, .. }, Language::English) => {
                format!("Security alert: {}", event::what(*action, language))
            }
            (Self::SecurityEvent { action, .. }, Language::Korean) => {
                format!("[보안 알림] {}", event::what(*action, language))
            }
            (Self::Logout { kind, .. }, _) => logout::subject(*kind, language).to_owned(),
            (Self::MonthlyReport { report }, Language::English) => {
                format!("Batch logout report of {}", report.month_in(language))
            }
            (Self::MonthlyReport { report }, Language::Korean) => {
                format!("{} 일괄 로그아웃 보고서", report.month_in(language))
            }
        }
    }
}

/// What is known, as a single line.
fn known(value: Option<&str>) -> Option<String> {
    value.map(one_line).filter(|line| !line.is_empty())
}

/// As a single line that a mail can hold.
fn shortened(value: &str) -> String {
    let line = one_line(value);
    match line.char_indices().nth(DETAIL_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use chrono::TimeZone as _;
    use proptest::prelude::*;

    use super::*;
    use crate::ids::UserId;

    fn at() -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 11, 1, 9, 5, 7).unwrap()
    }

    /// Every notice as a mail, with this text wherever others decide what is written.
    fn mails(text: &str, locale: &str) -> Vec<Mail> {
        let job = &JobId::parse(one_line(text)).unwrap();
        let id = UserId::parse(one_line(text)).unwrap();
        let known = &Actor { id: id.clone(), email: Some(text.to_owned()), name: Some(text.to_owned()) };
        let unknown = &Actor { id, email: None, name: None };
        let report = &Report { month: text.to_owned(), ..crate::report::tests::empty() };
        let alert = |actor, effective| Notice::SecurityAlert {
            job,
            actor,
            reason: text,
            authorized_by: text,
            at: at(),
            effective,
        };
        let notices = [
            Notice::EmergencyKey { name: Some(text), key: text, valid_until: at() },
            Notice::EmergencyKey { name: None, key: text, valid_until: at() },
            alert(known, true),
            alert(unknown, false),
        ];
        let details = [(text.to_owned(), text.to_owned()), ("users".to_owned(), text.to_owned())];
        let event = |job, actor, details| Notice::SecurityEvent {
            action: Action::AuditChainBroken,
            entry: text,
            job,
            actor,
            at: at(),
            details,
        };
        let events = [event(Some(job), known, &details[..]), event(None, unknown, &[])];
        let (reason, empty) = (CleanReason::untouched(text), CleanReason::untouched(""));
        let logouts = JobType::ALL.into_iter().flat_map(|kind| {
            let full = Notice::Logout { kind, job, name: Some(text), client: Some(text), reason: &reason, at: at() };
            [full, Notice::Logout { kind, job, name: None, client: None, reason: &empty, at: at() }]
        });
        let notices = notices.into_iter().chain(events).chain(logouts).chain([Notice::MonthlyReport { report }]);
        notices.map(|notice| notice.mail(text, Some(locale))).collect()
    }

    #[test]
    fn neither_a_key_nor_a_person_nor_a_reason_shows_in_a_log() {
        let (job, id) = (&JobId::parse("job-1").unwrap(), UserId::parse("XYZZY").unwrap());
        let secret = "XYZZY";
        let actor = &Actor { id, email: Some(secret.to_owned()), name: Some(secret.to_owned()) };
        let report = &Report { month: "2026-10".to_owned(), ..crate::report::tests::empty() };
        let (reason, details) = (&CleanReason::untouched(secret), &[(secret.to_owned(), secret.to_owned())][..]);
        let (kind, action) = (JobType::Emergency, Action::AuditChainBroken);
        let notices = [
            (Notice::EmergencyKey { name: Some(secret), key: secret, valid_until: at() }, "2026-11-01"),
            (
                Notice::SecurityAlert { job, actor, reason: secret, authorized_by: secret, at: at(), effective: true },
                "job-1",
            ),
            (Notice::SecurityEvent { action, entry: "e-1", job: Some(job), actor, at: at(), details }, "e-1"),
            (Notice::Logout { kind, job, name: Some(secret), client: Some(secret), reason, at: at() }, "Emergency"),
            (Notice::MonthlyReport { report }, "2026-10"),
        ];
        for (notice, wanted) in notices {
            let shown = format!("{notice:?}");
            assert!(shown.contains(wanted) && !shown.contains(secret), "{shown}");
        }
    }

    /// The markup alone: from each `<` to the next `>`.
    fn tags(html: &str) -> Vec<&str> {
        html.split('<').skip(1).map(|rest| rest.split_inclusive('>').next().unwrap()).collect()
    }

    #[test]
    fn an_emergency_key_is_shown_in_both_bodies_of_both_languages_and_in_no_subject() {
        let notice = Notice::EmergencyKey { name: Some("김하나"), key: "042137", valid_until: at() };
        for (locale, until, minutes, greeting) in [
            (None, "1 November 2026, 09:05:07 UTC", "5 minutes", "Hello"),
            (Some("ko"), "2026년 11월 1일 09:05:07(UTC)", "5분", "님, 안녕하세요."),
        ] {
            let mail = notice.mail("kim@example.com", locale);
            for body in [&mail.text, &mail.html] {
                for wanted in ["042137", "김하나", until, minutes, greeting] {
                    assert!(body.contains(wanted), "{wanted} is missing: {body}");
                }
            }
            assert!(!mail.subject.contains("042137"));
            assert_eq!(mail.to, "kim@example.com");
        }
        for (locale, greeting) in [("en", "Hello,"), ("ko", "관리자님, 안녕하세요.")] {
            for name in [None, Some(""), Some(" \r\n ")] {
                let mail = Notice::EmergencyKey { name, key: "042137", valid_until: at() }.mail("a@b.c", Some(locale));
                assert!(mail.text.starts_with(greeting) && mail.html.contains(greeting), "{}", mail.text);
            }
        }
    }

    #[test]
    fn a_security_alert_says_which_job_who_why_when_and_whether_it_is_in_effect() {
        let job = JobId::parse("3f0c").unwrap();
        let nameless = Actor { id: UserId::parse("u-7").unwrap(), email: None, name: None };
        let named =
            Actor { email: Some("lee@example.com".to_owned()), name: Some("이둘".to_owned()), ..nameless.clone() };
        let reason = "키 유출 🔑".repeat(83);
        let alert = |actor, effective, locale| {
            Notice::SecurityAlert { job: &job, actor, reason: &reason, authorized_by: "CISO", at: at(), effective }
                .mail("security@example.com", locale)
        };
        for (locale, time, yes, no, unknown) in [
            (Some("en"), "1 November 2026, 09:05:07 UTC", "Yes: every", "Not when", "not known"),
            (
                Some("ko-KR"),
                "2026년 11월 1일 09:05:07(UTC)",
                "적용되었습니다",
                "아직 적용되지 않았습니다",
                "알 수 없음",
            ),
        ] {
            let (now, later) = (alert(&named, true, locale), alert(&nameless, false, locale));
            assert!(now.subject.contains("3f0c"));
            for (body, later) in [(&now.text, &later.text), (&now.html, &later.html)] {
                for wanted in ["3f0c", "u-7", "lee@example.com", "이둘", &reason, "CISO", time, yes] {
                    assert!(body.contains(wanted), "{wanted} is missing: {body}");
                }
                assert!(!body.contains(no) && !body.contains(unknown), "{body}");
                assert!(later.contains(no) && !later.contains(yes), "{later}");
                assert_eq!(later.matches(unknown).count(), 2, "{later}");
            }
        }
    }

    #[test]
    fn audit_3_an_alert_says_what_happened_when_by_whom_and_what_to_do_whatever_it_is() {
        let actor = Actor { id: UserId::parse("u-7").unwrap(), email: None, name: Some("이둘".to_owned()) };
        let job = JobId::parse("3f0c").unwrap();
        let details = [("places".to_owned(), "3".to_owned()), ("long".to_owned(), "긴 ".repeat(5_000))];
        for (locale, time) in [("en", "1 November 2026, 09:05:07 UTC"), ("ko", "2026년 11월 1일 09:05:07(UTC)")] {
            let mut subjects = std::collections::BTreeSet::new();
            for action in Action::ALL {
                let (job, details) = (Some(&job), &details[..]);
                let notice = Notice::SecurityEvent { action, entry: "e-1", job, actor: &actor, at: at(), details };
                let mail = notice.mail("security@example.com", Some(locale));
                for body in [&mail.text, &mail.html] {
                    for wanted in ["3f0c", "u-7", "이둘", "e-1", "places", time] {
                        assert!(body.contains(wanted), "{wanted} is missing: {body}");
                    }
                    assert!(body.chars().count() < 4_000 && body.contains('…'), "too long a detail is cut off");
                }
                subjects.insert(mail.subject);
            }
            assert_eq!(subjects.len(), Action::ALL.len(), "each has a subject of its own");
        }
    }

    #[test]
    fn every_notice_reads_as_text_and_as_html_in_its_language_without_links_and_images() {
        let korean = |text: &str| text.chars().any(|c| ('가'..='힣').contains(&c));
        for (locale, lang) in [("en-GB", "lang=\"en\""), ("ko-KR", "lang=\"ko\"")] {
            for mail in mails("x", locale) {
                assert!(mail.text.lines().count() > 5, "{}", mail.text);
                assert!(mail.html.starts_with("<!DOCTYPE html>") && mail.html.matches(lang).count() == 2);
                for part in [&mail.subject, &mail.text, &mail.html] {
                    assert_eq!(korean(part), locale == "ko-KR", "{part}");
                    for unwanted in ["http", "href", "src=", "url(", "www.", "<a", "<img", "\n\n\n", "{"] {
                        assert!(!part.contains(unwanted), "{unwanted}: {part}");
                    }
                }
            }
        }
    }

    /// Whatever others write into a notice: the subject is one line, and the text's lines and the HTML's markup are
    /// our own.
    fn stays_in_its_place(text: &str) {
        for locale in ["en-GB", "ko-KR"] {
            for (mail, tame) in mails(text, locale).iter().zip(mails("x", locale)) {
                assert!(!mail.subject.chars().any(char::is_control), "{:?}", mail.subject);
                assert!(!mail.to.chars().any(char::is_control), "{:?}", mail.to);
                assert!(!mail.text.contains(['\r', '\u{85}', '\u{2028}', '\u{2029}']), "{:?}", mail.text);
                assert_eq!(mail.text.lines().count(), tame.text.lines().count(), "{}", mail.text);
                assert_eq!(tags(&mail.html), tags(&tame.html));
                assert!(mail.text.contains(&one_line(text)), "text is not escaped: {}", mail.text);
            }
        }
    }

    #[test]
    fn nasty_words_stay_in_their_place() {
        let long = "긴급한사유".repeat(30);
        for text in [
            "<script>alert('\"&')</script>",
            "</bdi></p></body></html><img src=x onerror=alert(1)>",
            "\" onmouseover=\"alert(1)",
            "<!-- & --> &lt;b&gt; {{ it.key }} {% raw %}",
            "a\r\nBcc: everyone@example.com\r\n\r\nAuthorised by: CEO",
            "\u{202E}gnp.exe\u{2066} שלום مرحبا",
            "👩‍💻🔑\u{FE0F}\u{200D}e\u{301}",
            &long,
        ] {
            stays_in_its_place(text);
        }
        let reason = "가".repeat(500);
        let (job, id) = (JobId::parse("j").unwrap(), UserId::parse("u").unwrap());
        let actor = Actor { id, email: None, name: None };
        let alert = Notice::SecurityAlert {
            job: &job,
            actor: &actor,
            reason: &reason,
            authorized_by: "x",
            at: at(),
            effective: true,
        };
        let mail = alert.mail("a@example.com", None);
        assert!(mail.text.contains(&reason) && mail.html.contains(&reason), "a long reason is not cut off");
    }

    proptest! {
        #[test]
        fn any_words_stay_in_their_place(text in "[<>&\"'/a-z가-힣\\r\\n\\t\u{85}\u{2028}\u{202E}🙂]{0,60}") {
            stays_in_its_place(&format!("{text}."));
        }
    }

    #[test]
    fn neither_keys_nor_people_are_printed() {
        let notice = Notice::EmergencyKey { name: Some("김하나"), key: "042137", valid_until: at() };
        let printed = format!("{notice:?} {notice:#?} {:?}", notice.mail("kim@example.com", None));
        for secret in ["042137", "김하나", "kim@"] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }
}
