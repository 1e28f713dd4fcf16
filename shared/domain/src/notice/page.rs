//! Languages, and the templates with what is written into them. Every value is a single line, so that none can look
//! like a line of ours.

#![allow(clippy::ref_binding_to_reference, reason = "that is how the code of askama's derive binds fields of variants")]

use askama::Template;
use chrono::{DateTime, Utc};

/// The languages of the templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// Korean.
    Korean,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::English, Self::Korean];

    /// Korean for `ko` and whatever is more exact, such as `ko-KR`; else English.
    pub fn of(locale: Option<&str>) -> Self {
        let language = locale.unwrap_or_default().split(['-', '_']).next().unwrap_or_default();
        if language.eq_ignore_ascii_case("ko") { Self::Korean } else { Self::English }
    }

    /// What HTML calls it.
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Korean => "ko",
        }
    }

    /// A moment as it is written in this language.
    pub(super) fn moment(self, moment: DateTime<Utc>) -> String {
        let format = match self {
            Self::English => "%-d %B %Y, %H:%M:%S UTC",
            Self::Korean => "%Y년 %-m월 %-d일 %H:%M:%S(UTC)",
        };
        moment.format(format).to_string()
    }
}

/// What is written into an emergency key's mail.
pub(super) struct EmergencyKey<'a> {
    pub(super) lang: &'static str,
    pub(super) subject: &'a str,
    pub(super) name: Option<String>,
    pub(super) key: String,
    pub(super) valid_until: String,
    pub(super) minutes: i64,
}

/// What is written into a security alert.
pub(super) struct SecurityAlert<'a> {
    pub(super) lang: &'static str,
    pub(super) subject: &'a str,
    pub(super) job: String,
    pub(super) at: String,
    pub(super) effective: bool,
    pub(super) actor_name: Option<String>,
    pub(super) actor_email: Option<String>,
    pub(super) actor_id: String,
    pub(super) authorized_by: String,
    pub(super) reason: String,
}

/// What is written into the mail about a monthly report.
pub(super) struct MonthlyReport<'a> {
    pub(super) lang: &'static str,
    pub(super) subject: &'a str,
    pub(super) month: String,
    pub(super) jobs: String,
    pub(super) dry_runs: String,
    pub(super) affected_users: String,
    pub(super) tokens: String,
    pub(super) emergencies: String,
    pub(super) failed: String,
    pub(super) refused: String,
    pub(super) findings: String,
    pub(super) is_suspicious: bool,
    pub(super) name: String,
}

/// What is written into the alert about any other critical entry.
pub(super) struct SecurityEvent<'a> {
    pub(super) lang: &'static str,
    pub(super) subject: &'a str,
    pub(super) what: &'static str,
    pub(super) at: String,
    pub(super) actor_name: Option<String>,
    pub(super) actor_email: Option<String>,
    pub(super) actor_id: String,
    pub(super) job: Option<String>,
    pub(super) entry: String,
    pub(super) details: Vec<(String, String)>,
    pub(super) advice: &'static str,
}

/// One template.
#[derive(Template)]
pub(super) enum Page<'a> {
    #[template(path = "notice/emergency_key.en.txt")]
    EmergencyKeyTextEn { it: &'a EmergencyKey<'a> },
    #[template(path = "notice/emergency_key.en.html")]
    EmergencyKeyHtmlEn { it: &'a EmergencyKey<'a> },
    #[template(path = "notice/emergency_key.ko.txt")]
    EmergencyKeyTextKo { it: &'a EmergencyKey<'a> },
    #[template(path = "notice/emergency_key.ko.html")]
    EmergencyKeyHtmlKo { it: &'a EmergencyKey<'a> },
    #[template(path = "notice/security_alert.en.txt")]
    SecurityAlertTextEn { it: &'a SecurityAlert<'a> },
    #[template(path = "notice/security_alert.en.html")]
    SecurityAlertHtmlEn { it: &'a SecurityAlert<'a> },
    #[template(path = "notice/security_alert.ko.txt")]
    SecurityAlertTextKo { it: &'a SecurityAlert<'a> },
    #[template(path = "notice/security_alert.ko.html")]
    SecurityAlertHtmlKo { it: &'a SecurityAlert<'a> },
    #[template(path = "notice/monthly_report.en.txt")]
    MonthlyReportTextEn { it: &'a MonthlyReport<'a> },
    #[template(path = "notice/monthly_report.en.html")]
    MonthlyReportHtmlEn { it: &'a MonthlyReport<'a> },
    #[template(path = "notice/monthly_report.ko.txt")]
    MonthlyReportTextKo { it: &'a MonthlyReport<'a> },
    #[template(path = "notice/monthly_report.ko.html")]
    MonthlyReportHtmlKo { it: &'a MonthlyReport<'a> },
    #[template(path = "notice/security_event.en.txt")]
    SecurityEventTextEn { it: &'a SecurityEvent<'a> },
    #[template(path = "notice/security_event.en.html")]
    SecurityEventHtmlEn { it: &'a SecurityEvent<'a> },
    #[template(path = "notice/security_event.ko.txt")]
    SecurityEventTextKo { it: &'a SecurityEvent<'a> },
    #[template(path = "notice/security_event.ko.html")]
    SecurityEventHtmlKo { it: &'a SecurityEvent<'a> },
}

impl Page<'_> {
    /// The template, filled in.
    pub(super) fn written(&self) -> String {
        self.render().unwrap_or_else(|cause| unreachable!("writing texts and numbers to memory failed: {cause}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn korean_is_for_those_whose_language_is_korean() {
        for locale in ["ko", "ko-KR", "KO", "Ko-Kore-KR", "ko_KR"] {
            assert_eq!(Language::of(Some(locale)), Language::Korean, "{locale}");
        }
        for locale in ["", "en", "en-KR", "kok", "kok-IN", "k", "-ko", "한국어", "ja"] {
            assert_eq!(Language::of(Some(locale)), Language::English, "{locale}");
        }
        assert_eq!(Language::of(None), Language::English);
    }
}
