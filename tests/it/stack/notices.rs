//! Over a thousand users are logged out on the stack, and each gets one mail, in the user's own language, with nothing
//! in it that the reason should not have said (`[MAIL-1]` to `[MAIL-3]`).

use std::collections::BTreeMap;

use domain::time::{Clock as _, SystemClock};
use http::StatusCode;
use ops::company::Plan;
use serde_json::{Value, json};
use tests::environment::unique;

use super::{BASE, Caller};

const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1LTEifQ.c2lnbmF0dXJl-_abc";
/// What the reason below says and no mail may.
const UNSAID: [&str; 9] = [
    "kim@",
    "192.0.2.7",
    "2001:db8::7",
    TOKEN,
    "<b>",
    "&#60;b",
    "&lt;b",
    "evil.example",
    "3f0c1d2e-0000-4000-8000-0123456789ab",
];

/// Mails that the stack "sent" about a job.
async fn mails(caller: &Caller, job: &str) -> Vec<Value> {
    let url = format!("{}/_ministack/ses/messages", caller.stack.endpoint_url);
    let answer = caller.web.api("GET", &url, &caller.token, None).await.unwrap();
    let accounts = answer.json["messages"].as_object().unwrap().values();
    let all = accounts.flat_map(|mails| mails.as_array().unwrap().iter());
    all.filter(|mail| mail["BodyText"].as_str().unwrap().contains(job)).cloned().collect()
}

/// Each address's language, by the directory: whether it is Korean.
fn languages(plan: &Plan, caller: &Caller) -> BTreeMap<String, bool> {
    let company = plan.company(&caller.stack.users).unwrap();
    let users = company.directory.iter().filter_map(|record| match &record.change {
        domain::records::Change::Upsert(domain::records::Entity::User(user)) => {
            Some((user.email.clone()?, user.locale.as_deref().is_some_and(|locale| locale.starts_with("ko"))))
        }
        _ => None,
    });
    users.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_3_over_a_thousand_users_get_one_mail_each_in_their_language() {
    let admin = Caller::sign_in("security.admin@example.com").await;
    let plan = Plan { users: 1_130, contractors: 1_120, run: unique("mail"), now: SystemClock.now() };
    let company = plan.company(&admin.stack.users).unwrap();
    let store = admin.stack.store().await;
    for batch in company.records(plan.now.timestamp_millis()).chunks(1_000) {
        store.load(batch).await.unwrap();
    }

    let reason = format!(
        "계약 종료 <b>kim@example.com</b>, 192.0.2.7 [2001:db8::7]:443 {TOKEN} https://evil.example/login \
         3f0c1d2e-0000-4000-8000-0123456789ab: 김민지 0의 노트북\r\nBcc: all@example.com"
    );
    let mut body = json!({ "group_id": plan.leaving(), "include_subgroups": true, "reason": reason, "dry_run": true });
    let counted = admin.post_group(&body).await;
    assert_eq!(counted.status, StatusCode::OK, "{}", counted.json);
    body["dry_run"] = false.into();
    body["plan_id"] = counted.json["plan_id"].clone();
    body["confirmation_code"] = counted.json["confirmation_code"].clone();
    let started = admin.post_group(&body).await;
    assert_eq!(started.status, StatusCode::ACCEPTED, "{}", started.json);
    let id = started.json["job_id"].as_str().unwrap().to_owned();

    let job = admin.wait_for(&id, |job| job["completed_at"].is_string()).await;
    let affected = job["statistics"]["total_users_affected"].as_u64().unwrap();
    assert!(affected >= 1_000, "{affected}");
    let job = admin.wait_for(&id, |job| job["statistics"]["notifications_sent"] == affected).await;
    let wanted = json!({ "sent": affected, "rejected": 0, "unknown": 0, "without_address": 0 });
    assert_eq!(job["notifications"], wanted);

    let (mails, languages) = (mails(&admin, &id).await, languages(&plan, &admin));
    assert_eq!(mails.len() as u64, affected, "exactly as many mails as users");
    let mut told = BTreeMap::new();
    for mail in &mails {
        let text = |name: &str| mail[name].as_str().unwrap();
        let to = mail["To"][0].as_str().unwrap().to_owned();
        assert_eq!(mail["To"].as_array().unwrap().len() + mail["BCC"].as_array().unwrap().len(), 1);
        let korean = languages[&to];
        assert_eq!(text("Subject"), if korean { "로그아웃 안내" } else { "You have been signed out" }, "{to}");
        assert!(text("BodyHtml").contains(if korean { "lang=\"ko\"" } else { "lang=\"en\"" }));
        for part in ["Subject", "BodyText", "BodyHtml"] {
            let part = text(part).replace("<bdi>", "").replace("</bdi>", "");
            assert!(part.matches("김민지 0").count() <= usize::from(to == "user0@example.com"), "MAIL-2: {part}");
            // Some users' own names, which greet them, have markup.
            let part = part.replace("정<b>예린</b>", "").replace("정&#60;b&#62;예린&#60;/b&#62;", "");
            for unsaid in UNSAID {
                assert!(!part.contains(unsaid), "MAIL-2: {unsaid} in {part}");
            }
        }
        assert!(text("BodyText").contains("[NAME_REMOVED]의 노트북 Bcc: [EMAIL_REMOVED]"), "{}", text("BodyText"));
        *told.entry(to).or_insert(0) += 1;
    }
    assert!(told.values().all(|mails| *mails == 1), "MAIL-3: at most one notice per user and job");

    let url = format!("{}{BASE}/jobs/{id}/affected-users?limit=100", admin.stack.api_url);
    let page = admin.web.api("GET", &url, &admin.token, None).await.unwrap();
    for user in page.json["items"].as_array().unwrap() {
        assert_eq!(
            (&user["notification_sent"], &user["notification_status"]),
            (&json!(true), &json!("sent")),
            "{user}"
        );
        assert!(user["notification_sent_at"].is_string(), "{user}");
    }
}
