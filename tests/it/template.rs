//! What `template.yaml` promises of everything it deploys: nothing fails silently.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use lambda_kit::metrics;
use tests::environment::root;

fn template() -> String {
    fs::read_to_string(root().join("template.yaml")).unwrap()
}

/// The resources of a type, by name, each as its lines.
fn resources(kind: &str) -> BTreeMap<String, String> {
    let template = template();
    let section = template.split("\nResources:\n").nth(1).unwrap().split("\nOutputs:\n").next().unwrap();
    let (mut all, mut name) = (BTreeMap::<String, String>::new(), String::new());
    for line in section.lines() {
        let is_name = line.len() > 2 && line.starts_with("  ") && line.as_bytes()[2].is_ascii_uppercase();
        if is_name {
            line.trim().split(':').next().unwrap().clone_into(&mut name);
        }
        let text = all.entry(name.clone()).or_default();
        text.push_str(line);
        text.push('\n');
    }
    all.retain(|_, text| text.contains(&format!("Type: {kind}\n")) || text.contains(&format!("Type: {kind},")));
    all
}

/// The words that follow `before` in a text, each up to what is no part of a name.
fn after(text: &str, before: &str) -> BTreeSet<String> {
    let ends = |c: char| !c.is_ascii_alphanumeric();
    text.split(before).skip(1).map(|rest| rest.split(ends).next().unwrap().to_owned()).collect()
}

fn names(of: &BTreeMap<String, String>) -> BTreeSet<String> {
    of.keys().cloned().collect()
}

fn alarms(containing: &str) -> String {
    let alarms = resources("AWS::CloudWatch::Alarm");
    alarms.into_values().filter(|alarm| alarm.contains(containing)).collect()
}

#[test]
fn run_4_every_queue_is_encrypted_and_has_dead_letters_that_ring() {
    let queues = resources("AWS::SQS::Queue");
    // Queues of one kind share their properties.
    let shared = ["PlanQueueHigh", "PlanQueueImmediate", "ChunkQueueHigh", "ChunkQueueImmediate"];
    let template = template();
    let mut dead_letters = after(&template, "deadLetterTargetArn: !GetAtt ");
    dead_letters.insert("ExportDeadLetters".to_owned());
    assert!(template.contains("OnFailure: { Type: SQS, Destination: !GetAtt ExportDeadLetters.Arn }"));
    for (name, text) in &queues {
        assert!(text.contains("SqsManagedSseEnabled: true") || shared.contains(&name.as_str()), "{name}");
        let is_dead = dead_letters.contains(name);
        assert!(is_dead || text.contains("RedrivePolicy") || shared.contains(&name.as_str()), "{name} loses messages");
        assert!(!is_dead || text.contains("MessageRetentionPeriod: 1209600"), "{name} forgets too early");
    }
    assert!(queues.len() > 15 && dead_letters.len() == 9, "{dead_letters:?}");
    let rings = after(&alarms("DeadLetters"), "!GetAtt ");
    assert_eq!(rings, dead_letters, "an alarm for each queue of dead letters");
    let aged =
        after(&alarms("*queue-age"), "!GetAtt ").union(&after(&alarms("&queue-age"), "!GetAtt ")).cloned().collect();
    let worked: BTreeSet<String> = names(&queues).difference(&dead_letters).cloned().collect();
    assert_eq!(worked, aged, "an alarm for each queue whose messages wait");
}

#[test]
fn run_4_every_queue_speaks_tls_only() {
    let mut covered = BTreeSet::new();
    for policy in resources("AWS::SQS::QueuePolicy").values().filter(|policy| policy.contains("aws:SecureTransport")) {
        covered.extend(after(policy.split("PolicyDocument").next().unwrap(), "!Ref "));
    }
    assert_eq!(covered, names(&resources("AWS::SQS::Queue")));
}

#[test]
fn run_4_every_function_rings_when_it_fails_is_throttled_or_logs_an_error() {
    let functions = names(&resources("AWS::Serverless::Function"));
    assert!(functions.len() >= 9, "{functions:?}");
    let of_errors = resources("AWS::CloudWatch::Alarm").into_values();
    let of_errors: String = of_errors
        .filter(|alarm| alarm.contains("function-errors") && (!alarm.contains("<<:") || !alarm.contains("MetricName:")))
        .collect();
    let mut errors = after(&of_errors, "FunctionName, Value: !Ref ");
    // Refusals are its errors; it has a metric of its own.
    assert!(!alarms("AuthorizerUnavailable").is_empty() && errors.insert("AuthorizerFunction".to_owned()));
    assert_eq!(errors, functions);
    let throttles = after(&alarms("Throttles"), "FunctionName, Value: !Ref ");
    assert_eq!(throttles, functions, "throttles");
    let logs: BTreeSet<String> = functions.iter().map(|name| name.replace("Function", "Logs")).collect();
    let filters: String = resources("AWS::Logs::MetricFilter").into_values().collect();
    assert_eq!(after(&filters, "LogGroupName: !Ref "), logs, "errors in the log");
    for (name, function) in resources("AWS::Serverless::Function") {
        assert!(function.contains("Role: !GetAtt") && function.contains("LogGroup: !Ref"), "{name}");
    }
}

