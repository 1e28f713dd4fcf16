//! Events that start functions: what API Gateway asks the authorizer, what the audit table's stream tells, what a
//! schedule says.

use adapters::dynamodb::audit::of_stream;
use domain::audit::head::Published;
use domain::audit::verify::{Found, verify};
use domain::records::Record;
use serde_json::Value;

/// An event, for whichever function.
pub fn events(bytes: &[u8]) -> bool {
    let asked = authorizer_asked(bytes);
    let told = stream_told(bytes);
    let task = serde_json::from_slice::<scheduled::Task>(bytes);
    if let Ok(task) = &task {
        let written = serde_json::to_vec(task).unwrap();
        assert_eq!(&serde_json::from_slice::<scheduled::Task>(&written).unwrap(), task);
        assert!(std::str::from_utf8(bytes).is_ok_and(|text| Record::parse(text).is_err()), "a task is no record");
    }
    asked || told || task.is_ok()
}

fn authorizer_asked(bytes: &[u8]) -> bool {
    let Ok(request) = serde_json::from_slice::<authorizer::Request>(bytes) else { return false };
    let Some(value) = request.authorization() else { return false };
    // A parser that skips what it need not know is not as strict with that as one that reads all of it.
    let Ok(event) = serde_json::from_slice::<Value>(bytes) else { return false };
    // All headers of the name, in whatever form they are told: none may say anything else.
    let members = |name: &str| event[name].as_object().cloned().unwrap_or_default().into_iter();
    for (name, said) in members("headers").chain(members("multiValueHeaders")) {
        if name.eq_ignore_ascii_case("authorization") {
            let all = said.as_array().cloned().unwrap_or_else(|| vec![said]);
            assert!(all.iter().all(|one| one == value), "two things are said, and one is believed: {all:?}");
        }
    }
    let Some(token) = lambda_kit::caller::bearer_token(value) else { return false };
    let (scheme, rest) = value.split_once(' ').unwrap();
    assert!(scheme.to_lowercase() == "bearer" && rest.trim() == token.reveal() && !token.reveal().is_empty());
    true
}

fn stream_told(bytes: &[u8]) -> bool {
    let Ok(event) = serde_json::from_slice::<Value>(bytes) else { return false };
    let records = event["Records"].as_array().cloned().unwrap_or_default();
    let images = records.iter().map(|record| &record["dynamodb"]["NewImage"]).filter(|image| image.is_object());
    let found: Vec<Found> = images.map(of_stream).collect();
    let verdict = verify(found.clone(), &Published::default());
    assert_eq!(verdict.entries, found.len() as u64, "each is looked at");
    let mut whole = false;
    for found in &found {
        if let Found::Entry(sealed) = found
            && sealed.is_whole()
        {
            assert!(sealed.entry().is_ok(), "what is whole can be read");
            whole = true;
        }
    }
    whole
}
