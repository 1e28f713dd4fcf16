//! Bodies of the calls that make jobs, sent by somebody who may make any.

use domain::accept::{Accepted, By, Refused, Request, validate};
use domain::conditions::Conditions;
use domain::directory::User;
use domain::ids::{ClientId, GroupId, UserId};
use domain::job::Job;
use domain::ports::{JobStore as _, RecordStore as _};
use domain::records::{ClientRecord, Entity, GroupRecord, MembershipKey, Record};
use domain::time::from_millis;
use lambda_kit::json::parse;
use lambda_kit::problem::Problem;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{NOW, first_line, wait};
use crate::fleet::Fleet;

use admin_api::requests::{ClientLogout, ConditionalLogout, EmergencyLogout, GroupLogout, TimeBasedLogout};

/// The first line says which call it is, the rest is the body.
pub fn bodies(bytes: &[u8]) -> bool {
    let Some((call, body)) = first_line(bytes) else { return false };
    let asked = match call {
        "group" => read::<GroupLogout>(body),
        "client" => read::<ClientLogout>(body),
        "time-based" => read::<TimeBasedLogout>(body),
        "conditional" => read::<ConditionalLogout>(body),
        "emergency" => read::<EmergencyLogout>(body),
        _ => return false,
    };
    asked.is_some_and(|asked| wait(accept(asked, call, body)))
}

fn read<B: DeserializeOwned>(body: &[u8]) -> Option<Request>
where
    Request: TryFrom<B, Error = Problem>,
{
    parse::<B>(body).and_then(Request::try_from).ok()
}

async fn accept(asked: Request, call: &str, body: &[u8]) -> bool {
    let fleet = Fleet::in_memory(from_millis(NOW * 1_000));
    fleet.guard().await.unwrap();
    let user = User {
        email: Some("admin@example.com".to_owned()),
        roles: vec!["security_admin".to_owned()],
        ..User::unknown(UserId::parse("admin").unwrap())
    };
    let group = GroupId::parse("g").unwrap();
    let client = ClientId::parse("app").unwrap();
    for entity in [
        Entity::Group(GroupRecord { id: group.clone(), name: None, parent_id: None }),
        Entity::Membership(MembershipKey { group_id: group, user_id: user.id.clone() }),
        Entity::Client(ClientRecord { id: client, name: None, secret_sha256: None, may_introspect: false }),
    ] {
        fleet.store.apply(&Record::upsert(1, entity)).await.unwrap();
    }
    let desk = fleet.desk();
    let answer = fleet.acceptor().accept(By::User { user: &user, desk: &desk }, asked).await;
    let job = match answer {
        Ok(answer) => match answer.accepted {
            Accepted::Started { job, .. } | Accepted::Counted { job, .. } => job,
        },
        Err(Refused::Port(error)) => panic!("{error}"),
        Err(refused) => {
            assert!(!refused.to_string().is_empty());
            return false;
        }
    };
    assert_job(&job, call, body);
    assert_eq!(fleet.job(&job.id).await.conditions, job.conditions);
    assert!(fleet.store.tally(&job.id).await.is_ok());
    true
}

/// What must be true of a job that was taken, told from its plain JSON.
fn assert_job(job: &Job, call: &str, body: &[u8]) {
    let said: Value = serde_json::from_slice(body).unwrap();
    let dry_by_default = call == "conditional";
    assert_eq!(job.dry_run, said.get("dry_run").and_then(Value::as_bool).unwrap_or(dry_by_default));
    assert_ne!((call, job.dry_run), ("emergency", false), "without a key");
    let reason = said["reason"].as_str().unwrap().trim().chars().count();
    assert!((10..=500).contains(&reason), "{reason} characters");
    let kept = serde_json::to_string(&job.conditions).unwrap();
    assert_eq!(serde_json::from_str::<Conditions>(&kept).unwrap(), job.conditions, "as it is kept");
    let Conditions::Conditional(filter) = &job.conditions else { return };
    let named = said["conditions"].as_object().unwrap();
    let selects =
        |name: &&str| named.get(*name).is_some_and(|value| !value.is_null() && *value != Value::Array(vec![]));
    let conditions = ["groups", "clients", "users", "ip_ranges", "created_after", "created_before", "last_used_before"];
    assert!(conditions.iter().any(selects), "a forgotten field must never log everybody out");
    for network in &filter.ip_ranges {
        assert!(network.contains(&network.addr()) && network.prefix_len() > 0);
        assert_eq!(validate::network(&network.to_string()), Ok(*network));
    }
    let excluded = named.get("exclude_users").and_then(Value::as_array).map_or(0, Vec::len);
    assert!(filter.exclude_users.len() <= excluded && (excluded == 0) == filter.exclude_users.is_empty());
}