#[test]
fn run_4_every_table_rings_when_it_is_throttled_and_every_alarm_reaches_the_topic() {
    let tables = names(&resources("AWS::DynamoDB::Table"));
    for metric in ["ReadThrottleEvents", "WriteThrottleEvents"] {
        assert_eq!(after(&alarms(metric), "TableName, Value: !Ref "), tables, "{metric}");
    }
    for (name, alarm) in resources("AWS::CloudWatch::Alarm") {
        let merged = alarm.contains("<<: *");
        assert!(merged || alarm.contains("AlarmActions: [!Ref Alarms]"), "{name} reaches nobody");
        assert!(alarm.contains("AlarmDescription: "), "{name} does not say what it means");
    }
}

/// The names of our own metrics in alarms, filters and the dashboard.
fn used() -> BTreeSet<String> {
    let (mut used, dashboard) = (BTreeSet::new(), resources("AWS::CloudWatch::Dashboard"));
    used.extend(dashboard.values().flat_map(|text| after(text, "\"BatchLogout\", \"")));
    let own = ["Namespace: BatchLogout", "*mail"];
    for alarm in resources("AWS::CloudWatch::Alarm").values().filter(|alarm| own.iter().any(|own| alarm.contains(own)))
    {
        used.extend(after(alarm, "MetricName: "));
    }
    used
}

#[test]
fn run_5_every_metric_that_is_written_is_watched_and_every_one_that_is_watched_is_written() {
    let filters: String = resources("AWS::Logs::MetricFilter").into_values().collect();
    let counted = after(&filters, "MetricName: ");
    assert_eq!(counted, BTreeSet::from(["ErrorsLogged".to_owned()]));
    let written: BTreeSet<String> = metrics::NAMES.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(written.len(), metrics::NAMES.len());
    assert_eq!(used(), written.union(&counted).cloned().collect());
}

#[test]
fn run_5_every_metric_has_a_place_in_the_code_that_writes_it() {
    let mut sources = String::new();
    let mut folders = vec![root().join("functions"), root().join("shared/lambda/src")];
    while let Some(folder) = folders.pop() {
        for file in fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]").next().unwrap();
                let list = text.split("pub const NAMES").nth(1).and_then(|rest| rest.split("];").next());
                sources.push_str(&text.replace(list.unwrap_or("\0"), ""));
            }
        }
    }
    for name in metrics::NAMES {
        assert!(sources.contains(&format!("\"{name}\"")), "nothing writes {name}");
    }
    let emitted: BTreeSet<String> = sources
        .split("emit(")
        .skip(1)
        .filter_map(|call| call.split('"').nth(1).filter(|_| call.find('"') < call.find(';')))
        .filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(str::to_owned)
        .collect();
    assert!(emitted.len() > 10, "{emitted:?}");
    for name in emitted {
        assert!(metrics::NAMES.contains(&name.as_str()), "{name} is not among the metrics");
    }
}

#[test]
fn run_5_the_dashboard_is_json_and_shows_what_the_contract_asks_for() {
    let dashboard = resources("AWS::CloudWatch::Dashboard").into_values().next().unwrap();
    let body = dashboard.split("- |-\n").nth(1).unwrap().split("\n        #").next().unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let widgets = body["widgets"].as_array().unwrap();
    let shown: BTreeSet<&str> = widgets
        .iter()
        .flat_map(|widget| widget["properties"]["metrics"].as_array().unwrap())
        .map(|metric| metric[1].as_str().unwrap())
        .collect();
    for wanted in [
        "TimeToEffective",
        "TimeToSettled",
        "TokensRevoked",
        "DegradedChecks",
        "MailSent",
        "MailFailed",
        "ApproximateAgeOfOldestMessage",
        "ApproximateNumberOfMessagesVisible",
        "StuckJobs",
        "CacheComplete",
        "Errors",
        "Throttles",
        "Duration",
        "WriteThrottleEvents",
    ] {
        assert!(shown.contains(wanted), "{wanted}");
    }
    let queues = names(&resources("AWS::SQS::Queue"));
    assert_eq!(after(&dashboard, "\"QueueName\", \"${"), queues, "every queue is on it");
    let functions = names(&resources("AWS::Serverless::Function"));
    assert_eq!(after(&dashboard, "\"FunctionName\", \"${"), functions, "every function is on it");
    for (a, b) in widgets.iter().enumerate().flat_map(|(n, a)| widgets[n + 1..].iter().map(move |b| (a, b))) {
        let side = |widget: &serde_json::Value, at: &str, size: &str| {
            let start = widget[at].as_u64().unwrap();
            start..start + widget[size].as_u64().unwrap()
        };
        let overlap = |at: &str, size: &str| {
            let (a, b) = (side(a, at, size), side(b, at, size));
            a.start < b.end && b.start < a.end
        };
        assert!(!(overlap("x", "width") && overlap("y", "height")), "{a} and {b} overlap");
    }
}

#[test]
fn run_4_the_runbook_says_what_to_do_about_every_alarm_and_every_queue_of_dead_letters() {
    let runbook = fs::read_to_string(root().join("infra/RUNBOOK.md")).unwrap();
    let named: BTreeSet<String> = after(&runbook, "`").into_iter().filter(|name| !name.is_empty()).collect();
    for alarm in resources("AWS::CloudWatch::Alarm").into_keys() {
        assert!(named.contains(&alarm), "{alarm} is not in the runbook");
    }
    for queue in names(&resources("AWS::SQS::Queue")).into_iter().filter(|name| name.ends_with("DeadLetters")) {
        assert!(named.contains(&queue), "{queue} is not in the runbook");
    }
    for name in named.iter().filter(|name| name.ends_with("Alarm")) {
        assert!(template().contains(&format!("\n  {name}:\n")), "{name} is no alarm");
    }
}
