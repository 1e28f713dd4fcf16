//! The promises that the code's structure makes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tests::environment::root;

fn dependencies(manifest: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(manifest)).unwrap();
    let section = text.split("[dependencies]").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    section
        .lines()
        .filter_map(|line| line.split(['.', ' ']).next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let domain = dependencies("shared/domain/Cargo.toml");
    for outside in ["adapters", "lambda-kit", "axum", "http", "redis", "lambda_http", "tokio"] {
        assert!(!domain.iter().any(|name| name == outside), "the domain must not know {outside}");
    }
    assert!(!domain.iter().any(|name| name.starts_with("aws")), "the domain must not know AWS");
    assert!(!dependencies("shared/adapters/Cargo.toml").contains(&"lambda-kit".to_owned()));
    let kit = dependencies("shared/lambda/Cargo.toml");
    assert!(!kit.iter().any(|name| name == "adapters" || name.starts_with("aws-sdk")));
}

/// All files under a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn adapters_appear_in_main_alone_and_main_is_short() {
    for function in fs::read_dir(root().join("functions")).unwrap() {
        for path in files(&function.unwrap().path().join("src")) {
            let text = fs::read_to_string(&path).unwrap();
            if path.ends_with("main.rs") {
                assert!(text.lines().count() <= 40, "{} is more than wiring", path.display());
            } else {
                assert!(!text.contains("adapters::"), "{} names an adapter", path.display());
            }
        }
    }
}

#[test]
fn the_worker_knows_how_often_the_queue_delivers() {
    let template = fs::read_to_string(root().join("template.yaml")).unwrap();
    let wanted = format!("maxReceiveCount: {}", revoke_chunk::MAX_RECEIVES);
    let counts: Vec<&str> = template.lines().filter(|line| line.contains("maxReceiveCount:")).collect();
    assert!(!counts.is_empty() && counts.iter().all(|line| line.contains(&wanted)), "{counts:?}");
}

#[test]
fn mail_3_no_more_workers_send_than_share_the_accounts_rate() {
    let template = fs::read_to_string(root().join("template.yaml")).unwrap();
    let queue = template.split("Queue: !GetAtt NoticeQueue.Arn").nth(1).unwrap();
    let wanted = format!("MaximumConcurrency: {} }}", adapters::ses::WORKERS);
    assert!(queue.lines().take(4).any(|line| line.contains(&wanted)), "{wanted}");
}

#[test]
fn every_sample_event_is_what_its_function_takes() {
    let events = root().join("events");
    let mut seen = 0;
    for function in fs::read_dir(&events).unwrap() {
        let folder = function.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(root().join("functions").join(&name).is_dir(), "events/{name} belongs to no function");
        for file in fs::read_dir(&folder).unwrap() {
            let path = file.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let shown = path.display();
            let bodies = || -> Vec<String> {
                let event: aws_lambda_events::event::sqs::SqsEvent = serde_json::from_str(&text).unwrap();
                event.records.into_iter().map(|record| record.body.unwrap()).collect()
            };
            match name.as_str() {
                "account-sign-in" => bodies()
                    .iter()
                    .for_each(|body| assert!(domain::messages::ExchangeMessage::parse(body).is_ok(), "{shown}")),
                "plan-job" => bodies()
                    .iter()
                    .for_each(|body| assert!(domain::messages::PlanMessage::parse(body).is_ok(), "{shown}")),
                "revoke-chunk" => bodies()
                    .iter()
                    .for_each(|body| assert!(domain::messages::ChunkMessage::parse(body).is_ok(), "{shown}")),
                "send-notices" => bodies().iter().for_each(|body| {
                    let delivery = || domain::notify::Delivery::parse(body).is_ok();
                    assert!(domain::messages::NoticeMessage::parse(body).is_ok() || delivery(), "{shown}");
                }),
                "ingest" => bodies()
                    .iter()
                    .for_each(|body| assert!(domain::records::Record::parse(body).is_ok(), "{shown}: {body}")),
                "authorizer" => {
                    let request: authorizer::Request = serde_json::from_str(&text).unwrap();
                    assert!(request.authorization().is_some() && !request.method_arn().is_empty(), "{shown}");
                }
                "export-audit" => match serde_json::from_str::<export_audit::Event>(&text).unwrap() {
                    export_audit::Event::Alerts(_) => bodies()
                        .iter()
                        .for_each(|body| assert!(domain::messages::AlertMessage::parse(body).is_ok(), "{shown}")),
                    export_audit::Event::Stream(_) => {
                        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
                        let found = adapters::dynamodb::audit::of_stream(&event["Records"][0]["dynamodb"]["NewImage"]);
                        let whole = matches!(&found, domain::audit::verify::Found::Entry(sealed) if sealed.is_whole());
                        assert!(whole, "{shown}: {found:?}");
                    }
                    export_audit::Event::Replay(_) => {}
                },
                "scheduled" => assert!(serde_json::from_str::<scheduled::Task>(&text).is_ok(), "{shown}"),
                _ => {
                    let request: serde_json::Value = serde_json::from_str(&text).unwrap();
                    assert!(request["httpMethod"].is_string() && request["path"].is_string(), "{shown}");
                }
            }
            seen += 1;
        }
    }
    assert!(seen >= 8, "every function has a sample event");
}

/// The calls that the OpenAPI document describes, as `GET /path`.
fn described() -> BTreeSet<String> {
    let document: serde_json::Value = serde_json::from_str(&tests::openapi::document()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let calls = paths.iter().flat_map(|(path, calls)| {
        calls.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    calls.collect()
}

#[test]
fn api_10_the_document_is_what_the_handlers_types_say() {
    let (now, kept) = (tests::openapi::document(), fs::read_to_string(tests::openapi::file()).unwrap());
    // Not the documents themselves, which are long.
    let differs = now.lines().zip(kept.lines()).find(|(now, kept)| now != kept);
    assert!(now == kept, "run `cargo xtask openapi`; first difference: {differs:?}");
}

#[test]
fn api_10_the_document_describes_every_route_of_the_template_and_no_other() {
    let template = fs::read_to_string(root().join("template.yaml")).unwrap();
    let value = |line: &str, name: &str| {
        let rest = line.split_once(&format!("{name}: "))?.1;
        Some(rest.trim_start_matches('"').split(['"', ',', ' ']).next()?.to_owned())
    };
    let mut deployed = BTreeSet::new();
    let mut lines = template.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "Type: Api" {
            let properties = lines.next().unwrap();
            let route = value(properties, "Method").zip(value(properties, "Path"));
            let (method, path) = route.unwrap_or_else(|| panic!("one line with method and path: {properties}"));
            deployed.insert(format!("{method} {path}"));
        }
    }
    // Pages of other origins ask by OPTIONS first; that is no call of the API.
    deployed.retain(|route| !route.starts_with("OPTIONS "));
    assert!(!deployed.is_empty());
    assert_eq!(deployed, described(), "template.yaml, and the OpenAPI document");
}
