//! What affected users are told: one template for each kind of job, over a common one for each language and form.

#![allow(clippy::ref_binding_to_reference, reason = "that is how the code of askama's derive binds fields of variants")]

use askama::Template;

use super::page::Language;
use crate::conditions::JobType;

/// What is written into the mail.
pub(super) struct Logout<'a> {
    pub(super) lang: &'static str,
    pub(super) subject: &'a str,
    pub(super) job: String,
    pub(super) name: Option<String>,
    pub(super) client: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) at: String,
}

/// Whether a mail is written as text or as HTML.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Text,
    Html,
}

#[derive(Template)]
enum Page<'a> {
    #[template(path = "notice/group_logout.en.txt")]
    GroupTextEn { it: &'a Logout<'a> },
    #[template(path = "notice/group_logout.en.html")]
    GroupHtmlEn { it: &'a Logout<'a> },
    #[template(path = "notice/group_logout.ko.txt")]
    GroupTextKo { it: &'a Logout<'a> },
    #[template(path = "notice/group_logout.ko.html")]
    GroupHtmlKo { it: &'a Logout<'a> },
    #[template(path = "notice/client_logout.en.txt")]
    ClientTextEn { it: &'a Logout<'a> },
    #[template(path = "notice/client_logout.en.html")]
    ClientHtmlEn { it: &'a Logout<'a> },
    #[template(path = "notice/client_logout.ko.txt")]
    ClientTextKo { it: &'a Logout<'a> },
    #[template(path = "notice/client_logout.ko.html")]
    ClientHtmlKo { it: &'a Logout<'a> },
    #[template(path = "notice/time_logout.en.txt")]
    TimeTextEn { it: &'a Logout<'a> },
    #[template(path = "notice/time_logout.en.html")]
    TimeHtmlEn { it: &'a Logout<'a> },
    #[template(path = "notice/time_logout.ko.txt")]
    TimeTextKo { it: &'a Logout<'a> },
    #[template(path = "notice/time_logout.ko.html")]
    TimeHtmlKo { it: &'a Logout<'a> },
    #[template(path = "notice/conditional_logout.en.txt")]
    ConditionalTextEn { it: &'a Logout<'a> },
    #[template(path = "notice/conditional_logout.en.html")]
    ConditionalHtmlEn { it: &'a Logout<'a> },
    #[template(path = "notice/conditional_logout.ko.txt")]
    ConditionalTextKo { it: &'a Logout<'a> },
    #[template(path = "notice/conditional_logout.ko.html")]
    ConditionalHtmlKo { it: &'a Logout<'a> },
    #[template(path = "notice/emergency_logout.en.txt")]
    EmergencyTextEn { it: &'a Logout<'a> },
    #[template(path = "notice/emergency_logout.en.html")]
    EmergencyHtmlEn { it: &'a Logout<'a> },
    #[template(path = "notice/emergency_logout.ko.txt")]
    EmergencyTextKo { it: &'a Logout<'a> },
    #[template(path = "notice/emergency_logout.ko.html")]
    EmergencyHtmlKo { it: &'a Logout<'a> },
}

impl<'a> Page<'a> {
    fn of(kind: JobType, language: Language, form: Form, it: &'a Logout<'a>) -> Self {
        match (kind, language, form) {
            (JobType::GroupBased, Language::English, Form::Text) => Self::GroupTextEn { it },
            (JobType::GroupBased, Language::English, Form::Html) => Self::GroupHtmlEn { it },
            (JobType::GroupBased, Language::Korean, Form::Text) => Self::GroupTextKo { it },
            (JobType::GroupBased, Language::Korean, Form::Html) => Self::GroupHtmlKo { it },
            (JobType::ClientBased, Language::English, Form::Text) => Self::ClientTextEn { it },
            (JobType::ClientBased, Language::English, Form::Html) => Self::ClientHtmlEn { it },
            (JobType::ClientBased, Language::Korean, Form::Text) => Self::ClientTextKo { it },
            (JobType::ClientBased, Language::Korean, Form::Html) => Self::ClientHtmlKo { it },
            (JobType::TimeBased, Language::English, Form::Text) => Self::TimeTextEn { it },
            (JobType::TimeBased, Language::English, Form::Html) => Self::TimeHtmlEn { it },
            (JobType::TimeBased, Language::Korean, Form::Text) => Self::TimeTextKo { it },
            (JobType::TimeBased, Language::Korean, Form::Html) => Self::TimeHtmlKo { it },
            (JobType::Conditional, Language::English, Form::Text) => Self::ConditionalTextEn { it },
            (JobType::Conditional, Language::English, Form::Html) => Self::ConditionalHtmlEn { it },
            (JobType::Conditional, Language::Korean, Form::Text) => Self::ConditionalTextKo { it },
            (JobType::Conditional, Language::Korean, Form::Html) => Self::ConditionalHtmlKo { it },
            (JobType::Emergency, Language::English, Form::Text) => Self::EmergencyTextEn { it },
            (JobType::Emergency, Language::English, Form::Html) => Self::EmergencyHtmlEn { it },
            (JobType::Emergency, Language::Korean, Form::Text) => Self::EmergencyTextKo { it },
            (JobType::Emergency, Language::Korean, Form::Html) => Self::EmergencyHtmlKo { it },
        }
    }
}

impl Logout<'_> {
    /// The mail's body.
    pub(super) fn written(&self, kind: JobType, language: Language, form: Form) -> String {
        let page = Page::of(kind, language, form, self);
        page.render().unwrap_or_else(|cause| unreachable!("writing texts to memory failed: {cause}"))
    }
}

/// Without the reason: subjects are shown on locked screens.
pub(super) fn subject(kind: JobType, language: Language) -> &'static str {
    match (kind, language) {
        (JobType::GroupBased, Language::English) => "You have been signed out",
        (JobType::GroupBased, Language::Korean) => "로그아웃 안내",
        (JobType::ClientBased, Language::English) => "You have been signed out of an application",
        (JobType::ClientBased, Language::Korean) => "애플리케이션 로그아웃 안내",
        (JobType::TimeBased, Language::English) => "Old sign-ins of yours have been ended",
        (JobType::TimeBased, Language::Korean) => "오래된 로그인 종료 안내",
        (JobType::Conditional, Language::English) => "Some of your sign-ins have been ended",
        (JobType::Conditional, Language::Korean) => "일부 로그인 종료 안내",
        (JobType::Emergency, Language::English) => "Security notice: all sign-ins have been ended",
        (JobType::Emergency, Language::Korean) => "[보안 안내] 전체 로그아웃 조치 안내",
    }
}
